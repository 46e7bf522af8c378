# SPDX-License-Identifier: MIT
"""Boots a Debian root with the package, and runs the tests. The last line is 'N passed, N failed, N skipped'.

    run.py PACKAGE ROOT [test_systemd.Service | test_systemd.Service.test_status] ...

PACKAGE: a .deb, or the folder that `DESTDIR=FOLDER meson install` has filled. ROOT: a Debian root with systemd and dbus,
without the package; it is changed.
"""

import pathlib
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402


def stop(*_):
    raise KeyboardInterrupt('stopped by a signal')


def main(package, root, names):
    signal.signal(signal.SIGTERM, stop)
    suite = unittest.TestLoader().loadTestsFromNames(names or sorted(path.stem for path in HERE.glob('test_*.py')))
    begin_s = time.monotonic()
    try:
        with machine.Machine(root, package) as booted:
            print(f'booted after {time.monotonic() - begin_s:.0f} s', flush=True)
            machine.Case.machine = booted
            result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    except machine.NotHere as reason:
        print(f'skipped: {reason}')
        print(f'0 passed, 0 failed, {suite.countTestCases()} skipped')
        return 0
    # a test counts as one failure, however many of its parts failed
    failed = len({getattr(test, 'test_case', test) for test, _ in result.failures + result.errors})
    print(f'{max(result.testsRun - failed - len(result.skipped), 0)} passed, {failed} failed, {len(result.skipped)} skipped')
    return 1 if failed or not result.testsRun else 0


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
