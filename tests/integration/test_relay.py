# SPDX-License-Identifier: MIT
"""Byte-exact relaying: segments of any size, both directions at once, half-close, and the order of FINs."""

import socket
import threading
import time
import unittest

from bulk import Stream
from harness import SANITIZE, Case
from peers import EOF

TAIL_BYTES = 300_000


class Segments(Case):

    def test_one_byte_segments_each_way(self):
        backend = self.backend()
        data = Stream(11).bytes(3000)
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            for source, target in ((client, server), (server, client)):
                source.no_delay()
                for at in range(len(data)):
                    source.send(data[at:at + 1])
                self.assertEqual(target.recv_exact(len(data)), data)

    def open_spacer(self, backend):
        """A connection without sixpipe. Bytes sent on it take the memory after the piece that was sent before.
        Otherwise the
        kernel would join neighbouring pieces into one buffer."""
        self.spacer = self.connect(backend.endpoint)
        self.spacer_end = backend.accept()
        self.spacer.no_delay()

    def send_apart(self, source, data, size):
        """Sends data in pieces of size bytes, each of which stays a buffer of its own in the pipe."""
        for at in range(0, len(data), size):
            source.send(data[at:at + size])
            self.spacer.send(data[at:at + size])
        self.spacer_end.recv_exact(len(data))

    def test_more_one_byte_segments_at_once_than_a_pipe_has_slots(self):
        """A pipe may be full by its number of buffers: EAGAIN then means 'pipe full', not 'socket empty'."""
        backend = self.backend()
        data = Stream(12).bytes(90)
        with self.sixpipe('[::1]:0', backend.address, '--pipe-size', '64KiB') as proxy:
            self.open_spacer(backend)
            client, server = self.pair(proxy, backend)
            for source, target in ((client, server), (server, client)) * 3:
                source.no_delay()
                with proxy.stopped():
                    self.send_apart(source, data, 1)
                    source.wait_acked()
                self.assertEqual(target.recv_exact(len(data)), data)

    def test_16_32_and_48_buffers_are_not_delayed(self):
        """The kernel holds a multiple of 16 buffers for 200 ms if splice(2) asks for more than the pipe holds."""
        limit_s = 0.15 if SANITIZE else 0.05
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            self.open_spacer(backend)
            client, server = self.pair(proxy, backend)
            for name, source, target in (('up', client, server), ('down', server, client)):
                source.no_delay()
                for count in (16, 32, 48):
                    for at_once in (True, False):
                        with self.subTest(direction=name, buffers=count, at_once=at_once):
                            data = Stream(13).bytes(100 * count)
                            taken_s = [self.transfer_s(proxy, source, target, data, at_once) for _ in range(5)]
                            self.assertLess(min(taken_s), limit_s, f'seconds until all bytes arrived: {taken_s}')

    def transfer_s(self, proxy, source, target, data, at_once):
        if at_once:
            with proxy.stopped():
                self.send_apart(source, data, 100)
                source.wait_acked()
        else:
            self.send_apart(source, data, 100)
        start_s = time.monotonic()
        self.assertEqual(target.recv_exact(len(data)), data)
        return time.monotonic() - start_s

    def test_small_pipes_delay_nothing(self):
        """A user whose pipe pages are used up gets tiny pipes. Alternating segments of two sessions fill the pipes'
        slots."""
        for size in ('4KiB', '8KiB'):
            backend = self.backend()
            with self.subTest(size), self.sixpipe('[::1]:0', backend.address, '--workers', '1',
                                                  '--pipe-size', size) as proxy:
                pairs = [self.pair(proxy, backend) for _ in range(2)]
                for peer in (peer for pair in pairs for peer in pair):
                    peer.no_delay()  # otherwise a burst waits for an acknowledgement, which may take 40 ms
                times_s = [self.exchange_bursts(pairs) for _ in range(12)]
                # a delayed burst takes at least 50 ms
                self.assertLess(min(times_s[2:]), 0.04, times_s)

    @staticmethod
    def exchange_bursts(pairs):
        start_s = time.monotonic()
        for _ in range(20):
            for client, _ in pairs:
                client.sendall(b'x' * 300)
        for client, server in pairs:
            server.recv_exact(20 * 300)
            server.sendall(b'.')
            client.recv_exact(1)
        return time.monotonic() - start_s

    def test_both_directions_at_once(self):
        backend = self.backend()
        up, down = Stream(14).bytes(8 << 20), Stream(15).bytes(8 << 20)
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            senders = [threading.Thread(target=client.sendall, args=(up,)),
                       threading.Thread(target=server.sendall, args=(down,))]
            receiver = threading.Thread(target=lambda: got.append(server.recv_exact(len(up))))
            got = []
            for thread in (*senders, receiver):
                thread.start()
            self.assertEqual(client.recv_exact(len(down)), down)
            for thread in (*senders, receiver):
                thread.join()
            self.assertEqual(got, [up])
            client.close()
            server.close()
            close = self.assert_reason(proxy, client, 'done')
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (len(up), len(down)))

    def test_server_speaks_first(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            server.send(b'220 ready\r\n')
            self.assertEqual(client.recv_exact(11), b'220 ready\r\n')
            client.send(b'QUIT\r\n')
            self.assertEqual(server.recv_exact(6), b'QUIT\r\n')

    def test_client_speaks_before_the_backend_accepts(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(b'early' * 1000)
            client.finish_sending()
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'early' * 1000, EOF))


