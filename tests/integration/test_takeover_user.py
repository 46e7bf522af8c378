# SPDX-License-Identifier: MIT
"""Reload and upgrade of a process without privileges: root started it with `user`, or an ordinary user did."""

import os
import pathlib
import resource
import shutil
import unittest

from harness import wait_until
from test_privileges import CAPABILITY_SETS, NOBODY, PrivilegesCase, low_port
from test_reload import ReloadCase

DESCRIPTORS = 4096
SOMEONE = 64322  # the kernel counts pipes per user, and other tests run as user nobody at the same time
# More bytes than the buffers of a session take: the transfer is under way.
STREAM = os.urandom(1 << 20) * 16
RESTART = "restart sixpipe, which runs as user 'nobody' and has given up the privileges of its start"


class UserCase(ReloadCase, PrivilegesCase):

    def setUp(self):
        super().setUp()
        self.need_root()
        self.low = low_port()

    def low_web(self, *lines):
        """The lines of a forward that listens on a port below 1024."""
        return (f'listen = [::1]:{self.low}', f'backend = {self.server.address}', *lines)

    def low_session(self):
        return self.connect(('::1', self.low)), self.server.accept()

    def make_folder(self, name, mode=0o755, owner=0):
        path = os.path.join(self.folder, name)
        os.mkdir(path)
        os.chmod(path, mode)
        os.chown(path, owner, owner)
        return path

    def make_secret(self, name, text):
        """A file that only root may read."""
        path = os.path.join(self.folder, name)
        self.replace(path, text.encode(), 0o600)
        return path

    @staticmethod
    def begin_transfer(session):
        """Sends until nothing fits any more. Returns the bytes that the other end has to receive."""
        return STREAM[:session[0].send_until_full(STREAM, quiet_s=0.1)]

    def assert_runs_as(self, proxy, user, sets):
        for status in proxy.statuses():
            self.assert_thread_is(status, user, user, sets)

    def limits(self, proxy):
        """What the newest process says that it can carry."""
        pairs = dict(proxy.events('limits')[-1].pairs)
        return {key: value for key, value in pairs.items() if key != 'ts'}

    def refuse(self, *says, code=1):
        """`sixpipe reload` is refused with this exit code; it says each of these words."""
        done = self.command('reload')
        self.assertEqual(done.returncode, code, done)
        for word in (*says, 'sixpipe: nothing has changed\n'):
            self.assertIn(word, done.stderr)

    def origin_of(self, line):
        """How an error names this line of the file: 'FILE:8: deny'."""
        lines = pathlib.Path(self.file).read_text().splitlines()
        return f'{self.file}:{lines.index(line) + 1}: {line.partition(" ")[0]}'


