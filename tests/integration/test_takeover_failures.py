# SPDX-License-Identifier: MIT
"""A takeover that fails changes nothing: the old process goes on with all its sessions, at once or after
--takeover-timeout."""

import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import time
import unittest

import successor
from bulk import Stream
from harness import SANITIZE, wait_until
from peers import EOF, RESET
from takeover_case import SIGNALS, TakeoverCase

TIMEOUT_S = 0.5
E_MACHINE_AT, NO_MACHINE = 18, 0x1234  # in the head of an ELF file

# A program with another TAKEOVER_STATE_VERSION.
OTHER_STATE = os.environ.get('OTHER_STATE_PROGRAM', '')

CONFIG = '''
engine = {engine}
access-log = yes
metrics = [::1]:0
admin = {admin}
takeover-timeout = {timeout}
sndbuf = 64KiB
rcvbuf = 64KiB
[forward web]
listen = [::1]:0
backend = {backend}
'''


class FailureCase(TakeoverCase):

    def setUp(self):
        super().setUp()
        self.server = self.backend(rcvbuf=8192)
        self.write_config()

    def write_config(self, more='', timeout='1h'):
        self.configure(CONFIG.format(engine=self.engine, admin=self.admin, timeout=timeout,
                                     backend=self.server.address) + more)

    def install(self, content, mode=0o755):
        """Puts a program where an upgrade looks for it."""
        self.replace(self.program, content.encode() if isinstance(content, str) else content, mode)

    def install_successor(self, step):
        self.install(successor.program(self.folder, step, ['web']))

    def fail(self, proxy, kind='upgrade', says=''):
        """A takeover that fails; returns its event=takeover_failed. The old process must be alone afterwards."""
        old, before = self.serving(proxy), len(proxy.events('takeover_failed'))
        proxy.signal(SIGNALS[kind])
        event = proxy.wait_events('takeover_failed', before + 1)[before]
        self.assertEqual(event['kind'], kind)
        self.assertIn(says, event['error'])
        wait_until(lambda: self.children(proxy) == [old], what='the end of the new process')
        return event

    def begin_hanging(self, proxy):
        """Begins a takeover whose new process hangs after the greeting."""
        self.install_successor('hangs after the greeting')
        proxy.signal(signal.SIGUSR2)
        wait_until(lambda: len(self.children(proxy)) == 2, what='the new process')

    def open_sessions(self, proxy):
        """An idle session, and a session with bytes under way, which returns to be checked later."""
        self.idle = self.pair(proxy, self.server)
        writer, reader = self.pair(proxy, self.server, rcvbuf=8192)
        stream = Stream(4).bytes(8 << 20)
        return reader, stream[:writer.send_until_full(stream, quiet_s=0.1)], writer

    def check_sessions(self, proxy, under_way):
        """The old process serves as before: its sessions, and new ones."""
        reader, stream, writer = under_way
        self.assert_exchanges(*self.idle)
        self.assert_exchanges(*self.pair(proxy, self.server))
        self.assertEqual(reader.recv_exact(len(stream)), stream)
        writer.finish_sending()
        self.assertEqual(reader.recv_to_end(), (b'', EOF))
        reader.close()
        self.assertEqual(writer.recv_to_end(), (b'', EOF))


class Programs(FailureCase):
    """An upgrade to programs that cannot take over."""

    def other_machine(self):
        with open(self.program, 'rb') as file:
            binary = bytearray(file.read())
        struct.pack_into('<H', binary, E_MACHINE_AT, NO_MACHINE)
        return bytes(binary)

    def test_programs_that_do_not_start(self):
        with open(self.program, 'rb') as file:
            good = file.read()
        rows = (('missing', None, 0, 'No such file'), ('not executable', good, 0o644, 'Permission denied'),
                ('of another architecture', self.other_machine(), 0o755, 'Exec format error'),
                ('cut off', good[:100], 0o755, 'Exec format error'), ('empty', b'', 0o755, 'Exec format error'),
                ('crashes', '#!/bin/sh\nkill -SEGV $$\n', 0o755, ''), ('ends', '#!/bin/sh\nexit 0\n', 0o755, ''))
        self.write_config(timeout='20s')  # all of them end by themselves
        with self.serve() as proxy:
            for name, content, mode, says in rows:
                with self.subTest(name):
                    under_way = self.open_sessions(proxy)
                    if content is None:
                        os.unlink(self.program)
                    else:
                        self.install(content, mode)
                    event = self.fail(proxy, says=says)
                    if says:
                        self.assertIn(self.program, event['error'])
                    self.check_sessions(proxy, under_way)
            self.assertEqual(self.samples(proxy)['sixpipe_takeover_failures_total'], len(rows))
            self.take_over(proxy, 'reload')  # which starts the program that runs, not the program on disk
            self.assert_exchanges(*self.idle)
            self.install(good)
            self.take_over(proxy, 'upgrade')
            self.assert_exchanges(*self.idle)

    def check_steps(self, steps, least_s=0.0):
        with self.serve() as proxy:
            for step, says in steps.items():
                with self.subTest(step):
                    under_way = self.open_sessions(proxy)
                    self.install_successor(step)
                    start_s = time.monotonic()
                    self.fail(proxy, says=says)
                    self.assertGreaterEqual(time.monotonic() - start_s, least_s)
                    self.check_sessions(proxy, under_way)
            self.assertEqual(self.samples(proxy)['sixpipe_takeover_failures_total'], len(steps))

    def test_an_end_at_each_step(self):
        self.check_steps({'sends garbage': '', 'speaks another protocol': '', 'ends after the greeting': '',
                          'refuses': 'the first fault\nthe second fault', 'ends in the midst of the state': '',
                          'ends with the whole state': '', 'refuses the state': 'too many sessions'})

    def test_a_hang_at_each_step(self):
        self.write_config(timeout='500ms')
        self.check_steps({step: 'takeover-timeout' for step in (
            'hangs at once', 'hangs after the greeting', 'does not read the state', 'hangs with the whole state')},
            least_s=TIMEOUT_S * 0.9)

    def test_sessions_go_on_while_the_new_process_hangs(self):
        with self.serve() as proxy:
            session = self.pair(proxy, self.server)
            self.begin_hanging(proxy)
            self.assert_exchanges(*session)
            self.assert_exchanges(*self.pair(proxy, self.server))
            new, = set(self.children(proxy)) - {self.serving(proxy)}
            os.kill(new, signal.SIGKILL)
            proxy.wait_event('takeover_failed')
            wait_until(lambda: self.children(proxy) == [self.serving(proxy)], what='reaping')
            self.assert_exchanges(*session)


