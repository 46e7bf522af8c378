# SPDX-License-Identifier: MIT
"""Which backend a session gets, and what happens if the backend cannot be reached."""

import select
import time
import unittest

from harness import Case
from netns import Netns
from peers import EOF, PATIENCE_S, RESET, endpoint_name


class RoundRobin(Case):

    def serve_one(self, proxy, backends):
        """Runs one session. Returns the backend that got the session, and the close line."""
        client = self.connect(proxy.endpoint)
        waiting, _, _ = select.select([backend.socket for backend in backends], [], [], PATIENCE_S)
        self.assertEqual(len(waiting), 1, 'backends connected to')
        backend = next(backend for backend in backends if backend.socket is waiting[0])
        server = backend.accept()
        client.close()
        server.close()
        close = self.assert_reason(proxy, client, 'done')
        self.assertEqual((close['backend'], close['source']), (backend.address, server.remote))
        return backend

    def test_exact_order(self):
        """The order is that of the forward, whichever worker accepts the connection."""
        for workers in (1, 3):
            with self.subTest(workers=workers):
                backends = [self.backend() for _ in range(3)]
                addresses = [backend.address for backend in backends]
                with self.sixpipe('[::1]:0', *addresses, '--workers', workers) as proxy:
                    order = [backends.index(self.serve_one(proxy, backends)) for _ in range(9)]
                self.assertEqual(order, [(order[0] + turn) % 3 for turn in range(9)])


class Failover(Case):

    def check_served(self, proxy, backend, netns=None):
        client, server = self.pair(proxy, backend, netns=netns)
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')
        server.sendall(b'pong')
        self.assertEqual(client.recv_exact(4), b'pong')
        client.close()
        server.close()
        close = self.assert_reason(proxy, client, 'done')
        self.assertEqual(close['backend'], backend.address)
        return close

    def test_refused(self):
        refused, backend = self.refused_address(), self.backend()
        with self.sixpipe('[::1]:0', refused, backend.address) as proxy:
            for _ in range(4):
                self.check_served(proxy, backend)
            failed = proxy.wait_event('backend_failed')
            self.assertEqual((failed['backend'], failed['listen']), (refused, endpoint_name(proxy.endpoint)))
            self.assertIn('refused', failed['error'].lower())

    def test_refused_several_times(self):
        backend = self.backend()
        refused = [self.refused_address() for _ in range(6)]
        with self.sixpipe('[::1]:0', *refused[:3], backend.address, *refused[3:]) as proxy:
            for _ in range(7):
                self.check_served(proxy, backend)

    def test_bytes_sent_during_failover_arrive(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', self.refused_address(), self.refused_address(), backend.address) as proxy:
            with proxy.stopped():
                client = self.connect(proxy.endpoint)
                client.sendall(b'early' * 2000)
                client.finish_sending()
            self.assertEqual(backend.accept().recv_to_end(), (b'early' * 2000, EOF))

    def test_unreachable(self):
        with Netns() as netns:
            for kind, network in (('unreachable', '192.0.2'), ('prohibit', '198.51.100'), ('blackhole', '203.0.113')):
                netns.ip(f'route add {kind} {network}.0/24')
                with self.subTest(route=kind):
                    backend = self.backend(netns=netns)
                    with self.sixpipe('[::1]:0', f'{network}.1:9', backend.address, netns=netns) as proxy:
                        for _ in range(2):
                            self.check_served(proxy, backend, netns)
                        self.assertEqual(proxy.wait_event('backend_failed')['backend'], f'{network}.1:9')

    def test_black_holed(self):
        with Netns() as netns:
            hole = netns.add_black_hole()
            backend = self.backend(netns=netns)
            with self.sixpipe('[::1]:0', f'{hole}:9', backend.address, '--timeout-connect', '300ms',
                              netns=netns) as proxy:
                slow = [self.check_served(proxy, backend, netns).int('duration_ms') for _ in range(2)]
                self.assertGreaterEqual(max(slow), 290)
                self.assertLess(max(slow), 5000)
                failed = proxy.wait_event('backend_failed')
                self.assertEqual(failed['backend'], f'{hole}:9')
                self.assertIn('--timeout-connect', failed['remedy'])

    def test_black_holed_sessions_do_not_hold_up_others(self):
        with Netns() as netns:
            hole = netns.add_black_hole()
            backend = self.backend(netns=netns)
            with self.sixpipe('--listen', '[::1]:0', '--backend', f'{hole}:9',
                              '--listen', '[::1]:0', '--backend', backend.address,
                              '--timeout-connect', '2s', '--workers', '1', netns=netns) as proxy:
                lost = [self.connect(proxy.endpoints[0], netns=netns) for _ in range(20)]
                client = self.connect(proxy.endpoints[1], netns=netns)
                server = backend.accept()
                client.sendall(b'ping')
                self.assertEqual(server.recv_exact(4), b'ping')
                self.assert_idle_cpu(proxy, 0.5)
                self.assertTrue(all(peer.is_silent(0) for peer in lost))
                for peer in lost:
                    self.assertEqual(peer.recv_to_end(), (b'', RESET))


class AllFail(Case):

    def assert_turned_away(self, proxy, netns=None):
        """A client that no backend answers gets a RST. sixpipe is stopped first, or the RST may come before connect()
        returns."""
        with proxy.stopped():
            client = self.connect(proxy.endpoint, netns=netns)
            client.sendall(b'anyone there?')
        self.assertEqual(client.recv_to_end(), (b'', RESET))
        close = self.assert_reason(proxy, client, 'connect_failed')
        self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (0, 0))

    def check_all_fail(self, proxy, names, netns=None):
        self.assert_turned_away(proxy, netns)
        self.assertEqual(sorted(event['backend'] for event in proxy.events('backend_failed')), sorted(names))

    def test_one_refused(self):
        names = [self.refused_address()]
        with self.sixpipe('[::1]:0', *names) as proxy:
            self.check_all_fail(proxy, names)

    def test_each_is_tried_once(self):
        names = [self.refused_address() for _ in range(4)]
        with self.sixpipe('[::1]:0', *names) as proxy:
            self.check_all_fail(proxy, names)

    def test_refused_unreachable_and_silent_backends(self):
        with Netns() as netns:
            netns.ip('route add unreachable 198.51.100.0/24')
            hole = netns.add_black_hole()
            names = [netns.run(self.refused_address), '198.51.100.1:9', f'{hole}:9']
            with self.sixpipe('[::1]:0', *names, '--timeout-connect', '300ms', netns=netns) as proxy:
                self.check_all_fail(proxy, names, netns)

    def test_recovers_when_the_backend_comes_back(self):
        away = self.refused_address()
        with self.sixpipe('[::1]:0', away) as proxy:
            self.assert_turned_away(proxy)
            self.peers().pop(0).close()  # the socket that reserved the port
            backend = self.backend(port=int(away.rpartition(':')[2]))
            client, server = self.pair(proxy, backend)
            client.sendall(b'ping')
            self.assertEqual(server.recv_exact(4), b'ping')


