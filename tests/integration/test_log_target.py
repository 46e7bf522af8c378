# SPDX-License-Identifier: MIT
"""Where the log goes: a file that is rotated, the systemd journal, a syslog daemon. What does not reach them."""

import contextlib
import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

import peers
from harness import ROOT, SIXPIPE, Case, environment, parse_line, wait_until
from netns import Netns
from peers import EOF

FILE_LIMIT = 6000  # bytes; the lines of the start and some lines of the access log
CLONE_NEWNS, PRIVATE, BIND = 0x20000, 1 << 18 | 1 << 14, 1 << 12  # unshare(2), mount(2): MS_PRIVATE and MS_REC, MS_BIND


def events_of(text, name, /, **fields):
    events = [parse_line(line) for line in text.splitlines()]
    return [event for event in events if event['event'] == name
            and all(event.get(key) == value for key, value in fields.items())]


class File(Case):

    per_engine = False

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        os.chmod(self.folder, 0o777)
        self.path = self.folder / 'sixpipe.log'
        self.user = ('--user', 'nobody') if os.geteuid() == 0 else ()

    def wait_line(self, path, name, /, **fields):
        return wait_until(lambda: path.exists() and events_of(path.read_text(), name, **fields),
                          what=f'event={name} in {path.name}')[0]

    @contextlib.contextmanager
    def logging(self, *args, **options):
        """A sixpipe with one echo server behind it, whose log is self.path."""
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--log-file', self.path, *self.user, *args, wait_ready=False,
                          **options) as proxy:
            proxy.finished = True
            ready = self.wait_line(self.path, 'ready')
            proxy.endpoints = [peers.parse_endpoint(ready['listen'])]
            yield proxy
            proxy.signal(signal.SIGTERM)
            self.assertEqual(proxy.wait_exit(), 0)

    def one_session(self, proxy):
        with self.open_client(proxy.endpoint, None, None) as client:
            client.sendall(b'x')
            client.finish_sending()
            self.assertEqual(client.recv_to_end(), (b'x', EOF))
            return client.name

    def rotate(self, proxy):
        old = self.path.with_suffix('.log.1')
        self.path.rename(old)
        proxy.signal(signal.SIGUSR1)
        return old

    def test_lines_go_to_the_file_and_after_a_rotation_to_the_new_file(self):
        with self.logging() as proxy:
            status = self.path.stat()
            self.assertEqual(stat.filemode(status.st_mode), '-rw-r-----')
            self.assertEqual(status.st_uid, os.stat(f'/proc/{proxy.pid}').st_uid, 'the user of sixpipe')
            first = self.one_session(proxy)
            self.wait_line(self.path, 'close', client=first, forward='1')
            old = self.rotate(proxy)
            self.assertEqual(self.wait_line(self.path, 'log_reopened')['file'], str(self.path))
            second = self.one_session(proxy)
            self.wait_line(self.path, 'close', client=second)
        self.wait_line(self.path, 'stopped')
        self.assertEqual([event['client'] for event in events_of(old.read_text(), 'close')], [first])
        self.assertEqual([event['client'] for event in events_of(self.path.read_text(), 'close')], [second])
        self.assertEqual(proxy.lines, [], 'nothing on stderr')

    def test_every_signal_reopens_and_no_line_is_lost(self):
        with self.logging() as proxy:
            names = []
            for number in range(5):
                names += [self.one_session(proxy) for _ in range(20)]
                self.path.rename(self.folder / f'old.{number}')
                proxy.signal(signal.SIGUSR1)
                self.wait_line(self.path, 'log_reopened')
        text = ''.join(path.read_text() for path in [*self.folder.glob('old.*'), self.path])
        self.assertEqual(sorted(event['client'] for event in events_of(text, 'close')), sorted(names))

    def test_a_file_that_cannot_be_opened_anew(self):
        with self.logging() as proxy:
            old = self.path.with_suffix('.log.1')
            self.path.rename(old)
            self.path.symlink_to(old)
            proxy.signal(signal.SIGUSR1)
            told = proxy.wait_event('log_reopen_failed')
            self.assertEqual(told['file'], str(self.path))
            self.assertIn('symbolic link', told['error'])
            self.assertTrue(told['remedy'])
            self.wait_line(old, 'log_reopen_failed')
            name = self.one_session(proxy)
            self.wait_line(old, 'close', client=name)
            self.path.unlink()
            proxy.signal(signal.SIGUSR1)
            self.wait_line(self.path, 'log_reopened')
        self.assertEqual(len(proxy.lines), 1, proxy.lines)

    def test_a_directory_where_the_user_makes_no_files(self):
        if os.geteuid() != 0:
            self.skipTest('only root starts as one user and goes on as another')
        os.chmod(self.folder, 0o755)
        with self.logging() as proxy:
            warned = self.wait_line(self.path, 'log_reopen_limited')
            self.assertIn('LogsDirectory=', warned['remedy'])
            self.rotate(proxy)
            self.assertEqual(proxy.wait_event('log_reopen_failed')['error'], 'cannot be opened: Permission denied')
            self.path.touch(0o640)  # as logrotate's create does
            shutil.chown(self.path, 'nobody')
            proxy.signal(signal.SIGUSR1)
            self.wait_line(self.path, 'log_reopened')

    def test_errors_of_the_start_reach_stderr_and_the_file(self):
        backend = self.backend()
        done = self.run_sixpipe('--log-file', self.path, *self.user, backend.address, self.refused_address())
        self.assertEqual(done.returncode, 1)
        self.assertIn('in use', done.stderr)
        self.assertIn(done.stderr, self.path.read_text())

    def test_files_that_are_refused(self):
        target = self.folder / 'target'
        target.write_text('keep')
        self.path.symlink_to(target)
        done = self.run_sixpipe('--log-file', self.path, '[::1]:0', '127.0.0.1:9')
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"--log-file '{self.path}': is a symbolic link", done.stderr)
        self.assertEqual(target.read_text(), 'keep')
        done = self.run_sixpipe('--log-file', self.path, '--log-target', 'syslog', '[::1]:0', '127.0.0.1:9')
        self.assertEqual(done.returncode, 2)
        self.assertIn('leave one of the two out', done.stderr)
        report = self.run_sixpipe('doctor', '--json', '--log-file', self.path, '[::1]:0', '127.0.0.1:9')
        self.assertIn('is a symbolic link', report.stdout)

    def test_a_full_file(self):
        """RLIMIT_FSIZE stands for a full disk. Lines are lost and counted, stderr says why, and a rotation helps."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))

        with self.logging(popen={'env': environment(), 'preexec_fn': limit}) as proxy:
            names = []
            while not proxy.events('log_failed'):
                names.append(self.one_session(proxy))
            failed = proxy.wait_event('log_failed')
            self.assertEqual((failed['file'], failed['error']), (str(self.path), 'File too large'))
            self.assertIn('LimitFSIZE=', failed['remedy'])
            old = self.rotate(proxy)
            lost = self.wait_line(self.path, 'log_dropped')
            self.assertEqual(lost['error'], 'File too large')
        self.assertEqual(len(proxy.lines), 1, 'one line for one failure')
        self.assertEqual(old.stat().st_size, FILE_LIMIT)
        whole = old.read_text().rpartition('\n')[0] + '\n' + self.path.read_text()
        logged = len(events_of(whole, 'close'))
        self.assertEqual(logged + sum(event.int('lines') for event in events_of(whole, 'log_dropped')), len(names))

    def test_logrotate(self):
        """The file of the package, with other paths and users, and a systemctl that knows one service."""
        if not shutil.which('logrotate'):
            self.skipTest('logrotate is not installed')
        if os.geteuid() != 0:
            self.skipTest('logrotate changes users')
        rules = (ROOT / 'deploy' / 'systemd' / 'logrotate').read_text()
        for theirs, ours in (('/var/log/sixpipe', str(self.folder)), ('sixpipe adm', 'nobody adm')):
            self.assertIn(theirs, rules)
            rules = rules.replace(theirs, ours)
        tools = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (tools / 'rules').write_text(rules)
        os.chmod(self.folder, 0o755)
        shutil.chown(self.folder, 'nobody')
        with self.logging() as proxy:
            first = self.one_session(proxy)
            self.wait_line(self.path, 'close', client=first)
            systemctl = tools / 'systemctl'
            systemctl.write_text('#!/bin/sh\n[ "$1 $2 $3" = "kill --kill-who=main --signal=USR1" ] || exit 2\n'
                                 f'case $4 in sixpipe@*) kill -USR1 {proxy.pid} ;; *) exit 1 ;; esac\n')
            systemctl.chmod(0o755)
            subprocess.run(['logrotate', '--force', '--verbose', '--state', tools / 'state', tools / 'rules'],
                           check=True, capture_output=True, env={**os.environ, 'PATH': f'{tools}:{os.environ["PATH"]}'})
            self.wait_line(self.path, 'log_reopened')
            second = self.one_session(proxy)
            self.wait_line(self.path, 'close', client=second)
            status = self.path.stat()
            self.assertEqual(stat.filemode(status.st_mode), '-rw-r-----')
        old = self.path.with_suffix('.log.1')
        self.assertEqual([event['client'] for event in events_of(old.read_text(), 'close')], [first])


class Journal(Case):
    """JOURNAL_STREAM names the pipe that is stderr, as systemd sets it."""

    per_engine = False

    @contextlib.contextmanager
    def journal(self):
        """A pipe: the environment that names it, its write end, and its read end as a file."""
        read_end, write_end = os.pipe()
        status = os.fstat(write_end)
        with os.fdopen(read_end) as lines, os.fdopen(write_end, 'w') as stderr:
            yield environment(JOURNAL_STREAM=f'{status.st_dev}:{status.st_ino}'), stderr, lines

    def test_each_line_has_its_priority(self):
        refused = self.refused_address()
        with self.journal() as (env, stderr, lines):
            process = subprocess.Popen([SIXPIPE, '--access-log', '[::1]:0', refused], stdin=subprocess.DEVNULL,
                                       stderr=stderr, env=env)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            stderr.close()
            seen = []
            for line in lines:
                seen.append(line)
                if 'event=ready' in line:
                    endpoint = peers.parse_endpoint(parse_line(line[3:].rstrip('\n'))['listen'])
                    with contextlib.suppress(ConnectionResetError):  # the RST may come before connect() returns
                        self.connect(endpoint)
                if 'event=close' in line:
                    process.send_signal(signal.SIGTERM)
        priorities = {'info': '<6>', 'warn': '<4>'}
        for line in seen:
            self.assertEqual(line[:3], priorities[parse_line(line[3:].rstrip('\n'))['level']], line)
        self.assertTrue(any(line.startswith('<4>') and 'event=backend_failed' in line for line in seen))

    def test_errors_of_the_start(self):
        for args in (('[::1]:0',), ('[::1]:0', '127.0.0.1:9', '--user', 'no-such-user-here')):
            with self.subTest(args=args), self.journal() as (env, stderr, lines):
                done = subprocess.run([SIXPIPE, *args], stdin=subprocess.DEVNULL, stderr=stderr, env=env, check=False)
                stderr.close()
                self.assertNotEqual(done.returncode, 0)
                for line in lines:
                    self.assertTrue(line.startswith('<3>sixpipe: '), line)


class Syslog(Case):
    """A datagram socket plays the daemon, as /dev/log of a mount namespace."""

    per_engine = False

    def setUp(self):
        super().setUp()
        self.netns = self.enterContext(Netns())
        error = self.netns.run(self.make_dev)
        if error:
            self.skipTest(f'no /dev of its own here: {os.strerror(error)}')

    @staticmethod
    def make_dev():
        """/dev with nothing but null."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(b'none', b'/', None, PRIVATE, None):
            return ctypes.get_errno()
        with open('/dev/null', 'rb') as null:
            if libc.mount(b'none', b'/dev', b'tmpfs', 0, None):
                return ctypes.get_errno()
            pathlib.Path('/dev/null').touch()
            if libc.mount(f'/proc/self/fd/{null.fileno()}'.encode(), b'/dev/null', None, BIND, None):
                return ctypes.get_errno()
        return 0

    def start_daemon(self):
        def start():
            with contextlib.suppress(FileNotFoundError):
                os.unlink('/dev/log')
            daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            daemon.bind('/dev/log')
            os.chmod('/dev/log', 0o666)
            daemon.settimeout(peers.PATIENCE_S)
            return daemon
        return self.enterContext(contextlib.closing(self.netns.run(start)))

    def wait_line(self, daemon, name):
        """The event, and its priority."""
        while True:
            head, priority, text = re.fullmatch(r'(<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d sixpipe\[\d+\]: )(.*)',
                                                daemon.recv(65536).decode()).groups()
            event = parse_line(text)
            self.assertEqual(int(priority), {'error': 27, 'warn': 28, 'info': 30}[event['level']], head + text)
            if event['event'] == name:
                return event

    def session(self, endpoint):
        with contextlib.suppress(ConnectionResetError):  # the RST may come before connect() returns
            self.netns.run(self.connect, endpoint)

    def test_lines_go_to_the_daemon_also_after_its_restart(self):
        daemon = self.start_daemon()
        refused = self.netns.run(self.refused_address)
        with self.sixpipe('[::1]:0', refused, '--log-target', 'syslog', netns=self.netns, wait_ready=False) as proxy:
            proxy.finished = True
            endpoint = peers.parse_endpoint(self.wait_line(daemon, 'ready')['listen'])
            self.session(endpoint)
            self.wait_line(daemon, 'backend_failed')
            self.wait_line(daemon, 'close')
            daemon.close()
            self.session(endpoint)
            failed = proxy.wait_event('log_failed')
            self.assertEqual((failed['file'], failed['error']), ('/dev/log', 'Connection refused'))
            daemon = self.start_daemon()
            self.session(endpoint)
            self.assertEqual(self.wait_line(daemon, 'log_dropped')['error'], 'Connection refused')
            proxy.signal(signal.SIGTERM)
            self.wait_line(daemon, 'stopped')
            self.assertEqual(proxy.wait_exit(), 0)
        self.assertEqual(len(proxy.lines), 1, 'one line on stderr for one failure')

    def test_without_a_daemon(self):
        """Errors of the start and the failure of syslog are on stderr."""
        done = self.netns.run(self.run_sixpipe, '--log-target', 'syslog', '[2001:db8::1]:0', '127.0.0.1:9')
        self.assertEqual(done.returncode, 1)
        self.assertIn('no interface has this address', done.stderr)


if __name__ == '__main__':
    unittest.main()
