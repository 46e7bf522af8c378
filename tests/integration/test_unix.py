# SPDX-License-Identifier: MIT
"""Local sockets, unix(7), on either side: all pairs of families, the file of a listener, and differences from TCP."""

import contextlib
import os
import pwd
import random
import socket
import stat
import tempfile
import threading
import time
import unittest

from harness import Case
from peers import EOF, RESET

FAMILIES = ('ipv6', 'ipv4', 'unix')


class UnixCase(Case):

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.numbers = iter(range(1000))

    def path(self):
        return f'{self.directory}/{next(self.numbers)}'

    def listen_text(self, family):
        return {'ipv6': '[::1]:0', 'ipv4': '127.0.0.1:0', 'unix': f'unix:{self.path()}'}[family]

    def backend_of(self, family, **options):
        host = {'ipv6': '::1', 'ipv4': '127.0.0.1', 'unix': self.path()}[family]
        return self.backend(host=host, **options)

    def each_pair(self, *args):
        """Yields a running sixpipe and its backend for each of the nine pairs of families."""
        for front in FAMILIES:
            for back in FAMILIES:
                with self.subTest(client=front, backend=back):
                    backend = self.backend_of(back)
                    with self.sixpipe(self.listen_text(front), backend.address, *args) as proxy:
                        yield proxy, backend, front, back

    def only_close(self, proxy):
        return proxy.wait_event('close')


class Pairs(UnixCase):

    def test_bytes_both_ways_at_once(self):
        source = random.Random(6)
        up, down = source.randbytes(3_000_000), source.randbytes(2_000_000)
        for proxy, backend, front, back in self.each_pair():
            client, server = self.pair(proxy, backend)

            def send(peer, data):
                peer.sendall(data)
                peer.finish_sending()
            threads = [threading.Thread(target=send, args=pair) for pair in ((client, up), (server, down))]
            reader = {}
            threads.append(threading.Thread(target=lambda: reader.update(up=server.recv_to_end())))
            for thread in threads:
                thread.start()
            self.assertTrue(client.recv_to_end() == (down, EOF), 'bytes that the client got')
            for thread in threads:
                thread.join()
            self.assertTrue(reader['up'] == (up, EOF), 'bytes that the backend got')
            close = self.only_close(proxy)
            self.assertEqual(close['reason'], 'done')
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (len(up), len(down)))
            self.assertEqual(close['client'] == 'unix', front == 'unix')
            self.assertEqual(close['source'] == 'unix', back == 'unix')
            self.assertEqual(close['backend'], backend.address)

    def test_small_messages(self):
        for proxy, backend, *_ in self.each_pair():
            client, server = self.pair(proxy, backend)
            for number in range(300):
                client.sendall(b'%d' % number)
                self.assertEqual(server.recv_exact(len(b'%d' % number)), b'%d' % number)
                server.sendall(b'.')
                self.assertEqual(client.recv_exact(1), b'.')

    def test_half_close(self):
        for proxy, backend, *_ in self.each_pair():
            for first_is_client in (True, False):
                client, server = self.pair(proxy, backend)
                first, second = (client, server) if first_is_client else (server, client)
                first.sendall(b'question')
                first.finish_sending()
                self.assertEqual(second.recv_to_end(), (b'question', EOF))
                self.assertTrue(first.is_silent(0.15), 'after the short guard time of half-closed sessions')
                second.sendall(b'answer' * 20_000)
                second.close()
                self.assertEqual(first.recv_to_end(), (b'answer' * 20_000, EOF))
            self.assertEqual([close['reason'] for close in proxy.wait_events('close', 2)], ['done'] * 2)

    def test_abort(self):
        """A TCP peer sends a RST. A local peer closes with unread bytes, which means the same."""
        for proxy, backend, front, back in self.each_pair():
            for by_client in (True, False):
                client, server = self.pair(proxy, backend)
                loser, other = (client, server) if by_client else (server, client)
                loser.sendall(b'last words')
                self.assertEqual(other.recv_exact(10), b'last words')
                other.sendall(b'unread')
                while loser.is_silent(0):
                    pass
                loser.reset()
                got, end = other.recv_to_end()
                self.assertEqual(got, b'')
                # a local peer sees the end of the stream instead of a RST
                self.assertEqual(end, EOF if (back if by_client else front) == 'unix' else RESET)
            reasons = sorted(close['reason'] for close in proxy.wait_events('close', 2))
            self.assertEqual(reasons, ['backend_reset', 'client_reset'])

    def test_everything_arrives_before_an_abort(self):
        for proxy, backend, front, _ in self.each_pair():
            client, server = self.pair(proxy, backend)
            server.sendall(b'unread')
            while client.is_silent(0):
                pass
            client.sendall(b'x' * 100_000)
            if front != 'unix':
                client.wait_acked()
            client.reset()
            got, _ = server.recv_to_end()
            self.assertEqual(len(got), 100_000)

    def test_stalled_reader_costs_no_cpu(self):
        for proxy, backend, *_ in self.each_pair():
            client, server = self.pair(proxy, backend)
            sent = client.send_until_full(bytes(128 << 20), quiet_s=0.15)
            self.assertLess(sent, 128 << 20)
            self.assert_idle_cpu(proxy, 0.2, limit=0.1)
            client.finish_sending()
            got, end = server.recv_to_end()
            self.assertEqual((len(got), end), (sent, EOF))

    def test_idle_timeout(self):
        for proxy, backend, front, back in self.each_pair('--timeout-idle', '150ms'):
            client, server = self.pair(proxy, backend)
            self.assertEqual(client.recv_to_end(), (b'', EOF if front == 'unix' else RESET))
            self.assertEqual(server.recv_to_end(), (b'', EOF if back == 'unix' else RESET))
            self.assertEqual(self.only_close(proxy)['reason'], 'idle_timeout')

    def test_write_timeout(self):
        for proxy, backend, *_ in self.each_pair('--timeout-write', '200ms'):
            client, _ = self.pair(proxy, backend)
            with contextlib.suppress(OSError):  # a RST, or the end of the other direction
                while True:
                    client.sendall(bytes(1 << 16))
            self.assertEqual(self.only_close(proxy)['reason'], 'backend_stalled')


