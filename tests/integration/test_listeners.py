# SPDX-License-Identifier: MIT
"""Listening sockets that fail while sixpipe runs: destroyed from outside (ss -K), or because their interface is
deleted.

sixpipe opens them again without privileges. While that is impossible, /ready, the log and a metric say so.
"""

import contextlib
import http.client
import shutil
import socket
import subprocess
import unittest

from activation_case import ActivationCase
from harness import Case, wait_until
from netns import Netns
from peers import parse_endpoint

WORKERS = 2


class ListenersCase(Case):

    def setUp(self):
        super().setUp()
        if not shutil.which('ss'):
            self.skipTest('ss (iproute2) is not installed')
        self.netns = Netns()
        self.netns.__enter__()
        self.addCleanup(self.netns.__exit__)
        self.server = self.backend(netns=self.netns)

    def forward(self, listen, *args):
        return self.sixpipe(listen, self.server.address, '--workers', WORKERS, '--metrics', '[::1]:0', *args,
                            netns=self.netns)

    def ss(self, options, port):
        return self.netns.run(subprocess.run, ['ss', options, f'sport = :{port}'], check=True, capture_output=True).stdout

    @contextlib.contextmanager
    def destroyed(self, proxy, port):
        """ss finds one socket of a group at a time, so sixpipe is stopped: it must not open a socket again
        meanwhile."""
        with proxy.stopped():
            while self.ss('-Htl', port):
                if not self.ss('-KHtl', port):
                    self.skipTest('this kernel lacks CONFIG_INET_DIAG_DESTROY')
            yield

    def destroy(self, proxy, port):
        with self.destroyed(proxy, port):
            pass

    def ready(self, proxy):
        connection = http.client.HTTPConnection(*parse_endpoint(proxy.ready['metrics']), timeout=5)
        with contextlib.closing(connection):
            connection.request('GET', '/ready')
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def assert_serves(self, proxy, endpoint=None, netns=None):
        """Connects many times, so that probably each worker's socket serves."""
        for _ in range(8):
            client = self.connect(endpoint or proxy.endpoint, netns=netns or self.netns)
            server = self.server.accept()
            client.sendall(b'ping')
            self.assertEqual(server.recv_exact(4), b'ping')
            server.sendall(b'pong')
            self.assertEqual(client.recv_exact(4), b'pong')
        self.assertEqual(self.netns.run(self.ready, proxy), (200, 'ready\n'))
        self.assertEqual(self.netns.run(self.samples, proxy)['sixpipe_listeners_failed'], 0)

    def assert_failed(self, proxy):
        failed = proxy.wait_events('listener_failed', WORKERS)
        status, line = self.netns.run(self.ready, proxy)
        self.assertEqual(status, 503)
        self.assertIn(failed[0]['listen'], line)
        self.assertEqual(self.netns.run(self.samples, proxy)['sixpipe_listeners_failed'], WORKERS)
        self.assert_idle_cpu(proxy)
        self.assertEqual(len(proxy.events('listener_failed')), WORKERS, 'once')
        return failed[0]


