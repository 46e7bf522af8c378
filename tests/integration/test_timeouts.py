# SPDX-License-Identifier: MIT
"""Timeouts: each ends a session with its own reason and a RST to both sides. 0 means never. Traffic restarts them.

test_backends.py tests --timeout-connect, in a network that does not answer.
"""

import contextlib
import time
import unittest

from harness import SANITIZE, Case
from netns import Netns
from peers import EOF, RESET

TIMEOUT_MS = 800 if SANITIZE else 400
SHORT = f'{TIMEOUT_MS}ms'
LATEST_MS = TIMEOUT_MS + 3000


class TimeoutCase(Case):

    def assert_timed_out(self, proxy, client, reason):
        close = self.assert_reason(proxy, client, reason)
        self.assertGreaterEqual(close.int('duration_ms'), TIMEOUT_MS - 20)
        self.assertLess(close.int('duration_ms'), LATEST_MS)
        return close


    def fill(self, peer, quiet_s):
        """Sends until nothing more can be sent. On a slow machine the timeout may come first."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self.assertGreater(peer.send_until_full(bytes(64 << 20), quiet_s=quiet_s), 0)


class Idle(TimeoutCase):

    def test_silent_session_is_reset(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assertEqual(server.recv_to_end(), (b'', RESET))
            self.assert_timed_out(proxy, client, 'idle_timeout')

    def test_traffic_either_way_refreshes_it(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', SHORT) as proxy:
            for name in ('up', 'down'):
                with self.subTest(direction=name):
                    client, server = self.pair(proxy, backend)
                    source, target = (client, server) if name == 'up' else (server, client)
                    end_s = time.monotonic() + 3 * TIMEOUT_MS / 1000
                    while time.monotonic() < end_s:
                        source.sendall(b'.')
                        self.assertEqual(target.recv_exact(1), b'.')
                        time.sleep(TIMEOUT_MS / 8000)
                    self.assertEqual(source.recv_to_end(), (b'', RESET))
                    close = self.assert_reason(proxy, client, 'idle_timeout')
                    self.assertGreaterEqual(close.int('duration_ms'), 3.8 * TIMEOUT_MS)

    def test_counts_a_reader_that_stalls_as_silence(self):
        """A session whose bytes wait and do not move is idle too."""
        backend = self.backend(rcvbuf=4096)
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            self.fill(client, quiet_s=0.2)
            self.assert_reason(proxy, client, 'idle_timeout')
            self.assertEqual(server.recv_to_end()[1], RESET)

    def test_many_at_once(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', SHORT) as proxy:
            clients = [self.pair(proxy, backend)[0] for _ in range(200)]
            for client in clients:
                self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.wait_events('close', len(clients), reason='idle_timeout')


class HalfClosed(TimeoutCase):

    def check_fin_timeout(self, option, by_client, others=()):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, option, SHORT, *others) as proxy:
            client, server = self.pair(proxy, backend)
            first, second = (client, server) if by_client else (server, client)
            self.assertTrue(client.is_silent(1.3 * TIMEOUT_MS / 1000), 'the timeout begins at the FIN')
            first.finish_sending()
            self.assertEqual(second.recv_to_end(), (b'', EOF))
            self.assertEqual(first.recv_to_end(), (b'', RESET))
            self.assertNotEqual(second.wait_error(), 0)
            close = self.assert_reason(proxy, client, 'client_fin_timeout' if by_client else 'server_fin_timeout')
            self.assertGreaterEqual(close.int('duration_ms'), 2.3 * TIMEOUT_MS - 40)

    def test_after_the_fin_of_the_client(self):
        self.check_fin_timeout('--timeout-client-fin', True)

    def test_after_the_fin_of_the_backend(self):
        self.check_fin_timeout('--timeout-server-fin', False)

    def test_the_other_fin_timeout_does_not_matter(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-server-fin', '50ms') as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            self.assertTrue(client.is_silent(0.4))
            server.sendall(b'late')
            server.close()
            self.assertEqual(client.recv_to_end(), (b'late', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_after_a_fin_its_timeout_replaces_the_idle_one(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-idle', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            self.assertTrue(client.is_silent(2.5 * TIMEOUT_MS / 1000))
            server.sendall(b'took its time')
            server.close()
            self.assertEqual(client.recv_to_end(), (b'took its time', EOF))
            self.assert_reason(proxy, client, 'done')

    def test_traffic_refreshes_it(self):
        """A long answer after the client's FIN is not silence."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-client-fin', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            end_s = time.monotonic() + 3 * TIMEOUT_MS / 1000
            while time.monotonic() < end_s:
                server.sendall(b'.')
                self.assertEqual(client.recv_exact(1), b'.')
                time.sleep(TIMEOUT_MS / 8000)
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assert_reason(proxy, client, 'done')


