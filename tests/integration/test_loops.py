# SPDX-License-Identifier: MIT
"""Sessions that would come back to their own listener are refused: at the start if possible, otherwise while
running."""

import unittest

import dns_server
from harness import Case
from netns import Netns
from peers import RESET

V6, V4, SECOND, ROUTED = '2001:db8::1', '192.0.2.1', '192.0.2.2', '10.9.1.1'
LATE = '192.0.2.50'
MAXCONN = 50


def with_addresses(netns):
    """Gives the namespace an address of each kind: an interface's, a second one in the same block, one by a local
    route."""
    netns.ip('link add near0 type veth peer name far0')
    for name in ('near0', 'far0'):
        netns.ip(f'link set {name} up')
    netns.ip(f'address add {V6}/64 dev near0 nodad')
    for host in (V4, SECOND):
        netns.ip(f'address add {host}/24 dev near0')
    netns.ip('route add local 10.9.0.0/16 dev lo')


class AtTheStart(Case):

    per_engine = False

    def check_refused(self, netns, *args, code=1, words=()):
        for more in ((), ('--check',)):
            done = netns.run(self.run_sixpipe, *args, *more, timeout_s=10)
            self.assertEqual(done.returncode, code, done)
            for word in ('its backend leads back to it', *words):
                self.assertIn(word, done.stderr)

    def test_every_address_of_this_host(self):
        with Netns() as netns:
            with_addresses(netns)
            for args in (('[::]:7', f'[{V6}]:7'), ('0.0.0.0:7', f'{V4}:7'), ('0.0.0.0:7', f'{SECOND}:7'),
                         ('0.0.0.0:7', f'{ROUTED}:7'), ('[::]:7', f'{V4}:7', '--dual-stack'),
                         ('[::]:7-9', f'[{V6}]:7-9'), ('[::]:7', f'[{V6}]:7', '--bind-device', 'near0'),
                         ('[::]:7', '127.0.0.1:9', f'[{V6}]:7')):
                with self.subTest(args):
                    self.check_refused(netns, *args, words=(':7 (addresses of this host)',))

    def test_link_local(self):
        with Netns() as netns:
            with_addresses(netns)
            netns.ip('address add fe80::7/64 dev near0 nodad')
            self.check_refused(netns, '[::]:7', '[fe80::7%near0]:7')

    def test_several_forwards(self):
        with Netns() as netns:
            with_addresses(netns)
            self.check_refused(netns, '--listen', '[::1]:7', '--backend', '127.0.0.1:8', '--listen', '127.0.0.1:8',
                               '--backend', '[::1]:7', code=2, words=('127.0.0.1:8, then [::1]:7',))
            self.check_refused(netns, '--listen', '[::]:7', '--backend', f'{V4}:8', '--listen', '0.0.0.0:8', '--backend',
                               f'{SECOND}:9', '--listen', '0.0.0.0:9', '--backend', f'[{V6}]:7',
                               words=(f'{V4}:8, then {SECOND}:9, then [{V6}]:7',))

    def test_backends_that_are_no_loop(self):
        with Netns() as netns:
            with_addresses(netns)
            for args in (('[::]:7', f'{V4}:7'), ('[::]:7', f'[{V6}]:8'), ('0.0.0.0:7', '192.0.2.9:7'),
                         ('[::]:7', f'[{V6}]:7', '--bind-device', 'far0'), (f'{V4}:7', f'{SECOND}:7'),
                         ('--listen', '[::]:7', '--backend', f'{V4}:8', '--listen', f'{V4}:8', '--backend', f'{V4}:9')):
                done = netns.run(self.run_sixpipe, '--check', *args)
                self.assertEqual(done.returncode, 0, done)

    def test_doctor(self):
        with Netns() as netns:
            with_addresses(netns)
            done = netns.run(self.run_sixpipe, 'doctor', '[::]:7', f'[{V6}]:7')
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('its backend leads back to it', ' '.join(done.stdout.split()))


