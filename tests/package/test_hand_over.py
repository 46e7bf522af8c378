# SPDX-License-Identifier: MIT
"""The service under a real systemd while new processes take over: reload, upgrade, watchdog, stop, crash."""

import os
import signal
import threading

import machine
import peers
from harness import children_of, wait_until
from peers import EOF
from steady import Traffic

ONE = '[forward web]\nlisten = [::1]:80\nbackend = 127.0.0.1:8080\n'
MORE = '[forward more]\nlisten = [::1]:8000\nbackend = 127.0.0.1:8080\n'


class Case(machine.Case):

    def start(self, **options):
        self.traffic = Traffic(self, self.service, **options)
        self.main = self.service.pid()
        self.takeovers = 0

    def take_over(self, *systemctl):
        """Returns the process that serves, of which there is one when the old process has ended."""
        self.machine('systemctl', *systemctl, 'sixpipe')
        return self.wait_takeover()

    def wait_takeover(self):
        self.takeovers += 1
        self.service.wait_messages('event=takeover_done', self.takeovers)
        self.assertEqual((self.service.pid(), self.service.show('NRestarts'), self.service.show('ActiveState')),
                         (self.main, '0', 'active'))
        return self.service.outside_child()


class Takeover(Case):

    def test_reloads_and_upgrades(self):
        self.start()
        old = self.service.outside_child()
        self.configure(self.traffic.text + MORE)
        new = self.take_over('reload')
        self.assertNotEqual(new, old)
        wait_until(lambda: children_of(self.service.outside_pid()) == [new], what='the end of the old process')
        self.service.wait_status(', 3 forwards')
        self.traffic.wait_client()
        # both processes have no privileges and the seccomp filter of the unit
        for status in self.service.process_statuses():
            self.assertEqual((status['CapEff'], status['NoNewPrivs'], status['Seccomp']), ('0' * 16, '1', '2'))
        self.assertNotEqual(self.take_over('kill', '--kill-who=main', '--signal=USR2'), new)
        # the new process satisfies the watchdog, whose limit is 1.5 s
        threading.Event().wait(2.5)
        self.assertEqual((self.service.pid(), self.service.show('NRestarts')), (self.main, '0'))
        self.traffic.finish()

    def test_a_reload_that_fails_after_the_check(self):
        """systemctl status goes on to say what the process does, and the journal says why."""
        self.machine.run(lambda: self.adopt(peers.Backend(self, host='::1', port=8000)))
        self.configure(ONE)
        self.service.systemctl('start')
        main, status = self.service.pid(), 'forwarding: 1 session, 1 forward'
        session = self.pair(self.backend_inside())
        self.service.wait_status(status)
        self.configure(ONE + MORE)
        self.service.systemctl('reload')
        message = self.service.wait_message('event=takeover_failed')
        self.assertRegex(message, r'kind=reload .*\[::1\]:8000: Address already in use')
        self.assertEqual((self.service.pid(), self.service.show('StatusText')), (main, status))
        self.assert_passes(*session)


class End(Case):
    """How the service ends after a takeover."""

    def test_a_stop_drains(self):
        """The new process asks systemd for the time that TimeoutStopSec= does not give."""
        self.drop_in('sixpipe.service', '[Service]\nTimeoutStopSec=1s\n')
        self.start()
        client, server = self.traffic.idle
        self.take_over('reload')
        self.traffic.stop()
        self.service.systemctl('stop', '--no-block')
        self.service.wait_status('draining: 1 session left, at most ')
        threading.Event().wait(2)
        self.assert_passes(client, server)
        for end in (client, server):
            end.finish_sending()
        self.assertEqual(client.recv_to_end(), (b'', EOF))
        self.service.wait('ActiveState', 'inactive', 'failed')
        self.assertEqual((self.service.show('ActiveState'), self.service.show('Result')), ('inactive', 'success'))

    def test_a_crash(self):
        """systemd learns of it, and starts sixpipe again."""
        self.start()
        child = self.take_over('reload')
        self.traffic.stop()
        os.kill(child, signal.SIGKILL)
        self.service.wait_message('Main process exited, code=killed, status=9/KILL')
        self.wait_restart()

    def test_the_watchdog_ends_a_new_process_that_hangs(self):
        """The old process, which drains the session of a forward that was removed, does not speak for it."""
        self.start(more=MORE)
        drains = self.pair(self.traffic.backend, 8000)
        self.assert_passes(*drains)
        self.configure(self.traffic.text)
        child = self.take_over('reload')
        self.traffic.stop()
        self.assert_passes(*drains)
        self.assertEqual(len(children_of(self.service.outside_pid())), 2)
        os.kill(child, signal.SIGSTOP)
        self.service.wait_message('Watchdog timeout')
        self.wait_restart()

    def wait_restart(self):
        wait_until(lambda: self.service.pid() not in (0, self.main), what='a new process')
        self.service.wait('ActiveState', 'active')
        self.close_peers()
        self.assert_passes(*self.pair(self.backend_inside(8080)))
