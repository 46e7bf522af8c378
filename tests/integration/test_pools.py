# SPDX-License-Identifier: MIT
"""Pools of backends: which backend gets a session, which backends are up, and how sixpipe learns it."""

import collections
import contextlib
import pathlib
import socket
import threading
import time
import unittest

from harness import wait_until
from netns import Netns
from peers import PATIENCE_S, RESET, Peer, endpoint_name
from pool_case import PoolCase, Service

FLAPPED_CONNECTIONS = 10_000
BATCH = 100


class Balance(PoolCase):

    def test_roundrobin_by_weight(self):
        a, b, c = (self.service(name) for name in 'abc')
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} weight=5', '--backend', b.address,
                          '--backend', f'{c.address} weight=1', '--workers', '2') as proxy:
            self.assertEqual(self.letters_of(proxy, 14), 'aabacaa' * 2)

    def test_leastconn_by_weight(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('--listen', '[::1]:0', '--balance', 'leastconn', '--backend', f'{a.address} weight=2',
                          '--backend', b.address, '--workers', '2') as proxy:
            held = [self.open_session(proxy) for _ in range(9)]
            letters = ''.join(letter for _, letter in held)
            self.assertEqual(collections.Counter(letters), {'a': 6, 'b': 3})
            gone = [client for client, letter in held if letter == 'b']
            for client in gone:
                client.close()
            for client in gone:
                proxy.close_of(client)
            self.assertEqual([self.open_session(proxy)[1] for _ in range(3)], ['b'] * 3)

    def source_map(self, proxy, clients):
        return {client: self.letters_of(proxy, 1, bind=(client, 0)) for client in clients}

    def test_source(self):
        clients = [f'127.0.0.{number}' for number in range(2, 42)]
        services = [self.service(name) for name in 'abc']
        addresses = [service.address for service in services]
        with self.sixpipe('--balance', 'source', '127.0.0.1:0', *addresses) as proxy, \
                self.sixpipe('--balance', 'source', '127.0.0.1:0', *reversed(addresses)) as other:
            first = self.source_map(proxy, clients)
            self.assertEqual(first, self.source_map(proxy, clients))
            self.assertEqual(set(first.values()), set('abc'))
            self.assertEqual(first, self.source_map(other, clients), 'the order of the backends does not matter')
            services[0].go()
            after = self.source_map(proxy, clients)
            moved = {client for client in clients if after[client] != first[client]}
            self.assertEqual(moved, {client for client in clients if first[client] == 'a'})


class Parameters(PoolCase):

    def test_backup_serves_when_all_others_are_down(self):
        a, b, c = (self.service(name) for name in 'abc')
        with self.sixpipe('--listen', '[::1]:0', '--backend', a.address, '--backend', f'{b.address} backup',
                          '--backend', c.address, '--fail-timeout', '300ms') as proxy:
            self.assertEqual(self.letters_of(proxy, 4), 'acac')
            a.go()
            self.assertEqual(self.letters_of(proxy, 4), 'cccc')
            c.go()
            self.assertEqual(self.letters_of(proxy, 3), 'bbb')
            a.come_back()
            wait_until(lambda: self.letters_of(proxy, 1) == 'a', what='the return of a')
            self.assertEqual(set(self.letters_of(proxy, 4)), {'a'})

    def test_maxconn(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} maxconn=1', '--backend',
                          f'{b.address} maxconn=2', '--workers', '2') as proxy:
            held = [self.open_session(proxy) for _ in range(3)]
            self.assertEqual(sorted(letter for _, letter in held), ['a', 'b', 'b'])
            for _ in range(5):
                refused, letter = self.open_session(proxy)
                self.assertIsNone(letter)
                self.assertEqual(self.assert_reason(proxy, refused, 'backends_full')['backend'], '-')
            self.assertEqual(proxy.wait_event('backends_full')['listen'], proxy.ready['listen'])
            gone, letter = held[0]
            gone.close()
            # its claim is released a moment after its close line is written
            wait_until(lambda: self.letters_of(proxy, 1) == letter, what='a session for the released claim')

    def test_full_is_not_down(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} maxconn=1', '--backend',
                          f'{b.address} backup') as proxy:
            self.assertEqual(self.open_session(proxy)[1], 'a')
            refused, letter = self.open_session(proxy)
            self.assertIsNone(letter, 'a full backend does not send clients to a backup')
            self.assert_reason(proxy, refused, 'backends_full')

    def test_down_and_weight_0(self):
        a, b, c = (self.service(name) for name in 'abc')
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} down', '--backend', b.address,
                          '--backend', f'{c.address} weight=0') as proxy:
            self.assertEqual(self.letters_of(proxy, 4), 'bbbb')
        stopped = proxy.wait_event('stopped')
        self.assertEqual([stopped.int(key) for key in ('backends_up', 'backends_down', 'backends_off')], [2, 0, 1])

    def test_all_down_by_parameter(self):
        a = self.service('a')
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} down') as proxy:
            client, letter = self.open_session(proxy)
            self.assertIsNone(letter)
            self.assert_reason(proxy, client, 'no_backend')


