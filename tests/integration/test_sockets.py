# SPDX-License-Identifier: MIT
"""What the options about sockets and listeners set, read from sixpipe's own sockets.

The tests copy the sockets out of the running process by pidfd_getfd(2), which needs the right to trace the process.
"""

import contextlib
import ctypes
import os
import pathlib
import socket
import struct
import unittest

from harness import Case, wait_until
from netns import Netns
from peers import EOF, PATIENCE_S, RESET, endpoint_name, free_ports

SYS_PIDFD_GETFD = 438
IP_LOCAL_PORT_RANGE = 51
MSG_FASTOPEN = 0x20000000
TCPI_OPT_SYN_DATA = 32

TCP = socket.IPPROTO_TCP
SOL = socket.SOL_SOCKET
GOOD = ('[::1]:0', '127.0.0.1:9')


def set_sysctl(netns, name, value):
    """Sets a sysctl of the namespace only, from the namespace's thread."""
    def write():
        (pathlib.Path('/proc/sys') / name.replace('.', '/')).write_text(value)
    try:
        netns.run(write)
    except OSError as error:
        raise unittest.SkipTest(f'{name}={value}: {error}') from None


def read_sysctl(name):
    return (pathlib.Path('/proc/sys') / name.replace('.', '/')).read_text().strip()


class SocketCase(Case):

    def sockets_of(self, proxy):
        """Duplicates of all of sixpipe's TCP sockets."""
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(proxy.pid)
        self.addCleanup(os.close, pidfd)
        found = []
        for name in os.listdir(f'/proc/{proxy.pid}/fd'):
            if not os.readlink(f'/proc/{proxy.pid}/fd/{name}').startswith('socket:'):
                continue
            fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0:
                self.skipTest(f'pidfd_getfd: {os.strerror(ctypes.get_errno())}')
            found.append(self.adopt(socket.socket(fileno=fd)))
        return [one for one in found if one.family in (socket.AF_INET, socket.AF_INET6)]

    def ends_of(self, proxy, client, backend):
        """sixpipe's listener, its socket for this client, and the one towards the backend."""
        listener = accepted = towards = None
        for one in self.sockets_of(proxy):
            if one.getsockopt(SOL, socket.SO_ACCEPTCONN):
                listener = one
            elif endpoint_name(one.getpeername()) == client.name:
                accepted = one
            elif endpoint_name(one.getpeername()) == backend.address:
                towards = one
        self.assertTrue(listener and accepted and towards)
        return listener, accepted, towards

    def run_pair(self, *args, check, **options):
        """Runs a session with these options, moves bytes, and calls `check` with the three sockets."""
        backend = self.backend(**{key: value for key, value in options.items() if key == 'netns'})
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1', *args, **options) as proxy:
            client, server = self.pair(proxy, backend, **options)
            self.exchange(client, server)
            check(*self.ends_of(proxy, client, backend))
            self.close_copies()

    def close_copies(self):
        """Closes the duplicates, which would keep connections open."""
        for one in list(self.peers()):
            if type(one) is socket.socket:
                one.close()

    def exchange(self, client, server):
        client.sendall(b'up' * 30_000)
        self.assertEqual(server.recv_exact(60_000), b'up' * 30_000)
        server.sendall(b'down' * 30_000)
        self.assertEqual(client.recv_exact(120_000), b'down' * 30_000)


