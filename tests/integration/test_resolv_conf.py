# SPDX-License-Identifier: MIT
"""/etc/resolv.conf: the search list, and link-local servers."""

import unittest

import dns_server
from dns_server import DnsServer
from harness import Case
from netns import Netns


class ResolvConf(Case):

    def setUp(self):
        super().setUp()
        self.netns = Netns()
        self.netns.__enter__()
        self.addCleanup(self.netns.__exit__)

    def dns(self, host='127.0.0.1'):
        server = self.netns.run(DnsServer, host, 53)
        self.addCleanup(server.close)
        return server

    def add_link(self, host='fe80::53'):
        self.netns.ip('link add dns0 type veth peer name dns1')
        for name in ('dns0', 'dns1'):
            self.netns.ip(f'link set {name} up')
        self.netns.ip(f'address add {host}/64 dev dns0 nodad')

    def forward(self, *args):
        return self.sixpipe('[::1]:0', 'web:9', *args, netns=self.netns)

    def test_a_domain_whose_servers_fail_is_passed_over(self):
        dns = self.dns()
        dns.set('web.two.example', dns_server.a('192.0.2.7'))
        self.netns.set_resolv_conf('nameserver 127.0.0.1\nsearch one.example two.example\n')
        for code in ('SERVFAIL', 'REFUSED'):
            with self.subTest(code):
                dns.set('web.one.example', dns_server.Answer(code=code))
                with self.forward() as proxy:
                    self.assertEqual(proxy.wait_event('name_resolved')['address'], '192.0.2.7')
                    self.assertEqual(proxy.events('name_failed'), [])

    def test_servers_on_a_link(self):
        self.add_link()
        dns = self.dns('fe80::53%dns0')
        dns.set('web', dns_server.a(*(f'192.0.2.{host}' for host in range(1, 41))))  # too many for UDP
        self.netns.set_resolv_conf('nameserver fe80::53%dns0\n')
        for args in ((), ('--dns-server', '[fe80::53%dns0]:53'), ('--dns-server', 'fe80::53%dns0')):
            with self.subTest(args), self.forward(*args) as proxy:
                proxy.wait_event('name_resolved')
                self.assertEqual(proxy.events('name_failed'), [])
        self.assertTrue(dns.seen(transport='tcp'))

    def test_servers_that_cannot_be_asked_are_named(self):
        dns = self.dns()
        dns.set('web', dns_server.a('192.0.2.7'))
        self.netns.set_resolv_conf('nameserver fe80::53%nosuch0\nnameserver fe80::53\nnameserver 127.0.0.1\n')
        with self.forward() as proxy:
            proxy.wait_event('name_resolved')
            ignored = proxy.wait_events('nameserver_ignored', 2)
            self.assertEqual([line['nameserver'] for line in ignored], ['fe80::53%nosuch0', 'fe80::53'])
            self.assertEqual({line['file'] for line in ignored}, {'/etc/resolv.conf'})
            self.assertIn('ip link', ignored[0]['error'])
            self.assertIn('fe80::53%eth0', ignored[1]['error'])


if __name__ == '__main__':
    unittest.main()
