# SPDX-License-Identifier: MIT
"""A kernel that is short of memory: no session ends because of it, and the process still obeys signals."""

import errno
import signal
import unittest

import seccomp
from harness import PATIENCE_S, Case
from peers import EOF


@unittest.skipUnless(seccomp.KNOWN_HERE, 'seccomp filters are made for other machines')
class Poll(Case):

    def test_sessions_go_on_and_signals_are_obeyed(self):
        """poll(2) fails with ENOMEM for a while. The main thread neither ends the process nor spins."""
        backend = self.backend()
        supervisor = seccomp.Supervisor(self, seccomp.NR_POLL)
        with self.sixpipe('[::1]:0', backend.address, popen={'preexec_fn': supervisor.install}) as proxy:
            client, server = self.pair(proxy, backend)
            supervisor.refuse(errno.ENOMEM)
            proxy.signal(signal.SIGHUP)
            proxy.wait_event('takeover_failed')  # the old process goes on
            proxy.strange_lines.clear()
            self.assertTrue(supervisor.wait_refused(20, PATIENCE_S))
            client.sendall(b'still there')
            self.assertEqual(server.recv_exact(11), b'still there')
            self.assert_idle_cpu(proxy, 0.5, limit=0.1)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assertEqual(proxy.wait_exit(), 0)
            proxy.finish(term=False)


if __name__ == '__main__':
    unittest.main()
