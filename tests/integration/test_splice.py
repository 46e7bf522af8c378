# SPDX-License-Identifier: MIT
"""If splice(2) is forbidden or misses bytes, sixpipe copies, and says so."""

import errno
import json
import os
import threading
import unittest

import seccomp
import sockmap
from bulk import Stream
from peers import EOF
from test_sockets import SocketCase

STREAM = Stream(7).bytes(8 << 20)


class SpliceCase(SocketCase):

    def feed(self, writer, stream):
        """Sends the stream and its end, while the test reads at the other end."""
        def run():
            writer.sendall(stream)
            writer.finish_sending()
        feeder = threading.Thread(target=run)
        feeder.start()
        return feeder

    def check_bulk(self, client, server):
        """A stream in each direction, one after the other, each to its end."""
        for writer, reader in ((client, server), (server, client)):
            feeder = self.feed(writer, STREAM)
            self.assertEqual(reader.recv_to_end(1 << 20), (STREAM, EOF))
            feeder.join()


class Forbidden(SpliceCase):

    def setUp(self):
        super().setUp()
        if not seccomp.KNOWN_HERE:
            self.skipTest('the number of splice(2) is not known here')

    def test_bytes_are_copied_and_the_start_logs_it(self):
        for name, error in (('EPERM', errno.EPERM), ('ENOSYS', errno.ENOSYS)):
            with self.subTest(error=name):
                backend = self.backend()
                with self.sixpipe('[::1]:0', backend.address,
                                  popen={'preexec_fn': lambda error=error: seccomp.forbid_splice(error)}) as proxy:
                    refused = proxy.wait_event('splice_refused')
                    self.assertEqual(refused['error'], os.strerror(error))
                    self.assertIn('seccomp', refused['remedy'])
                    self.assertEqual(proxy.wait_event('limits')['pipes'], '0')
                    self.assertEqual(proxy.fds()['pipe'], 1)  # stderr
                    client, server = self.pair(proxy, backend)
                    client.sendall(b'small')
                    self.assertEqual(server.recv_exact(5), b'small')
                    self.check_bulk(client, server)
                self.assertEqual(proxy.events('pipes_short'), [])
                stopped = proxy.wait_event('stopped')
                self.assertEqual(stopped.int('bytes_copied'), 5 + 2 * len(STREAM))

    def test_doctor_warns(self):
        done = self.run_sixpipe('doctor', '--json', preexec_fn=lambda: seccomp.forbid_splice(errno.EPERM))
        checks = {check['name']: check for check in json.loads(done.stdout)['checks']}
        self.assertEqual((done.returncode, checks['splice']['state']), (0, 'warn'))
        self.assertIn('EPERM', checks['splice']['value'])


class InSockmap(SpliceCase):

    def test_bulk_each_way(self):
        """Both sockets of a session are in a sockmap with a stream_verdict program."""
        with sockmap.Sockmap() as agent:
            backend = self.backend()
            with self.sixpipe('[::1]:0', backend.address, '--workers', '1') as proxy:
                client, server = self.pair(proxy, backend)
                client.sendall(b'?')
                self.assertEqual(server.recv_exact(1), b'?')
                for end in self.ends_of(proxy, client, backend)[1:]:
                    agent.add(end)
                self.close_copies()
                self.check_bulk(client, server)
            self.assertEqual(proxy.wait_event('stopped').int('splices_stopped'), 2)


if __name__ == '__main__':
    unittest.main()
