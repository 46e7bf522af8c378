# SPDX-License-Identifier: MIT
"""A real control group with a CPU quota, and one with a memory limit."""

import os
import unittest

from cgroups import Cgroup
from harness import Case

CPUS = len(os.sched_getaffinity(0))
GOOD = ('[::1]:0', '127.0.0.1:9')
MIB = 1 << 20


class Quota(Case):
    per_engine = False

    def check_workers(self, quota_us, quota, workers, *arguments):
        with Cgroup('cpu', str(quota_us)) as group:
            with self.sixpipe(*GOOD, *arguments, engine='auto', popen=group.popen) as proxy:
                limits = proxy.wait_event('limits')
                self.assertEqual((limits.int('cpus'), limits['cpu_quota']), (CPUS, quota), limits)
                self.assertEqual((limits.int('workers'), proxy.ready.int('workers')), (workers, workers))

    def test_half_a_cpu(self):
        self.check_workers(50000, '0.5', 1)

    def test_one_and_a_half(self):
        self.check_workers(150000, '1.5', min(2, CPUS))

    def test_more_than_the_host_has(self):
        self.check_workers(6400000, '64', min(64, CPUS))

    def test_the_option_goes_before_the_quota(self):
        self.check_workers(50000, '0.5', 3, '--workers', '3')

    def test_no_quota(self):
        with self.sixpipe(*GOOD, engine='auto') as proxy:
            limits = proxy.wait_event('limits')
            if 'cpu_quota' in limits:
                self.skipTest('this test runs under a quota')
            self.assertEqual(limits.int('workers'), CPUS)


class Memory(Case):
    per_engine = False

    def test_default(self):
        with Cgroup('memory', str(128 * MIB)) as group:
            with self.sixpipe(*GOOD, engine='auto', popen=group.popen) as proxy:
                limits = proxy.wait_event('limits')
                self.assertEqual(limits.int('memory_limit_bytes'), 128 * MIB)
                self.assertLessEqual(limits.int('maxconn'), (128 - 16) * MIB // 32768)
                self.assertFalse(proxy.events('memory_short'))

    def test_explicit_maxconn_is_obeyed_with_a_warning(self):
        with Cgroup('memory', str(64 * MIB)) as group:
            with self.sixpipe(*GOOD, '--maxconn', '2000', engine='auto', popen=group.popen) as proxy:
                short = proxy.wait_event('memory_short')
                self.assertEqual((short.int('maxconn'), short.int('memory_limit_bytes'),
                                  short.int('sessions_assured')), (2000, 64 * MIB, 1536))
                self.assertIn('--maxconn', short['remedy'])
                self.assertEqual(proxy.wait_event('limits').int('maxconn'), 2000)


if __name__ == '__main__':
    unittest.main()
