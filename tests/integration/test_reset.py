# SPDX-License-Identifier: MIT
"""At each stage of a session a RST is passed on as a RST, after the bytes before it, and never as a clean end."""

import errno
import socket
import unittest

from bulk import Stream
from harness import Case
from peers import EOF, RESET

RESET_ERRORS = (errno.ECONNRESET, errno.EPIPE)  # EPIPE: the kernel's answer if a FIN came before the RST


class ResetCase(Case):

    def each_way(self, check, rcvbuf=None):
        """Runs check(proxy, resetter, other): first the client resets, then the backend."""
        for by in ('client', 'backend'):
            with self.subTest(reset_by=by):
                backend = self.backend(rcvbuf=rcvbuf)
                with self.sixpipe('[::1]:0', backend.address) as proxy:
                    client, server = self.pair(proxy, backend, rcvbuf=rcvbuf)
                    check(proxy, *((client, server) if by == 'client' else (server, client)))
                    self.assert_reason(proxy, client, f'{by}_reset')


class Stages(ResetCase):

    def test_right_after_connect(self):
        def check(_, resetter, other):
            resetter.reset()
            self.assertEqual(other.recv_to_end(), (b'', RESET))
        self.each_way(check)

    def test_client_before_sixpipe_accepts(self):
        """The backend sees no connection, or a connection that is reset, but never a clean end."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            with proxy.stopped():
                gone = self.connect(proxy.endpoint)
                gone.reset()
                alive = self.connect(proxy.endpoint)
                alive.sendall(b'alive')
                alive.finish_sending()
            ends = [backend.accept().recv_to_end()]
            if ends[0][0] != b'alive':
                ends.append(backend.accept().recv_to_end())
            self.assertEqual(ends[-1], (b'alive', EOF))
            self.assertIn(ends[:-1], ([], [(b'', RESET)]))

    def test_backend_as_soon_as_it_accepts(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for data in (b'', b'a request'):
                client = self.connect(proxy.endpoint)
                client.sendall(data)
                backend.accept().reset()
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'backend_reset')

    def test_after_an_exchange(self):
        def check(_, resetter, other):
            for source, target in ((resetter, other), (other, resetter)):
                source.sendall(b'words')
                self.assertEqual(target.recv_exact(5), b'words')
            resetter.reset()
            self.assertEqual(other.recv_to_end(), (b'', RESET))
        self.each_way(check)

    def test_by_the_reader_in_mid_transfer(self):
        def check(_, resetter, other):
            other.send_until_full(Stream(1).bytes(16 << 20), quiet_s=0.3)
            resetter.recv_exact(100_000)
            resetter.reset()
            self.assertIn(other.wait_error(), RESET_ERRORS)
        self.each_way(check)

    def test_by_the_sender_in_mid_transfer(self):
        """The reader keeps up. It gets a prefix, then a RST."""
        def check(_, resetter, other):
            data = Stream(2).bytes(4 << 20)
            resetter.sendall(data[:1 << 20])
            start = other.recv_exact(500_000)
            resetter.wait_acked()
            resetter.reset()
            rest, end = other.recv_to_end()
            self.assertEqual(end, RESET)
            self.assertTrue(start + rest == data[:1 << 20], f'{len(start + rest)} bytes, or altered')
        self.each_way(check)

    def test_while_both_sides_send(self):
        def check(_, resetter, other):
            data = Stream(3).bytes(1 << 20)
            resetter.sendall(data[:30_000])
            other.send_until_full(data, quiet_s=0.2)
            resetter.wait_acked()
            resetter.reset()
            got, end = other.recv_to_end()
            self.assertEqual(end, RESET)
            self.assertTrue(got == data[:30_000], f'{len(got)} bytes, or altered')
        self.each_way(check)

    def test_after_its_own_fin(self):
        def check(_, resetter, other):
            resetter.sendall(b'the end')
            resetter.finish_sending()
            self.assertEqual(other.recv_to_end(), (b'the end', EOF))
            resetter.reset()
            self.assertIn(other.wait_error(), RESET_ERRORS)
        self.each_way(check)

    def test_after_its_own_fin_with_data_for_it_under_way(self):
        def check(_, resetter, other):
            resetter.finish_sending()
            self.assertEqual(other.recv_to_end(), (b'', EOF))
            other.send_until_full(Stream(4).bytes(16 << 20), quiet_s=0.3)
            resetter.reset()
            self.assertIn(other.wait_error(), RESET_ERRORS)
        self.each_way(check)

    def test_after_the_fin_of_the_other(self):
        def check(_, resetter, other):
            other.finish_sending()
            self.assertEqual(resetter.recv_to_end(), (b'', EOF))
            resetter.reset()
            self.assertEqual(other.recv_to_end(), (b'', RESET))
        self.each_way(check)

    def test_cut_off_answer_after_the_fin_of_the_other(self):
        """A truncated download: the request has ended, the answer breaks off. The answer must not look complete."""
        def check(_, resetter, other):
            data = Stream(5).bytes(200_000)
            other.sendall(b'GET')
            other.finish_sending()
            self.assertEqual(resetter.recv_to_end(), (b'GET', EOF))
            resetter.sendall(data)
            resetter.wait_acked()
            resetter.reset()
            got, end = other.recv_to_end()
            self.assertEqual(end, RESET)
            self.assertTrue(got == data, f'{len(got)} bytes, or altered')
        self.each_way(check)

    def test_close_with_unread_data_which_the_kernel_turns_into_a_reset(self):
        def check(_, resetter, other):
            other.sendall(b'never read')
            while resetter.is_silent():
                pass
            resetter.sendall(b'go away')
            resetter.close()
            self.assertEqual(other.recv_to_end(), (b'go away', RESET))
        self.each_way(check)


class BytesBefore(ResetCase):

    def test_bytes_then_reset_at_once(self):
        def check(_, resetter, other):
            data = Stream(6).bytes(50_000)
            resetter.sendall(data)
            resetter.wait_acked()
            resetter.reset()
            self.assertEqual(other.recv_to_end(), (data, RESET))
        self.each_way(check)

    def test_bytes_and_reset_found_together(self):
        """sixpipe sees the data and the RST at once."""
        def check(proxy, resetter, other):
            data = Stream(7).bytes(40_000)
            with proxy.stopped():
                resetter.sendall(data)
                resetter.wait_acked()
                resetter.reset()
            self.assertEqual(other.recv_to_end(), (data, RESET))
        self.each_way(check)

    def test_stalled_reader_gets_all_that_arrived(self):
        """sixpipe's sockets hold more bytes than fit into the reader's buffer when the RST comes. The bytes wait,
        cost no
        CPU, and arrive once the reader reads."""
        def check(proxy, resetter, other):
            data = Stream(8).bytes(24 << 20)
            sent = resetter.send_until_full(data)
            arrived = sent - resetter.unacked()
            resetter.reset()
            self.assertGreater(arrived, 8192)
            self.assert_idle_cpu(proxy)
            got, end = other.recv_to_end()
            self.assertEqual(end, RESET)
            self.assertGreaterEqual(len(got), arrived)
            self.assertTrue(got == data[:len(got)], 'altered bytes')
        self.each_way(check, rcvbuf=8192)

    def test_slow_reader_of_one_piece(self):
        def check(_, resetter, other):
            data = Stream(9).bytes(60_000)
            resetter.sendall(data)
            resetter.wait_acked()
            resetter.reset()
            got, end = other.recv_to_end(piece=1000, pause_s=0.002)
            self.assertEqual((len(got), end), (len(data), RESET))
            self.assertTrue(got == data, 'altered bytes')
        self.each_way(check, rcvbuf=4096)

    def test_bytes_before_the_backend_is_connected(self):
        """The client sends and resets before sixpipe accepts. If the backend gets a connection, it gets a prefix and
        a RST."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for count in range(1, 21):
                client = self.connect(proxy.endpoint)
                client.sendall(b'hasty')
                client.reset()
                close = proxy.wait_events('close', count)[-1]
                self.assertEqual(close['reason'], 'client_reset')
                if close['source'] != '-':
                    got, end = backend.accept().recv_to_end()
                    self.assertEqual(end, RESET)
                    self.assertIn(got, (b'', b'hasty'))


class Reuse(Case):

    def test_no_bytes_of_a_failed_session_reach_the_next(self):
        """A pipe that held data when its session failed is not lent again with that data."""
        backend = self.backend(rcvbuf=4096)
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1', '--maxpipes', '4') as proxy:
            for _ in range(10):
                client, server = self.pair(proxy, backend, rcvbuf=4096)
                client.send_until_full(b'\xaa' * (8 << 20), quiet_s=0.1)
                server.reset()
                self.assertIn(client.wait_error(), RESET_ERRORS)
                client.close()
                client, server = self.pair(proxy, backend)
                for source, target in ((client, server), (server, client)):
                    source.sendall(b'clean' * 2000)
                    source.shutdown(socket.SHUT_WR)
                    self.assertEqual(target.recv_to_end(), (b'clean' * 2000, EOF))


if __name__ == '__main__':
    unittest.main()
