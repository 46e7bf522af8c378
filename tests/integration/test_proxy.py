# SPDX-License-Identifier: MIT
"""PROXY protocol: the headers that backends get, and the headers that sixpipe accepts."""

import contextlib
import socket
import struct
import time
import unittest

import proxy_header
from bulk import Stream
from harness import Case
from peers import EOF, RESET
from proxy_header import Header

CLIENT, TARGET = ('2001:db8::7', 51234), ('2001:db8::1', 443)
CLIENT_V4, TARGET_V4 = ('192.0.2.7', 51234), ('192.0.2.1', 443)


def data_segments(peer):
    """How many segments with payload a socket has received: tcpi_data_segs_in of struct tcp_info."""
    return struct.unpack_from('I', peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 152)[0]


class Sent(Case):
    """--send-proxy"""

    def test_v1_has_the_clients_and_the_listeners_address(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--send-proxy', 'v1') as proxy:
            client, server = self.pair(proxy, backend)
            header = proxy_header.receive(server)
            self.assertEqual((header.version, header.family), (1, 'TCP6'))
            self.assertEqual((header.source, header.target),
                             (client.getsockname()[:2], client.getpeername()[:2]))
            client.send(b'hello')
            self.assertEqual(server.recv_exact(5), b'hello')

    def test_v2_has_a_unique_id_and_a_checksum(self):
        backend = self.backend()
        names = set()
        with self.sixpipe('[::1]:0', backend.address, '--send-proxy', 'v2', '--proxy-tlv', '0xE0=edge 1',
                          '--proxy-tlv', '0xEF=') as proxy:
            for _ in range(5):
                client, server = self.pair(proxy, backend)
                header = proxy_header.receive(server)
                self.assertEqual((header.version, header.family, header.local), (2, 0x21, False))
                self.assertEqual((header.source, header.target),
                                 (client.getsockname()[:2], client.getpeername()[:2]))
                self.assertEqual((header.all(0xE0), header.all(0xEF)), ([b'edge 1'], [b'']))
                self.assertEqual(len(header.all(proxy_header.CRC32C)), 1)
                names.update(header.all(proxy_header.UNIQUE_ID))
        self.assertEqual(len(names), 5)

    def test_an_ipv4_client_goes_as_ipv4(self):
        for version in ('v1', 'v2'):
            with self.subTest(version):
                backend = self.backend()
                with self.sixpipe('127.0.0.1:0', backend.address, '--send-proxy', version) as proxy:
                    client, server = self.pair(proxy, backend)
                    header = proxy_header.receive(server)
                    self.assertEqual(header.family, 'TCP4' if version == 'v1' else 0x11)
                    self.assertEqual(header.source, client.getsockname()[:2])

    def test_header_and_first_bytes_are_one_segment(self):
        for version in ('v1', 'v2'):
            with self.subTest(version):
                backend = self.backend()
                with self.sixpipe('[::1]:0', backend.address, '--send-proxy', version) as proxy:
                    with proxy.stopped():
                        client = self.connect(proxy.endpoint)
                        client.sendall(b'first words')
                    server = backend.accept()
                    header = proxy_header.receive(server)
                    self.assertEqual(server.recv_exact(11), b'first words')
                    self.assertEqual(data_segments(server), 1)
                    client.close()
                    server.close()
                    close = proxy.close_of(client)
                    self.assertEqual(close.int('bytes_up'), 11, 'the header is not the client\'s')
                    self.assertGreater(header.size, 11)

    def test_all_bytes_after_the_header_are_exact(self):
        data = Stream(71).bytes(3 << 20)
        for early in (0, 1, 16384, 40000, len(data)):
            for pipes in ((), ('--pipe-size', '4KiB')):
                with self.subTest(early=early, pipes=pipes):
                    backend = self.backend()
                    with self.sixpipe('[::1]:0', backend.address, '--send-proxy', 'v2', *pipes) as proxy:
                        with proxy.stopped():
                            client = self.connect(proxy.endpoint)
                            early = client.send(data[:early]) if early else 0
                        server = backend.accept()
                        proxy_header.receive(server)
                        self.assertEqual(server.recv_exact(early), data[:early])
                        client.sendall(data[early:early + 100000])
                        client.finish_sending()
                        self.assertEqual(server.recv_to_end(), (data[early:early + 100000], EOF))
                        server.sendall(b'bye')
                        server.close()
                        self.assertEqual(client.recv_to_end(), (b'bye', EOF))
                        self.assert_reason(proxy, client, 'done')

    def test_server_speaks_first(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--send-proxy', 'v1') as proxy:
            client, server = self.pair(proxy, backend)
            server.sendall(b'220 ready\r\n')
            self.assertEqual(client.recv_exact(11), b'220 ready\r\n')
            proxy_header.receive(server)

    def test_client_that_sends_nothing_and_ends(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--send-proxy', 'v2') as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            proxy_header.receive(server)
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.close()
            self.assert_reason(proxy, client, 'done')

    def test_a_backend_may_have_its_own_send_proxy(self):
        one, two, three = self.backend(), self.backend(), self.backend()
        with self.sixpipe('[::1]:0', one.address, f'{two.address} send-proxy=v1', f'{three.address} send-proxy=off',
                          '--send-proxy', 'v2') as proxy:
            clients = [self.connect(proxy.endpoint) for _ in range(3)]
            self.assertEqual(proxy_header.receive(one.accept()).version, 2)
            self.assertEqual(proxy_header.receive(two.accept()).version, 1)
            silent = three.accept()
            for client in clients:
                client.send(b'x')
            self.assertEqual(silent.recv_exact(1), b'x')

    def test_the_backend_that_answers_gets_the_header(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', self.refused_address(), backend.address, '--send-proxy', 'v1') as proxy:
            for _ in range(2):
                client, server = self.pair(proxy, backend)
                self.assertEqual(proxy_header.receive(server).source, client.getsockname()[:2])


def malformed():
    """Yields (name, bytes, whether only the end of the stream shows the mistake)."""
    good = proxy_header.v1(CLIENT, TARGET)
    body = bytes(36)
    yield 'no header', b'GET / HTTP/1.0\r\n\r\n'
    yield 'tls', b'\x16\x03\x01\x02\x00\x01'
    yield 'lower case', good.lower()
    yield 'two spaces', good.replace(b' ', b'  ', 1)
    yield 'bad port', good.replace(b'51234', b'65536')
    yield 'port with zero', good.replace(b'51234', b'051234')
    yield 'negative port', good.replace(b'51234', b'-1')
    yield 'no port', good.replace(b' 443', b'')
    yield 'wrong family', good.replace(b'TCP6', b'TCP4')
    yield 'unknown family', good.replace(b'TCP6', b'UDP6')
    yield 'bare newline', good.replace(b'\r\n', b'\n') + b'x' * 120
    yield 'trailing space', good.replace(b'\r\n', b' \r\n')
    yield 'too long', b'PROXY UNKNOWN ' + b'x' * 120 + b'\r\n'
    yield 'nul', good.replace(b'::7', b'::\0')
    yield 'v2 version', proxy_header.SIGNATURE + b'\x31\x21\x00\x24' + body
    yield 'v2 command', proxy_header.v2_raw(2, 0x21, body)
    yield 'v2 datagram, cut tlv', proxy_header.v2_raw(1, 0x22, body + b'\x05\x00')
    yield 'v2 unix, short addresses', proxy_header.v2_raw(1, 0x31, bytes(215))
    yield 'v2 family', proxy_header.v2_raw(1, 0x41, body)
    yield 'v2 short addresses', proxy_header.v2_raw(1, 0x21, body[:35])
    yield 'v2 oversized', proxy_header.SIGNATURE + b'\x21\x21\xff\xff'
    yield 'v2 cut tlv', proxy_header.v2_raw(1, 0x21, body + b'\x05\x00')
    yield 'v2 long tlv', proxy_header.v2_raw(1, 0x21, body + b'\x05\x00\x09x')
    whole = proxy_header.v2(CLIENT, TARGET, crc=True)
    yield 'v2 checksum', whole[:-1] + bytes([whole[-1] ^ 1])


ACCEPT = ('--accept-proxy', '--trust', '::1/128')


class Accepted(Case):
    """--accept-proxy"""

    def forward(self, backend, *more):
        return self.sixpipe('[::1]:0', backend.address, *ACCEPT, *more)

    def test_any_fragmentation(self):
        for name, header in (('v1', proxy_header.v1(CLIENT, TARGET)),
                             ('v2', proxy_header.v2(CLIENT, TARGET, [(proxy_header.NOOP, bytes(9))], crc=True))):
            backend = self.backend()
            with self.forward(backend, '--send-proxy', 'v1') as proxy:
                for cut in range(len(header) + 1):
                    with self.subTest(name, cut=cut):
                        client = self.connect(proxy.endpoint)
                        client.no_delay()
                        client.sendall(header[:cut])
                        client.wait_acked()
                        client.sendall(header[cut:] + b'and more')
                        server = backend.accept()
                        got = proxy_header.receive(server)
                        self.assertEqual((got.source, got.target), (CLIENT, TARGET))
                        self.assertEqual(server.recv_exact(8), b'and more')
                        client.close()
                        server.close()

    def test_byte_by_byte(self):
        backend = self.backend()
        with self.forward(backend) as proxy:
            for header in (proxy_header.v1(CLIENT, TARGET), proxy_header.v2(CLIENT, TARGET, crc=True)):
                client = self.connect(proxy.endpoint)
                client.no_delay()
                for at in range(len(header)):
                    self.assertFalse(backend.has_waiting(0), 'no backend before the header is whole')
                    client.send(header[at:at + 1])
                    client.wait_acked()
                client.send(b'x')
                self.assertEqual(backend.accept().recv_exact(1), b'x')

    def test_the_log_names_the_client_behind_the_proxy(self):
        backend = self.backend()
        with self.forward(backend) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(proxy_header.v1(CLIENT_V4, TARGET_V4))
            server = backend.accept()
            client.close()
            server.close()
            proxy.wait_event('close', client='192.0.2.7:51234')

    def test_a_malformed_header_reaches_no_backend(self):
        backend = self.backend()
        with self.forward(backend) as proxy:
            for name, data in malformed():
                with self.subTest(name):
                    client = self.connect(proxy.endpoint)
                    client.sendall(data)
                    self.assertEqual(client.recv_to_end(), (b'', RESET))
                    self.assert_reason(proxy, client, 'proxy_malformed')
                    refused = proxy.events('proxy_refused', client=client.name)
                    self.assertTrue(not refused or refused[0]['error'], refused)
            self.assertFalse(backend.has_waiting(0))

    def test_a_cut_off_header_reaches_no_backend(self):
        whole = proxy_header.v2(CLIENT, TARGET)
        backend = self.backend()
        with self.forward(backend) as proxy:
            for data in (b'', b'P', proxy_header.v1(CLIENT, TARGET)[:-1], whole[:12], whole[:16], whole[:-1]):
                with self.subTest(data):
                    client = self.connect(proxy.endpoint)
                    if data:
                        client.sendall(data)
                    client.finish_sending()
                    self.assert_reason(proxy, client, 'proxy_malformed')
            self.assertFalse(backend.has_waiting(0))

    def test_a_client_that_resets_within_its_header(self):
        backend = self.backend()
        with self.forward(backend) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(b'PROXY')
            client.wait_acked()
            client.reset()
            proxy.wait_event('close', reason='client_reset')

    def test_headers_of_untrusted_clients_are_not_read(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--accept-proxy', '--trust', '2001:db8::/32,192.0.2.0/24') as proxy:
            with contextlib.suppress(ConnectionResetError):  # connect() may see the RST already
                client = self.connect(proxy.endpoint)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.wait_event('close', reason='proxy_untrusted')
            self.assertFalse(backend.has_waiting(0))

    def test_a_missing_header_ends_the_session_after_the_timeout(self):
        backend = self.backend()
        with self.forward(backend, '--timeout-proxy', '200ms') as proxy:
            for data in (b'', b'PROXY TCP6', proxy_header.v2(CLIENT, TARGET)[:20]):
                client = self.connect(proxy.endpoint)
                start_s = time.monotonic()
                if data:
                    client.sendall(data)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assertGreater(time.monotonic() - start_s, 0.15)
                self.assert_reason(proxy, client, 'proxy_timeout')

    def test_half_a_header_costs_nothing(self):
        backend = self.backend()
        with self.forward(backend, '--timeout-proxy', '0') as proxy:
            for data in (b'PROXY TCP6 ::1', proxy_header.v2(CLIENT, TARGET)[:30]):
                self.connect(proxy.endpoint).sendall(data)
            self.assert_idle_cpu(proxy)

    def test_urgent_data_in_a_header_costs_nothing(self):
        backend = self.backend()
        with self.forward(backend, '--timeout-proxy', '3s') as proxy:
            client = self.connect(proxy.endpoint)
            header = proxy_header.v2(CLIENT, TARGET)
            client.sendall(header[:10])
            client.send(header[10:12], socket.MSG_OOB)
            client.sendall(header[12:])
            self.assert_idle_cpu(proxy)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assert_reason(proxy, client, 'proxy_timeout')

    def test_unknown_and_local_mean_the_proxy_itself(self):
        rows = ((b'PROXY UNKNOWN\r\n', 'v1'), (b'PROXY UNKNOWN ffff::1 whatever\r\n', 'v1'),
                (proxy_header.v2(), 'v2'), (proxy_header.v2(CLIENT, TARGET, command=0), 'v2'))
        for header, version in rows:
            with self.subTest(header):
                backend = self.backend()
                with self.forward(backend, '--send-proxy', version) as proxy:
                    client = self.connect(proxy.endpoint)
                    client.sendall(header + b'x')
                    server = backend.accept()
                    got = proxy_header.receive(server)
                    self.assertIsNone(got.source)
                    self.assertEqual(server.recv_exact(1), b'x')
                    client.close()
                    server.close()
                    proxy.wait_event('close', client=client.name)

    def test_addresses_of_other_families_mean_the_proxy_itself(self):
        """Section 2.2: a family that cannot be used here. The values after its addresses are valid all the same."""
        value = proxy_header.tlv(proxy_header.AUTHORITY, b'web.example')
        v4, v6 = (proxy_header.v2(*pair)[16:] for pair in ((CLIENT_V4, TARGET_V4), (CLIENT, TARGET)))
        paths = b'/run/client'.ljust(108, b'\0') + b'/run/server'.ljust(108, b'\0')
        rows = (('udp4', 0x12, v4, value), ('udp6', 0x22, v6, value), ('unix stream', 0x31, paths, value),
                ('unix datagram', 0x32, paths, value), ('unspec', 0x00, b'', value), ('unspec with addresses', 0x00, v4, b''))
        for version in ('v1', 'v2'):
            backend = self.backend()
            with self.forward(backend, '--send-proxy', version) as proxy:
                for name, family, addresses, values in rows:
                    with self.subTest(name, version=version):
                        client = self.connect(proxy.endpoint)
                        client.sendall(proxy_header.v2_raw(1, family, addresses + values) + b'x')
                        server = backend.accept()
                        got = proxy_header.receive(server)
                        self.assertEqual((got.version, got.family, got.source, got.local),
                                         (1, 'UNKNOWN', None, False) if version == 'v1' else (2, 0, None, False))
                        self.assertEqual(got.all(proxy_header.AUTHORITY),
                                         [b'web.example'] if values and version == 'v2' else [])
                        self.assertEqual(server.recv_exact(1), b'x')
                        server.sendall(b'y')
                        self.assertEqual(client.recv_exact(1), b'y')
                        client.close()
                        server.close()
                        proxy.wait_event('close', client=client.name)

    def test_values_of_the_proxy_are_passed_on(self):
        tlvs = [(proxy_header.ALPN, b'h2'), (proxy_header.UNIQUE_ID, b'abc'), (0xE1, b'theirs'),
                (0xE0, b'kept out'), (proxy_header.NOOP, b'..')]
        backend = self.backend()
        with self.forward(backend, '--send-proxy', 'v2', '--proxy-tlv', '0xE0=ours') as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(proxy_header.v2(CLIENT, TARGET, tlvs, crc=True))
            got = proxy_header.receive(backend.accept())
            self.assertEqual(got.all(proxy_header.ALPN), [b'h2'])
            self.assertEqual(got.all(proxy_header.UNIQUE_ID), [b'abc'])
            self.assertEqual((got.all(0xE0), got.all(0xE1)), ([b'ours'], [b'theirs']))
            self.assertEqual(len(got.all(proxy_header.CRC32C)), 1)

    def test_two_in_a_row_keep_the_first_client(self):
        backend = self.backend()
        with self.forward(backend, '--send-proxy', 'v2') as inner, \
                self.sixpipe('[::1]:0', '[::1]:%d' % inner.endpoint[1], '--send-proxy', 'v2') as outer:
            client = self.connect(outer.endpoint)
            server = backend.accept()
            got = proxy_header.receive(server)
            self.assertEqual((got.source, got.target), (client.getsockname()[:2], client.getpeername()[:2]))
            client.close()
            server.close()

    def test_no_client_is_trusted_by_default(self):
        done = self.run_sixpipe('[::1]:0', '127.0.0.1:1', '--accept-proxy')
        self.assertEqual(done.returncode, 2)
        self.assertIn('--trust', done.stderr)


if __name__ == '__main__':
    unittest.main()