class Passive(PoolCase):

    def test_down_and_half_open_recovery(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('[::1]:0', a.address, b.address, '--fail-timeout', '500ms') as proxy:
            self.assertEqual(self.letters_of(proxy, 4), 'abab')
            a.go()
            self.assertEqual(self.letters_of(proxy, 6), 'bbbbbb')
            down = proxy.wait_event('backend_down')
            self.assertEqual((down['backend'], down['cause'], down.int('up')), (a.address, 'connect', 1))
            self.assertIn('refused', down['error'].lower())
            self.assertEqual(down['listen'], proxy.ready['listen'])
            # the session that tries a, and fails, is served by b
            wait_until(lambda: self.letters_of(proxy, 1) == 'b' and len(proxy.events('backend_failed')) >= 2,
                       what='a failed try of a')
            a.come_back()
            wait_until(lambda: self.letters_of(proxy, 1) == 'a', what='the return of a')
            up = proxy.wait_event('backend_up')
            self.assertEqual((up['backend'], up['cause'], up.int('up')), (a.address, 'connect', 2))
            self.assertNotIn('error', up)
            self.assertEqual(sorted(self.letters_of(proxy, 4)), list('aabb'))
            self.assertEqual(len(proxy.events('backend_down')), 1)
        stopped = proxy.wait_event('stopped')
        self.assertEqual([stopped.int(key) for key in ('backend_downs', 'backend_ups', 'backends_up')], [1, 1, 2])
        self.assertEqual(stopped.int('redispatches'), stopped.int('connects_failed'))

    def test_max_fails(self):
        a = self.service('a')
        refused = self.refused_address()
        with self.sixpipe('[::1]:0', refused, a.address, '--max-fails', '3', '--retries', '0') as proxy:
            # without retries each failure costs a session, so the test can count failures
            self.assertEqual(self.letters_of(proxy, 10), '-a-a-aaaaa')
            self.assertEqual(proxy.wait_event('backend_down')['backend'], refused)

    def test_the_only_backend_is_always_tried(self):
        refused = self.refused_address()
        with self.sixpipe('[::1]:0', refused) as proxy:
            for _ in range(3):
                client, letter = self.open_session(proxy)
                self.assertIsNone(letter)
                self.assert_reason(proxy, client, 'connect_failed')
            self.assertEqual(len(proxy.events('backend_failed')), 3)
            self.assertEqual(proxy.events('backend_down'), [])

    def test_the_only_backend_where_that_is_wanted(self):
        with self.sixpipe('[::1]:0', self.refused_address(), '--max-fails', '1') as proxy:
            self.assert_reason(proxy, self.open_session(proxy)[0], 'connect_failed')
            self.assert_reason(proxy, self.open_session(proxy)[0], 'no_backend')

    def test_all_down_refuses_fast(self):
        refused = [self.refused_address() for _ in range(3)]
        with self.sixpipe('[::1]:0', *refused) as proxy:
            self.assert_reason(proxy, self.open_session(proxy)[0], 'connect_failed')
            self.assertEqual(proxy.wait_events('backend_down', 3)[-1].int('up'), 0)
            for _ in range(50):
                client, letter = self.open_session(proxy)
                self.assertIsNone(letter)
                close = self.assert_reason(proxy, client, 'no_backend')
                self.assertEqual((close['backend'], close.int('bytes_up')), ('-', 0))
                self.assertLess(close.int('duration_ms'), 500)
            self.assertLess(len(proxy.events('no_backend')), 20, 'a limited rate')
        stopped = proxy.wait_event('stopped')
        self.assertEqual((stopped.int('connects'), stopped.int('closed_no_backend')), (3, 50))

    def test_a_backend_whose_connect_meets_itself_is_down(self):
        """Nobody listens there, and the only port that the kernel can choose for sixpipe's socket is the backend's
        port."""
        with Netns() as netns:
            def narrow_ports():
                pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range').write_text('40000 40000')
            netns.run(narrow_ports)
            for more in ((), ('--check-backends', '--check-interval', '10ms')):
                with self.subTest(more), self.sixpipe('[::1]:999', '127.0.0.1:40000', *more, netns=netns) as proxy:
                    if more:
                        self.assertIn('refused', proxy.wait_event('backend_down')['error'])
                        continue
                    with proxy.stopped():  # otherwise the RST may come before connect() returns
                        client = self.connect(proxy.endpoint, netns=netns, bind=('::1', 998))
                    self.assertEqual(client.recv_to_end(), (b'', RESET))
                    self.assert_reason(proxy, client, 'connect_failed')
                self.assertFalse(proxy.events('backend_up'))

    def test_slow_start(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('[::1]:0', a.address, b.address, '--fail-timeout', '200ms', '--slow-start', '1h') as proxy:
            self.assertEqual(self.letters_of(proxy, 4), 'abab', 'no slow start when the process starts')
            a.go()
            self.assertEqual(self.letters_of(proxy, 3), 'bbb')
            a.come_back()
            wait_until(lambda: self.letters_of(proxy, 1) == 'a', what='the return of a')
            share = self.letters_of(proxy, 90).count('a')
            self.assertTrue(5 <= share <= 16, f'{share} of 90 where an eighth of the weight is 10')

    def test_a_client_that_leaves_while_connecting_changes_no_health(self):
        """A try that the backend never answered does not prevent the next try."""
        full = self.backend(backlog=0)
        filler = self.connect(full.endpoint)
        b = self.service('b')
        with self.sixpipe('[::1]:0', full.address, b.address, '--timeout-connect', '300ms',
                          '--fail-timeout', '400ms') as proxy:
            self.assertEqual(self.letters_of(proxy, 2), 'bb')
            self.assertEqual(proxy.wait_event('backend_down')['backend'], full.address)
            wait_until(lambda: self.letters_of(proxy, 1) == 'b' and len(proxy.events('backend_failed')) >= 2,
                       what='a probe that failed')
            filler.close()
            full.accept()
            wait_until(lambda: self.turns_to(proxy, full), what='a probe that succeeds')
            self.assertEqual(proxy.wait_event('backend_up')['backend'], full.address)

    def turns_to(self, proxy, backend):
        client = self.connect(proxy.endpoint)
        if client.is_silent(0.05) and backend.has_waiting(0.3):
            backend.accept()
            return True
        return False


class Flapper:
    """A backend that again and again opens its listening socket, serves clients, and closes the socket."""

    def __init__(self):
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(('127.0.0.1', 0))
        self.endpoint = holder.getsockname()
        self.address = endpoint_name(self.endpoint)
        self.holder = holder
        self.served = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.flap, daemon=True)
        self.thread.start()

    def flap(self):
        while not self.over.wait(0.003):
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(self.endpoint)
                listener.listen(64)
                listener.settimeout(0.005)
                deadline = time.monotonic() + 0.01
                with contextlib.suppress(OSError):
                    while time.monotonic() < deadline:
                        self.serve(listener.accept()[0])
                listener.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self.serve(listener.accept()[0])

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.2)
            connection.sendall(connection.recv(64))
            self.served += 1

    def close(self):
        self.over.set()
        self.thread.join(PATIENCE_S)
        self.holder.close()