class SlowConnect(Case):
    """A backend whose accept queue is full drops the SYN. The kernel sends the SYN again after about 1 s."""

    def full_backend(self):
        backend = self.backend(backlog=0)
        self.filler = self.connect(backend.endpoint)
        return backend

    def make_room(self, backend):
        self.assertEqual(backend.accept().remote, self.filler.name)

    def test_connects_in_the_end(self):
        backend = self.full_backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(b'x' * 100_000)
            client.finish_sending()
            self.assertTrue(client.is_silent(0.2))
            self.make_room(backend)
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'x' * 100_000, EOF))
            server.sendall(b'answer')
            server.close()
            self.assertEqual(client.recv_to_end(), (b'answer', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_moves_on_after_the_timeout(self):
        full, backend = self.full_backend(), self.backend()
        with self.sixpipe('[::1]:0', full.address, backend.address, '--timeout-connect', '300ms') as proxy:
            start_s = time.monotonic()
            client = self.connect(proxy.endpoint)
            self.assertEqual(backend.accept().remote.rpartition(':')[0], '127.0.0.1')
            self.assertGreaterEqual(time.monotonic() - start_s, 0.28)
            failed = proxy.wait_event('backend_failed')
            self.assertEqual(failed['backend'], full.address)
            client.close()

    def test_client_resets_meanwhile(self):
        """sixpipe sees the reset at the latest when the backend answers. The backend then gets a prefix and a RST."""
        backend = self.full_backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(b'never mind')
            self.assertTrue(client.is_silent(0.1))
            client.reset()
            self.assert_idle_cpu(proxy, 0.2)
            self.make_room(backend)
            if not proxy.events('close'):
                got, end = backend.accept().recv_to_end()
                self.assertEqual(end, RESET)
                self.assertIn(got, (b'', b'never mind'))
            self.assert_reason(proxy, client, 'client_reset')

    def test_client_resets_and_the_backend_never_answers(self):
        backend = self.full_backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-connect', '500ms') as proxy:
            client = self.connect(proxy.endpoint)
            self.assertTrue(client.is_silent(0.1))
            client.reset()
            self.assert_reason(proxy, client, 'client_reset', 'connect_failed')
            proxy.wait_baseline()

    def test_client_finishes_sending_meanwhile(self):
        backend = self.full_backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.finish_sending()
            self.assertTrue(client.is_silent(0.2), 'a FIN is not the end of the session')
            self.assert_idle_cpu(proxy, 0.3)
            self.make_room(backend)
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.sendall(b'hello')
            self.assertEqual(client.recv_exact(5), b'hello')


class Answered(Case):
    """A backend that closes its listening socket: its kernel has accepted connections, and resets them."""

    def leave(self, backend):
        self.assertTrue(backend.has_waiting(PATIENCE_S))
        backend.close()

    def test_a_session_without_passed_bytes_moves_to_another_backend(self):
        for more in ((), ('--source', '127.0.0.9'), ('--source', 'loopback'), ('--limit-up', '1MiB')):
            with self.subTest(more):
                first, second = self.backend(), self.backend()
                with self.sixpipe('[::1]:0', first.address, second.address, '--workers', '1', *more) as proxy:
                    client = self.connect(proxy.endpoint)
                    self.leave(first)
                    server = second.accept()
                    server.sendall(b'220 ready')
                    self.assertEqual(client.recv_exact(9), b'220 ready')
                    client.sendall(b'hello')
                    self.assertEqual(server.recv_exact(5), b'hello')
                    client.finish_sending()
                    self.assertEqual(server.recv_to_end(), (b'', EOF))
                    server.close()
                    self.assertEqual(client.recv_to_end(), (b'', EOF))
                    close = self.assert_reason(proxy, client, 'done')
                    self.assertEqual(close['backend'], second.address)
                    self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (5, 9))
                    self.assertFalse(proxy.events('backend_down'), 'a reset takes no backend down')
                self.assertEqual(proxy.wait_event('stopped').int('redispatches'), 1)

    def test_a_session_with_passed_bytes_ends_with_its_backend(self):
        for more, say, seen in (((), b'hello', b'hello'), (('--send-proxy', 'v1'), b'', b'PROXY ')):
            first, second = self.backend(), self.backend()
            with self.subTest(more), self.sixpipe('[::1]:0', first.address, second.address, '--workers', '1',
                                                  *more) as proxy:
                client = self.connect(proxy.endpoint)
                client.sendall(say)
                server = first.accept()
                self.assertEqual(server.recv_exact(len(seen)), seen)
                server.reset()
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'backend_reset')
                self.assertFalse(second.has_waiting(0))

    def test_a_session_whose_end_was_passed_to_the_client_does_not_move(self):
        """What the client still sends is meant for the backend whose FIN it has seen."""
        first, second = self.backend(), self.backend()
        with self.sixpipe('[::1]:0', first.address, second.address, '--workers', '1') as proxy:
            client = self.connect(proxy.endpoint)
            server = first.accept()
            server.finish_sending()
            self.assertEqual(client.recv(1), b'')
            server.reset()
            self.assert_reason(proxy, client, 'backend_reset')
            self.assertFalse(second.has_waiting(0))

    def test_no_other_backend_has_room(self):
        first, second = self.backend(), self.backend()
        with self.sixpipe('--workers', '1', '--listen', '[::1]:0', '--backend', first.address, '--backend',
                          f'{second.address} maxconn=1') as proxy:
            client = self.connect(proxy.endpoint)
            first.accept()
            other = self.connect(proxy.endpoint)
            second.accept()
            third = self.connect(proxy.endpoint)
            server = first.accept()
            source = server.remote
            server.reset()
            self.assertEqual(third.recv_to_end(), (b'', RESET))
            close = self.assert_reason(proxy, third, 'backend_reset')
            self.assertEqual(close['backend'], first.address)
            self.assertIn(close['source'], (source, '-'), 'the address of the connect, if the session relayed already')
            del client, other

    def test_the_only_backend(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            self.leave(backend)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assert_reason(proxy, client, 'backend_reset')


if __name__ == '__main__':
    unittest.main()