class Shortage(FailureCase):
    """The new process lacks what it needs."""

    def check(self, limit, most):
        with self.serve() as proxy:
            sessions = [self.pair(proxy, self.server) for _ in range(20)]
            resource.prlimit(proxy.main_pid, limit, (most, most))
            self.fail(proxy, 'reload')
            for session in sessions:
                self.assert_exchanges(*session)
            # the loader of programs writes lines that are no log lines
            self.assertEqual([line for line in proxy.strange_lines if line.startswith('CHECK')], [])
            proxy.strange_lines.clear()

    def test_descriptors(self):
        self.check(resource.RLIMIT_NOFILE, 40)

    def test_a_low_soft_limit(self):
        """More sockets come than the soft limit of the main process allows."""
        forward = '[forward w{}]\nlisten = [::1]:0\nbackend = {}\n'
        self.write_config(''.join(forward.format(i, self.server.address) for i in range(30)))
        with self.serve() as proxy:
            session = self.pair(proxy, self.server)
            hard = resource.prlimit(proxy.main_pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(proxy.main_pid, resource.RLIMIT_NOFILE, (20, hard))
            self.take_over(proxy)
            self.assert_exchanges(*session)

    @unittest.skipIf(SANITIZE, 'a sanitizer reserves terabytes of addresses')
    def test_memory(self):
        self.check(resource.RLIMIT_AS, 8 << 20)


class File(FailureCase):

    def test_a_wrong_file(self):
        with self.serve() as proxy:
            under_way = self.open_sessions(proxy)
            self.write_config('timeout-idle = soon\nno-such-option = 1\n')
            wrong_line = len(pathlib.Path(self.file).read_text().splitlines()) - 1
            event = self.fail(proxy, 'reload')
            for line in (wrong_line, wrong_line + 1):
                self.assertIn(f'{self.file}:{line}', event['error'])
            done = self.command('reload')
            self.assertEqual(done.returncode, 2, done)
            for line in (wrong_line, wrong_line + 1):
                self.assertIn(f'{self.file}:{line}', done.stderr)
            self.check_sessions(proxy, under_way)
            self.write_config()
            done = self.command('reload')
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            proxy.wait_events('ready', 2)
            self.wait_alone(proxy)
            self.assert_exchanges(*self.idle)

    def test_no_file(self):
        with self.serve() as proxy:
            under_way = self.open_sessions(proxy)
            os.rename(self.file, self.file + '.away')
            self.fail(proxy, 'reload', says=self.file)
            self.check_sessions(proxy, under_way)

    def test_the_command_tells_of_a_program_that_is_missing(self):
        with self.serve() as proxy:
            session = self.pair(proxy, self.server)
            os.unlink(self.program)
            done = self.command('upgrade')
            self.assertEqual(done.returncode, 1)
            self.assertIn(self.program, done.stderr)
            self.assert_exchanges(*session)


@unittest.skipUnless(OTHER_STATE, 'there is no program with another version of the state')
class OtherState(FailureCase):
    """A new process that cannot read the state takes the listeners over; the old process drains its sessions."""

    def assert_changes_stay(self):
        stats = json.loads(self.command('stats', '--json').stdout)
        self.assertEqual((stats['log_level'], len(stats['changes'])), ('debug', 2))
        self.assertEqual(json.loads(self.command('backends', '--json').stdout)['backends'][0]['maxconn'], 77)

    def test_sessions_drain(self):
        with self.serve() as proxy:
            idle, drained = self.pair(proxy, self.server), self.pair(proxy, self.server)
            old = self.serving(proxy)
            for words in (('log-level', 'debug'), ('backend', self.server.address, 'maxconn=77')):
                self.assertEqual(self.command(*words).returncode, 0, words)
            shutil.copy(OTHER_STATE, self.program + '.new')
            os.rename(self.program + '.new', self.program)
            proxy.signal(signal.SIGUSR2)
            proxy.wait_event('takeover_done')
            proxy.wait_events('ready', 2)
            new = self.serving(proxy)
            self.assertEqual(self.children(proxy), [old, new])
            proxy.take_over(new)
            first, second = proxy.wait_events('limits', 2)
            self.assertEqual([second[key] for key in ('pipes', 'pipe_bytes')],
                             [first[key] for key in ('pipes', 'pipe_bytes')])
            for _ in range(3):
                self.assert_exchanges(*self.pair(proxy, self.server))
            self.assertEqual(self.samples(proxy)['sixpipe_sessions_opened_total'], 3)
            self.assert_changes_stay()
            self.assert_exchanges(*idle)
            self.assert_exchanges(*drained)
            for end in (*idle, *drained):
                end.close()
            self.wait_alone(proxy)
            self.assertIn('cannot take sessions', proxy.wait_event('takeover_left')['cause'])
            self.close_peers()
            proxy.wait_baseline()
            proxy.signal(signal.SIGTERM)
            self.assertEqual(proxy.wait_exit(), 0)
            proxy.finished = True  # the counters of the new process are its own


class Afterwards(FailureCase):
    """The new process serves, and then it dies."""

    def test_killed(self):
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            self.take_over(proxy, 'upgrade')
            self.assert_exchanges(client, server)
            os.kill(self.serving(proxy), signal.SIGKILL)
            proxy.finished = True  # a killed process writes no last line to check
            self.assertEqual(proxy.wait_process(), -signal.SIGKILL)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET), (b'', RESET)))

    def test_dies_after_the_commit(self):
        """The code of the new process is the code of the main process."""
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            self.install_successor('dies after the commit')
            proxy.signal(signal.SIGUSR2)
            proxy.finished = True
            self.assertEqual(proxy.wait_process(), 7)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET), (b'', RESET)))


