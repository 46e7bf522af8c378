# SPDX-License-Identifier: MIT
"""What a service manager hears over NOTIFY_SOCKET: READY, STATUS in words, STOPPING, WATCHDOG. The test is the manager."""

import os
import signal
import socket
import tempfile
import time
import unittest

from harness import PATIENCE_S, SANITIZE, Case, environment

WATCHDOG_MS = 600


class ManagerSocket:
    """A datagram socket that reads messages as dicts."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace('@', '\0', 1) if name.startswith('@') else name)
        self.name = name

    def close(self):
        self.socket.close()

    def next(self, timeout_s=PATIENCE_S):
        """The next message, {key: value}. TimeoutError if none comes."""
        self.socket.settimeout(timeout_s)
        return dict(line.split('=', 1) for line in self.socket.recv(4096).decode().split('\n') if line)

    def wait(self, key, value=None):
        """The next message that has the key, with this value. Others are passed over."""
        while True:
            message = self.next()
            if key in message and value in (None, message[key]):
                return message

    def drain(self):
        self.socket.setblocking(False)
        messages = []
        try:
            while True:
                messages.append(self.next(timeout_s=0))
        except BlockingIOError:
            return messages


class NotifyCase(Case):

    def setUp(self):
        super().setUp()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.manager = ManagerSocket(os.path.join(folder, 'notify'))
        self.addCleanup(self.manager.close)

    def managed(self, *args, watchdog_ms=None, **more):
        variables = {'NOTIFY_SOCKET': self.manager.name}
        if watchdog_ms:
            variables['WATCHDOG_USEC'] = str(watchdog_ms * 1000)
        return self.sixpipe(*args, popen={'env': environment(**variables, **more)})


class Notify(NotifyCase):

    def test_from_ready_to_the_end(self):
        backend = self.backend()
        with self.managed('[::1]:0', backend.address, '--drain-delay', '1s', '--drain-timeout', '50s') as proxy:
            self.assertEqual(self.manager.next(), {'READY': '1', 'STATUS': 'forwarding: no sessions, 1 forward'})
            client, server = self.pair(proxy, backend)
            self.assertEqual(self.manager.next(), {'STATUS': 'forwarding: 1 session, 1 forward'})
            proxy.signal(signal.SIGTERM)
            message = self.manager.next()
            # the delay, the drain, 30 s for the reset of sessions, 9 s for the last save and the log
            self.assertEqual(message, {'STOPPING': '1', 'EXTEND_TIMEOUT_USEC': '90000000',
                                       'STATUS': 'accepting until the drain begins: 1 session left, at most 1 s more'})
            message = self.manager.wait('STOPPING')
            self.assertEqual(message, {'STOPPING': '1', 'EXTEND_TIMEOUT_USEC': '89000000',
                                       'STATUS': 'draining: 1 session left, at most 50 s more'})
            # the seconds are counted
            self.assertRegex(self.manager.next()['STATUS'], '^draining: 1 session left, at most 4[0-9] s more$')
            proxy.signal(signal.SIGTERM)
            message = self.manager.wait('STOPPING')
            self.assertEqual(message['EXTEND_TIMEOUT_USEC'], '39000000')
            self.assertRegex(message['STATUS'], r'^resetting: (1 session|no sessions) left, at most 30 s more$')
            proxy.finish(term=False)
            del client, server

    def test_an_abstract_socket(self):
        self.manager.close()
        self.manager = ManagerSocket(f'@sixpipe-test-{os.getpid()}')
        self.addCleanup(self.manager.close)
        with self.managed('[::1]:0', self.backend().address):
            self.assertEqual(self.manager.next()['READY'], '1')

    def test_a_drain_without_end(self):
        """The unit's TimeoutStopSec= is the limit: no more time is asked for."""
        backend = self.backend()
        with self.managed('[::1]:0', backend.address, '--drain-timeout', '0') as proxy:
            self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            self.assertEqual(self.manager.wait('STOPPING'), {
                'STOPPING': '1', 'STATUS': 'draining: 1 session left, without a time limit'})
            proxy.finish(term=False)

    def test_a_backend_that_is_down(self):
        with self.managed('[::1]:0', self.backend().address, '127.0.0.1:1', '--check-backends', '--fall', '1',
                          '--check-interval', '100ms', watchdog_ms=WATCHDOG_MS):
            self.manager.wait('STATUS', 'forwarding: no sessions, 1 forward; 1 of 2 backends is down')

    def test_nothing_changes_nothing_is_sent(self):
        """And without a watchdog nothing wakes the process."""
        with self.managed('[::1]:0', self.backend().address) as proxy:
            self.manager.wait('READY')
            time.sleep(0.3)  # the start must be over
            before = self.switches(proxy)
            time.sleep(1)
            self.assertEqual(self.manager.drain(), [])
            if not SANITIZE:
                self.assertEqual(self.switches(proxy), before)

    def switches(self, proxy):
        return {status['Pid']: (status['voluntary_ctxt_switches'], status['nonvoluntary_ctxt_switches'])
                for status in proxy.statuses()}