class Extras(UnixCase):
    """Features of local sockets only."""

    def test_urgent_bytes_stay_in_the_stream(self):
        for proxy, backend, front, back in self.each_pair():
            client, server = self.pair(proxy, backend)
            for source, target, family in ((client, server, front), (server, client, back)):
                if family != 'unix':
                    continue
                source.sendall(b'A')
                self.assertEqual(target.recv_exact(1), b'A')
                try:
                    source.send(b'B', socket.MSG_OOB)
                except OSError as error:
                    self.skipTest(f'this kernel has no urgent bytes there: {error}')
                source.sendall(b'C')
                self.assertEqual(target.recv_exact(2), b'BC')
            self.close_peers()

    def test_an_urgent_byte_costs_no_cpu(self):
        backend = self.backend_of('ipv4')
        with self.sixpipe(self.listen_text('unix'), backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            try:
                client.send(b'!', socket.MSG_OOB)
            except OSError as error:
                self.skipTest(f'this kernel has no urgent bytes there: {error}')
            self.assertEqual(server.recv_exact(1), b'!')
            self.assert_idle_cpu(proxy)

    def test_messages_with_descriptors(self):
        """A read stops at each such message. The bytes are passed on at once, the descriptors are not."""
        backend = self.backend_of('ipv4')
        with self.sixpipe(self.listen_text('unix'), backend.address) as proxy, open(os.devnull, 'rb') as file:
            client, server = self.pair(proxy, backend)
            server.no_delay()

            def exchange():
                start_s = time.monotonic()
                for _ in range(8):
                    socket.send_fds(client, [b'x' * 100], [file.fileno()])
                server.recv_exact(800)
                server.sendall(b'.')
                client.recv_exact(1)
                return time.monotonic() - start_s
            times_s = [exchange() for _ in range(12)]
            self.assertLess(min(times_s[2:]), 0.04, times_s)


class Listener(UnixCase):

    def test_file_is_made_with_its_mode_and_removed(self):
        for option, mode in (((), 0o666), (('--unix-mode', '0600'), 0o600), (('--unix-mode', '660'), 0o660)):
            with self.subTest(option=option):
                path, backend = self.path(), self.backend()
                with self.sixpipe(f'unix:{path}', backend.address, *option) as proxy:
                    self.assertEqual(proxy.ready['listen'], f'unix:{path}')
                    status = os.stat(path)
                    self.assertTrue(stat.S_ISSOCK(status.st_mode))
                    self.assertEqual(stat.S_IMODE(status.st_mode), mode)
                self.assertFalse(os.path.lexists(path))

    def test_file_belongs_to_the_user(self):
        """Owner and mode of the file decide which users may connect."""
        if os.geteuid() != 0:
            self.skipTest('needs root')
        nobody = pwd.getpwnam('nobody')
        os.chmod(self.directory, 0o755)
        backend, path = self.backend(), self.path()
        with self.sixpipe(f'unix:{path}', backend.address, '--user', 'nobody', '--unix-mode', '0660') as proxy:
            status = os.stat(path)
            self.assertEqual((status.st_uid, status.st_gid), (nobody.pw_uid, nobody.pw_gid))
            self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)
            self.pair(proxy, backend)

    def test_backend_that_the_user_may_not_write_to(self):
        """The remedy names the permission, not the routing table."""
        if os.geteuid() != 0:
            self.skipTest('needs root')
        os.chmod(self.directory, 0o755)
        path = self.path()
        backend = self.backend(host=path)
        os.chmod(path, 0o600)
        with self.sixpipe('[::1]:0', backend.address, '--user', 'nobody') as proxy:
            with contextlib.suppress(ConnectionResetError):  # the RST may come before connect(2) returns
                self.connect(proxy.endpoint)
            remedy = proxy.wait_event('backend_failed')['remedy']
            self.assertIn('may not write to this socket', remedy)
            self.assertNotIn('ip route', remedy)

    def test_stale_file_is_replaced(self):
        path, backend = self.path(), self.backend()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
            stale.bind(path)
        with self.sixpipe(f'unix:{path}', backend.address) as proxy:
            self.pair(proxy, backend)

    def kill(self, proxy):
        """Kills sixpipe, as a crash does. The harness checks nothing afterwards."""
        proxy.kill()
        proxy.finished = True

    def test_start_after_a_kill(self):
        """The ring of a killed process lives on for a while, and so does the listening socket."""
        taken = self.backend(host='::1')
        free = taken.address
        taken.close()
        for listen in (f'unix:{self.path()}', f'unix:@sixpipe-test-kill-{os.getpid()}', free):
            with self.subTest(listen=listen):
                backend = self.backend()
                for _ in range(4):
                    with self.sixpipe(listen, backend.address) as proxy:
                        self.kill(proxy)
                with self.sixpipe(listen, backend.address) as proxy:
                    self.pair(proxy, backend)

    def test_admin_socket_after_a_kill(self):
        backend, admin = self.backend(), f'{self.directory}/admin.sock'
        for _ in range(4):
            with self.sixpipe('[::1]:0', backend.address, '--admin', admin) as proxy:
                self.kill(proxy)
        with self.sixpipe('[::1]:0', backend.address, '--admin', admin):
            self.assertEqual(self.run_sixpipe('bans', '--admin', admin).returncode, 0)

    def test_a_look_makes_no_session(self):
        """A second start and doctor see that a process listens. That process gets no session from the look."""
        path, backend = self.path(), self.backend()
        with self.sixpipe(f'unix:{path}', backend.address) as proxy:
            self.check_refused(path)
            done = self.run_sixpipe('doctor', f'unix:{path}', backend.address)
            self.assertIn('cannot listen on', done.stdout)
            self.pair(proxy, backend)
            proxy.finish()
            self.assertEqual(len(proxy.events('close')), 1)

    def test_a_bound_socket_is_in_use(self):
        path = self.path()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(path)
            self.check_refused(path)
            other.listen()
            self.connect(path).close()

    def check_refused(self, path):
        done = self.run_sixpipe(f'unix:{path}', '127.0.0.1:9')
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f'cannot listen on unix:{path}: ', done.stderr)

    def test_a_socket_in_use_is_not_replaced(self):
        path = self.path()
        self.backend(host=path)
        self.check_refused(path)
        self.assertTrue(os.path.exists(path))

    def test_a_file_that_is_no_socket_is_not_replaced(self):
        path = self.path()
        with open(path, 'w', encoding='ascii') as file:
            file.write('precious')
        self.check_refused(path)
        with open(path, encoding='ascii') as file:
            self.assertEqual(file.read(), 'precious')

    def test_missing_directory(self):
        self.check_refused(f'{self.directory}/no/such')

    def test_a_failed_start_leaves_no_file(self):
        path, other = self.path(), self.path()
        taken = self.backend().address
        done = self.run_sixpipe('--listen', f'unix:{path}', '--backend', '127.0.0.1:9', '--listen', f'unix:{other}',
                                '--backend', '127.0.0.1:9', '--listen', taken, '--backend', '127.0.0.1:9')
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f'cannot listen on {taken}: ', done.stderr)
        self.assertEqual(os.listdir(self.directory), [])

    def test_abstract_names(self):
        name = f'sixpipe-test-{os.getpid()}'
        backend = self.backend(host=f'\0{name}-b')
        with self.sixpipe(f'unix:@{name}', f'unix:@{name}-b') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(b'ping')
            self.assertEqual(server.recv_exact(4), b'ping')
            self.assertEqual(proxy.ready['listen'], f'unix:@{name}')
            done = self.run_sixpipe(f'unix:@{name}', '127.0.0.1:9')
            self.assertEqual(done.returncode, 1, 'the name is taken')

    def test_workers_share_the_connections(self):
        backend = self.backend()
        with self.sixpipe(self.listen_text('unix'), backend.address, '--workers', '4') as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(60)]
            for client, server in pairs:
                client.sendall(b'x')
            self.assertEqual([server.recv_exact(1) for _, server in pairs], [b'x'] * 60)

    def test_maxconn_holds_there_too(self):
        backend = self.backend()
        with self.sixpipe(self.listen_text('unix'), backend.address, '--maxconn', '3', '--workers', '2') as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(3)]
            late = self.connect(proxy.endpoint)
            self.assertFalse(backend.has_waiting(0.3))
            for peer in pairs.pop():
                peer.reset()
            late.sendall(b'now')
            self.assertEqual(backend.accept().recv_exact(3), b'now')

    def test_backlog_is_served_at_term(self):
        backend = self.backend()
        with self.sixpipe(self.listen_text('unix'), backend.address, '--workers', '2') as proxy:
            with proxy.stopped():
                clients = [self.connect(proxy.endpoint) for _ in range(10)]
                for client in clients:
                    client.sendall(b'hello')
                    client.finish_sending()
                proxy.signal(15)
            for _ in clients:
                server = backend.accept()
                self.assertEqual(server.recv_to_end(), (b'hello', EOF))
                server.close()
            proxy.finish(term=False)