class Destroyed(ListenersCase):

    def check_reopened(self, listen):
        with self.forward(listen) as proxy:
            self.assert_serves(proxy)
            for times in (1, 2):
                self.destroy(proxy, proxy.endpoint[1])
                proxy.wait_events('listener_reopened', times * WORKERS)
                self.assert_serves(proxy)
            self.assert_idle_cpu(proxy)
            proxy.count_baseline()

    def test_is_opened_again(self):
        """A port that only root may bind."""
        self.check_reopened('[::1]:81')

    def test_whose_port_the_kernel_chose(self):
        self.check_reopened('[::1]:0')

    def test_for_all_addresses_of_ipv4(self):
        self.check_reopened('0.0.0.0:2100')

    def test_while_accepting_pauses(self):
        with self.forward('[::1]:81', '--maxconn', '1') as proxy:
            client = self.connect(proxy.endpoint, netns=self.netns)
            server = self.server.accept()
            self.destroy(proxy, 81)
            self.assert_idle_cpu(proxy)
            client.close()
            server.close()
            proxy.wait_events('listener_reopened', WORKERS)
            self.connect(proxy.endpoint, netns=self.netns)
            self.server.accept()

    def test_whose_port_another_program_has_taken(self):
        with self.forward('[::1]:0') as proxy:
            with self.destroyed(proxy, proxy.endpoint[1]):
                thief = self.netns.run(socket.create_server, proxy.endpoint, family=socket.AF_INET6)
            with thief:
                failed = self.assert_failed(proxy)
                self.assertIn('in use', failed['error'])
                self.assertIn('ss -K', failed['cause'])
            proxy.wait_events('listener_reopened', WORKERS)
            self.assert_serves(proxy)

    def test_metrics_too(self):
        with self.forward('[::1]:0') as proxy:
            self.destroy(proxy, parse_endpoint(proxy.ready['metrics'])[1])
            proxy.wait_event('listener_reopened', listen=proxy.ready['metrics'])

            def answers():
                with contextlib.suppress(OSError):
                    return self.netns.run(self.ready, proxy) == (200, 'ready\n')
            wait_until(answers, what='an answer')
            self.assert_idle_cpu(proxy)

    def test_drain_ends_with_a_failed_listener(self):
        with self.forward('[::1]:0') as proxy:
            with self.destroyed(proxy, proxy.endpoint[1]):
                thief = self.netns.run(socket.create_server, proxy.endpoint, family=socket.AF_INET6)
            with thief:
                proxy.wait_events('listener_failed', WORKERS)
                proxy.finish()


class Interface(ListenersCase):
    """The interface that a listener is bound to is deleted and made again. The socket gets no event for either."""

    def make_link(self, there):
        self.netns.link_to(there)
        self.netns.ip('address add fe80::5/64 dev near0 nodad')

    def check(self, listen, host, *args):
        with Netns() as there:
            self.make_link(there)
            with self.forward(listen, *args) as proxy:
                self.netns.ip('link delete near0')
                self.assertIn('interface', self.assert_failed(proxy)['cause'])
                self.make_link(there)
                proxy.wait_events('listener_reopened', WORKERS)
                scope = there.run(socket.if_nametoindex, 'far0') if host.startswith('fe80') else 0
                self.assert_serves(proxy, (host, 2100, 0, scope), there)
                proxy.count_baseline()

    def test_that_bind_device_names(self):
        self.check('[::]:2100', '2001:db8::1', '--bind-device', 'near0')

    def test_of_a_link_local_address(self):
        self.check('[fe80::5%near0]:2100', 'fe80::5')

    def test_of_an_address_alone(self):
        """Needs no repair: the socket serves again once its address is there."""
        with Netns() as there:
            self.make_link(there)
            with self.forward('[2001:db8::1]:2100') as proxy:
                self.netns.ip('link delete near0')
                self.make_link(there)
                self.assert_serves(proxy, ('2001:db8::1', 2100), there)


class Passed(ListenersCase, ActivationCase):
    """Sockets that a service manager has passed. All workers share one."""

    def forward_passed(self, listener):
        return self.activated([('web', listener)], 'systemd:web', self.server.address, '--workers', WORKERS,
                              '--metrics', '[::1]:0', netns=self.netns)

    def test_is_destroyed_and_listens_again(self):
        listener = self.netns.run(self.listen, '::1', 81)
        with self.forward_passed(listener) as proxy:
            self.assert_serves(proxy)
            for times in (1, 2):
                self.destroy(proxy, 81)
                proxy.wait_events('listener_reopened', times)  # by the worker that is first
                self.assert_serves(proxy)
            self.assert_idle_cpu(proxy)

    def test_whose_interface_is_deleted(self):
        """Only the manager can make such a socket again."""
        with Netns() as there:
            self.netns.link_to(there)
            listener = self.netns.run(self.listen, '::', 2100, device='near0')
            with self.forward_passed(listener) as proxy:
                self.netns.ip('link delete near0')
                failed = self.assert_failed(proxy)
                self.assertIn('interface', failed['cause'])
                self.assertIn('.socket unit', failed['remedy'])


if __name__ == '__main__':
    unittest.main()
