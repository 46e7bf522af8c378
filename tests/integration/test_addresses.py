# SPDX-License-Identifier: MIT
"""Listeners on addresses that no interface has (yet), and on hosts without IPv6. In namespaces of the test's own."""

import contextlib
import json
import pathlib
import socket
import unittest

from harness import Case, wait_until
from netns import Netns
from seccomp import KNOWN_HERE, forbid_ipv6

ADDRESS = '2001:db8::7'
TENTATIVE, DUPLICATE = 0x40, 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED


def flags_of(netns, address):
    """The flags of an IPv6 address in the namespace; None if no interface has the address."""
    def read():
        return pathlib.Path('/proc/thread-self/net/if_inet6').read_text()
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    for line in netns.run(read).splitlines():
        words = line.split()
        if words[0] == wanted:
            return int(words[4], 16)
    return None


class AddressCase(Case):

    def refused(self, netns, *args, **popen):
        """The error of a start, which must end with exit code 1."""
        done = netns.run(self.run_sixpipe, '--engine', self.engine, *args, **popen)
        self.assertEqual(done.returncode, 1, done)
        return done.stderr

    def check_served(self, proxy, backend, netns):
        client = self.connect((ADDRESS, proxy.endpoint[1]), netns=netns)
        client.sendall(b'hello')
        self.assertEqual(backend.accept().recv_exact(5), b'hello')


class DuplicateAddressDetection(AddressCase):

    def add_tentative(self, netns):
        """Adds an address that stays tentative until the other end of its veth pair is up."""
        netns.ip('link add near0 type veth peer name far0')
        netns.ip('link set near0 up')
        netns.ip(f'address add {ADDRESS}/64 dev near0')
        self.assertTrue(flags_of(netns, ADDRESS) & TENTATIVE)

    def end_detection(self, netns):
        netns.ip('link set far0 up')
        wait_until(lambda: not flags_of(netns, ADDRESS) & TENTATIVE, what='the end of duplicate address detection')

    def test_listener_is_bound_meanwhile(self):
        with Netns() as netns:
            self.add_tentative(netns)
            backend = self.backend(netns=netns)
            with self.sixpipe(f'[{ADDRESS}]:0', backend.address, '--workers', '2', '--metrics', f'[{ADDRESS}]:0',
                              netns=netns) as proxy:
                self.assertIn('duplicate address detection', proxy.wait_event('listener_unreachable')['cause'])
                self.end_detection(netns)
                self.check_served(proxy, backend, netns)
                metrics = self.connect((ADDRESS, int(proxy.ready['metrics'].rpartition(':')[2])), netns=netns)
                metrics.sendall(b'GET /live HTTP/1.0\r\n\r\n')
                self.assertIn(b'200', metrics.recv_exact(12))

    def test_as_an_ordinary_user(self):
        with Netns() as netns:
            self.add_tentative(netns)
            backend = self.backend(netns=netns)
            with self.sixpipe(f'[{ADDRESS}]:0', backend.address, netns=netns,
                              popen={'user': 65534, 'group': 65534, 'extra_groups': []}) as proxy:
                self.end_detection(netns)
                self.check_served(proxy, backend, netns)

    def test_an_address_that_another_host_has(self):
        with Netns() as netns, Netns() as other:
            netns.link_to(other)
            other.ip(f'address add {ADDRESS}/64 dev far0 nodad')
            netns.ip(f'address add {ADDRESS}/64 dev near0')
            wait_until(lambda: flags_of(netns, ADDRESS) & DUPLICATE, what='duplicate address detection')
            for args in ((f'[{ADDRESS}]:7', '127.0.0.1:9'), ('[::1]:7', '127.0.0.1:9', '--metrics', f'[{ADDRESS}]:8')):
                self.assertIn('another host on the network has this address', self.refused(netns, *args))


class MissingAddress(AddressCase):

    def test_without_freebind_it_is_an_error(self):
        with Netns() as netns:
            for listen in (f'[{ADDRESS}]:7', '192.0.2.7:7'):
                told = self.refused(netns, listen, '127.0.0.1:9')
                self.assertIn(f'cannot listen on {listen}', told)
                self.assertIn('no interface has this address', told)
                self.assertIn('--freebind', told)
            told = self.refused(netns, '[::1]:7', '127.0.0.1:9', '--metrics', f'[{ADDRESS}]:8')
            self.assertIn('no interface has this address', told)
            self.assertNotIn('--freebind', told)

    def test_freebind(self):
        with Netns() as netns:
            backend = self.backend(netns=netns)
            with self.sixpipe('--freebind', '--listen', f'[{ADDRESS}]:0', '--backend', backend.address,
                              '--listen', '192.0.2.7:0', '--backend', backend.address, netns=netns) as proxy:
                for event in proxy.wait_events('listener_unreachable', 2):
                    self.assertIn('no interface has this address yet', event['cause'])
                netns.ip(f'address add {ADDRESS}/128 dev lo nodad')
                netns.ip('address add 192.0.2.7/32 dev lo')
                self.check_served(proxy, backend, netns)
                client = self.connect(proxy.endpoints[1], netns=netns)
                client.sendall(b'hello')
                self.assertEqual(backend.accept().recv_exact(5), b'hello')