class Watchdog(NotifyCase):

    def test_while_the_workers_turn(self):
        """Idle workers and busy workers: WATCHDOG=1 comes again and again. None comes while the process is stopped."""
        backend = self.backend()
        with self.managed('[::1]:0', backend.address, watchdog_ms=WATCHDOG_MS) as proxy:
            self.manager.wait('READY')
            for _ in range(4):
                self.manager.wait('WATCHDOG', '1')
            self.pair(proxy, backend)
            self.assertEqual(self.manager.wait('STATUS')['STATUS'], 'forwarding: 1 session, 1 forward')
            with proxy.stopped():
                self.manager.drain()
                with self.assertRaises(TimeoutError):
                    self.manager.next(timeout_s=2 * WATCHDOG_MS / 1000)
            self.manager.wait('WATCHDOG', '1')

    def test_in_the_drain(self):
        """A worker without sessions ends at once; the watchdog does not wait for its answer."""
        backend = self.backend()
        with self.managed('[::1]:0', backend.address, '--workers', '2', watchdog_ms=WATCHDOG_MS) as proxy:
            self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            self.manager.wait('STOPPING')
            for _ in range(3):
                self.manager.wait('WATCHDOG', '1')
            proxy.finish(term=False)

    def test_the_watchdog_of_another_process(self):
        """WATCHDOG_PID: the limit is for a parent of sixpipe."""
        with self.managed('[::1]:0', self.backend().address, watchdog_ms=WATCHDOG_MS, WATCHDOG_PID='1'):
            self.manager.wait('READY')
            time.sleep(WATCHDOG_MS / 1000)
            self.assertEqual(self.manager.drain(), [])


class Failing(NotifyCase):

    per_engine = False

    def failed(self, *args):
        done = self.run_sixpipe(*args, env=environment(NOTIFY_SOCKET=self.manager.name))
        self.assertNotEqual(done.returncode, 0)
        return self.manager.drain()

    def test_a_wrong_configuration(self):
        self.assertEqual(self.failed('[::1]:0', '127.0.0.1:99999', '--backlog', 'many'),
                         [{'STATUS': "failed: BACKEND '127.0.0.1:99999': has a port above 65535 (and 1 more)"}])

    def test_a_port_that_is_taken(self):
        other = self.backend()
        taken = f'127.0.0.1:{other.address.rpartition(":")[2]}'
        messages = self.failed(taken, '127.0.0.1:1')
        self.assertEqual(messages, [{'STATUS': f'failed: cannot listen on {taken}: Address already in use'}])

    def test_names_that_the_start_waits_for(self):
        """The start says what it waits for, and asks for as much time."""
        messages = self.failed('[::1]:0', 'db.example:5432', '--dns-server', '127.0.0.1:9', '--resolve-at-start', 'require',
                               '--resolve-timeout', '500ms')
        self.assertEqual(messages[0], {'EXTEND_TIMEOUT_USEC': '30500000',
                                       'STATUS': 'starting: waiting for the names of backends, at most 1 s'})
        self.assertRegex(messages[-1]['STATUS'], '^failed: .*db.example')

    def test_a_check_tells_nobody(self):
        done = self.run_sixpipe('--check', '[::1]:0', '127.0.0.1:1', env=environment(NOTIFY_SOCKET=self.manager.name))
        self.assertEqual((done.returncode, self.manager.drain()), (0, []))


class WithoutManager(Case):

    def test_a_socket_that_is_not_there(self):
        """One line in the log says so, and sixpipe serves."""
        with self.sixpipe('[::1]:0', self.backend().address,
                          popen={'env': environment(NOTIFY_SOCKET='/nowhere/notify', WATCHDOG_USEC='1000')}) as proxy:
            self.assertEqual(proxy.wait_event('notify_failed')['error'], 'No such file or directory')

    def test_a_manager_that_does_not_read(self):
        """READY waits for room. sixpipe serves meanwhile, and does not spin."""
        with tempfile.TemporaryDirectory() as folder:
            manager = ManagerSocket(os.path.join(folder, 'notify'))
            self.addCleanup(manager.close)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.setblocking(False)
                with self.assertRaises(BlockingIOError):
                    while True:
                        other.sendto(b'X=1', manager.name)
            backend = self.backend()
            with self.sixpipe('[::1]:0', backend.address, popen={'env': environment(NOTIFY_SOCKET=manager.name)}) as proxy:
                client, server = self.pair(proxy, backend)
                client.sendall(b'ping')
                self.assertEqual(server.recv_exact(4), b'ping')
                self.assert_idle_cpu(proxy, over_s=0.5)
                message = manager.wait('READY')
                self.assertEqual(message['STATUS'], 'forwarding: 1 session, 1 forward')

    def test_a_manager_that_goes_away(self):
        with tempfile.TemporaryDirectory() as folder:
            manager = ManagerSocket(os.path.join(folder, 'notify'))
            backend = self.backend()
            with self.sixpipe('[::1]:0', backend.address, popen={'env': environment(NOTIFY_SOCKET=manager.name)}) as proxy:
                manager.wait('READY')
                manager.close()
                self.pair(proxy, backend)
                self.assertEqual(proxy.wait_event('notify_failed')['error'], 'Connection refused')


if __name__ == '__main__':
    unittest.main()