class Signals(FailureCase):

    def test_term_during_a_takeover(self):
        """The process drains; the takeover is given up."""
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            self.begin_hanging(proxy)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            wait_until(lambda: self.children(proxy) == [self.serving(proxy)], what='the end of the new process')
            self.assert_exchanges(client, server)
            client.close()
            server.close()
            self.assertEqual(proxy.wait_exit(), 0)
            proxy.finish(term=False)

    def test_drain_during_a_takeover(self):
        """The command drain, of which the new process does not hear, gives the takeover up."""
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            self.begin_hanging(proxy)
            self.assertEqual(self.command('drain').returncode, 0)
            self.assertIn('drain', proxy.wait_event('takeover_failed')['error'])
            wait_until(lambda: self.children(proxy) == [self.serving(proxy)], what='the end of the new process')
            self.assert_exchanges(client, server)
            client.close()
            server.close()
            self.assertEqual(proxy.wait_exit(), 0)
            proxy.finish(term=False)

    def test_reload_during_a_drain(self):
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            proxy.signal(signal.SIGHUP)
            proxy.signal(signal.SIGUSR2)
            self.assertEqual(self.command('reload').returncode, 1)
            self.assert_exchanges(client, server)
            self.assertEqual(self.children(proxy), [self.serving(proxy)])
            client.close()
            server.close()
            self.assertEqual(proxy.wait_exit(), 0)
            self.assertEqual(proxy.events('takeover_done'), [])
            proxy.finish(term=False)

    def test_a_storm_of_reloads_folds(self):
        with self.serve() as proxy:
            session = self.pair(proxy, self.server)
            for _ in range(50):
                proxy.signal(signal.SIGHUP)
                time.sleep(0.02)
            self.write_config('timeout-idle = 7m\n')
            proxy.signal(signal.SIGHUP)
            self.assert_exchanges(*session)

            def settled():
                done = len(proxy.events('takeover_done'))
                return done and len(proxy.events('takeover_started')) == done and \
                    self.children(proxy) == [self.serving(proxy)]
            wait_until(settled, what='the last takeover')
            proxy.take_over(self.serving(proxy))
            self.assertEqual(proxy.events('takeover_failed'), [])
            self.assertLessEqual(len(proxy.events('takeover_done')), 51)
            self.assert_exchanges(*session)

    def test_the_main_process_is_killed(self):
        with self.serve() as proxy:
            client, server = self.pair(proxy, self.server)
            self.take_over(proxy)
            proxy.finished = True
            proxy.process.kill()
            self.assertEqual(proxy.wait_process(), -signal.SIGKILL)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET), (b'', RESET)))
            self.assert_no_process_left()


if __name__ == '__main__':
    unittest.main()