class Tuning(SocketCase):

    def test_keepalive(self):
        def check(_, accepted, towards):
            for one in (accepted, towards):
                self.assertEqual(one.getsockopt(SOL, socket.SO_KEEPALIVE), 1)
                self.assertEqual(one.getsockopt(TCP, socket.TCP_KEEPIDLE), 70)
                self.assertEqual(one.getsockopt(TCP, socket.TCP_KEEPINTVL), 7)
                self.assertEqual(one.getsockopt(TCP, socket.TCP_KEEPCNT), 9)
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1', '--keepalive', '70s',
                          '--keepalive-interval', '7s', '--keepalive-count', '9') as proxy:
            client, server = self.pair(proxy, backend)
            self.assertTrue(client.is_silent(1.5), 'backends get keepalive after a second')
            check(*self.ends_of(proxy, client, backend))
            self.close_peers()

    def test_nodelay(self):
        """TCP_NODELAY: from the start towards clients, from the second message on towards backends."""
        rows = {'short': ([], b'short', 0), 'long': ([], b'l' * 5000, 1), 'with a header': (['--send-proxy', 'v1'], b'?', 1)}
        for name, (options, message, at_once) in rows.items():
            with self.subTest(name):
                backend = self.backend()
                with self.sixpipe('[::1]:0', backend.address, '--workers', '1', *options) as proxy:
                    client, server = self.pair(proxy, backend)
                    if options:
                        while not server.recv_exact(1) == b'\n':
                            pass
                    client.sendall(message)
                    self.assertEqual(server.recv_exact(len(message)), message)
                    _, accepted, towards = self.ends_of(proxy, client, backend)
                    self.assertTrue(accepted.getsockopt(TCP, socket.TCP_NODELAY))
                    wait_until(lambda: bool(towards.getsockopt(TCP, socket.TCP_NODELAY)) == bool(at_once))
                    client.sendall(b'second')
                    self.assertEqual(server.recv_exact(6), b'second')
                    wait_until(lambda: towards.getsockopt(TCP, socket.TCP_NODELAY))
                    self.close_copies()

    def test_tos(self):
        def check(_, accepted, towards):
            self.assertEqual(accepted.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS), 0xb8)
            self.assertEqual(towards.getsockopt(socket.IPPROTO_IP, socket.IP_TOS), 0xb8)
        self.run_pair('--tos', 'ef', check=check)

    def test_congestion(self):
        def check(listener, accepted, towards):
            for one in (listener, accepted, towards):
                name = one.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b'\0')
                self.assertEqual(name, b'reno')
        self.run_pair('--congestion', 'reno', check=check)

    def test_buffers(self):
        def check(_, accepted, towards):
            for one in (accepted, towards):
                self.assertEqual(one.getsockopt(SOL, socket.SO_SNDBUF), 2 * 32768)
                self.assertEqual(one.getsockopt(SOL, socket.SO_RCVBUF), 2 * 16384)
        self.run_pair('--sndbuf', '32KiB', '--rcvbuf', '16KiB', check=check)

    def test_the_smallest_buffers_move_bytes_too(self):
        self.run_pair('--sndbuf', '4KiB', '--rcvbuf', '4KiB', check=lambda *_: None)

    def test_each_forward_has_its_own(self):
        backend = self.backend()
        with self.sixpipe('--workers', '1', '--tos', 'cs1', '--listen', '[::1]:0', '--backend', backend.address,
                          '--tos', 'cs2', '--listen', '[::1]:0', '--backend', backend.address) as proxy:
            seen = {}
            for one in self.sockets_of(proxy):
                if one.family == socket.AF_INET6:
                    seen[one.getsockname()[1]] = one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
            self.assertEqual([seen[port] for _, port in proxy.endpoints], [0x40, 0x20])
            self.close_peers()

    def test_source_port_range(self):
        """In a namespace, where no other program uses the ports."""
        with Netns() as netns:
            backend = self.backend(netns=netns, port=2000)
            with self.sixpipe('[::1]:2001', backend.address, '--source-port-range', '40000-40009', netns=netns) as proxy:
                for _ in range(10):
                    _, server = self.pair(proxy, backend, netns=netns)
                    self.assertIn(int(server.remote.rpartition(':')[2]), range(40000, 40010))
                with proxy.stopped():  # otherwise the RST might come before connect() returns
                    late = self.connect(proxy.endpoint, netns=netns)
                self.assertEqual(late.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, late, 'connect_failed')


