# SPDX-License-Identifier: MIT
"""The parent process: the process that was started, whose child serves. What both do when one of them ends or is
signalled, and what the parent does not have."""

import contextlib
import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import unittest

import harness
from dns_server import SILENT, DnsServer
from harness import Case, PATIENCE_S, SANITIZE, children_of, environment, wait_until
from peers import EOF, RESET

CLONE_NEWPID = 0x20000000
PR_SET_PDEATHSIG = 1


def state_of(pid):
    """The state of a process, such as 'Z'; None if there is no such process."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def own_group():
    os.setpgid(0, 0)


class Ends(Case):

    def test_a_death_by_a_signal_is_passed_on(self):
        """The parent ends by the same signal as its child, and leaves no core dump of its own."""
        for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
            with self.subTest(signal=number), self.sixpipe('[::1]:0', self.backend().address) as proxy:
                proxy.finished = True
                os.kill(proxy.pid, number)
                code = proxy.wait_exit()
                self.assertTrue(code == -number or SANITIZE, code)

    def test_exit_codes(self):
        rows = [(('--version',), 0), (('--no-such-option',), 2), (('[::1]:0', '127.0.0.1:1', '--user', 'no-such-user'), 1),
                (('[2001:db8::1]:1', '127.0.0.1:1', '--bind-device', 'nothing'), 1)]
        for arguments, code in rows:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.run_sixpipe(*arguments).returncode, code)

    def test_a_kill_of_the_parent_ends_the_child(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            proxy.finished = True
            client, server = self.pair(proxy, backend)
            child = proxy.pid
            os.kill(proxy.main_pid, signal.SIGKILL)
            self.assertEqual(proxy.wait_exit(), -signal.SIGKILL)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET),) * 2)
            wait_until(lambda: state_of(child) is None, what='the end of the child')

    def test_a_kill_of_the_parent_during_the_start(self):
        """While the child waits for the name of a backend. The user has changed since the fork."""
        options = ('--user', 'nobody') if os.geteuid() == 0 else ()
        dns = DnsServer()
        self.addCleanup(dns.close)
        dns.set('a.test', SILENT)
        with self.sixpipe('[::1]:0', 'a.test:80', '--dns-server', dns.address, '--resolve-timeout', '1h', *options,
                          wait_ready=False) as proxy:
            proxy.finished = True
            dns.wait_queries(1)
            child = proxy.pid
            os.kill(proxy.main_pid, signal.SIGKILL)
            proxy.wait_exit()
            wait_until(lambda: state_of(child) is None, what='the end of the child')

    def test_a_malformed_takeover(self):
        for value in ('3', '3,4,5', 'x', '900,901'):
            done = self.run_sixpipe('[::1]:0', '127.0.0.1:1', env=environment(SIXPIPE_TAKEOVER=value))
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, rf"^sixpipe: SIXPIPE_TAKEOVER: '{value}' does not name two sockets .*; unset it")


class Signals(Case):

    def started(self, backend):
        return self.sixpipe('[::1]:0', backend.address, popen={'preexec_fn': own_group})

    def test_ctrl_c_drains_and_a_second_resets(self):
        """A terminal signals the whole group: parent and child get the signal, and it counts once."""
        backend = self.backend()
        with self.started(backend) as proxy:
            client, server = self.pair(proxy, backend)
            os.killpg(proxy.main_pid, signal.SIGINT)
            proxy.wait_event('draining')
            client.sendall(b'go on')
            self.assertEqual(server.recv_exact(5), b'go on')
            self.assertTrue(client.is_silent())
            os.killpg(proxy.main_pid, signal.SIGINT)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET),) * 2)
            proxy.finish(term=False)

    def test_term_for_the_group_drains(self):
        """As systemd does with KillMode=control-group: one session finishes, and nothing is reset."""
        backend = self.backend()
        with self.started(backend) as proxy:
            client, server = self.pair(proxy, backend)
            for pid in (proxy.pid, proxy.main_pid):
                os.kill(pid, signal.SIGTERM)
            proxy.wait_event('draining')
            client.sendall(b'last')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'last', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            proxy.finish(term=False)
            self.assertEqual(proxy.events('stopping'), [])

    def test_term_and_int_for_the_parent_count_twice(self):
        """Sent while the child is stopped, so that both come at once."""
        backend = self.backend()
        with self.started(backend) as proxy:
            client, _ = self.pair(proxy, backend)
            with proxy.stopped():
                proxy.signal(signal.SIGTERM)
                proxy.signal(signal.SIGINT)
                wait_until(lambda: self.pending(proxy) >= {signal.SIGTERM, signal.SIGINT}, what='both signals')
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.finish(term=False)

    def pending(self, proxy):
        mask = int(proxy.status()['ShdPnd'], 16)
        return {number for number in signal.valid_signals() if mask & 1 << (number - 1)}

    def test_hup_and_usr2_reach_the_serving_process(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for number, kind in ((signal.SIGHUP, 'reload'), (signal.SIGUSR2, 'upgrade')):
                proxy.signal(number)
                proxy.wait_event('takeover_done', kind=kind)
                wait_until(lambda: len(children_of(proxy.main_pid)) == 1, what='the end of the old process')
            new, = children_of(proxy.main_pid)
            proxy.take_over(new)
            self.pair(proxy, backend)

    def test_cont_is_passed_on(self):
        """systemd sends CONT behind a signal that ends a process, which may be stopped."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            os.kill(proxy.pid, signal.SIGSTOP)
            wait_until(lambda: all(state in 'Tt' for state in proxy.task_states()), what='stopping sixpipe')
            proxy.signal(signal.SIGTERM)
            proxy.signal(signal.SIGCONT)
            proxy.finish(term=False)


