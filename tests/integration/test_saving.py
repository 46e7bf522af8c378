# SPDX-License-Identifier: MIT
"""--pseudo-state on a disk that does not answer: fsync(2) does not return, and the process still obeys signals."""

import contextlib
import http.client
import os
import re
import signal
import tempfile
import unittest

import peers
import seccomp
from harness import PATIENCE_S, Case, wait_until
from peers import EOF, RESET

SAVE_LIMIT_S = 5  # how long the process waits for the last save: saver.h
END_S = SAVE_LIMIT_S + 10  # long enough for a sanitizer build's exit


@unittest.skipUnless(seccomp.KNOWN_HERE, 'seccomp filters are made for other machines')
class HungDisk(Case):

    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.supervisor = seccomp.Supervisor(self, seccomp.NR_FSYNC)
        self.admin = os.path.join(self.folder, 'admin')
        self.state = os.path.join(self.folder, 'state')

    def serve(self, backend, *args, **options):
        return self.sixpipe('[::1]:0', backend.address, '--source', 'loopback', '--pseudo-state', self.state,
                            '--metrics', '[::1]:0', '--admin', self.admin, *args,
                            popen={'preexec_fn': self.supervisor.install}, **options)

    def live(self, proxy):
        connection = http.client.HTTPConnection(*peers.parse_endpoint(proxy.ready['metrics']), timeout=PATIENCE_S)
        connection.request('GET', '/live')
        status = connection.getresponse().status
        connection.close()
        return status

    def hang(self, proxy):
        """Begins a drain, which begins with a save, and the save hangs."""
        self.supervisor.hold()
        proxy.signal(signal.SIGTERM)
        proxy.wait_event('draining')
        self.assertTrue(self.supervisor.wait_held(1, PATIENCE_S), 'nothing was saved')

    def workers(self, proxy):
        """The number of worker threads, by their names."""
        count = 0
        for task in os.listdir(f'/proc/{proxy.pid}/task'):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                    open(f'/proc/{proxy.pid}/task/{task}/comm', encoding='ascii') as file:
                count += bool(re.match(r'sixpipe/\d', file.read()))
        return count

    def check_told(self, proxy):
        failed = proxy.wait_event('state_failed')
        self.assertEqual(failed['file'], str(self.state))
        self.assertIn('the filesystem has not answered for', failed['error'])
        self.assertIn('fsfreeze -u', failed['remedy'])

    def test_everything_goes_on_and_the_drain_ends(self):
        backend = self.backend()
        with self.serve(backend) as proxy:
            client, server = self.pair(proxy, backend)
            self.hang(proxy)
            self.assertEqual(self.live(proxy), 200)
            done = self.run_sixpipe('bans', '--admin', self.admin)
            self.assertEqual(done.returncode, 0, done.stderr)
            client.sendall(b'still there')
            self.assertEqual(server.recv_exact(11), b'still there')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assertEqual(proxy.wait_exit(END_S), 0)
            self.check_told(proxy)
            proxy.wait_event('stopped')
            self.assertFalse(os.path.exists(self.admin), 'the admin socket is removed all the same')
            proxy.finished = True

    def test_the_drain_timeout_holds(self):
        backend = self.backend()
        with self.serve(backend, '--drain-timeout', '200ms') as proxy:
            client, server = self.pair(proxy, backend)
            self.hang(proxy)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assertEqual(server.recv_to_end(), (b'', RESET))
            self.assertEqual(proxy.wait_exit(END_S), 0)
            self.check_told(proxy)
            proxy.finished = True

    def test_a_second_term_stops(self):
        backend = self.backend()
        with self.serve(backend) as proxy:
            client, _ = self.pair(proxy, backend)
            self.hang(proxy)
            proxy.signal(signal.SIGTERM)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assertEqual(proxy.wait_exit(END_S), 0)
            self.check_told(proxy)
            proxy.finished = True

    def test_a_late_answer_of_the_disk_is_used(self):
        backend = self.backend()
        with self.serve(backend) as proxy:
            client, server = self.pair(proxy, backend)
            self.hang(proxy)
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            client.close()
            wait_until(lambda: not self.workers(proxy), what='the end of the workers')
            self.supervisor.let_through()
            self.assertEqual(proxy.wait_exit(END_S), 0)
            self.assertEqual(proxy.events('state_failed'), [])
            proxy.finish(term=False)
        with open(self.state, encoding='ascii') as file:
            self.assertIn('lease ', file.read())

    def test_a_start_that_hangs_is_logged_and_ends_by_term(self):
        backend = self.backend()
        self.supervisor.hold()
        with self.serve(backend, wait_ready=False) as proxy:
            self.check_told(proxy)
            proxy.signal(signal.SIGTERM)
            self.assertEqual(proxy.wait_exit(END_S), 0)
            proxy.finished = True


if __name__ == '__main__':
    unittest.main()