class Listeners(SocketCase):

    def test_mark(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')
        def check(listener, accepted, towards):
            self.assertEqual(listener.getsockopt(SOL, socket.SO_MARK), 0x2a)
            self.assertEqual(accepted.getsockopt(SOL, socket.SO_MARK), 0x2a)
            self.assertEqual(towards.getsockopt(SOL, socket.SO_MARK), 0)
        self.run_pair('--mark', '0x2a', check=check)

    def test_bind_device(self):
        with Netns() as netns:
            netns.ip('link add there0 type veth peer name there1')
            netns.ip('link set there0 up')
            backend = self.backend(netns=netns)
            with self.sixpipe('--workers', '1', '--listen', '[::]:0', '--backend', backend.address,
                              '--bind-device', 'lo', '--listen', '[::]:0', '--backend', backend.address,
                              '--bind-device', 'there0', netns=netns) as proxy:
                near, far = (('::1', port) for _, port in proxy.endpoints)
                client = self.connect(near, netns=netns)
                self.exchange(client, backend.accept())
                with self.assertRaises(ConnectionRefusedError):
                    self.connect(far, netns=netns)

    def test_defer_accept(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--defer-accept', '10s') as proxy:
            client = self.connect(proxy.endpoint)
            self.assertFalse(backend.has_waiting(0.3), 'the client has sent nothing yet')
            client.sendall(b'hello')
            self.assertEqual(backend.accept().recv_exact(5), b'hello')

    def test_fastopen(self):
        with Netns() as netns:
            set_sysctl(netns, 'net.ipv4.tcp_fastopen', '3')
            backend = self.backend(netns=netns)
            with self.sixpipe('[::1]:0', backend.address, '--fastopen', '16', '--workers', '1',
                              netns=netns) as proxy:
                got = [self.open_fast(netns, proxy.endpoint, backend) for _ in range(2)]
                self.assertEqual(got, [False, True], 'the first connection fetches the cookie')

    def open_fast(self, netns, endpoint, backend):
        """Connects with bytes in the SYN. Returns whether the peer took these bytes."""
        def connect():
            client = self.adopt(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
            client.sendto(b'first', MSG_FASTOPEN, endpoint)
            client.settimeout(PATIENCE_S)
            return client
        client = netns.run(connect)
        server = backend.accept()
        self.assertEqual(server.recv_exact(5), b'first')
        server.sendall(b'answer')
        self.assertEqual(client.recv(6), b'answer')
        options = client.getsockopt(TCP, socket.TCP_INFO, 8)[5]
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(server.recv_to_end(), (b'', EOF))
        server.close()
        self.assertEqual(client.recv(1), b'')
        client.close()
        return bool(options & TCPI_OPT_SYN_DATA)

    def test_backlog(self):
        """Each listener has its own backlog. ss(8) shows the backlog as the send queue."""
        backend = self.backend()
        with self.sixpipe('--workers', '1', '--backlog', '50', '--listen', '[::1]:0', '--backend', backend.address,
                          '--listen', '[::1]:0', '--backend', backend.address, '--backlog', '7') as proxy:
            self.assertEqual(proxy.wait_event('limits')['backlog'], '50')
            limits = {}
            for one in self.sockets_of(proxy):
                if one.getsockopt(SOL, socket.SO_ACCEPTCONN):
                    # a listener's backlog is tcpi_sacked, its waiting connections tcpi_unacked: tcp_get_info()
                    info = one.getsockopt(TCP, socket.TCP_INFO, 104)
                    limits[one.getsockname()[1]] = struct.unpack_from('I', info, 28)[0]
            self.assertEqual([limits[port] for _, port in proxy.endpoints], [50, 7])
            self.close_peers()


class DualStack(SocketCase):

    def test_both_families(self):
        backend = self.backend()
        with self.sixpipe('[::]:0', backend.address, '--dual-stack') as proxy:
            port = proxy.endpoint[1]
            for host in ('127.0.0.1', '::1'):
                client = self.connect((host, port))
                self.exchange(client, backend.accept())
                client.reset()
                close = proxy.close_of(client)
                self.assertEqual(close['client'], client.name, 'in the form of its own family')

    def test_tos_of_ipv4_clients(self):
        backend = self.backend()
        with self.sixpipe('[::]:0', backend.address, '--dual-stack', '--tos', 'cs3', '--workers', '1') as proxy:
            client = self.connect(('127.0.0.1', proxy.endpoint[1]))
            self.exchange(client, backend.accept())
            tos = [one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) for one in self.sockets_of(proxy)]
            self.assertEqual(set(tos), {0x60})
            self.close_peers()

    def test_proxy_header_of_an_ipv4_client(self):
        backend = self.backend()
        with self.sixpipe('[::]:0', backend.address, '--dual-stack', '--send-proxy', 'v1') as proxy:
            port = proxy.endpoint[1]
            client = self.connect(('127.0.0.1', port))
            own = client.getsockname()[1]
            expected = f'PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\n'.encode()
            self.assertEqual(backend.accept().recv_exact(len(expected)), expected)

    def test_without_dual_stack_the_ipv4_port_is_free(self):
        backend = self.backend()
        with self.sixpipe('[::]:0', backend.address) as proxy:
            with contextlib.closing(socket.create_server(('127.0.0.1', proxy.endpoint[1]))):
                pass


class PortRanges(SocketCase):

    def test_to_a_range(self):
        first = free_ports(6)
        backends = [self.backend(port=first + 3 + i) for i in range(3)]
        with self.sixpipe(f'[::1]:{first}-{first + 2}', f'127.0.0.1:{first + 3}-{first + 5}') as proxy:
            self.assertEqual([port for _, port in proxy.endpoints], [first, first + 1, first + 2])
            for endpoint, backend in zip(proxy.endpoints, backends):
                client = self.connect(endpoint)
                self.exchange(client, backend.accept())
                client.reset()
                self.assertEqual(proxy.close_of(client)['listen'], endpoint_name(endpoint))

    def test_to_one(self):
        first = free_ports(3)
        backend = self.backend()
        with self.sixpipe(f'[::1]:{first}-{first + 2}', backend.address) as proxy:
            for endpoint in proxy.endpoints:
                client = self.connect(endpoint)
                self.exchange(client, backend.accept())


class Refused(Case):
    """An option that this host does not allow is an error at the start, and of --check."""

    per_engine = False

    def check_refused(self, *args, words):
        for more in ((), ('--check',)):
            done = self.run_sixpipe(*GOOD, *args, *more)
            self.assertEqual(done.returncode, 1, done)
            for word in words:
                self.assertIn(word, done.stderr)

    def test_by_the_host(self):
        allowed = read_sysctl('net.ipv4.tcp_allowed_congestion_control')
        self.check_refused('--congestion', 'no-such', words=('--congestion', "'no-such'", allowed))
        self.check_refused('--bind-device', 'no-such', words=('--bind-device', "'no-such'", 'ip link'))
        self.check_refused('--source-port-range', '1-2', words=('--source-port-range', 'ip_local_port_range'))
        self.check_refused('--sndbuf', '1GiB', words=('--sndbuf', "'1GiB'", 'net.core.wmem_max'))
        self.check_refused('--rcvbuf', '1GiB', words=('--rcvbuf', "'1GiB'", 'net.core.rmem_max'))

    def test_mark_without_the_right(self):
        if os.geteuid() != 0:
            self.check_refused('--mark', '1', words=('--mark', 'CAP_NET_ADMIN'))
            return
        done = self.run_sixpipe(*GOOD, '--mark', '1', user=65534, group=65534, extra_groups=[])
        self.assertEqual(done.returncode, 1, done)
        self.assertIn('CAP_NET_ADMIN', done.stderr)

    def test_fastopen_without_the_sysctl(self):
        with Netns() as netns:
            set_sysctl(netns, 'net.ipv4.tcp_fastopen', '1')
            done = netns.run(self.run_sixpipe, *GOOD, '--fastopen', '5')
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('net.ipv4.tcp_fastopen=3', done.stderr)


if __name__ == '__main__':
    unittest.main()
