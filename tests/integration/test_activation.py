# SPDX-License-Identifier: MIT
"""Listening sockets that a service manager passes: LISTEN is systemd:NAME."""

import os
import signal
import socket
import tempfile

from activation_case import ActivationCase
from harness import environment, wait_until
from peers import endpoint_name

WORKERS = 4


def name_of(listener):
    name = listener.getsockname()
    return endpoint_name(name[:2] if isinstance(name, tuple) else name)


class Serving(ActivationCase):

    def test_each_family(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f'{directory}/app.sock'
            for host in ('::1', '127.0.0.1', '\0sixpipe-test-activation', path):
                with self.subTest(host=host):
                    backend, listener = self.backend(), self.listen(host)
                    with self.activated([('web', listener)], 'systemd:web', backend.address) as proxy:
                        self.assertEqual(proxy.ready.all('listen'), [name_of(listener)])
                        client, server = self.pair(proxy, backend)
                        self.exchange(client, server)
                        client.close()
                        server.close()
                        self.assertEqual(proxy.wait_event('close')['listen'], name_of(listener))
                    self.assertEqual(os.path.exists(path), host == path, 'the file is the manager\'s')

    def test_many_names_and_sockets(self):
        """Sockets with one name and two addresses are two forwards; a name is not tied to a place in the list."""
        one, two = self.backend(), self.backend()
        first, second, other = self.listen(), self.listen('127.0.0.1'), self.listen()
        passed = [('many', first), ('one', other), ('many', second)]
        arguments = ('--metrics', '[::1]:0', '--listen', 'systemd:one', '--backend', one.address,
                     '--listen', 'systemd:many', '--backend', two.address)
        with self.activated(passed, *arguments) as proxy:
            self.assertEqual(proxy.ready.all('listen'), [name_of(other), name_of(first), name_of(second)])
            for endpoint, backend in zip(proxy.endpoints, (one, two, two)):
                self.exchange(self.connect(endpoint), backend.accept())
            series = ''.join(self.samples(proxy))
            for listener in (first, second, other):
                self.assertIn(f'listen="{name_of(listener)}"', series)

    def test_both_families_of_one_socket(self):
        backend, listener = self.backend(), self.listen('::', dual_stack=True)
        with self.activated([('web', listener)], '--dual-stack', 'systemd:web', backend.address) as proxy:
            port = proxy.endpoint[1]
            for host in ('::1', '127.0.0.1'):
                self.exchange(self.connect((host, port)), backend.accept())

    def test_workers_share_one_socket(self):
        """No worker has more than its share and one more, and a burst is served as a whole."""
        backend, listener = self.backend(), self.listen(backlog=256)
        arguments = ('--workers', WORKERS, '--admin', self.admin_path(), 'systemd:web', backend.address)
        with self.activated([('web', listener)], *arguments) as proxy:
            clients = [self.connect(proxy.endpoint) for _ in range(20 * WORKERS)]
            servers = [backend.accept() for _ in clients]
            for client in clients:
                client.sendall(b'x')
            self.assertEqual([server.recv_exact(1) for server in servers], [b'x'] * len(servers))
            self.assert_idle_cpu(proxy)

    def admin_path(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return f'{directory.name}/admin.sock'

    def test_a_socket_for_each_worker(self):
        """Sockets with ReusePort=yes and one address are one forward. A worker can serve several."""
        first = self.listen(reuse_port=True)
        second = self.listen(port=first.getsockname()[1], reuse_port=True)
        passed = [('web', first), ('web', second)]
        for workers in (1, 2, 3):
            backend = self.backend()
            with self.subTest(workers=workers), \
                    self.activated(passed, '--workers', workers, 'systemd:web', backend.address) as proxy:
                self.assertEqual(len(proxy.endpoints), 1)
                for _ in range(16):  # the kernel chooses the socket
                    self.exchange(*self.pair(proxy, backend))

    def test_early_clients_get_the_options(self):
        """A client that waited in the backlog before the start: its socket did not inherit sixpipe's options."""
        backend, listener = self.backend(), self.listen()
        early = [self.connect(listener.getsockname()[:2]) for _ in range(3)]
        with self.activated([('web', listener)], '--workers', 1, 'systemd:web', backend.address) as proxy:
            clients = early + [self.connect(proxy.endpoint)]
            for client in clients:
                server = backend.accept()
                client.sendall(b'A')
                self.assertEqual(server.recv_exact(1), b'A')
                client.send(b'B', socket.MSG_OOB)
                client.sendall(b'C')
                self.assertEqual(server.recv_exact(2), b'BC', 'an urgent byte stays in the stream')

    def test_backlog_holds(self):
        """--backlog replaces the backlog of the .socket unit."""
        backend, listener = self.backend(), self.listen(backlog=1)
        with self.activated([('web', listener)], '--backlog', 64, 'systemd:web', backend.address) as proxy:
            with proxy.stopped():
                clients = [self.connect(proxy.endpoint) for _ in range(40)]
            for client in clients:
                client.sendall(b'x')
            for _ in clients:
                self.assertEqual(backend.accept().recv_exact(1), b'x')


class Restart(ActivationCase):

    def test_refuses_no_client(self):
        """Clients that come during the drain and after the end wait in the backlog for the next process."""
        backend, listener = self.backend(), self.listen()
        passed, endpoint = [('web', listener)], listener.getsockname()[:2]
        arguments = ('--workers', WORKERS, 'systemd:web', backend.address)
        with self.activated(passed, *arguments) as old:
            client, server = self.pair(old, backend)
            self.exchange(client, server)
            old.signal(signal.SIGTERM)
            wait_until(lambda: not old.listeners & set(old.fd_links()), what='closing the listeners')
            waiting = [self.connect(endpoint) for _ in range(8)]
            for each in waiting:
                each.sendall(b'early')
            self.exchange(client, server)
            self.assertFalse(backend.has_waiting(0.2), 'a draining process accepts no more')
            client.close()
            server.close()
            self.peers().clear()  # not to be closed by finish()
            self.assertEqual(old.wait_exit(), 0)
            old.finished = True
            old.check_counters()
        waiting += [self.connect(endpoint) for _ in range(8)]
        with self.activated(passed, *arguments) as new:
            servers = [backend.accept() for _ in waiting]
            for each in waiting[8:]:
                each.sendall(b'later')
            received = sorted(server.recv_exact(5) for server in servers)
            self.assertEqual(received, [b'early'] * 8 + [b'later'] * 8)
            self.assertFalse(new.events('accept_failed'))
            for each in waiting:
                self.adopt(each)

    def test_after_a_crash(self):
        backend, listener = self.backend(), self.listen()
        passed = [('web', listener)]
        with self.activated(passed, 'systemd:web', backend.address) as old:
            old.process.kill()
            old.process.wait()
            old.finished = True
        client = self.connect(listener.getsockname()[:2])
        with self.activated(passed, 'systemd:web', backend.address):
            self.exchange(client, backend.accept())


class Refused(ActivationCase):

    def assert_refused(self, passed, arguments, words, code=2, **variables):
        result = self.run_activated(passed, *arguments, **variables)
        self.assertEqual((result.returncode, result.stdout), (code, ''), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def test_names(self):
        forward = ('systemd:web', '192.0.2.1:80')
        listener = self.listen()
        for passed, arguments, words, code in (
                ([], forward, ("--listen 'systemd:web'", 'no socket was passed', 'systemd-socket-activate --fdname=web'), 1),
                ([('http', listener), ('http', self.listen()), ('dns', listener)], forward, ("'http', 'dns'",), 2),
                ([('web', listener), ('http', self.listen('127.0.0.1'))], forward,
                 ("passed socket 'systemd:http' (127.0.0.1:", 'listen = systemd:http', 'remove'), 2),
                ([('web', listener)], ('[::1]:0', '192.0.2.1:80'), ("'systemd:web'", 'no forward'), 2),
                ([('web', listener)], ('systemd:', '192.0.2.1:80'), ('FileDescriptorName',), 2),
        ):
            with self.subTest(arguments=arguments, passed=[name for name, _ in passed]):
                result = self.run_activated(passed, *arguments)
                self.assertEqual(result.returncode, code, result.stderr)
                for word in words:
                    self.assertIn(word, result.stderr)

    def test_kinds(self):
        listener = self.listen()
        self.connect(listener.getsockname()[:2])
        accepted, _ = listener.accept()
        self.addCleanup(accepted.close)
        read_end, write_end = os.pipe()
        with open(read_end, 'rb') as pipe, open(write_end, 'wb'):
            for each, words in (
                    (accepted, ('Accept=no',)),
                    (self.listen(kind=socket.SOCK_DGRAM), ('no stream socket', 'ListenStream=')),
                    (self.listen('\0sixpipe-test-kinds', kind=socket.SOCK_SEQPACKET), ('ListenStream=',)),
                    (pipe, ('no socket', 'ListenStream=')),
                    (self.listen('::', dual_stack=True), ('BindIPv6Only=ipv6-only', '--dual-stack')),
            ):
                with self.subTest(words=words):
                    self.assert_refused([('web', each)], ('systemd:web', '192.0.2.1:80'), words)
        self.assert_refused([('web', self.listen('::'))], ('--dual-stack', 'systemd:web', '192.0.2.1:80'),
                            ('BindIPv6Only=both', '--dual-stack'))

    def test_options_of_bind(self):
        for option, directive in ((('--freebind',), 'FreeBind='), (('--bind-device', 'lo'), 'BindToDevice='),
                                  (('--unix-mode', '0600'), 'SocketMode=')):
            for passed in ([], [('web', self.listen())]):
                with self.subTest(option=option, passed=len(passed)):
                    self.assert_refused(passed, (*option, 'systemd:web', '192.0.2.1:80'), (option[0], directive))

    def test_conflicts_and_loops(self):
        listener = self.listen()
        self.assert_refused([('web', listener)], ('systemd:web', name_of(listener)), ('forward to itself',))
        self.assert_refused([('web', listener)], ('--listen', 'systemd:web', '--backend', '192.0.2.1:80', '--listen',
                                                  name_of(listener), '--backend', '192.0.2.1:80'), ('given twice',))
        self.assert_refused([], ('--listen', 'systemd:web', '--backend', '192.0.2.1:80', '--listen', 'systemd:web',
                                 '--backend', '192.0.2.1:80'), ('given twice',))

    def test_variables(self):
        forward = ('systemd:web', '192.0.2.1:80')
        listener = self.listen()
        self.assert_refused([('web', listener)], forward, ('LISTEN_FDS', "'x' is no number"), 2, LISTEN_FDS='x')
        self.assert_refused([('web', listener)], forward, ('descriptor 4', 'Bad file'), 2, LISTEN_FDS='2')
        self.assert_refused([('web', listener)], forward, ('2 names for the 1 sockets',), 2, LISTEN_FDNAMES='a:b')
        result = self.run_activated([('web', listener)], 'systemd:unknown', '192.0.2.1:80', '--check', LISTEN_FDNAMES=None)
        self.assertEqual((result.returncode, result.stdout), (0, 'configuration OK\n'), result.stderr)

    def test_sockets_for_another_process(self):
        """A shell between the manager and sixpipe."""
        result = self.run_sixpipe('systemd:web', '192.0.2.1:80',
                                  env=environment(LISTEN_FDS='1', LISTEN_PID='1', LISTEN_FDNAMES='web'))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn('process 1 (LISTEN_PID)', result.stderr)
        self.assertIn('exec', result.stderr)


class Commands(ActivationCase):
    per_engine = False

    def test_check(self):
        """ExecStartPre= gets no sockets."""
        result = self.run_sixpipe('--check', 'systemd:web', '192.0.2.1:80')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, 'configuration OK\nnot checked: systemd:web, whose socket is passed at the start\n')

    def test_dump(self):
        for passed in ([], [('web', self.listen()), ('web', self.listen())]):
            result = self.run_activated(passed, '--dump-config', '--listen', 'systemd:web', '--backend', '192.0.2.1:80')
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout.count('listen = systemd:web '), 1, result.stdout)

    def test_doctor(self):
        listener = self.listen()
        for passed, words in (([], 'systemd:web is checked at the start'),
                              ([('web', listener)], f'systemd:web ({name_of(listener)}) was passed')):
            result = self.run_activated(passed, 'doctor', '--listen', 'systemd:web', '--backend', '127.0.0.1:80')
            self.assertIn(words, ' '.join(result.stdout.split()))
        result = self.run_activated([('web', listener)], 'doctor', LISTEN_FDS='x')
        self.assertEqual(result.returncode, 2, result.stderr)

    def test_file_and_environment(self):
        backend, listener = self.backend(), self.listen()
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(f'[forward one]\nlisten = systemd:web\nbackend = {backend.address}\n')
            file.flush()
            with self.activated([('web', listener)], '--config', file.name) as proxy:
                self.exchange(*self.pair(proxy, backend))
        result = self.run_activated([('web', listener)], '--check', SIXPIPE_LISTEN='systemd:web',
                                    SIXPIPE_BACKEND='192.0.2.1:80')
        self.assertEqual((result.returncode, result.stdout), (0, 'configuration OK\n'), result.stderr)
