# SPDX-License-Identifier: MIT
"""The congestion control that ss(8) shows for a session's two sockets is the one that the log names."""

import errno
import subprocess
import unittest

from harness import Case
from netns import Netns
from seccomp import KNOWN_HERE, forbid_congestion
from test_sockets import read_sysctl, set_sysctl


class CongestionCase(Case):
    """In a namespace whose default is bbr, which paces connections."""

    def setUp(self):
        super().setUp()
        self.netns = self.enterContext(Netns())
        set_sysctl(self.netns, 'net.ipv4.tcp_congestion_control', 'bbr')

    def live(self, *columns):
        """The congestion control of the only established socket with this local and peer address ('*': any)."""
        done = self.netns.run(subprocess.run, ['ss', '-tinH', 'state', 'established'], capture_output=True, text=True,
                              check=True)
        rows = done.stdout.splitlines()
        names = read_sysctl('net.ipv4.tcp_available_congestion_control').split()
        found = []
        for head, details in zip(rows[::2], rows[1::2]):
            if all(wanted in ('*', seen) for wanted, seen in zip(columns, head.split()[-2:])):
                found += [name for name in names if name in details.split()]
        self.assertEqual(len(found), 1, f'{columns} in:\n{done.stdout}')
        return found[0]

    def both_sides(self, proxy, backend):
        """Opens a session. Returns the congestion control of the client's socket and of the backend's socket."""
        client = self.connect(proxy.endpoint, netns=self.netns)
        server = backend.accept()
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')
        return (self.live(f'[::1]:{proxy.endpoint[1]}', client.name), self.live('*', backend.address))

    def run_session(self, *args, **options):
        """Returns the name in the log, the names of both sockets, and the warnings."""
        backend = self.backend(netns=self.netns)
        with self.sixpipe('[::1]:0', backend.address, *args, netns=self.netns, **options) as proxy:
            sides = self.both_sides(proxy, backend)
            return proxy.wait_event('limits').get('loopback_congestion'), sides, proxy.events('congestion_refused')


class Loopback(CongestionCase):

    def check_unpaced(self, *args):
        word, sides, refused = self.run_session(*args)
        allowed = read_sysctl('net.ipv4.tcp_allowed_congestion_control').split()
        self.assertEqual(sides, (word, word))
        self.assertEqual(word, next(name for name in ('cubic', 'reno', 'bbr') if name in allowed))
        self.assertEqual(refused, [])

    def test_as_root(self):
        self.check_unpaced()

    def test_as_another_user(self):
        self.check_unpaced('--user', 'nobody')

    def test_a_default_without_pacing_stays(self):
        set_sysctl(self.netns, 'net.ipv4.tcp_congestion_control', 'reno')
        word, sides, refused = self.run_session('--user', 'nobody')
        self.assertEqual((word, sides, refused), ('reno', ('reno', 'reno'), []))

    def test_by_option(self):
        """Every forward has --congestion, so the log has no loopback_congestion= and no warning."""
        for name in ('reno', 'bbr'):
            for user in ((), ('--user', 'nobody')):
                with self.subTest(name=name, user=user):
                    if name not in read_sysctl('net.ipv4.tcp_allowed_congestion_control').split():
                        self.skipTest(f'{name} is not allowed to all users here')
                    word, sides, refused = self.run_session('--congestion', name, *user)
                    self.assertEqual((word, sides, refused), (None, (name, name), []))

    @unittest.skipUnless(KNOWN_HERE, 'no such filter is known for this machine')
    def test_no_name_if_no_tcp_socket_is_affected(self):
        """The kernel refuses every name, but no connection to a backend would use one."""
        def forbid():
            forbid_congestion(errno.EPERM)
        rows = (
            ('[::]:0', 'unix:@backend'),
            ('[::1]:0', 'unix:@backend', '--congestion', 'reno'),
            ('[::]:0', '192.0.2.1:9'),
        )
        for row in rows:
            with self.subTest(row=row), self.sixpipe(*row, netns=self.netns, popen={'preexec_fn': forbid}) as proxy:
                self.assertNotIn('loopback_congestion', proxy.wait_event('limits'))
                self.assertEqual(proxy.events('congestion_refused'), [])

    def test_a_listener_on_loopback_is_logged(self):
        with self.sixpipe('[::1]:0', 'unix:@backend', netns=self.netns) as proxy:
            self.assertIn(proxy.wait_event('limits').get('loopback_congestion'), ('cubic', 'reno'))

    def test_a_name_for_root_alone_is_refused(self):
        allowed = read_sysctl('net.ipv4.tcp_allowed_congestion_control')
        only_root = set(read_sysctl('net.ipv4.tcp_available_congestion_control').split()) - set(allowed.split())
        if not only_root:
            self.skipTest('every loaded name is allowed to all users here')
        for name in only_root:
            done = self.run_sixpipe('[::1]:0', '127.0.0.1:9', '--congestion', name)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(f"--congestion '{name}': not allowed on this host; give one of: {allowed}", done.stderr)

    @unittest.skipUnless(KNOWN_HERE, 'no such filter is known for this machine')
    def test_a_refusal_is_logged_and_counted(self):
        """A seccomp filter stands for a host whose list of allowed names has changed since the start."""
        def forbid():
            forbid_congestion(errno.EPERM)
        backend = self.backend(netns=self.netns)
        with self.sixpipe('[::1]:0', backend.address, '--user', 'nobody', '--workers', '1', netns=self.netns,
                          popen={'preexec_fn': forbid}) as proxy:
            word = proxy.wait_event('limits')['loopback_congestion']
            self.assertEqual(word, 'bbr', 'the name in use, not the chosen name')
            at_start = proxy.wait_event('congestion_refused', level='warn')
            self.assertEqual(at_start['in_use'], 'bbr')
            self.assertIn(at_start['wanted'], ('cubic', 'reno'))
            self.assertEqual(self.both_sides(proxy, backend), (word, word))
            for _ in range(2):
                self.pair(proxy, backend, netns=self.netns)
            later = proxy.wait_events('congestion_refused', 2)[1]
            self.assertEqual((later['backend'], later['wanted']), (backend.address, at_start['wanted']))
        self.assertEqual(proxy.wait_event('stopped')['congestion_refused'], '3')
        self.assertEqual(len(proxy.events('congestion_refused')), 2, 'once at the start, once for the worker')


class Elsewhere(CongestionCase):

    def test_a_backend_on_another_host_keeps_the_default(self):
        with Netns() as other:
            self.netns.link_to(other)
            backend = self.backend(netns=other, host='192.0.2.2')
            with self.sixpipe('[::1]:0', backend.address, '--user', 'nobody', netns=self.netns) as proxy:
                accepted, towards = self.both_sides(proxy, backend)
                self.assertEqual(accepted, proxy.wait_event('limits')['loopback_congestion'])
                self.assertEqual(towards, 'bbr')


if __name__ == '__main__':
    unittest.main()