class StartedByRoot(UserCase):

    def serve(self, *args, **options):
        limit = (1024, DESCRIPTORS)
        return super().serve(*args, popen={'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)},
                             **options)

    def write_user(self, *lines, user='user = nobody', admin=None, **forwards):
        self.write(user, f'admin = {admin or self.admin}', *lines, **forwards)

    def test_everything_goes_on(self):
        """The ports below 1024, the transfer, the admin socket in root's directory, the state file and all pipes."""
        state = os.path.join(self.make_folder('state', 0o700, NOBODY.pw_uid), 'pool')
        # more pipes than the user's budget has: root made them
        self.write_user(f'metrics = [::1]:{low_port(self.low)}', 'maxpipes = 100',
                        web=self.low_web('source = loopback', f'pseudo-state = {state}'))
        with self.serve() as proxy:
            session = self.low_session()
            under_way = self.begin_transfer(session)
            client_address = session[1].getpeername()[0]
            limits = self.limits(proxy)
            self.assertEqual(limits['descriptors'], str(DESCRIPTORS))
            for kind in ('reload', 'upgrade', 'reload'):
                self.take_over(proxy, kind)
                self.assert_runs_as(proxy, NOBODY.pw_uid, CAPABILITY_SETS)
                self.assertEqual(self.limits(proxy), limits)
                self.assertEqual(self.samples(proxy)['sixpipe_sessions_open'], 1)
                self.assertEqual(self.command('bans').returncode, 0)
                client, server = self.low_session()
                self.assertEqual(server.getpeername()[0], client_address)
                self.assert_exchanges(client, server)
                client.close()
                server.close()
                wait_until(lambda: self.samples(proxy)['sixpipe_sessions_open'] == 1, what='the end of the session')
            self.assertEqual(session[1].recv_exact(len(under_way)), under_way)
            self.assert_exchanges(*session)
        self.assertEqual(os.stat(state).st_uid, NOBODY.pw_uid)

    def test_log_file_in_the_directory_of_root(self):
        """Root makes the file at the start. New processes write on; only a new file is impossible."""
        logs = self.make_folder('logs')
        log = pathlib.Path(logs, 'sixpipe.log')
        self.write_user(f'log-file = {log}', web=self.low_web())
        with self.serve(wait_ready=False) as proxy:
            wait_until(lambda: log.exists() and ' event=ready ' in log.read_text(), what='the start')
            session = self.low_session()
            for kind in ('reload', 'upgrade'):
                self.assertEqual(self.command(kind).returncode, 0)
                self.assert_exchanges(*session)
                wait_until(lambda: f' event=takeover_done kind={kind} ' in log.read_text(), what='the line')
            self.write_user(f'log-file = {logs}/new.log', web=self.low_web())
            self.refuse(
                f"{self.origin_of(f'log-file = {logs}/new.log')} '{logs}/new.log': cannot be opened: Permission denied",
                'be able to write in the directory', RESTART)
            wait_until(lambda: ' event=takeover_failed ' in log.read_text(), what='the line')
            self.write_user(web=self.low_web())
            self.assertEqual(self.command('reload').returncode, 0)
            proxy.wait_event('ready')
            self.wait_alone(proxy)
            proxy.count_baseline()
            self.assert_exchanges(*session)

    def refusals(self):
        """(arguments of write_user(), the wrong line, what the error says besides the line and its option)."""
        port = low_port(self.low)
        denied = f'cannot listen on [::1]:{port}: Permission denied'
        line = f'listen = [::1]:{port}'
        yield {'new': (line, 'backend = 127.0.0.1:9')}, line, (denied, 'systemd:NAME', RESTART)
        line = f'metrics = [::1]:{port}'
        yield {'metrics': (line,)}, line, (denied, RESTART)
        for user in ('daemon', 'root', 'nobody:daemon'):
            yield {'user': f'user = {user}'}, f'user = {user}', (
                f"'{user}': sixpipe runs as user 'nobody' and cannot change its user or group; restart sixpipe",)
        yield {'user': ''}, None, (
            f"{self.file}: has no line 'user = nobody' any more", 'write the line again',
            'restart sixpipe')
        blocks = self.make_secret('blocks', '2001:db8::/32\n')
        line = f'allow-file = {blocks}'
        yield {'web': self.low_web(line)}, line, (f"'{blocks}': Permission denied; give a file that this user may read",
                                                  RESTART)
        key = self.make_secret('key', '00' * 16 + '\n')
        line = f'pseudo-key = {key}'
        yield {'web': self.low_web('source = loopback', line)}, line, (
            f'{key}: cannot open it: Permission denied; let the user of sixpipe read it', RESTART)
        admin = f'{self.folder}/other.sock'
        yield {'admin': admin}, f'admin = {admin}', (f"'{admin}': Permission denied", RESTART)

    def test_what_only_root_could_do_is_refused(self):
        """Nothing has changed, and the session goes on."""
        web = {'web': self.low_web()}
        self.write_user(**web)
        with self.serve() as proxy:
            session = self.low_session()
            old = self.serving(proxy)
            refusals = list(self.refusals())
            for arguments, line, says in refusals:
                with self.subTest(says=says[0]):
                    self.write_user(*arguments.pop('metrics', ()), **{**web, **arguments})
                    self.refuse(*says, *([self.origin_of(line)] if line else []))
                    wait_until(lambda: self.children(proxy) == [old], what='the end of the new process')
                    self.assert_exchanges(*session)
            self.write_user(**web)
            os.chmod(self.file, 0o600)
            self.refuse(f"--config '{self.file}': cannot be read: Permission denied", RESTART, code=2)
            os.chmod(self.file, 0o644)
            proxy.wait_events('takeover_failed', len(refusals) + 1)
            self.take_over(proxy)
            self.assert_exchanges(*session)
            self.assert_exchanges(*self.low_session())

    def test_program_in_a_directory_of_root(self):
        """A reload needs only the program that runs. An upgrade needs the path."""
        self.write_user(web=self.low_web())
        proxy = self.serve()
        proxy.argv[0] = shutil.copy(self.program, self.make_folder('bin', 0o700))
        with proxy:
            session = self.low_session()
            self.take_over(proxy)
            done = self.command('upgrade')
            self.assertEqual(done.returncode, 1)
            self.assertIn(f'cannot run {proxy.argv[0]}: Permission denied; let the user of sixpipe run it', done.stderr)
            self.assert_exchanges(*session)


class StartedByAnOrdinaryUser(UserCase):

    def serve(self, *args, **options):
        return super().serve(*args, popen={**self.as_nobody(), 'user': SOMEONE, 'group': SOMEONE}, **options)

    def test_takeovers(self):
        self.admin = os.path.join(self.make_folder('own', owner=SOMEONE), 'admin.sock')
        lines = f'admin = {self.admin}', f'metrics = [::1]:{self.port + 1}'
        self.write(*lines, web=self.web())
        with self.serve() as proxy:
            session = self.session()
            under_way = self.begin_transfer(session)
            limits = self.limits(proxy)
            for kind in ('reload', 'upgrade'):
                self.take_over(proxy, kind)
                self.assert_runs_as(proxy, SOMEONE, ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'))
                self.assertEqual(self.limits(proxy), limits)
                self.assertEqual(self.samples(proxy)['sixpipe_sessions_open'], 1)
            restart = RESTART.replace('nobody', str(SOMEONE))
            self.write(*lines, web=self.low_web())
            self.refuse(f'cannot listen on [::1]:{self.low}: Permission denied', 'systemd:NAME', restart)
            self.write(*lines, 'user = nobody', web=self.web())
            self.refuse(f"'nobody': sixpipe runs as user '{SOMEONE}'", 'restart sixpipe')
            self.write(*lines, f'user = {SOMEONE}', web=self.web())  # which changes nothing
            proxy.wait_events('takeover_failed', 2)
            self.take_over(proxy)
            self.assertEqual(session[1].recv_exact(len(under_way)), under_way)
            self.assert_exchanges(*session)


if __name__ == '__main__':
    unittest.main()
