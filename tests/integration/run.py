# SPDX-License-Identifier: MIT
"""Runs integration tests: prints TAP 13 on stdout, and why a test failed on stderr.

    run.py [test_relay | test_relay.Ends | test_relay.Ends.test_simultaneous_close] ...

Without a name: everything. Each test of a class with per_engine runs once for each engine of SIXPIPE_ENGINES.
"""

import faulthandler
import io
import pathlib
import signal
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import harness  # noqa: E402

TEST_LIMIT_S = 300 if harness.SANITIZE else 120
GRACE_S = 20


class TimeIsUp(BaseException):
    """Not an Exception, so that no test catches it."""


class TapResult(unittest.TestResult):
    """One TAP line per test. Why it failed goes to stderr: of a TAP test's output, meson shows only that."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.failed = 0

    def startTest(self, test):
        super().startTest(test)
        self.notes = []
        self.reason = None
        self.start_s = time.monotonic()
        signal.alarm(TEST_LIMIT_S)
        # For a test that waits where Python runs no signal handler.
        faulthandler.dump_traceback_later(TEST_LIMIT_S + GRACE_S, exit=True)

    def stopTest(self, test):
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self.number += 1
        self.failed += bool(self.notes)
        line = f'{"not ok" if self.notes else "ok"} {self.number} - {name_of(test)}'
        if self.reason and not self.notes:
            line += f' # SKIP {self.reason}'
        print(line)
        if self.notes and getattr(test, 'last_log', None):
            self.notes.append('the end of the log:\n' + '\n'.join(test.last_log))
        print(f'# {time.monotonic() - self.start_s:.2f} s', flush=True)
        if self.notes:
            print(f'{name_of(test)} failed:', *map(printable, self.notes), sep='\n', file=sys.stderr, flush=True)

    def note(self, error, where=None):
        text = ''.join(traceback.format_exception(*error))
        self.notes.append(f'{where}\n{text}' if where else text)

    def addError(self, test, error):
        self.note(error)

    def addFailure(self, test, error):
        self.note(error)

    def addSubTest(self, test, subtest, error):
        if error:
            self.note(error, str(subtest))

    def addSkip(self, test, reason):
        self.reason = reason

    def addExpectedFailure(self, test, error):
        self.reason = 'an expected failure'

    def addUnexpectedSuccess(self, test):
        self.notes.append('expected to fail')


def printable(text):
    """The text without control characters, which the JUnit report may not hold."""
    return ''.join(char if char.isprintable() or char in '\n\t' else repr(char)[1:-1] for char in text.rstrip())


def name_of(test):
    kind = type(test)
    engine = f' [{test.engine}]' if getattr(test, 'per_engine', False) else ''
    return f'{kind.__module__}.{kind.__qualname__}.{test._testMethodName}{engine}'


def tests_in(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_in(item)
        else:
            yield item


def for_each_engine(tests):
    """The tests, engine by engine. A test with per_engine comes once for each engine."""
    classes = {}
    for index, engine in enumerate(harness.ENGINES):
        for test in tests:
            kind = type(test)
            if not getattr(kind, 'per_engine', False):
                if index == 0:
                    yield test
                continue
            if (kind, engine) not in classes:
                fields = {'engine': engine, '__module__': kind.__module__, '__qualname__': kind.__qualname__}
                classes[kind, engine] = type(kind.__name__, (kind,), fields)
            yield classes[kind, engine](test._testMethodName)


def time_is_up(*_):
    log = io.StringIO()
    for identity, frame in sys._current_frames().items():
        log.write(f'thread {identity}\n' + ''.join(traceback.format_stack(frame)))
    raise TimeIsUp(f'{TEST_LIMIT_S} s are over; where every thread was:\n{log.getvalue()}')


def stop(*_):
    raise KeyboardInterrupt('stopped by a signal')  # the one exception that unittest lets through


def main(names):
    signal.signal(signal.SIGALRM, time_is_up)
    signal.signal(signal.SIGTERM, stop)
    loader = unittest.TestLoader()
    names = names or sorted(path.stem for path in HERE.glob('test_*.py'))
    tests = list(for_each_engine(list(tests_in(loader.loadTestsFromNames(names)))))
    print('TAP version 13')
    print(f'1..{len(tests)}')
    result = TapResult()
    for test in tests:
        test(result)
    return 1 if result.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
