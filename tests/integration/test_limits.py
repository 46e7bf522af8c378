# SPDX-License-Identifier: MIT
"""Limits: --maxconn, descriptors that run out, and thousands of idle sessions."""

import contextlib
import os
import resource
import time
import unittest

from harness import SANITIZE, Case, wait_until
from peers import RESET

IDLE_SESSIONS = 1000 if SANITIZE else 5000
SESSION_BYTES = 512


class Maxconn(Case):

    def check_maxconn(self, limit, workers):
        """Three times as many clients as the limit: exactly `limit` are served at any time, and all are served in the
        end."""
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--maxconn', limit, '--workers', workers) as proxy:
            waiting = [self.connect(proxy.endpoint) for _ in range(3 * limit)]
            for client in waiting:
                client.sendall(b'ping')
            proxy.wait_event('accept_paused', reason='maxconn')
            wait_until(lambda: backend.open == limit, what='as many sessions as admitted')
            self.assert_idle_cpu(proxy, 0.5)
            while waiting:
                wait_until(lambda: backend.open == min(limit, len(waiting)), what='the next one admitted')
                served = wait_until(lambda: [peer for peer in waiting if not peer.is_silent(0)], what='an answer')
                self.assertLessEqual(len(served), limit)
                client = served[0]
                self.assertEqual(client.recv_exact(4), b'ping')
                client.close()
                waiting.remove(client)
                proxy.close_of(client)
            self.assertEqual((backend.most_open, backend.total), (limit, 3 * limit))
            proxy.wait_event('accept_resumed')
            self.assertLess(len(proxy.events('accept_paused')), 3 * limit + 1)

    def test_denied_clients_release_their_slots(self):
        """Denied clients wait for a slot too, and release the slot at once: the next waiting client must get it."""
        backend = self.echo_server()
        with self.sixpipe('127.0.0.1:0', backend.address, '--maxconn', '1', '--workers', '2',
                          '--deny', '127.0.0.2') as proxy:
            for _ in range(100):
                served = self.connect(proxy.endpoint)
                served.sendall(b'ping')
                self.assertEqual(served.recv_exact(4), b'ping')
                denied = [self.connect(proxy.endpoint, bind=('127.0.0.2', 0)) for _ in range(2)]
                last = self.connect(proxy.endpoint)
                last.sendall(b'ping')
                served.close()
                self.assertEqual(last.recv_exact(4), b'ping')
                for peer in (last, *denied):
                    peer.close()
                    self.peers().remove(peer)

    def test_one_worker(self):
        self.check_maxconn(5, 1)

    def test_several_workers(self):
        self.check_maxconn(6, 3)

    def test_one_session_only(self):
        self.check_maxconn(1, 2)

    def test_burst_is_served_in_the_end(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--maxconn', '8', '--workers', '2') as proxy:
            with proxy.stopped():
                clients = [self.connect(proxy.endpoint) for _ in range(200)]
                for number, client in enumerate(clients):
                    client.sendall(b'%04d' % number)
                    client.finish_sending()
            for number, client in enumerate(clients):
                self.assertEqual(client.recv_to_end()[0], b'%04d' % number)
                client.close()
            self.assertLessEqual(backend.most_open, 8)


class Descriptors(Case):

    # One worker: a pending accept holds a descriptor, and another worker's pending accept would take the descriptor
    # that the test's session needs.
    ARGUMENTS = ('--maxconn', '1000', '--maxpipes', '4', '--workers', '1')

    @contextlib.contextmanager
    def only_few_descriptors(self, spare):
        """A sixpipe that can open `spare` descriptors once it is ready, and an echo server. A session needs two
        descriptors.

        The limit is set before the start, because io_uring's accept uses the limit of the time when it was armed.
        """
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *self.ARGUMENTS) as proxy:
            used = sum(proxy.baseline.values())
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, *self.ARGUMENTS,
                          popen=self.limited(used + spare, used + spare)) as proxy:
            self.assertEqual(sum(proxy.baseline.values()), used)
            yield proxy

    def limited(self, soft, hard):
        return {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))}

    def open_served(self, proxy, count):
        clients = [self.connect(proxy.endpoint) for _ in range(count)]
        for client in clients:
            self.exchange(client)
        return clients

    def exchange(self, client):
        client.sendall(b'ping')
        self.assertEqual(client.recv_exact(4), b'ping')

    def serve_all(self, served, waiting):
        """Serves all clients while the limit stays: each client that leaves makes room. Returns how many were reset."""
        resets = 0
        while waiting:
            if served:
                served.pop().close()
            client = wait_until(lambda: self.one_answered(waiting), what='an answer or a RST')
            waiting.remove(client)
            try:
                self.assertEqual(client.recv_exact(4), b'ping')
                served.append(client)
            except ConnectionResetError:
                resets += 1
        return resets

    @staticmethod
    def one_answered(waiting):
        return next((client for client in waiting if not client.is_silent(0)), None)

    def test_none_left_pauses_and_recovers(self):
        with self.only_few_descriptors(spare=6) as proxy:
            served = self.open_served(proxy, 3)
            waiting = [self.connect(proxy.endpoint) for _ in range(30)]
            for client in waiting:
                client.sendall(b'ping')
            proxy.wait_event('accept_paused', reason='descriptors')
            lines = len(proxy.lines)
            self.assert_idle_cpu(proxy, 1.0)
            self.assertLess(len(proxy.lines) - lines, 12, 'log lines in a second without descriptors')
            for client in served:
                self.exchange(client)
            self.assertTrue(all(client.is_silent(0) for client in waiting))
            self.assertEqual(self.serve_all(served, waiting), 0)
            proxy.wait_event('accept_resumed')
            self.close_peers()
            proxy.wait_baseline()

    def test_the_last_one_has_its_backend(self):
        """The client takes the last descriptor, its backend's socket the reserve. The others wait as long as
        necessary."""
        with self.only_few_descriptors(spare=5) as proxy:
            served = self.open_served(proxy, 2)
            with proxy.stopped():
                waiting = [self.connect(proxy.endpoint) for _ in range(10)]
                for client in waiting:
                    client.sendall(b'ping')
            served.append(waiting.pop(0))
            self.assertEqual(served[-1].recv_exact(4), b'ping')
            self.assert_idle_cpu(proxy, 0.5)
            self.assertTrue(all(client.is_silent(0) for client in waiting))
            self.assertEqual(self.serve_all(served, waiting), 0)
            self.assertEqual(proxy.events('close', reason='no_descriptors'), [])

    def test_none_left_for_the_backend(self):
        """Clients with late headers hold all descriptors: one client is served with the reserve, the next gets a
        RST."""
        self.ARGUMENTS = (*self.ARGUMENTS, '--accept-proxy', '--trust', '::1')
        header = b'PROXY TCP6 ::1 ::1 1000 2000\r\n'
        with self.only_few_descriptors(spare=5) as proxy:
            clients = [self.connect(proxy.endpoint) for _ in range(5)]
            wait_until(lambda: proxy.fds()['socket'] == proxy.baseline['socket'] + 5, what='all are accepted')
            clients[0].sendall(header + b'ping')
            self.assertEqual(clients[0].recv_exact(4), b'ping')
            clients[1].sendall(header)
            self.assertEqual(clients[1].recv_to_end(), (b'', RESET))
            proxy.wait_event('close', reason='no_descriptors')
            self.exchange(clients[0])

    def test_all_accepted_at_once(self):
        """With a short backlog one accept takes all connections that come. At most six clients are reset."""
        self.ARGUMENTS = (*self.ARGUMENTS, '--backlog', '40', '--maxconn', '100000')
        with self.only_few_descriptors(spare=12) as proxy:
            with proxy.stopped():
                waiting = [self.connect(proxy.endpoint) for _ in range(30)]
                for client in waiting:
                    client.sendall(b'ping')
            served = []
            while len(served) < 6:
                client = wait_until(lambda: self.one_answered(waiting), what='an answer')
                waiting.remove(client)
                with contextlib.suppress(ConnectionResetError):
                    client.recv_exact(4)
                    served.append(client)
            resets = 30 - len(waiting) - len(served)
            self.assertLessEqual(resets + self.serve_all(served, waiting), 6)

    def test_warns_when_the_limit_is_too_low_for_maxconn(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--maxconn', '10000', '--maxpipes', '8',
                          popen=self.limited(400, 400)) as proxy:
            warning = proxy.wait_event('descriptors_short', level='warn')
            self.assertIn('10000', warning.line)
            self.assertIn('400', warning.line)
            self.assertEqual(warning.int('sessions_assured'), (400 - warning.int('needed_by_others')) // 2)
            self.exchange(self.connect(proxy.endpoint))

    def test_no_warning_when_it_is_enough(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--maxconn', '100', '--maxpipes', '8') as proxy:
            self.exchange(self.connect(proxy.endpoint))
            self.assertEqual(proxy.events('descriptors_short'), [])

    def test_raises_the_soft_limit_to_the_hard_one(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, popen=self.limited(300, 3000)) as proxy:
            self.assertEqual(resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE), (3000, 3000))


class ManyIdle(Case):

    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2 * IDLE_SESSIONS + 500:
            self.skipTest(f'the hard descriptor limit is {hard}')
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def open_idle(self, proxy, backend):
        pairs = []
        for _ in range(IDLE_SESSIONS):
            client, server = self.pair(proxy, backend)
            client.sendall(b'?')
            self.assertEqual(server.recv_exact(1), b'?')
            server.sendall(b'!')
            self.assertEqual(client.recv_exact(1), b'!')
            pairs.append((client, server))
        return pairs

    def test_5000_idle_sessions(self):
        backend = self.backend(backlog=4096)
        with self.sixpipe('[::1]:0', backend.address, '--maxconn', IDLE_SESSIONS + 10) as proxy:
            for _ in range(8):  # at least one session on each worker, so that each worker has made what it makes once
                self.pair(proxy, backend)[0].sendall(b'warm')
            self.close_idle_of(proxy, 8)
            before = proxy.own_memory_bytes()
            pairs = self.open_idle(proxy, backend)
            fds = proxy.fds()
            self.assertEqual(fds['socket'], proxy.baseline['socket'] + 2 * IDLE_SESSIONS)
            self.assertEqual(fds['pipe'], proxy.baseline['pipe'], 'an idle session holds no pipe')
            # keepalive is turned on a second after the start of a session: wait for that
            wait_until(lambda: SANITIZE or proxy.cpu_share(1.0) < 0.015, what='an idle process')
            if not SANITIZE:
                each = (proxy.own_memory_bytes() - before) / IDLE_SESSIONS
                self.assertLessEqual(each, SESSION_BYTES, 'bytes of own memory for an idle session')
            for client, server in pairs[::500]:
                client.sendall(b'awake')
                self.assertEqual(server.recv_exact(5), b'awake')
            start_s = time.monotonic()
            for first in range(0, IDLE_SESSIONS, 500):  # more lines at a time could find no room in the log's buffer
                for client, server in pairs[first:first + 500]:
                    client.close()
                    server.close()
                proxy.wait_events('close', first + 500, reason='done')
            self.assertLess(time.monotonic() - start_s, 30)

    def close_idle_of(self, proxy, count):
        for peer in self.peers()[1:]:
            peer.close()
        proxy.wait_events('close', count)
        proxy.wait_baseline()


if __name__ == '__main__':
    unittest.main()
