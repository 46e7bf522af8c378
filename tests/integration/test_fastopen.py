# SPDX-License-Identifier: MIT
"""--fastopen-backends: a session's first bytes travel with the SYN to its backend."""

import pathlib
import socket
import unittest

import proxy_header
from harness import Case
from netns import Netns
from peers import RESET, PATIENCE_S

TCP_FASTOPEN = 23
TCPI_OPT_SYN_DATA = 32
FAST = ('--workers', '1', '--fastopen-backends')
# so that the client's first bytes are there when sixpipe accepts
DEFER = ('--defer-accept', '10s')


class FastOpen(Case):

    def setUp(self):
        super().setUp()
        self.netns = self.enterContext(Netns())
        self.allow(3)

    def allow(self, sides):
        path = pathlib.Path('/proc/sys/net/ipv4/tcp_fastopen')
        try:
            self.netns.run(path.write_text, str(sides))
        except OSError as error:
            self.skipTest(f'{path}: {error}')

    def fast_backend(self):
        backend = self.backend(netns=self.netns)
        backend.socket.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 64)
        return backend

    def proxy(self, *args):
        return self.sixpipe('[::1]:0', *args, *FAST, netns=self.netns)

    def connect_and_send(self, proxy, first):
        client = self.connect(proxy.endpoint, netns=self.netns)
        client.sendall(first)
        return client

    def came_with_syn(self, server):
        return bool(server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & TCPI_OPT_SYN_DATA)

    def finish(self, client, server):
        server.sendall(b'answer')
        self.assertEqual(client.recv_exact(6), b'answer')
        client.finish_sending()
        self.assertEqual(server.recv_to_end()[0], b'')
        server.close()
        self.assertEqual(client.recv(1), b'')
        client.close()

    def fetch_cookie(self, proxy, backend):
        """The first connection to a host asks for a cookie. Later connections use the cookie."""
        client = self.connect_and_send(proxy, b'cookie')
        server = backend.accept()
        self.assertEqual(server.recv_exact(6), b'cookie')
        self.assertFalse(self.came_with_syn(server))
        self.finish(client, server)
        return proxy.close_of(client)

    def assert_counted(self, proxy, **counts):
        stopped = proxy.wait_event('stopped')
        self.assertEqual({name: stopped.int(name) for name in counts}, counts)

    def test_first_bytes_go_with_the_syn(self):
        backend = self.fast_backend()
        with self.proxy(backend.address, *DEFER) as proxy:
            self.fetch_cookie(proxy, backend)
            for first in (b'x', b'request\r\n' * 100, bytes(range(256)) * 400):
                client = self.connect_and_send(proxy, first)
                server = backend.accept()
                self.assertEqual(server.recv_exact(len(first)), first)
                self.assertTrue(self.came_with_syn(server))
                self.finish(client, server)
                self.assertEqual(proxy.close_of(client).int('bytes_up'), len(first))
        self.assert_counted(proxy, connects_fastopen=3)

    def test_one_backend_by_its_parameter(self):
        backend = self.fast_backend()
        with self.sixpipe('--workers', '1', *DEFER, '--listen', '[::1]:0', '--backend', f'{backend.address} fastopen',
                          netns=self.netns) as proxy:
            self.fetch_cookie(proxy, backend)
            client = self.connect_and_send(proxy, b'hello')
            server = backend.accept()
            self.assertEqual(server.recv_exact(5), b'hello')
            self.assertTrue(self.came_with_syn(server))
            self.finish(client, server)

    def test_nothing_to_send_yet(self):
        """A backend that speaks first gets an ordinary connect."""
        backend = self.fast_backend()
        with self.proxy(backend.address) as proxy:
            client = self.connect(proxy.endpoint, netns=self.netns)
            server = backend.accept()
            server.sendall(b'220 ready')
            self.assertEqual(client.recv_exact(9), b'220 ready')
            self.close_peers()
        self.assert_counted(proxy, connects_fastopen=0)

    def test_header_goes_with_the_syn(self):
        for number, (version, extra) in enumerate((('v1', ()), ('v2', DEFER))):
            backend = self.fast_backend()
            with self.subTest(version), self.proxy(backend.address, '--send-proxy', version, *extra) as proxy:
                for round_ in range(2):
                    client = self.connect_and_send(proxy, b'hello')
                    server = backend.accept()
                    header = proxy_header.receive(server)
                    self.assertEqual((header.source, header.target), (client.getsockname()[:2], proxy.endpoint[:2]))
                    self.assertEqual(server.recv_exact(5), b'hello')
                    self.assertEqual(self.came_with_syn(server), bool(round_ or number))
                    self.finish(client, server)
                    self.assertEqual(proxy.close_of(client).int('bytes_up'), 5, 'the header is not the client\'s')

    def test_header_in_and_out(self):
        theirs = proxy_header.v2(('2001:db8::7', 4711), ('2001:db8::1', 80))
        for send in (('--send-proxy', 'v2'), ()):
            backend = self.fast_backend()
            with self.proxy(backend.address, '--accept-proxy', '--trust', '::1', *send) as proxy:
                for round_ in range(2):
                    client = self.connect_and_send(proxy, theirs + b'hello')
                    server = backend.accept()
                    if send:
                        self.assertEqual(proxy_header.receive(server).source, ('2001:db8::7', 4711))
                    self.assertEqual(server.recv_exact(5), b'hello', 'without the header that the client sent')
                    self.assertEqual(self.came_with_syn(server), bool(round_ or not send))
                    self.finish(client, server)

    def test_a_large_header_waits(self):
        """A header that does not fit into every packet is sent after the connect."""
        backend = self.fast_backend()
        values = [word for kind in range(0xE0, 0xE8) for word in ('--proxy-tlv', f'{kind:#x}=' + 'v' * 250)]
        with self.proxy(backend.address, '--send-proxy', 'v2', *values) as proxy:
            for _ in range(3):
                client = self.connect_and_send(proxy, b'hello')
                server = backend.accept()
                self.assertEqual(proxy_header.receive(server).all(0xE7), [b'v' * 250])
                self.assertEqual(server.recv_exact(5), b'hello')
                self.finish(client, server)
        self.assert_counted(proxy, connects_fastopen=0)

    def test_a_header_that_was_cut_is_sent_again(self):
        """A backend with very small segments: a connection that got half a header is replaced by a new connection."""
        backend = self.fast_backend()
        backend.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 200)
        with self.proxy(backend.address, '--send-proxy', 'v2', '--proxy-tlv', '0xE0=' + 'v' * 250) as proxy:
            for round_ in range(2):
                client = self.connect_and_send(proxy, b'hello')
                if round_:
                    given_up = backend.accept()
                    self.assertLess(len(given_up.recv_to_end()[0]), 200)
                server = backend.accept()
                self.assertEqual(proxy_header.receive(server).all(0xE0), [b'v' * 250])
                self.assertEqual(server.recv_exact(5), b'hello')
                self.finish(client, server)
        self.assert_counted(proxy, connects_fastopen=0)

    def test_refused_bytes_go_to_another_backend(self):
        first, second = self.fast_backend(), self.fast_backend()
        with self.proxy(first.address, f'{second.address}', *DEFER, '--max-fails', '0') as proxy:
            self.fetch_cookie(proxy, first)
            client = self.connect_and_send(proxy, b'second')
            server = second.accept()
            self.assertEqual(server.recv_exact(6), b'second')
            self.finish(client, server)
            proxy.close_of(client)
            first.close()
            client = self.connect_and_send(proxy, b'once')
            server = second.accept()
            self.assertEqual(server.recv_exact(4), b'once')
            self.finish(client, server)
            self.assertEqual(proxy.close_of(client).int('bytes_up'), 4)
        self.assert_counted(proxy, redispatches=1)
        self.assert_counted(proxy, connects_fastopen=3)

    def test_bytes_that_a_backend_took_go_to_no_other(self):
        """A backend that got the bytes and resets ends the session: another backend might process the same request
        again."""
        first, second = self.fast_backend(), self.fast_backend()
        with self.proxy(first.address, f'{second.address}', *DEFER) as proxy:
            self.fetch_cookie(proxy, first)
            self.finish_one(proxy, second)
            client = self.connect_and_send(proxy, b'only you')
            server = first.accept()
            self.assertEqual(server.recv_exact(8), b'only you')
            server.reset()
            self.assertEqual(client.recv_to_end()[1], RESET)
            self.assertEqual(proxy.close_of(client)['reason'], 'backend_reset')
            self.assertFalse(second.has_waiting(0.1))

    def finish_one(self, proxy, backend):
        client = self.connect_and_send(proxy, b'other')
        server = backend.accept()
        self.assertEqual(server.recv_exact(5), b'other')
        self.finish(client, server)

    def test_limited_bytes_wait_for_their_allowance(self):
        backend = self.fast_backend()
        with self.proxy(backend.address, *DEFER, '--limit-up', '1MiB') as proxy:
            for _ in range(2):
                client = self.connect_and_send(proxy, b'hello')
                server = backend.accept()
                self.assertEqual(server.recv_exact(5), b'hello')
                self.finish(client, server)
        self.assert_counted(proxy, connects_fastopen=0)

    def test_used_up_ports_affect_one_backend_only(self):
        first, second = self.fast_backend(), self.fast_backend()
        with self.proxy(first.address, second.address, '--send-proxy', 'v1', '--source', '127.0.0.5',
                        '--source-port-range', '40000-40000') as proxy:
            held = self.connect_and_send(proxy, b'1')
            first.accept()
            held_too = self.connect_and_send(proxy, b'2')
            second.accept()
            held_too.reset()
            proxy.close_of(held_too)
            client = self.connect_and_send(proxy, b'3')
            self.assertIsNotNone(second.accept())
            del held, client

    def test_backend_that_does_not_answer(self):
        backend = self.fast_backend()
        host = self.netns.add_black_hole()
        with self.proxy(f'{host}:80', backend.address, *DEFER, '--timeout-connect', '200ms', '--balance',
                        'roundrobin', '--max-fails', '0') as proxy:
            for _ in range(3):
                client = self.connect_and_send(proxy, b'hello')
                server = backend.accept()
                self.assertEqual(server.recv_exact(5), b'hello')
                self.finish(client, server)
                self.assertEqual(proxy.close_of(client).int('bytes_up'), 5)

    def test_a_client_that_has_gone(self):
        backend = self.fast_backend()
        with self.proxy(backend.address, *DEFER) as proxy:
            self.fetch_cookie(proxy, backend)
            client = self.connect_and_send(proxy, b'gone')
            client.reset()
            server = backend.accept()
            server.settimeout(PATIENCE_S)
            self.assertEqual(server.recv_to_end()[1], RESET)

    def test_without_the_sysctl(self):
        self.allow(2)
        done = self.netns.run(self.run_sixpipe, '[::1]:0', '127.0.0.1:9', '--fastopen-backends')
        self.assertEqual(done.returncode, 1, done)
        self.assertIn('--fastopen-backends', done.stderr)
        self.assertIn('sysctl -w net.ipv4.tcp_fastopen=3', done.stderr)


if __name__ == '__main__':
    unittest.main()
