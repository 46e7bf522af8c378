# SPDX-License-Identifier: MIT
"""The units of the package under a real systemd: start, status, failures, restarts, drain, instances, socket, log."""

import os
import re
import signal
import threading
import unittest

import machine
import peers
from harness import wait_until
from peers import EOF

WEB = """access-log = yes
admin = /run/sixpipe/admin.sock

[forward web]
listen = [::1]:80
backend = 127.0.0.1:8080
"""
SETTLED = ('active', 'failed', 'inactive')


def instance(number):
    return f"""admin = /run/sixpipe/{number}.sock

[forward web]
listen = [::1]:{number}
backend = 127.0.0.1:8080
"""


class Start(machine.Case):

    def test_without_a_configuration_nothing_starts(self):
        self.service.systemctl('start')
        self.assertEqual((self.service.show('ActiveState'), self.service.show('ConditionResult')), ('inactive', 'no'))
        self.assertEqual(self.machine('systemctl', 'is-enabled', 'sixpipe.socket', check=False).strip(), 'disabled')
        self.assertEqual(self.machine('systemctl', '--failed', '--plain', '--no-legend', 'list-units', 'sixpipe*'), '')

    def test_status_in_words(self):
        backend = self.backend_inside()
        self.configure(WEB)
        self.service.systemctl('start')
        self.assertEqual(self.service.show('StatusText'), 'forwarding: no sessions, 1 forward')
        self.assert_passes(*self.pair(backend))
        self.service.wait_status('forwarding: 1 session, 1 forward')
        text = self.machine('systemctl', 'status', '--no-pager', 'sixpipe')
        self.assertRegex(text, r'Active: active \(running\)')
        self.assertRegex(text, r'Status: "forwarding: 1 session, 1 forward"')
        self.assertRegex(text, r'event=ready ')

    def test_without_privileges(self):
        """User sixpipe without capabilities serves a port below 1024, and answers at its admin socket."""
        backend = self.backend_inside()
        self.configure(WEB)
        self.service.systemctl('start')
        self.assert_passes(*self.pair(backend))
        uid = self.machine('id', '--user', 'sixpipe').strip()
        statuses = self.service.process_statuses()
        self.assertEqual(len(statuses), 2)
        for status in statuses:
            self.assertEqual(set(status['Uid'].split()), {uid})
            self.assertEqual({int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')}, {0})
            self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
        self.assertIn('::1', self.machine('sixpipe', 'who', '::1'))

    def test_io_uring_under_the_filter(self):
        """Unless the host forbids io_uring: then the log says so."""
        self.configure(WEB)
        self.service.systemctl('start')
        line = self.service.wait_message('event=engine ')
        if 'engine=io_uring' not in line:
            self.assertRegex(line, r'engine=epoll .*io_uring=')
            self.skipTest(f'this host forbids io_uring: {line}')

    def test_state_and_key(self):
        self.configure(WEB + 'source = loopback\npseudo-state = /var/lib/sixpipe/web\n')
        backend = self.backend_inside()
        for _ in range(2):
            self.service.systemctl('restart')
            self.assert_passes(*self.pair(backend))
            self.close_peers()
            backend = self.backend_inside()
        self.assertTrue(self.machine.path('/var/lib/sixpipe/web').exists())


class Failing(machine.Case):

    def test_a_wrong_file(self):
        """The start fails before the service, and the journal names the file, the line and the remedy."""
        self.configure('[forward web]\nlisten = [::1]:80\nbackend = 127.0.0.1:8080\nbaklog = 5\n')
        done = self.machine.try_run('systemctl', 'start', 'sixpipe')
        self.assertNotEqual(done.returncode, 0)
        self.service.wait_message('/etc/sixpipe/sixpipe.conf:4: baklog: no such option; did you mean backlog?')
        self.service.wait_message('Control process exited, code=exited, status=2')
        # it is tried again; meanwhile the file was repaired
        self.configure(WEB)
        self.service.wait('ActiveState', 'active')

    def test_a_reload_of_a_wrong_file(self):
        """It fails, and the process goes on with the configuration that it has."""
        self.configure(WEB)
        self.service.systemctl('start')
        pid = self.service.pid()
        self.configure(WEB + 'baklog = 5\n')
        self.assertNotEqual(self.machine.try_run('systemctl', 'reload', 'sixpipe').returncode, 0)
        self.assertEqual((self.service.pid(), self.service.show('ActiveState')), (pid, 'active'))
        self.assertFalse([text for text in self.service.messages() if 'event=takeover' in text])

    def test_a_port_that_is_taken(self):
        """systemctl status says why the start failed."""
        self.machine.run(lambda: self.adopt(peers.Backend(self, host='::1', port=80)))
        self.configure(WEB)
        self.drop_in('sixpipe.service', '[Service]\nRestartSec=1h\n')
        self.assertNotEqual(self.machine.try_run('systemctl', 'start', 'sixpipe').returncode, 0)
        self.service.wait_message('[::1]:80: Address already in use')
        self.assertRegex(self.service.show('StatusText'), r'^failed: .*\[::1\]:80: Address already in use')

    def test_priorities(self):
        """journalctl -p warning shows warnings, without the lines of a normal start."""
        self.configure(WEB)
        self.service.systemctl('start')
        self.configure(WEB + 'baklog = 5\n')
        self.service.systemctl('kill', '--kill-who=main', '--signal=HUP')
        self.service.wait_message('event=takeover_failed')
        own = [entry for entry in self.service.journal('--priority=warning') if entry['SYSLOG_IDENTIFIER'] == 'sixpipe']
        events = [found[1] for entry in own if (found := re.search('event=([a-z_]+)', entry['MESSAGE']))]
        self.assertEqual(events, ['takeover_failed'])
        self.assertEqual({entry['PRIORITY'] for entry in self.service.journal() if 'event=ready' in entry['MESSAGE']}, {'6'})


class Restarts(machine.Case):

    def setUp(self):
        super().setUp()
        self.configure(WEB)
        self.service.systemctl('start')
        self.first = self.service.pid()

    def wait_restart(self):
        wait_until(lambda: self.service.pid() not in (0, self.first), what='a new process')
        self.service.wait('ActiveState', 'active')
        self.assert_passes(*self.pair(self.backend_inside()))

    def test_killed(self):
        os.kill(self.service.outside_pid(), signal.SIGKILL)
        self.wait_restart()

    def test_the_child_is_killed(self):
        os.kill(self.service.outside_child(), signal.SIGKILL)
        self.service.wait_message('Main process exited, code=killed, status=9/KILL')
        self.wait_restart()

    def test_the_watchdog_ends_a_process_that_hangs(self):
        os.kill(self.service.outside_child(), signal.SIGSTOP)
        self.service.wait_message('Watchdog timeout')
        self.wait_restart()

    def test_the_watchdog_is_content_with_idle_workers(self):
        """No restart within twice its limit."""
        client, server = self.pair(self.backend_inside())
        threading.Event().wait(3)
        self.assert_passes(client, server)
        self.assertEqual((self.service.pid(), self.service.show('NRestarts')), (self.first, '0'))


class Stop(machine.Case):

    def test_a_session_finishes(self):
        """Longer than TimeoutStopSec= allows: sixpipe asks systemd for the time of --drain-timeout."""
        backend = self.backend_inside()
        self.configure(WEB)
        self.drop_in('sixpipe.service', '[Service]\nTimeoutStopSec=1s\n')
        self.service.systemctl('start')
        client, server = self.pair(backend)
        self.assert_passes(client, server)
        self.service.systemctl('stop', '--no-block')
        self.service.wait_status('draining: 1 session left, at most ')
        threading.Event().wait(2.5)
        self.assert_passes(client, server)
        for end in (client, server):
            end.finish_sending()
        self.assertEqual(client.recv_to_end(), (b'', EOF))
        self.service.wait('ActiveState', *SETTLED)
        self.assertEqual((self.service.show('ActiveState'), self.service.show('Result')), ('inactive', 'success'))


class Instances(machine.Case):

    def test_two(self):
        """Each has its file. The end of an instance leaves the other one's admin socket."""
        one, two = self.unit('sixpipe@one.service'), self.unit('sixpipe@two.service')
        backend = self.backend_inside()
        self.configure(instance(81), 'one')
        self.configure(instance(82), 'two')
        for unit in (one, two):
            unit.systemctl('start')
        for port in (81, 82):
            self.assert_passes(*self.pair(backend, port))
        self.close_peers()
        one.systemctl('stop')
        self.assertEqual(two.show('ActiveState'), 'active')
        self.assertIn('::1', self.machine('sixpipe', 'who', '--admin', '/run/sixpipe/82.sock', '::1'))

    def test_an_instance_without_a_file(self):
        self.unit('sixpipe@none.service').systemctl('start')
        self.assertEqual(self.unit('sixpipe@none.service').show('ConditionResult'), 'no')


class Socket(machine.Case):

    def setUp(self):
        super().setUp()
        self.echo = self.adopt(self.machine.run(peers.EchoServer))
        self.configure(WEB.replace('[::1]:80', 'systemd:web').replace('127.0.0.1:8080', self.echo.address))
        self.machine('systemctl', 'start', 'sixpipe.socket')

    def exchange(self):
        client = self.connect(('::1', 80))
        client.sendall(b'ping')
        answer = client.recv_exact(4)
        client.close()
        return answer

    def test_the_first_client_starts_the_service(self):
        self.assertEqual(self.service.show('ActiveState'), 'inactive')
        self.assertEqual(self.machine.run(self.exchange), b'ping')
        self.assertEqual(self.service.show('ActiveState'), 'active')

    def test_a_restart_refuses_nobody(self):
        self.assertEqual(self.machine.run(self.exchange), b'ping')
        over = threading.Event()
        answers, faults = [], []

        def clients():
            while not over.is_set():
                try:
                    answers.append(self.exchange())
                except OSError as error:
                    faults.append(error)
        loop = self.machine.thread.submit(self.machine.enter_and_call, clients, (), {})
        for _ in range(3):
            before, pid = len(answers), self.service.pid()
            self.service.systemctl('restart')
            self.assertNotEqual(self.service.pid(), pid)
            wait_until(lambda before=before: len(answers) > before or faults, what='a client after the restart')
        over.set()
        loop.result()
        self.assertEqual((faults, set(answers)), ([], {b'ping'}))


class Log(machine.Case):

    def test_rotation(self):
        self.configure('log-file = /var/log/sixpipe/web.log\n' + WEB)
        if not self.machine.path('/usr/sbin/logrotate').exists():
            self.skipTest('logrotate is not installed')
        self.service.systemctl('start')
        new, old = (self.machine.path(f'/var/log/sixpipe/web.log{end}') for end in ('', '.1'))
        wait_until(lambda: new.exists() and 'event=ready' in new.read_text(), what='the log file')
        self.machine('logrotate', '--force', '/etc/logrotate.d/sixpipe')
        self.assertIn('event=ready', old.read_text())
        backend = self.backend_inside()
        client, server = self.pair(backend)
        client.close()
        server.close()
        wait_until(lambda: new.exists() and 'event=close' in new.read_text(), what='the new log file')
        self.assertNotIn('event=close', old.read_text())


class ZRemoval(machine.Case):
    """The name puts it behind the other tests: afterwards there is no sixpipe."""

    def test_a_purge_stops_the_service(self):
        if self.machine.package.is_dir():
            self.skipTest('there is no package, but a folder')
        self.configure(WEB)
        one = self.unit('sixpipe@one.service')
        self.configure(instance(81), 'one')
        self.service.systemctl('start')
        one.systemctl('enable', '--now')
        self.machine('systemctl', 'enable', 'sixpipe.socket')
        self.machine('dpkg', '--purge', 'sixpipe')
        self.assertEqual(list(self.machine.path('/etc/systemd/system').glob('*.wants/sixpipe*')), [])
        self.assertEqual(self.machine('getent', 'passwd', 'sixpipe', check=False), '')
        self.assertEqual(self.machine('sh', '-c', 'pidof sixpipe || true'), '')
        self.assertFalse(self.machine.path('/run/sixpipe').exists())


if __name__ == '__main__':
    unittest.main()
