"""Adds up JUnit reports: the last line is 'N passed, N failed, N skipped'.

usage: summarise.py FAILED-BUILDS REPORT...

FAILED-BUILDS is how many test runs ended with a failure; a run that failed without a failed test (a
program that crashed before it reported, say) still counts. Exits with 1 when anything failed.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main():
    failed_builds, reports = int(sys.argv[1]), sys.argv[2:]
    passed = failed = skipped = 0
    for report in reports:
        for case in ElementTree.parse(report).iter('testcase'):
            name = f"{case.get('classname') or ''} {case.get('name')}".strip()
            if case.find('failure') is not None or case.find('error') is not None:
                failed += 1
                print(f'failed: {name} ({report.split("/")[0]})')
            elif case.find('skipped') is not None:
                skipped += 1
                print(f'skipped: {name} ({report.split("/")[0]})')
            else:
                passed += 1
    if failed_builds and not failed:
        failed = failed_builds
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
