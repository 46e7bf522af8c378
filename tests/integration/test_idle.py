# SPDX-License-Identifier: MIT
"""An idle process does nothing: no wake-up, no CPU."""

import time
import unittest

from harness import SANITIZE, Case

OVER_S = 2.0


@unittest.skipIf(SANITIZE, "a sanitizer's own threads wake up")
class Idle(Case):

    def switches(self, proxy):
        """Context switches per thread so far. A thread that only waits has no context switch."""
        return {status['Pid']: (int(status['voluntary_ctxt_switches']), int(status['nonvoluntary_ctxt_switches']))
                for status in proxy.statuses()}

    def settle(self):
        time.sleep(0.3)  # the start, and the kernel's own timers of the last session, must be over

    def test_process_without_sessions_makes_no_system_call(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            self.settle()
            before = self.switches(proxy), proxy.cpu_s()
            time.sleep(OVER_S)
            self.assertEqual((self.switches(proxy), proxy.cpu_s()), before)

    def test_the_same_after_sessions_came_and_went(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for _ in range(20):
                client, server = self.pair(proxy, backend)
                client.sendall(b'x' * 10_000)
                client.close()
                server.recv_to_end()
                server.close()
            proxy.wait_events('close', 20)
            self.settle()
            before = self.switches(proxy), proxy.cpu_s()
            time.sleep(OVER_S)
            self.assertEqual((self.switches(proxy), proxy.cpu_s()), before)

    def test_idle_sessions_hardly_ever_wake_the_process(self):
        """A timer of an hour may wake a worker now and then, not many times a second."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for _ in range(50):
                client, server = self.pair(proxy, backend)
                client.sendall(b'x')
                server.recv_exact(1)
            self.settle()
            before, cpu_s = self.switches(proxy), proxy.cpu_s()
            time.sleep(OVER_S)
            woken = sum(sum(now) - sum(before[thread]) for thread, now in self.switches(proxy).items())
            self.assertLessEqual(woken, 4 * len(before))
            self.assertLessEqual(proxy.cpu_s() - cpu_s, 0.011)


if __name__ == '__main__':
    unittest.main()