class WithoutIpv6(AddressCase):

    def turn_off(self, netns, *interfaces):
        if 'near0' not in netns.run(lambda: [name for _, name in socket.if_nameindex()]):
            netns.ip('link add near0 type veth peer name far0')

        def write():
            for name in interfaces:
                pathlib.Path(f'/proc/sys/net/ipv6/conf/{name}/disable_ipv6').write_text('1')
        netns.run(write)

    def doctor(self, netns, *args, code, **popen):
        """doctor's checks of IPv6 and of the listener, as in --json; None if there is no such check."""
        done = netns.run(self.run_sixpipe, 'doctor', '--json', *args, **popen)
        self.assertEqual(done.returncode, code, done)
        checks = {check['name']: check for check in json.loads(done.stdout)['checks']}
        return checks.get('ipv6'), checks['ports']

    def test_doctor(self):
        with Netns() as netns:
            if KNOWN_HERE:
                ipv6, _ = self.doctor(netns, '[::]:7', code=1, preexec_fn=forbid_ipv6)
                self.assertIn('ipv6.disable=1', ipv6['remedy'])
            self.assertIsNone(self.doctor(netns, '[::]:7', code=0)[0])
            self.turn_off(netns, 'near0')
            self.assertEqual(self.doctor(netns, '[::]:7', code=0)[0]['state'], 'warn')
            self.assertIsNone(self.doctor(netns, '[::1]:7', code=0)[0])
            self.turn_off(netns, 'all', 'default', 'lo')
            for args in ((), ('[::]:7',), ('[::1]:7',), (f'[{ADDRESS}]:7',)):
                ipv6, ports = self.doctor(netns, *args, code=1)
                self.assertIn('disable_ipv6=0', ipv6['remedy'])
                if ports['state'] == 'fail':
                    self.assertIn('disable_ipv6=0', ports['remedy'])
            ipv6, ports = self.doctor(netns, '127.0.0.1:7', code=0)
            self.assertEqual((ipv6, ports['state']), (None, 'ok'))

    def test_addresses(self):
        with Netns() as netns:
            self.turn_off(netns, 'all', 'default', 'lo')
            for args in (('[::1]:7', '127.0.0.1:9'), (f'[{ADDRESS}]:7', '127.0.0.1:9'),
                         ('127.0.0.1:7', '127.0.0.1:9', '--metrics', '[::1]:8')):
                told = self.refused(netns, *args)
                self.assertIn('IPv6 is off on this host', told)
                self.assertIn('sysctl -w net.ipv6.conf.all.disable_ipv6=0', told)

    def test_ipv6_on_loopback_only(self):
        with Netns() as netns:
            self.turn_off(netns, 'lo')
            self.assertIn('IPv6 is off on this host', self.refused(netns, '[::1]:7', '127.0.0.1:9'))

    def test_all_addresses(self):
        """[::] can be bound, and IPv6 clients reach it once IPv6 is on: a warning. IPv4 clients are served."""
        for off, reason in ((('all', 'default', 'lo'), 'on every interface;'), (('near0',), 'on every interface but lo;')):
            with Netns() as netns:
                self.turn_off(netns, *off)
                backend = self.backend(netns=netns)
                with self.sixpipe('--listen', '[::]:0', '--backend', backend.address, '--listen', '127.0.0.1:0',
                                  '--backend', backend.address, netns=netns) as proxy:
                    event = proxy.wait_event('listener_unreachable')
                    self.assertIn(reason, event['cause'])
                    self.assertIn('disable_ipv6=0', event['remedy'])
                    client = self.connect(proxy.endpoints[1], netns=netns)
                    client.sendall(b'hello')
                    self.assertEqual(backend.accept().recv_exact(5), b'hello')

    def test_backend(self):
        with Netns() as netns:
            self.turn_off(netns, 'all', 'default', 'lo')
            with self.sixpipe('127.0.0.1:0', f'[{ADDRESS}]:9', netns=netns) as proxy:
                with contextlib.suppress(ConnectionResetError):  # the RST may come before connect(2) returns
                    self.connect(proxy.endpoint, netns=netns)
                self.assertIn('IPv6 is off', proxy.wait_event('backend_failed')['remedy'])

    def test_ipv6_sockets_forbidden(self):
        """As with ipv6.disable=1 on the kernel's command line, or AF_INET6 forbidden."""
        if not KNOWN_HERE:
            self.skipTest('the number of socket(2) is not known here')
        popen = {'preexec_fn': forbid_ipv6}
        for args in (('[::]:7',), ('[::1]:7',), (f'[{ADDRESS}]:7',), ('127.0.0.1:0', '--metrics', '[::1]:8')):
            done = self.run_sixpipe('--engine', self.engine, *args, '--backend', '127.0.0.1:9', **popen)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('there is no IPv6 here', done.stderr)
            self.assertIn('ipv6.disable=1', done.stderr)
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', '[::1]:9', backend.address, popen=popen) as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(b'hello')
            self.assertEqual(server.recv_exact(5), b'hello')
            self.assertIn('no IPv6', proxy.wait_event('backend_failed')['remedy'])


if __name__ == '__main__':
    unittest.main()
