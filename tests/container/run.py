# SPDX-License-Identifier: MIT
"""Builds the image with scripts/image and runs the tests of containers. The last line is 'N passed, N failed, N skipped'.

    run.py [test_container.Pid1 | test_container.Pid1.test_reaps_orphans] ...
"""

import pathlib
import signal
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import containers  # noqa: E402


def count(suite, reason):
    """Runs the tests, or counts them as skipped if there is a reason. Returns a TestResult."""
    if reason:
        result = unittest.TestResult()
        for _ in range(suite.countTestCases()):
            result.addSkip(None, reason)
            result.testsRun += 1
        return result
    return unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)


def stop(*_):
    raise KeyboardInterrupt('stopped by a signal')


def main(names):
    signal.signal(signal.SIGTERM, stop)
    names = names or sorted(path.stem for path in HERE.glob('test_*.py'))
    suite = unittest.TestLoader().loadTestsFromNames(names)
    with containers.Podman() as podman:
        reason = podman.why_not()
        if reason:
            print(f'skipped: {reason}')
        else:
            print(podman.run(containers.ROOT / 'scripts' / 'image', containers.SIXPIPE_IMAGE), end='')
        containers.Case.podman = podman
        result = count(suite, reason)
    # a test counts as one failure, however many of its parts failed
    failed = len({getattr(test, 'test_case', test) for test, _ in result.failures + result.errors})
    skipped = len(result.skipped)
    print(f'{max(result.testsRun - failed - skipped, 0)} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not result.testsRun else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