class WhileRunning(Case):

    def connect_late(self, proxy, endpoint, netns):
        """A client that is connected before sixpipe can refuse it."""
        with proxy.stopped():
            return self.connect(endpoint, netns=netns)

    def check_refused(self, proxy, endpoint, netns, sessions):
        """The client is reset, and no more sessions than `sessions` were made for it."""
        client = self.connect_late(proxy, endpoint, netns)
        self.assertEqual(client.recv_to_end(), (b'', RESET))
        closes = proxy.wait_events('close', sessions)
        self.assertIn('loop', [close['reason'] for close in closes])
        loops = proxy.wait_event('backend_loops')
        self.assertIn("give the service's address", loops['remedy'])
        proxy.wait_baseline()
        self.assertEqual(len(proxy.events('close')), sessions)

    def test_an_address_that_comes_to_this_host(self):
        with Netns() as netns:
            netns.ip(f'address add {SECOND}/32 dev lo')
            for listen, more in (('0.0.0.0', ()), ('[::]', ('--dual-stack',)), ('0.0.0.0', ('--source', SECOND))):
                with self.sixpipe(f'{listen}:7', f'{LATE}:7', '--maxconn', MAXCONN, *more, netns=netns) as proxy:
                    netns.ip(f'address add {LATE}/32 dev lo')
                    self.check_refused(proxy, (LATE, 7), netns, sessions=1)
                    netns.ip(f'address del {LATE}/32 dev lo')

    def test_an_address_that_comes_between_two_sessions(self):
        """sixpipe asks the kernel again about the address before a loop takes all sessions."""
        with Netns() as netns:
            with self.sixpipe('0.0.0.0:7', f'{LATE}:7', '--maxconn', MAXCONN, netns=netns) as proxy:
                early = self.connect_late(proxy, ('127.0.0.1', 7), netns)
                self.assertEqual(early.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, early, 'connect_failed')
                netns.ip(f'address add {LATE}/32 dev lo')
                late = self.connect_late(proxy, (LATE, 7), netns)
                self.assertEqual(late.recv_to_end(), (b'', RESET))
                self.assertIn('loop', [close['reason'] for close in proxy.wait_events('close', 2)])
                proxy.wait_baseline()

    def test_two_forwards(self):
        with Netns() as netns:
            with self.sixpipe('--maxconn', MAXCONN, '--listen', '0.0.0.0:7', '--backend', f'{LATE}:8', '--listen',
                              '0.0.0.0:8', '--backend', f'{LATE}:7', netns=netns) as proxy:
                netns.ip(f'address add {LATE}/32 dev lo')
                self.check_refused(proxy, (LATE, 7), netns, sessions=2)

    def test_the_next_backend_serves(self):
        with Netns() as netns:
            backend = self.backend(netns=netns)
            with self.sixpipe('0.0.0.0:7', f'{LATE}:7', backend.address, netns=netns) as proxy:
                netns.ip(f'address add {LATE}/32 dev lo')
                for _ in range(3):
                    client = self.connect((LATE, 7), netns=netns)
                    client.sendall(b'hello')
                    self.assertEqual(backend.accept().recv_exact(5), b'hello')
                proxy.wait_event('backend_loops')

    def test_a_name(self):
        """The address is left out when the name's answer brings it."""
        with Netns() as netns:
            netns.ip(f'address add {LATE}/32 dev lo')
            dns = netns.run(dns_server.DnsServer)
            self.addCleanup(dns.close)
            dns.set('loop.example', dns_server.a(LATE))
            with self.sixpipe('0.0.0.0:7', 'loop.example:7', '--dns-server', dns.address, netns=netns) as proxy:
                proxy.wait_event('name_loops')
                client = self.connect_late(proxy, (LATE, 7), netns)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'no_backend')

    def test_chains_are_no_loops(self):
        """A chain through another forward, another process, and back to another forward of the first process."""
        with Netns() as netns:
            backend = self.backend(netns=netns)
            with self.sixpipe('--listen', '0.0.0.0:7', '--backend', f'{LATE}:8', '--listen', '0.0.0.0:8', '--backend',
                              f'{LATE}:9', '--listen', '0.0.0.0:10', '--backend', backend.address, netns=netns) as proxy:
                netns.ip(f'address add {LATE}/32 dev lo')
                with self.sixpipe('0.0.0.0:9', f'{LATE}:10', netns=netns):
                    for _ in range(3):
                        client = self.connect((LATE, 7), netns=netns)
                        server = backend.accept()
                        client.sendall(b'up')
                        self.assertEqual(server.recv_exact(2), b'up')
                        server.sendall(b'down')
                        self.assertEqual(client.recv_exact(4), b'down')
                    self.close_peers()
                    proxy.wait_baseline()


if __name__ == '__main__':
    unittest.main()