class Ends(Case):
    """A FIN is passed on after the last byte. The other direction goes on."""

    def check_half_close(self, proxy, first, second):
        first.sendall(b'x' * 10_000)
        first.finish_sending()
        self.assertEqual(second.recv_to_end(), (b'x' * 10_000, EOF))
        data = Stream(21).bytes(1 << 20)
        for at in range(0, len(data), 100_000):
            second.sendall(data[at:at + 100_000])
            self.assertEqual(first.recv_exact(len(data[at:at + 100_000])), data[at:at + 100_000])
        self.assertTrue(first.is_silent(0.1), 'the other direction must stay open')
        second.finish_sending()
        self.assertEqual(first.recv_to_end(), (b'', EOF))

    def test_half_close_by_the_client(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            self.check_half_close(proxy, client, server)
            close = self.assert_reason(proxy, client, 'done')
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (10_000, 1 << 20))

    def test_half_close_by_the_backend(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            self.check_half_close(proxy, server, client)
            close = self.assert_reason(proxy, client, 'done')
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (1 << 20, 10_000))

    def test_a_half_closed_silent_session_stays_open(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for closes_first in (0, 1):
                ends = self.pair(proxy, backend)
                first, second = ends[closes_first], ends[not closes_first]
                first.finish_sending()
                self.assertEqual(second.recv_to_end(), (b'', EOF))
                self.assert_idle_cpu(proxy, 0.5)
                second.sendall(b'late')
                self.assertEqual(first.recv_exact(4), b'late')
                second.close()
                self.assertEqual(first.recv_to_end(), (b'', EOF))
                self.assert_reason(proxy, ends[0], 'done')

    def test_simultaneous_close(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for payload in (b'', b'last words'):
                with self.subTest(payload=payload):
                    client, server = self.pair(proxy, backend)
                    client.sendall(b'.')
                    self.assertEqual(server.recv_exact(1), b'.')
                    with proxy.stopped():
                        for end in (client, server):
                            end.sendall(payload)
                            end.finish_sending()
                    self.assertEqual(client.recv_to_end(), (payload, EOF))
                    self.assertEqual(server.recv_to_end(), (payload, EOF))
                    self.assert_reason(proxy, client, 'done')

    def test_immediate_fin_by_the_client(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.finish_sending()
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.sendall(b'answer')
            server.close()
            self.assertEqual(client.recv_to_end(), (b'answer', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_immediate_fin_before_sixpipe_accepts(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            with proxy.stopped():
                client = self.connect(proxy.endpoint)
                client.sendall(b'all of it')
                client.finish_sending()
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'all of it', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_immediate_fin_by_the_backend(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            server.finish_sending()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            client.sendall(b'still here')
            client.close()
            self.assertEqual(server.recv_to_end(), (b'still here', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_tail_and_close_to_a_slow_reader(self):
        """300 KB, then a close at once: a slow reader gets all bytes, then EOF."""
        data = Stream(22).bytes(TAIL_BYTES)
        for name in ('down', 'up'):
            with self.subTest(direction=name):
                backend = self.backend(rcvbuf=8192)
                with self.sixpipe('[::1]:0', backend.address) as proxy:
                    client, server = self.pair(proxy, backend, rcvbuf=8192)
                    source, target = (server, client) if name == 'down' else (client, server)
                    source.sendall(data)
                    source.close()
                    self.assertFalse(target.is_silent(5))
                    self.assertTrue(target.recv_to_end(piece=4096, pause_s=0.001) == (data, EOF), 'tail cut or altered')
                    target.close()
                    self.assert_reason(proxy, client, 'done')


class Urgent(Case):

    def test_urgent_byte_arrives_in_band_without_a_spin(self):
        """At an urgent byte splice(2) returns EAGAIN again and again although the socket is readable."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            for name, source, target in (('up', client, server), ('down', server, client)):
                with self.subTest(direction=name):
                    source.sendall(b'abc')
                    source.send(b'!', socket.MSG_OOB)
                    self.assertEqual(target.recv_exact(4), b'abc!')
                    self.assert_idle_cpu(proxy)
                    source.sendall(b'def')
                    self.assertEqual(target.recv_exact(3), b'def')

    def test_urgent_bytes_in_a_backlog_of_data(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            for name, source, target in (('up', client, server), ('down', server, client)):
                with self.subTest(direction=name):
                    expected = b''
                    with proxy.stopped():
                        for index in range(5):
                            source.sendall(b'data %d ' % index)
                            source.send(b'!', socket.MSG_OOB)
                            expected += b'data %d !' % index
                        source.sendall(b'end')
                    self.assertEqual(target.recv_exact(len(expected) + 3), expected + b'end')
                    self.assert_idle_cpu(proxy, 0.5)

    def test_urgent_byte_last_before_fin(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            with proxy.stopped():
                client.send(b'bye!', socket.MSG_OOB)
                client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'bye!', EOF))
            server.close()
            self.assert_reason(proxy, client, 'done')


if __name__ == '__main__':
    unittest.main()
