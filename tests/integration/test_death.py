# SPDX-License-Identifier: MIT
"""However the process dies, every peer gets a RST: a cut-off stream never looks complete."""

import errno
import signal
import unittest

from bulk import Stream
from harness import Case, wait_until
from peers import EOF, RESET

DEATHS = (signal.SIGKILL, signal.SIGABRT)
GONE = (errno.ECONNRESET, errno.EPIPE)  # EPIPE: the kernel's answer if a FIN came before the RST


class DeathCase(Case):

    def check_death(self, prepare, *args, rcvbuf=None, deaths=DEATHS, full_backlog=False):
        """For each way to die: prepare(proxy, backend) makes a session and returns a function that checks how its
        ends end."""
        for number in deaths:
            with self.subTest(death=number.name):
                backend = self.backend(rcvbuf=rcvbuf, backlog=0 if full_backlog else 512)
                if full_backlog:
                    self.connect(backend.endpoint)  # the kernel queues one connection more than the backlog
                with self.sixpipe(*args, '[::1]:0', backend.address) as proxy:
                    judge = prepare(proxy, backend)
                    proxy.finished = True  # a killed process writes no last line to check
                    proxy.signal(number)
                    self.assertEqual(proxy.wait_process(), -number)
                    judge()
                self.close_peers()

    def each_way(self, prepare, **options):
        """The same in both directions: pair() returns the two ends of a session, the writer and the reader."""
        for writes in ('client', 'backend'):
            with self.subTest(writes=writes):
                def prepare_this_way(proxy, backend):
                    client, server = self.pair(proxy, backend, rcvbuf=options.get('rcvbuf'))
                    return prepare(*((client, server) if writes == 'client' else (server, client)))
                self.check_death(prepare_this_way, **options)


class Opening(DeathCase):

    def test_before_the_client_is_accepted(self):
        def prepare(proxy, _):
            with proxy.stopped():
                client = self.connect(proxy.endpoint)
                proxy.signal(signal.SIGKILL)
            return lambda: self.assertEqual(client.recv_to_end(), (b'', RESET))
        self.check_death(prepare, deaths=[signal.SIGKILL])

    def test_while_the_clients_header_is_missing(self):
        def prepare(proxy, _):
            held = proxy.fds()['socket']
            client = self.connect(proxy.endpoint)
            wait_until(lambda: proxy.fds()['socket'] > held, what='the accept')
            return lambda: self.assertEqual(client.recv_to_end(), (b'', RESET))
        self.check_death(prepare, '--accept-proxy', '--trust', '::/0')

    def test_while_the_backend_does_not_answer(self):
        def prepare(proxy, backend):
            held = proxy.fds()['socket']
            client = self.connect(proxy.endpoint)
            wait_until(lambda: proxy.fds()['socket'] == held + 2, what='the connect')
            return lambda: self.assertEqual(client.recv_to_end(), (b'', RESET))
        self.check_death(prepare, full_backlog=True)


class Relaying(DeathCase):

    def test_before_the_first_byte(self):
        def prepare(writer, reader):
            def judge():
                self.assertEqual(reader.recv_to_end(), (b'', RESET))
                self.assertEqual(writer.recv_to_end(), (b'', RESET))
            return judge
        self.each_way(prepare)

    def test_after_an_exchange(self):
        def prepare(writer, reader):
            for source, target in ((writer, reader), (reader, writer)):
                source.sendall(b'words')
                self.assertEqual(target.recv_exact(5), b'words')

            def judge():
                self.assertEqual(reader.recv_to_end(), (b'', RESET))
                self.assertEqual(writer.recv_to_end(), (b'', RESET))
            return judge
        self.each_way(prepare)

    def test_in_mid_transfer(self):
        """The reader has taken all bytes. Only the RST tells that the stream is not complete."""
        def prepare(writer, reader):
            stream = Stream(1).bytes(1 << 20)
            writer.sendall(stream)
            self.assertEqual(reader.recv_exact(len(stream)), stream)

            def judge():
                self.assertEqual(reader.recv_to_end(), (b'', RESET))
                self.assertIn(writer.wait_error(), GONE)
            return judge
        self.each_way(prepare)

    def test_while_the_reader_stalls(self):
        """The reader gets a prefix. The RST may drop bytes that the reader's kernel has already."""
        def prepare(writer, reader):
            stream = Stream(2).bytes(16 << 20)
            sent = writer.send_until_full(stream, quiet_s=0.3)

            def judge():
                data, end = reader.recv_to_end()
                self.assertEqual(end, RESET)
                self.assertLess(len(data), sent)
                self.assertTrue(stream.startswith(data))
                self.assertIn(writer.wait_error(), GONE)
            return judge
        self.each_way(prepare, rcvbuf=65536, deaths=[signal.SIGKILL])

    def test_half_closed(self):
        """The reader of the open stream gets a RST. The other reader has its whole stream already."""
        def prepare(writer, reader):
            reader.sendall(b'request')
            reader.finish_sending()
            self.assertEqual(writer.recv_to_end(), (b'request', EOF))
            writer.sendall(b'half of the answer')
            self.assertEqual(reader.recv_exact(18), b'half of the answer')

            def judge():
                self.assertEqual(reader.recv_to_end(), (b'', RESET))
                self.assertIn(writer.wait_error(), GONE)
            return judge
        self.each_way(prepare)

    def test_sessions_that_ended_before(self):
        """Both streams ended and were passed on. No RST follows, even if the peer has not read all bytes."""
        def prepare(proxy, backend):
            client, server = self.pair(proxy, backend)
            answer = Stream(3).bytes(200_000)
            client.sendall(b'request')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'request', EOF))
            server.sendall(answer)
            server.finish_sending()
            self.assert_reason(proxy, client, 'done')
            return lambda: self.assertEqual(client.recv_to_end(), (answer, EOF))
        self.check_death(prepare)


if __name__ == '__main__':
    unittest.main()
