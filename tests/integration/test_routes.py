# SPDX-License-Identifier: MIT
"""A backend without a usable route goes down. A lost source address takes no backend down."""

import contextlib
import unittest

from harness import Case
from netns import Netns

# kind of route: the answer of connect(2)
KINDS = {'blackhole': 'Invalid argument', 'prohibit': 'Permission denied', 'unreachable': 'No route to host',
         'throw': 'Network is unreachable'}


class Routes(Case):

    def serve_one(self, proxy, backend, netns):
        """Runs one session, which may try several backends."""
        client, server = self.pair(proxy, backend, netns=netns)
        client.send(b'x')
        self.assertEqual(server.recv_exact(1), b'x')
        client.close()
        server.close()
        self.assert_reason(proxy, client, 'done')

    def lose(self, netns, kind):
        """Adds routes of a kind, to an IPv4 and an IPv6 address. Returns backends with these addresses."""
        netns.ip(f'route add {kind} 198.51.100.1')
        netns.ip(f'-6 route add {kind} 2001:db8:1::1')
        return ('198.51.100.1:80', '[2001:db8:1::1]:80')

    def test_sessions_take_the_backend_down(self):
        for kind, error in KINDS.items():
            for extra in ((), ('--fastopen-backends',)):
                with self.subTest(kind, extra=extra), Netns() as netns:
                    lost = self.lose(netns, kind)
                    backend = self.backend(netns=netns)
                    with self.sixpipe('[::1]:0', *lost, backend.address, '--fail-timeout', '1h', *extra,
                                      netns=netns) as proxy:
                        for _ in range(4):
                            self.serve_one(proxy, backend, netns)
                        for address in lost:
                            down = proxy.wait_event('backend_down', backend=address)
                            self.assertEqual((down['cause'], down['error']), ('connect', error))
                            failed = proxy.events('backend_failed', backend=address)
                            self.assertEqual([line['error'] for line in failed], [error], 'tried once, and never again')
                            self.assertEqual('ip route get' in failed[0].get('remedy', ''), kind != 'unreachable')

    def test_checks_take_the_backend_down(self):
        for kind, error in KINDS.items():
            with self.subTest(kind), Netns() as netns:
                lost = self.lose(netns, kind)
                backend = self.backend(netns=netns)
                with self.sixpipe('[::1]:0', *lost, backend.address, '--check-backends', '--check-interval', '40ms',
                                  '--fall', '2', netns=netns) as proxy:
                    for address in lost:
                        down = proxy.wait_event('backend_down', backend=address)
                        self.assertEqual((down['cause'], down['error']), ('check', error))
                    self.assertEqual(proxy.events('check_skipped'), [])

    def start_with_source(self, netns, *args):
        """Starts a forward with --source 203.0.113.7, an address that the host then loses."""
        netns.ip('address add 203.0.113.7/32 dev lo')
        backend = self.backend(netns=netns)
        proxy = self.sixpipe('[::1]:0', backend.address, '--max-fails', '1', '--source', '203.0.113.7', *args, netns=netns)
        return backend, proxy

    def test_a_lost_source_address_takes_no_backend_down(self):
        """Also if the address can still be bound, and only connect(2) fails."""
        for nonlocal_bind, error in (('0', 'Cannot assign requested address'), ('1', 'Network is unreachable')):
            with self.subTest(nonlocal_bind), Netns() as netns:
                backend, proxy = self.start_with_source(netns)
                with proxy:
                    self.set_nonlocal_bind(netns, nonlocal_bind)
                    netns.ip('address del 203.0.113.7/32 dev lo')
                    for _ in range(3):
                        with contextlib.suppress(ConnectionResetError):  # connect() may see the RST already
                            self.connect(proxy.endpoint, netns=netns)
                    proxy.wait_events('close', 3, reason='no_source')
                    self.assertEqual(proxy.wait_event('source_failed')['error'], error)
                    self.assertEqual(proxy.events('backend_down'), [])
                    netns.ip('address add 203.0.113.7/32 dev lo')
                    self.serve_one(proxy, backend, netns)

    def test_a_check_without_its_source_address_changes_nothing(self):
        for nonlocal_bind in ('0', '1'):
            with self.subTest(nonlocal_bind), Netns() as netns:
                backend, proxy = self.start_with_source(netns, '--check-backends', '--check-interval', '40ms',
                                                        '--fall', '1')
                with proxy:
                    backend.accept().close()
                    self.set_nonlocal_bind(netns, nonlocal_bind)
                    netns.ip('address del 203.0.113.7/32 dev lo')
                    proxy.wait_event('check_skipped', backend=backend.address)
                proxy.wait_event('stopped')
                self.assertEqual(proxy.events('backend_down'), [])

    def set_nonlocal_bind(self, netns, value):
        def write():
            with open('/proc/sys/net/ipv4/ip_nonlocal_bind', 'w', encoding='ascii') as file:
                file.write(value)
        netns.run(write)


if __name__ == '__main__':
    unittest.main()