class Flapping(PoolCase):

    def exchange(self, endpoint, source, count):
        """Opens so many clients at a time, each with a request. Returns the names of the clients without an answer."""
        lost = []
        clients = [Peer(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
        for client in clients:
            client.bind((source, 0))
            client.settle(endpoint)
            with contextlib.suppress(ConnectionError):
                client.connect(endpoint)
                client.sendall(b'sixteen bytes ok')
        for client in clients:
            try:
                client.recv_exact(16)
            except (ConnectionError, EOFError, OSError):
                lost.append(client.name)
            client.close()
        return lost

    def test_a_flapping_backend_costs_no_session_that_another_could_serve(self):
        flapper = self.adopt(Flapper())
        steady = self.adopt(Service(''))
        with self.sixpipe('127.0.0.1:0', flapper.address, steady.address, '--fail-timeout', '20ms') as proxy:
            lost = []
            for batch in range(FLAPPED_CONNECTIONS // BATCH):
                lost += self.exchange(proxy.endpoint, f'127.0.1.{batch + 1}', BATCH)
            closes = {event['client']: event for event in proxy.wait_events('close', FLAPPED_CONNECTIONS)}
            early = sum(closes[name].int('bytes_up') == 0 for name in lost)
            print(f'# {len(lost)} of {FLAPPED_CONNECTIONS} were lost with the flapping backend, {early} of them before a byte '
                  f'went up; it served {flapper.served}')
            # only requests that were passed to a backend which then closed are lost
            for name in lost:
                close = closes[name]
                self.assertEqual((close['reason'], close['backend']), ('backend_reset', flapper.address), close)
            self.assertGreater(flapper.served, 0)
            self.assertLess(len(lost), FLAPPED_CONNECTIONS // 20)
        stopped = proxy.wait_event('stopped')
        self.assertGreater(stopped.int('redispatches'), 0)
        self.assertGreater(stopped.int('backend_downs'), 0)
        self.assertEqual(stopped.int('closed_no_backend') if 'closed_no_backend' in stopped else 0, 0)


if __name__ == '__main__':
    unittest.main()
