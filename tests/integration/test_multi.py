# SPDX-License-Identifier: MIT
"""Several forwards in one process, many workers: no byte crosses from one session to another."""

import contextlib
import socket
import threading
import unittest

from bulk import Stream
from harness import Case
from peers import EOF, endpoint_name


class Forwards(Case):

    def test_each_listener_has_its_own_backends(self):
        servers = [self.echo_server(greeting=b'%04d' % number) for number in range(5)]
        args = []
        for server in servers[:3]:
            args += ['--listen', '[::1]:0', '--backend', server.address]
        args += ['--backend', servers[3].address, '--listen', '[::1]:0', '--backend', servers[4].address]
        expected = [{b'0000'}, {b'0001'}, {b'0002', b'0003'}, {b'0004'}]
        with self.sixpipe(*args) as proxy:
            self.assertEqual(len(proxy.endpoints), 4)
            self.assertEqual(len(set(proxy.endpoints)), 4)
            seen = [set() for _ in expected]
            for turn in range(12):
                clients = [self.connect(endpoint) for endpoint in proxy.endpoints]
                for number, client in enumerate(clients):
                    message = b'%d/%d' % (number, turn)
                    client.sendall(message)
                    seen[number].add(client.recv_exact(4))
                    self.assertEqual(client.recv_exact(len(message)), message)
                    client.close()
                    # the kernel may use one client port for several listeners: both ends identify the session
                    proxy.wait_event('close', client=client.name, listen=endpoint_name(proxy.endpoints[number]))
            self.assertEqual(seen, expected)

    def test_plain_arguments_and_equals_signs(self):
        for args in (['[::1]:0', '{}'], ['--listen=[::1]:0', '--backend={}'],
                     ['--workers=1', '[::1]:0', '{}', '--timeout-idle=1m']):
            backend = self.backend()
            with self.subTest(args=args), self.sixpipe(*(arg.format(backend.address) for arg in args)) as proxy:
                client, server = self.pair(proxy, backend)
                server.sendall(b'hi')
                self.assertEqual(client.recv_exact(2), b'hi')

    def ipv4_service(self):
        """An IPv4 service whose port is free for IPv6. Other tests run at the same time."""
        for _ in range(20):
            service = self.backend(host='0.0.0.0')
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                with contextlib.suppress(OSError):
                    probe.bind(('::', service.endpoint[1]))
                    return service
        raise AssertionError('no port is free on both')

    def test_ipv6_listener_leaves_the_port_to_an_ipv4_service(self):
        ipv4 = self.ipv4_service()
        inside = self.backend()
        port = ipv4.endpoint[1]
        with self.sixpipe(f'[::]:{port}', inside.address) as proxy:
            client = self.connect(('::1', port))
            self.assertEqual(proxy.endpoint, ('::', port))
            inside.accept().sendall(b'by IPv6')
            self.assertEqual(client.recv_exact(7), b'by IPv6')
            other = self.connect(('127.0.0.1', port))
            ipv4.accept().sendall(b'by IPv4')
            self.assertEqual(other.recv_exact(7), b'by IPv4')

    def test_ipv6_listener_does_not_answer_ipv4(self):
        backend = self.backend()
        with self.sixpipe('[::]:0', backend.address) as proxy:
            with self.assertRaises(ConnectionRefusedError):
                self.connect(('127.0.0.1', proxy.endpoint[1]))

    def test_ipv4_listener_and_ipv6_backend(self):
        backend = self.backend(host='::1')
        with self.sixpipe('127.0.0.1:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            self.assertEqual(client.family, socket.AF_INET)
            client.sendall(b'the other way about')
            client.close()
            self.assertEqual(server.recv_to_end(), (b'the other way about', EOF))


class Workers(Case):

    def talk(self, endpoint, number, problems):
        """Runs a few sessions in a row, each with an echo of its own stream."""
        for turn in range(6):
            try:
                data = Stream(number * 100 + turn).bytes(1 + 20_000 * turn)
                with self.open_client(endpoint, None, None) as client:
                    sender = threading.Thread(target=client.sendall, args=(data,))
                    sender.start()
                    if client.recv_exact(len(data)) != data:
                        problems.append(f'client {number}, session {turn}: other bytes')
                    sender.join()
            except OSError as error:
                problems.append(f'client {number}, session {turn}: {error!r}')

    def check_no_crossing(self, *args):
        servers = [self.echo_server() for _ in range(2)]
        with self.sixpipe('--listen', '[::1]:0', '--backend', servers[0].address,
                          '--listen', '[::1]:0', '--backend', servers[1].address, *args) as proxy:
            problems = []
            threads = [threading.Thread(target=self.talk, args=(proxy.endpoints[number % 2], number, problems))
                       for number in range(24)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(problems, [])
            proxy.wait_events('close', 24 * 6)
            self.assertEqual([server.total for server in servers], [72, 72])

    def test_one_worker(self):
        self.check_no_crossing('--workers', '1')

    def test_more_workers_than_cpus(self):
        self.check_no_crossing('--workers', '6')

    def test_one_pipe_for_all(self):
        self.check_no_crossing('--workers', '1', '--maxpipes', '1')

    def test_ready_line_says_how_many(self):
        backend = self.backend()
        for count in (1, 3):
            with self.sixpipe('[::1]:0', backend.address, '--workers', count) as proxy:
                self.assertEqual(proxy.ready.int('workers'), count)
                self.assertEqual(proxy.ready['engine'], self.engine)
                self.assertEqual(proxy.ready.int('pid'), proxy.pid)


if __name__ == '__main__':
    unittest.main()
