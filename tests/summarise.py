# SPDX-License-Identifier: MIT
"""Adds up the results that meson wrote. The last line is 'N passed, N failed, N skipped'.

usage: summarise.py FAILED-BUILDS BUILD...

FAILED-BUILDS is the number of test runs that failed; a run that failed without a failed test counts as a failure. A
test program counts as its tests. A program that crashed or ran out of time without a failed test is one more failure.
Exits with 1 if anything failed.
"""

import collections
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def kind_of(case):
    if case.find('failure') is not None or case.find('error') is not None:
        return 'failed'
    return 'skipped' if case.find('skipped') is not None else 'passed'


def outcomes(build):
    """Yields (kind, name) of each test: testlog.json has whole programs, the JUnit report the tests in them."""
    logs = pathlib.Path(build) / 'meson-logs'
    suites = {suite.get('name'): suite for suite in ElementTree.parse(logs / 'testlog.junit.xml').iter('testsuite')}
    for line in (logs / 'testlog.json').read_text().splitlines():
        program = json.loads(line)
        name, result = program['name'], program['result']
        suite = suites.get(f'{name.split(":")[0]}.{name}', ())
        own = [(kind_of(case), f'{name} {case.get("name")}') for case in suite if case.tag == 'testcase']
        yield from own
        if result in ('OK', 'SKIP', 'EXPECTEDFAIL'):
            if not own:
                yield 'skipped' if result == 'SKIP' else 'passed', name
        elif not any(kind == 'failed' for kind, _ in own):
            yield 'failed', f'{name} {result}'


def main():
    failed_builds, builds = int(sys.argv[1]), sys.argv[2:]
    counts = collections.Counter()
    for build in builds:
        for kind, name in outcomes(build):
            counts[kind] += 1
            if kind != 'passed':
                print(f'{kind}: {name} ({build})')
    if failed_builds and not counts['failed']:
        counts['failed'] = failed_builds
    print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped')
    return 1 if counts['failed'] or not counts['passed'] else 0


if __name__ == '__main__':
    sys.exit(main())