class Poor(Case):
    """What the parent does not have."""

    def status(self, proxy):
        rows = (line.partition(':') for line in pathlib.Path(f'/proc/{proxy.main_pid}/status').read_text().splitlines())
        return {key: value.strip() for key, _, value in rows}

    def test_one_thread_no_capability_and_no_listener(self):
        options, user = (), os.geteuid()
        if user == 0:
            options, user = ('--user', 'nobody'), pwd.getpwnam('nobody').pw_uid
        with self.sixpipe('[::1]:0', self.backend().address, '--metrics', '[::1]:0', *options) as proxy:
            status = self.status(proxy)
            self.assertEqual(status['Threads'], '1')
            self.assertEqual({int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')}, {0})
            self.assertEqual((status['NoNewPrivs'], status['Uid'].split()), ('1', [str(user)] * 4))
            self.assertEqual((status['Groups'], status['Gid']), (proxy.status()['Groups'], proxy.status()['Gid']))
            links = [os.readlink(f'/proc/{proxy.main_pid}/fd/{fd}') for fd in os.listdir(f'/proc/{proxy.main_pid}/fd')]
            sockets = harness.sockets_of(links)
            self.assertEqual(len(sockets), 1, links)
            self.assertFalse({link[len('socket:['):-1] for link in sockets} & proxy.listening())

    def test_no_passed_socket(self):
        """A descriptor that the program inherits stays open in no process."""
        with open(os.devnull, 'rb') as file:
            with self.sixpipe('[::1]:0', self.backend().address, popen={'pass_fds': [file.fileno()]}) as proxy:
                for pid in (proxy.main_pid, proxy.pid):
                    links = {fd: os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')}
                    self.assertNotIn(os.devnull, [link for fd, link in links.items() if int(fd) > 2])

    def test_an_idle_parent_does_nothing(self):
        """It makes no system call while clients come and go, and the program is idle."""
        if not shutil.which('strace'):
            self.skipTest('strace is not installed')
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            trace = subprocess.Popen(['strace', '-p', str(proxy.main_pid)], stderr=subprocess.PIPE, text=True)
            try:
                if 'attached' not in trace.stderr.readline():
                    self.skipTest('strace cannot attach to a process')
                for _ in range(10):
                    client, server = self.pair(proxy, backend)
                    client.close()
                    server.close()
                proxy.wait_events('close', 10)
            finally:
                trace.send_signal(signal.SIGINT)
                _, text = trace.communicate(timeout=PATIENCE_S)
            calls = [line for line in text.splitlines() if '(' in line]
            self.assertLessEqual(len(calls), 1, calls)  # the poll(2) that it waits in


class First(Case):
    """As process 1 of a PID namespace, as in a container."""

    def setUp(self):
        super().setUp()
        if not shutil.which('unshare') or subprocess.run(['unshare', '--pid', '--fork', 'true'], check=False).returncode:
            self.skipTest('a PID namespace cannot be made here')

    def new_namespace(self):
        """Runs in a child of the test. The next child is process 1; this process waits for it, and ends as it ends."""
        if ctypes.CDLL(None).unshare(CLONE_NEWPID):
            os._exit(125)
        first = os.fork()
        if first:
            os.closerange(0, 1 << 16)
            _, status = os.waitpid(first, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    @contextlib.contextmanager
    def first(self, backend):
        """sixpipe as process 1. proxy.process is the process that waits for it."""
        with self.sixpipe('[::1]:0', backend.address, popen={'preexec_fn': self.new_namespace}) as proxy:
            proxy.main_pid = children_of(proxy.process.pid)[0]
            proxy.found_pid = None
            proxy.count_baseline()
            proxy.signal = lambda number: os.kill(proxy.main_pid, number)
            yield proxy

    def test_drains(self):
        with self.first(self.backend()) as proxy:
            self.assertIn('NSpid', proxy.status())
            proxy.signal(signal.SIGTERM)
            proxy.finish(term=False)

    def test_a_death_by_a_signal_is_an_exit_code(self):
        """No signal that has no handler ends process 1."""
        for number in (signal.SIGKILL, signal.SIGABRT):
            with self.subTest(signal=number), self.first(self.backend()) as proxy:
                proxy.finished = True
                os.kill(proxy.pid, number)
                code = proxy.wait_exit()
                self.assertTrue(code == 128 + number or SANITIZE, code)

    def test_reaps_orphans(self):
        backend = self.backend()
        with self.first(backend) as proxy:
            orphan = 'import os, time\nif not os.fork():\n    time.sleep(0.1)'
            enter = ['nsenter', f'--target={proxy.main_pid}', '--pid', sys.executable, '-c', orphan]
            subprocess.run(enter, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
            wait_until(lambda: children_of(proxy.main_pid) == [proxy.pid], what='reaping')
            self.pair(proxy, backend)


if __name__ == '__main__':
    unittest.main()