class Options(UnixCase):

    def test_a_missing_backend_is_passed_over(self):
        backend = self.backend_of('unix')
        stale = self.path()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as closed:
            closed.bind(stale)
        with self.sixpipe('[::1]:0', f'unix:{self.path()}', f'unix:{stale}', backend.address) as proxy:
            self.pair(proxy, backend)

    def test_options_of_tcp_are_ignored(self):
        backend = self.backend_of('unix')
        with self.sixpipe(self.listen_text('unix'), backend.address, '--keepalive', '9s', '--user-timeout', '9s',
                          '--tos', 'ef', '--defer-accept', '3s', '--sndbuf', '64KiB',
                          '--congestion', 'reno') as proxy:
            client, server = self.pair(proxy, backend)
            self.assertTrue(client.is_silent(1.3), 'keepalive is due by now')
            client.sendall(b'ping')
            self.assertEqual(server.recv_exact(4), b'ping')

    def test_proxy_header_of_a_local_client_has_no_address(self):
        for version, header in (('v1', b'PROXY UNKNOWN\r\n'), ('v2', b'\r\n\r\n\0\r\nQUIT\n\x21\0')):
            with self.subTest(version=version):
                backend = self.backend_of('unix')
                with self.sixpipe(self.listen_text('unix'), backend.address, '--send-proxy', version) as proxy:
                    _, server = self.pair(proxy, backend)
                    self.assertEqual(server.recv_exact(len(header)), header)

    def test_proxy_header_to_a_local_backend_has_the_client(self):
        backend = self.backend_of('unix')
        with self.sixpipe('127.0.0.1:0', backend.address, '--send-proxy', 'v1') as proxy:
            client, server = self.pair(proxy, backend)
            ports = client.getsockname()[1], proxy.endpoint[1]
            header = 'PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n'.format(*ports).encode()
            self.assertEqual(server.recv_exact(len(header)), header)

    def test_local_clients_cannot_be_banned(self):
        """Local clients have no address: a ban of one client would ban all."""
        backend = self.backend()
        admin = f'{self.directory}/admin.sock'
        with self.sixpipe(self.listen_text('unix'), backend.address, '--admin', admin) as proxy:
            client, server = self.pair(proxy, backend)
            for who, code, words in ((server.remote, 2, 'local socket'), ('::', 0, ''), ('::/96', 0, '')):
                done = self.run_sixpipe('ban', who, '--admin', admin)
                self.assertEqual(done.returncode, code, done)
                self.assertIn(words, done.stderr)
            client.sendall(b'still here')
            self.assertEqual(server.recv_exact(10), b'still here')
            self.pair(proxy, backend)

    def test_bad_ones_are_refused(self):
        for args, word in ((('unix:', '127.0.0.1:9'), 'unix:/path'),
                           (('unix:relative', '127.0.0.1:9'), 'unix:/path'),
                           (('[::1]:0', 'unix:/' + 'x' * 107), 'too long'),
                           (('unix:/x', 'unix:/x'), 'own address'),
                           (('[::1]:0', 'unix:/x', '--source', '::1'), 'cannot reach'),
                           (('[::1]:0', 'unix:/x', '--source', '127.0.0.1'), 'cannot reach'),
                           (('unix:/x', '127.0.0.1:9', '--accept-proxy', '--trust', '::1'), '--accept-proxy'),
                           (('unix:/x', '127.0.0.1:9', '--unix-mode', '0888'), 'octal'),
                           (('--listen', 'unix:/x', '--backend', '127.0.0.1:9', '--listen', 'unix:/x', '--backend',
                             '127.0.0.1:9'), 'given twice'),
                           (('--listen', 'unix:/tmp/x', '--backend', '127.0.0.1:9', '--listen', 'unix:/tmp/../tmp/x',
                             '--backend', '127.0.0.1:9'), 'given twice'),
                           (('unix:/tmp/x', 'unix:/tmp/./x'), 'backend of its own')):
            with self.subTest(args=args):
                done = self.run_sixpipe('--check', *args)
                self.assertEqual(done.returncode, 2, done)
                self.assertIn(word, done.stderr)


if __name__ == '__main__':
    unittest.main()
