# SPDX-License-Identifier: MIT
"""A process that is stopped for longer than its timeouts (SIGSTOP, a frozen control group, a suspended host).

Bytes that came meanwhile are in time, however late sixpipe reads them.
"""

import contextlib
import pathlib
import time
import unittest

import proxy_header
from harness import Case, wait_until
from netns import Netns
from peers import EOF, RESET

TIMEOUT_MS = 400
SHORT = f'{TIMEOUT_MS}ms'
MANY_TIMEOUT_MS = 3000  # opening many sessions takes a while on a busy machine
# The kernel sends a lost SYN again after a second. A connect whose first SYN was lost succeeds after that.
CONNECT_TIMEOUT_MS = 1600
TCP_ESTABLISHED, TCP_SYN_SENT = '01', '02'


class StoppedCase(Case):

    def outlast(self, timeout_ms, since_s):
        """Sleeps until a timeout has passed while sixpipe is stopped."""
        time.sleep(max(0, since_s + timeout_ms / 1000 + 0.1 - time.monotonic()))

    def assert_works(self, client, server):
        for source, target in ((client, server), (server, client)):
            source.sendall(b'after')
            self.assertEqual(target.recv_exact(5), b'after')


class Stopped(StoppedCase):

    def test_sessions_whose_bytes_wait_are_not_idle(self):
        """More sessions than a worker takes events at a time. Silent sessions do end."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', f'{MANY_TIMEOUT_MS}ms',
                          '--workers', '1') as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(300)]
            silent, _ = self.pair(proxy, backend)
            for client, server in pairs:
                client.sendall(b'before')
                self.assertEqual(server.recv_exact(6), b'before')
            with proxy.stopped():
                start_s = time.monotonic()
                for client, server in pairs:
                    client.sendall(b'up')
                    server.sendall(b'down')
                self.outlast(MANY_TIMEOUT_MS, start_s)
            for client, server in pairs:
                self.assertEqual((client.recv_exact(4), server.recv_exact(2)), (b'down', b'up'))
                client.finish_sending()
                server.finish_sending()
            for client, _ in pairs:
                self.assert_reason(proxy, client, 'done')
            self.assertEqual(silent.recv_to_end(), (b'', RESET))
            self.assert_reason(proxy, silent, 'idle_timeout')

    def test_an_end_that_waits_is_not_cut_off(self):
        """The last bytes of an answer and its FIN come after the request's FIN: the timeouts of half-closed
        sessions."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-client-fin', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            with proxy.stopped():
                start_s = time.monotonic()
                server.sendall(b'the answer')
                server.finish_sending()
                self.outlast(TIMEOUT_MS, start_s)
            self.assertEqual(client.recv_to_end(), (b'the answer', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_a_header_that_came_in_time(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-proxy', SHORT, '--accept-proxy',
                          '--trust', '::1', '--workers', '1') as proxy:
            sockets = proxy.fds()['socket']
            client, late = self.connect(proxy.endpoint), self.connect(proxy.endpoint)
            wait_until(lambda: proxy.fds()['socket'] == sockets + 2, what='accepting')
            with proxy.stopped():
                start_s = time.monotonic()
                client.sendall(proxy_header.v1(('192.0.2.7', 1), ('192.0.2.8', 2)) + b'payload')
                late.sendall(b'PROXY TCP4')
                self.outlast(TIMEOUT_MS, start_s)
            server = backend.accept()
            self.assertEqual(server.recv_exact(7), b'payload')
            self.assert_works(client, server)
            self.assertEqual(late.recv_to_end()[1], RESET)
            proxy.wait_event('close', reason='proxy_timeout')


class Connecting(StoppedCase):
    """The first SYN is lost, the second meets the backend while sixpipe is stopped."""

    def states(self, proxy):
        rows = pathlib.Path(f'/proc/{proxy.pid}/net/tcp').read_text().splitlines()[1:]
        return {row.split()[3] for row in rows}

    def answer_while_stopped(self, proxy, here):
        start_s = time.monotonic()
        wait_until(lambda: TCP_SYN_SENT in self.states(proxy), what='a SYN')
        with proxy.stopped():
            here.ip('neighbour del 192.0.2.2 dev near0')
            wait_until(lambda: TCP_ESTABLISHED in self.states(proxy), what='the connection')
            self.outlast(CONNECT_TIMEOUT_MS, start_s)

    @contextlib.contextmanager
    def connected_while_stopped(self, limit):
        """A session whose connect succeeds while sixpipe is stopped for longer than `limit`, an option, allows."""
        with Netns() as here, Netns() as there:
            here.link_to(there)
            backend = self.backend(netns=there, host='192.0.2.2')
            here.lose_link()
            with self.sixpipe('[::1]:0', backend.address, limit, f'{CONNECT_TIMEOUT_MS}ms', '--workers', '1',
                              netns=here) as proxy:
                client = self.connect(proxy.endpoint, netns=here)
                self.answer_while_stopped(proxy, here)
                yield proxy, client, backend
                self.assertEqual(proxy.events('backend_failed') + proxy.events('backend_down'), [])

    def test_a_connect_that_succeeded(self):
        with self.connected_while_stopped('--timeout-connect') as (_, client, backend):
            self.assert_works(client, backend.accept())

    def test_a_backend_that_answered_is_not_to_blame(self):
        """--timeout-session ends the session all the same, because the session is so old."""
        with self.connected_while_stopped('--timeout-session') as (proxy, client, _):
            self.assert_reason(proxy, client, 'session_timeout')

    def test_a_check_goes_on(self):
        """The check's connect succeeded meanwhile. The backend has the whole time for its answer."""
        with Netns() as here, Netns() as there:
            here.link_to(there)
            backend = self.backend(netns=there, host='192.0.2.2')
            here.lose_link()
            with self.sixpipe('[::1]:0', backend.address, '--check-backends', '--check-expect', 'fit', '--check-send', 'x',
                              '--check-timeout', f'{CONNECT_TIMEOUT_MS}ms', '--check-interval', '1h', '--fall', '1',
                              '--rise', '1', '--metrics', '[::1]:0', netns=here) as proxy:
                self.answer_while_stopped(proxy, here)
                check = backend.accept()
                self.assertEqual(check.recv_exact(1), b'x')
                check.sendall(b'fit')
                self.assertEqual(check.recv_to_end()[0], b'')
                self.assertEqual(proxy.events('backend_down'), [])
                self.assertEqual(here.run(self.samples, proxy)['sixpipe_checks_failed_total'], 0)


if __name__ == '__main__':
    unittest.main()