class Life(TimeoutCase):
    """--timeout-session ends a session in any state, whatever it moves."""

    def test_a_busy_session_ends(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-session', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            sent = 0
            try:
                for sent in range(1, 1_000_000):
                    client.sendall(b'.')
                    self.assertEqual(server.recv_exact(1), b'.')
                    time.sleep(TIMEOUT_MS / 20_000)
            except OSError:
                pass
            self.assertGreater(sent, 4)
            self.assert_timed_out(proxy, client, 'session_timeout')

    def test_a_silent_session_ends(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-session', SHORT, '--timeout-idle', '0') as proxy:
            client, server = self.pair(proxy, backend)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assertEqual(server.recv_to_end(), (b'', RESET))
            self.assert_timed_out(proxy, client, 'session_timeout')

    def test_a_half_closed_session_ends(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-session', SHORT) as proxy:
            client, server = self.pair(proxy, backend)
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assert_timed_out(proxy, client, 'session_timeout')

    def test_a_session_that_waits_for_its_header(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-session', SHORT, '--timeout-proxy', '0',
                          '--accept-proxy', '--trust', '::1') as proxy:
            client = self.connect(proxy.endpoint)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assert_timed_out(proxy, client, 'session_timeout')

    def test_a_session_that_is_connecting(self):
        with Netns() as netns:
            hole = netns.add_black_hole()
            with self.sixpipe('[::1]:0', f'{hole}:9', '--timeout-session', SHORT, '--timeout-connect', '0',
                              netns=netns) as proxy:
                client = self.connect(proxy.endpoint, netns=netns)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_timed_out(proxy, client, 'session_timeout')

    def test_a_silent_backend_goes_down(self):
        with Netns() as netns:
            hole = netns.add_black_hole()
            backend = self.backend(netns=netns)
            with self.sixpipe('[::1]:0', f'{hole}:9', backend.address, '--timeout-session', SHORT,
                              netns=netns) as proxy:
                client = self.connect(proxy.endpoint, netns=netns)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_timed_out(proxy, client, 'session_timeout')
                self.assertEqual(proxy.wait_event('backend_down')['backend'], f'{hole}:9')
                for _ in range(2):
                    self.connect(proxy.endpoint, netns=netns)
                    backend.accept()

    def test_a_session_that_only_delivers(self):
        """The client has gone and the backend does not read its last bytes: this session ends by the limit too."""
        backend = self.backend(rcvbuf=4096)
        with self.sixpipe('[::1]:0', backend.address, '--timeout-session', '1500ms') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(bytes(200_000))
            client.wait_acked()
            client.reset()
            close = self.assert_reason(proxy, client, 'client_reset')
            self.assertGreaterEqual(close.int('duration_ms'), 1490)
            self.assertEqual(server.recv_to_end()[1], RESET)


class Write(TimeoutCase):
    """--timeout-write: bytes wait for a peer that takes none, whatever moves in the other direction."""

    def check_stall(self, reader_is_client, *args):
        backend = self.backend(rcvbuf=4096)
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', SHORT, *args) as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=4096)
            stalled, other = (client, server) if reader_is_client else (server, client)
            self.fill(other, quiet_s=0.1)
            try:
                while True:  # the other direction is not idle
                    stalled.sendall(b'.')
                    self.assertIn(other.recv(1), (b'.', b''))
                    time.sleep(TIMEOUT_MS / 20_000)
            except OSError:
                pass
            close = self.assert_reason(proxy, client, 'client_stalled' if reader_is_client else 'backend_stalled')
            self.assertGreaterEqual(close.int('duration_ms'), TIMEOUT_MS - 20)
            self.assertLess(close.int('duration_ms'), LATEST_MS + 5000)

    def test_client_that_does_not_read(self):
        self.check_stall(True)

    def test_backend_that_does_not_read(self):
        self.check_stall(False)

    def test_little_that_waits_in_the_socket_alone(self):
        """All bytes of the backend are in the client's socket already, and stay there."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', SHORT) as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=4096)
            server.sendall(bytes(60_000))
            server.wait_acked()
            self.assert_reason(proxy, client, 'client_stalled')
            self.assertEqual(server.recv_to_end(), (b'', RESET))

    def test_bytes_have_the_whole_time(self):
        """Bytes have the whole time even if they come just before sixpipe looks at the socket."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', SHORT) as proxy:
            for part in (0.1, 0.5, 0.95):
                client, server = self.pair(proxy, backend, rcvbuf=4096)
                time.sleep(part * TIMEOUT_MS / 4000)
                start_s = time.monotonic()
                server.sendall(bytes(60_000))
                self.assert_reason(proxy, client, 'client_stalled')
                self.assertGreaterEqual(time.monotonic() - start_s, TIMEOUT_MS / 1000 - 0.02)

    def test_a_stall_after_a_fin(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', SHORT) as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=4096)
            server.sendall(bytes(60_000))
            server.finish_sending()
            self.assert_reason(proxy, client, 'client_stalled')

    def test_a_slow_reader_is_not_stalled(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', SHORT) as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=4096)
            server.sendall(bytes(100_000))
            server.finish_sending()
            got, end = client.recv_to_end(piece=4096, pause_s=TIMEOUT_MS / 8000)
            self.assertEqual((len(got), end), (100_000, EOF))
            client.finish_sending()
            close = self.assert_reason(proxy, client, 'done')
            self.assertGreater(close.int('duration_ms'), 2 * TIMEOUT_MS)

    def test_silence_is_not_a_stall(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', '100ms') as proxy:
            client, server = self.pair(proxy, backend)
            for _ in range(2):
                client.sendall(b'ping')
                self.assertEqual(server.recv_exact(4), b'ping')
                self.assertTrue(client.is_silent(0.5))

    def test_the_idle_timeout_keeps_its_meaning(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--timeout-write', '100ms', '--timeout-idle', SHORT) as proxy:
            client, _ = self.pair(proxy, backend)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            self.assert_timed_out(proxy, client, 'idle_timeout')


class Never(TimeoutCase):

    def test_zero_is_never(self):
        backend = self.backend()
        zeros = [f'--timeout-{name}=0' for name in ('connect', 'idle', 'client-fin', 'server-fin', 'session', 'write')]
        with self.sixpipe('[::1]:0', backend.address, *zeros) as proxy:
            client, server = self.pair(proxy, backend)
            self.assertTrue(client.is_silent(1))
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            self.assertTrue(client.is_silent(1))
            server.sendall(b'after all')
            server.close()
            self.assertEqual(client.recv_to_end(), (b'after all', EOF))
            self.assert_reason(proxy, client, 'done')


class LostPeer(TimeoutCase):
    """A peer that disappears without a packet while bytes wait for it. (Keepalive, for a peer without waiting bytes,
    takes 45 s.)"""

    def test_backend_that_acknowledges_no_more(self):
        with Netns() as here, Netns() as there:
            here.link_to(there)
            backend = self.backend(netns=there, host='192.0.2.2')
            with self.sixpipe('[::1]:0', backend.address, '--user-timeout', SHORT, netns=here) as proxy:
                client, server = self.pair(proxy, backend, netns=here)
                client.sendall(b'heard')
                self.assertEqual(server.recv_exact(5), b'heard')
                here.lose_link()
                client.sendall(b'not heard')
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'backend_lost')

    def test_client_that_acknowledges_no_more(self):
        with Netns() as here, Netns() as there:
            here.link_to(there)
            backend = self.backend(netns=here)
            with self.sixpipe('[2001:db8::1]:0', backend.address, '--user-timeout', SHORT, netns=here) as proxy:
                client, server = self.pair(proxy, backend, netns=there)
                server.sendall(b'heard')
                self.assertEqual(client.recv_exact(5), b'heard')
                here.lose_link()
                server.sendall(b'not heard')
                self.assertEqual(server.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'client_lost')


if __name__ == '__main__':
    unittest.main()
