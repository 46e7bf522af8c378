# SPDX-License-Identifier: MIT
"""Backends by name: DNS answers become the pool of a listener, and a missing answer changes nothing."""

import os
import pathlib
import pwd
import re
import select
import signal
import socket
import time

import dns_server
from dns_server import DnsServer
from harness import Case, wait_until
from peers import PATIENCE_S, RESET, endpoint_name, free_ports, parse_endpoint

NAME = 'web.example'


class NamesCase(Case):

    def setUp(self):
        super().setUp()
        self.dns = DnsServer()
        self.addCleanup(self.dns.close)

    def backends(self, *hosts):
        """Backends with these addresses and one port."""
        for _ in range(20):
            made = [self.backend(host=hosts[0])]
            try:
                made += [self.backend(host=host, port=made[0].endpoint[1]) for host in hosts[1:]]
                return made
            except OSError:
                continue
        raise AssertionError('no port is free on all addresses')

    def asking(self, *args, **options):
        return self.sixpipe(*args, '--dns-server', self.dns.address, **options)

    def named(self, backend, *args, name=NAME, **options):
        return self.asking('[::1]:0', f'{name}:{backend.endpoint[1]}', *args, **options)

    def open(self, proxy, backends, endpoint=None):
        """Opens a session. Returns the client, the backend's socket, and the host that got the session."""
        client = self.connect(endpoint or proxy.endpoint)
        waiting, _, _ = select.select([backend.socket for backend in backends], [], [], PATIENCE_S)
        self.assertEqual(len(waiting), 1, 'backends connected to')
        backend = next(backend for backend in backends if backend.socket is waiting[0])
        return client, backend.accept(), backend.endpoint[0]

    def check_passes(self, client, server):
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')

    def hosts_of(self, proxy, backends, count, endpoint=None):
        """The hosts that got `count` sessions, opened one after the other."""
        hosts = []
        for _ in range(count):
            client, server, host = self.open(proxy, backends, endpoint)
            self.check_passes(client, server)
            client.close()
            server.close()
            self.assertEqual(proxy.close_of(client)['reason'], 'done')
            hosts.append(host)
        return hosts

    def assert_turned_away(self, proxy, endpoint=None):
        with proxy.stopped():
            client = self.connect(endpoint or proxy.endpoint)
        self.assertEqual(client.recv_to_end(), (b'', RESET))
        self.assert_reason(proxy, client, 'no_backend')

    def metrics(self, proxy, *names):
        samples = {series.removesuffix('_total'): value for series, value in self.samples(proxy).items()}
        return [samples[f'sixpipe_{name}'] for name in names]


class Members(NamesCase):

    def test_every_address_is_a_backend(self):
        backends = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4')
        self.dns.set(NAME, dns_server.a('127.0.0.4', '127.0.0.2', '127.0.0.3'))
        with self.named(backends[0]) as proxy:
            resolved = proxy.wait_event('name_resolved')
            self.assertEqual(resolved['name'], NAME)
            self.assertEqual(resolved.all('address'), [backend.endpoint[0] for backend in backends])
            self.assertLess(proxy.log.index(resolved), proxy.log.index(proxy.ready), 'before event=ready')
            hosts = self.hosts_of(proxy, backends, 9)
            self.assertEqual(sorted(hosts[:3]), ['127.0.0.2', '127.0.0.3', '127.0.0.4'])
            self.assertEqual(hosts, hosts[:3] * 3)
        self.assertEqual([query.type for query in self.dns.seen()], ['A'])

    def test_one_family_does_not_wait_for_the_other(self):
        """A server that drops queries for AAAA records, as broken servers do."""
        backend = self.backend()
        self.dns.set(NAME, dns_server.but(dns_server.a('127.0.0.1'), 'silent-AAAA'))
        with self.named(backend, '--dns-family', 'both') as proxy:
            self.assertEqual(proxy.events('name_failed'), [], 'found within --resolve-timeout')
            self.assertLess(proxy.log.index(proxy.wait_event('name_resolved')), proxy.log.index(proxy.ready))
            self.assertEqual(self.hosts_of(proxy, [backend], 1), ['127.0.0.1'])
            self.dns.set(NAME, dns_server.join(dns_server.a('127.0.0.1'), dns_server.aaaa('::1')))
            resolved = proxy.wait_events('name_resolved', 2)[1]
            self.assertEqual(resolved.all('address'), ['127.0.0.1', '::1'], 'the late answer is taken')

    def test_parameters_hold_for_every_address(self):
        first, second, other = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4')
        self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3'))
        with self.asking('[::1]:0', f'{NAME}:{first.endpoint[1]} weight=2 send-proxy=v1', other.address) as proxy:
            clients = [self.open(proxy, (first, second, other)) for _ in range(10)]
            self.assertEqual(sorted(host for _, _, host in clients),
                             ['127.0.0.2'] * 4 + ['127.0.0.3'] * 4 + ['127.0.0.4'] * 2)
            for client, server, host in clients:
                client.sendall(b'\n')
                self.assertEqual(server.recv_exact(1), b'\n' if host == '127.0.0.4' else b'P')

    def test_maxconn_is_that_of_each(self):
        first, second, other = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4')
        self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3'))
        with self.asking('[::1]:0', f'{NAME}:{first.endpoint[1]} maxconn=1', other.address) as proxy:
            hosts = [self.open(proxy, (first, second, other))[2] for _ in range(6)]
            self.assertEqual(sorted(hosts), ['127.0.0.2', '127.0.0.3'] + ['127.0.0.4'] * 4)

    def test_backup(self):
        first, second, other = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4')
        self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3'))
        with self.asking('[::1]:0', f'{NAME}:{first.endpoint[1]} backup', other.address) as proxy:
            self.assertEqual(self.hosts_of(proxy, (first, second, other), 3), ['127.0.0.4'] * 3)
            other.close()
            self.assertEqual(sorted(self.hosts_of(proxy, (first, second), 2)), ['127.0.0.2', '127.0.0.3'])

    def test_a_change_leaves_sessions_alone(self):
        old, new = self.backends('127.0.0.2', '127.0.0.3')
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        with self.named(old) as proxy:
            client, server, _ = self.open(proxy, (old, new))
            self.dns.set(NAME, dns_server.a('127.0.0.3', ttl=1))
            proxy.wait_event('name_resolved', address=new.endpoint[0])
            self.assertEqual(self.hosts_of(proxy, (old, new), 4), ['127.0.0.3'] * 4)
            self.check_passes(client, server)
            self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3', ttl=1))
            wait_until(lambda: len(proxy.events('name_resolved')) == 3, what='the third set')
            self.assertEqual(sorted(self.hosts_of(proxy, (old, new), 2)), ['127.0.0.2', '127.0.0.3'])
            self.check_passes(client, server)

    def test_metrics_of_each_address(self):
        """When an address disappears, its series do too. The same address by itself, or of another name, is another
        backend."""
        old, new = self.backends('127.0.0.2', '127.0.0.3')
        port = old.endpoint[1]
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        self.dns.set('other.example', dns_server.a('127.0.0.3'))

        def backends():
            return sorted(re.findall(r',backend="(.*)",name="(.*)"', '\n'.join(
                series for series in self.samples(proxy) if series.startswith('sixpipe_backend_up'))))
        with self.named(old, new.address, f'other.example:{port}', '--metrics', '[::1]:0') as proxy:
            others = [(new.address, ''), (new.address, f'other.example:{port}')]
            self.assertEqual(backends(), [(old.address, f'{NAME}:{port}'), *others])
            self.dns.set(NAME, dns_server.a('127.0.0.3', ttl=1))
            wait_until(lambda: backends() == [*others, (new.address, f'{NAME}:{port}')], what='the new address')

    def test_addresses_that_stay_keep_their_health(self):
        first, second, third = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4')
        first.close()
        self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3', ttl=1))
        with self.named(second, '--fail-timeout', '1h') as proxy:
            self.hosts_of(proxy, (second, third), 2)
            self.assertEqual(proxy.wait_event('backend_down')['backend'], first.address)
            self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3', '127.0.0.4', ttl=1))
            proxy.wait_events('name_resolved', 2)
            self.assertEqual(sorted(self.hosts_of(proxy, (second, third), 4)),
                             ['127.0.0.3', '127.0.0.3', '127.0.0.4', '127.0.0.4'])
            self.assertEqual(len(proxy.events('backend_failed')), 1)
            self.assertEqual(len(proxy.events('backend_down')), 1)

    def test_a_lone_address_is_not_taken_down_and_one_of_two_is(self):
        """The default of --max-fails follows the number of addresses that the name has now."""
        lone, = self.backends('127.0.0.2')
        lone.close()
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        with self.named(lone) as proxy:
            for _ in range(2):
                with proxy.stopped():
                    client = self.connect(proxy.endpoint)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                self.assert_reason(proxy, client, 'connect_failed')
            self.assertEqual(proxy.events('backend_down'), [])
            self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3', ttl=1))
            proxy.wait_events('name_resolved', 2)
            with proxy.stopped():
                client = self.connect(proxy.endpoint)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.wait_events('backend_down', 2)

    def test_checks_follow_the_name(self):
        """Every address of the name is checked, with a PROXY header, and no other address."""
        first, second, third, other = self.backends('127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5')
        for backend in (first, third):
            backend.close()
        self.dns.set(NAME, dns_server.a('127.0.0.2', '127.0.0.3', ttl=1))
        with self.asking('[::1]:0', other.address, f'{NAME}:{first.endpoint[1]} check send-proxy=v1',
                         '--check-interval', '100ms') as proxy:
            self.assertEqual(proxy.wait_event('backend_down', cause='check')['backend'], first.address)
            check = second.accept()
            self.assertEqual(check.recv_exact(len(b'PROXY UNKNOWN\r\n')), b'PROXY UNKNOWN\r\n')
            first = self.backend(host='127.0.0.2', port=second.endpoint[1])
            self.assertEqual(proxy.wait_event('backend_up', cause='check')['backend'], first.address)
            self.dns.set(NAME, dns_server.a('127.0.0.3', '127.0.0.4', ttl=60))
            proxy.wait_event('backend_down', cause='check', backend=third.address)
            self.assertFalse(other.has_waiting(0))
            proxy.signal(signal.SIGTERM)
            proxy.finish(term=False)

    def test_ipv6_if_wanted(self):
        v4, v6 = self.backends('127.0.0.2', '::1')
        self.dns.set(NAME, dns_server.join(dns_server.a('127.0.0.2'), dns_server.aaaa('::1')))
        with self.named(v4, '--dns-family', 'both') as proxy:
            self.assertEqual(sorted(self.hosts_of(proxy, (v4, v6), 2)), ['127.0.0.2', '::1'])

    def test_ipv4_alone_by_default(self):
        v4, v6 = self.backends('127.0.0.2', '::1')
        self.dns.set(NAME, dns_server.join(dns_server.a('127.0.0.2'), dns_server.aaaa('::1')))
        with self.named(v4) as proxy:
            self.assertEqual(self.hosts_of(proxy, (v4, v6), 2), ['127.0.0.2'] * 2)


class Failures(NamesCase):

    ROWS = {
        'nxdomain': (dns_server.NXDOMAIN, 'NXDOMAIN'),
        'servfail': (dns_server.SERVFAIL, 'SERVFAIL'),
        'refused': (dns_server.REFUSED, 'REFUSED'),
        'empty': (dns_server.EMPTY, 'no address'),
        'filtered': (dns_server.a('0.0.0.0'), 'no address'),
        'silent': (dns_server.SILENT, 'timed out'),
        'malformed': (dns_server.but(dns_server.a('127.0.0.9'), 'malformed'), None),
        'garbage': (dns_server.but(dns_server.a('127.0.0.9'), 'garbage'), None),
        'wrong-id': (dns_server.but(dns_server.a('127.0.0.9'), 'wrong-id'), 'timed out'),
    }

    def test_the_last_good_answer_is_kept_and_then_replaced(self):
        old, new = self.backends('127.0.0.2', '127.0.0.3')
        names = {row: f'{row}.example' for row in self.ROWS}
        args = [word for name in names.values()
                for word in ('--listen', '[::1]:0', '--backend', f'{name}:{old.endpoint[1]}')]
        for name in names.values():
            self.dns.set(name, dns_server.a('127.0.0.2', ttl=1))
        with self.asking(*args, '--metrics', '[::1]:0') as proxy:
            for row, (answer, _) in self.ROWS.items():
                self.dns.set(names[row], answer)
            for endpoint, (row, (_, error)) in zip(proxy.endpoints, self.ROWS.items()):
                with self.subTest(row=row):
                    failed = proxy.wait_event('name_failed', name=names[row])
                    self.assertEqual(failed['kept'], '1')
                    self.assertIn(error or failed['error'], failed['error'])
                    self.assertEqual(self.hosts_of(proxy, (old, new), 1, endpoint), ['127.0.0.2'])
            count = len(self.ROWS)
            self.assertEqual(self.metrics(proxy, 'names_resolved', 'names_failing', 'name_failures', 'name_changes'),
                             [0, count, count, count])
            for name in names.values():
                self.dns.set(name, dns_server.a('127.0.0.3', ttl=60))
            proxy.wait_events('name_resolved', count, timeout_s=2 * PATIENCE_S, address=new.endpoint[0])
            for endpoint in proxy.endpoints:
                self.assertEqual(self.hosts_of(proxy, (old, new), 1, endpoint), ['127.0.0.3'])
            self.assertEqual(len(proxy.events('name_failed')), count, 'each failure is logged once')
            self.assertEqual(self.metrics(proxy, 'names_resolved', 'names_failing', 'name_failures', 'name_changes'),
                             [count, 0, count, 2 * count])

    def test_truncated_answers_are_asked_for_by_tcp(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.but(dns_server.a('127.0.0.2'), 'truncated'))
        with self.named(backend) as proxy:
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])
        self.assertEqual([query.transport for query in self.dns.seen()], ['udp', 'tcp'])

    def test_a_silent_server_delays_no_session(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        with self.named(backend, '--workers', '1') as proxy:
            self.dns.set(NAME, dns_server.SILENT)
            self.dns.wait_queries(2)
            client, server, _ = self.open(proxy, (backend,))
            began_s = time.monotonic()
            for _ in range(200):
                self.check_passes(client, server)
            self.assertLess(time.monotonic() - began_s, PATIENCE_S / 4)
            self.assert_idle_cpu(proxy)
            self.dns.set(NAME, dns_server.a('127.0.0.2'))


class Start(NamesCase):

    def test_try_starts_and_serves_later(self):
        backend, = self.backends('127.0.0.2')
        with self.named(backend) as proxy:
            failed = proxy.wait_event('name_failed')
            self.assertLess(proxy.log.index(failed), proxy.log.index(proxy.ready))
            self.assertEqual((failed['error'], failed['kept']), ('NXDOMAIN', '0'))
            self.assert_turned_away(proxy)
            self.dns.set(NAME, dns_server.a('127.0.0.2'))
            proxy.wait_event('name_resolved')
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])

    def test_a_backend_by_address_serves_meanwhile(self):
        backend, other = self.backends('127.0.0.2', '127.0.0.3')
        with self.named(backend, other.address) as proxy:
            self.assertEqual(self.hosts_of(proxy, (backend, other), 3), ['127.0.0.3'] * 3)

    def test_try_does_not_wait_for_ever(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.SILENT)
        with self.named(backend, '--resolve-timeout', '200ms') as proxy:
            failed = proxy.wait_event('name_failed')
            self.assertEqual(failed['error'], 'no answer within --resolve-timeout')
            self.assertLess(proxy.log.index(failed), proxy.log.index(proxy.ready))
            self.dns.set(NAME, dns_server.a('127.0.0.2'))
            proxy.wait_event('name_resolved')
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])

    def test_without_waiting(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.a('127.0.0.2'))
        with self.named(backend, '--resolve-timeout', '0') as proxy:
            resolved = proxy.wait_event('name_resolved')
            self.assertGreater(proxy.log.index(resolved), proxy.log.index(proxy.ready))
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])

    def test_require_fails(self):
        self.dns.set('good.example', dns_server.a('127.0.0.2'))
        self.dns.set('silent.example', dns_server.SILENT)
        for name, reason in (('no.example', 'NXDOMAIN'), ('silent.example', 'no answer within --resolve-timeout')):
            done = self.run_sixpipe('--engine', self.engine, '[::1]:0', 'good.example:9', f'{name}:9', '--dns-server',
                                    self.dns.address, '--resolve-at-start', 'require', '--resolve-timeout', '300ms')
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(f"sixpipe: --backend '{name}:9': the name has no address: {reason}; correct it or",
                          done.stderr)
            self.assertNotIn('event=ready', done.stderr)

    def test_require_names_the_first_option(self):
        first = free_ports(2)
        done = self.run_sixpipe('--listen', '[::1]:0', '--backend', 'no.example:80',
                                '--listen', f'[::1]:{first}-{first + 1}', '--backend', 'no.example:90-91',
                                '--dns-server', self.dns.address, '--resolve-at-start', 'require',
                                '--resolve-timeout', '300ms')
        self.assertIn("sixpipe: --backend 'no.example:80': the name has no address", done.stderr)

    def test_require_waits_for_a_server_that_comes_late(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.SERVFAIL)
        with self.named(backend, '--resolve-at-start', 'require', wait_ready=False) as proxy:
            self.dns.wait_queries(1)
            self.dns.set(NAME, dns_server.a('127.0.0.2'))
            proxy.ready = proxy.wait_event('ready')
            proxy.endpoints = [parse_endpoint(proxy.ready['listen'])]
            proxy.count_baseline()
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])

    def test_require_applies_to_the_start_only(self):
        backend, = self.backends('127.0.0.2')
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        with self.named(backend, '--resolve-at-start', 'require') as proxy:
            self.dns.set(NAME, dns_server.NXDOMAIN)
            proxy.wait_event('name_failed')
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.2'])

    def test_clients_of_the_start_wait(self):
        backend, = self.backends('127.0.0.2')
        with socket.create_server(('::1', 0), family=socket.AF_INET6) as holder:
            endpoint = holder.getsockname()[:2]
        self.dns.set(NAME, dns_server.SILENT)
        with self.asking(endpoint_name(endpoint), f'{NAME}:{backend.endpoint[1]}', '--resolve-timeout', '1h',
                         wait_ready=False) as proxy:
            self.dns.wait_queries(1)
            client = self.connect(endpoint)
            client.sendall(b'ping')
            self.assertTrue(client.is_silent())
            self.dns.set(NAME, dns_server.a('127.0.0.2'))
            self.assertEqual(backend.accept().recv_exact(4), b'ping')
            proxy.wait_event('ready')
            proxy.signal(signal.SIGTERM)
            proxy.finish(term=False)

    def test_term_ends_the_wait(self):
        self.dns.set(NAME, dns_server.SILENT)
        for require in ('try', 'require'):
            self.dns.queries.clear()
            with self.asking('[::1]:0', f'{NAME}:9', '--resolve-timeout', '1h', '--resolve-at-start', require,
                             wait_ready=False) as proxy:
                self.dns.wait_queries(1)
                proxy.signal(signal.SIGTERM)
                self.assertEqual(proxy.wait_exit(), 0)
                proxy.finished = True

    def test_hup_does_not_end_the_wait(self):
        self.dns.set(NAME, dns_server.NXDOMAIN)
        with self.asking('[::1]:0', f'{NAME}:9', '--resolve-timeout', '700ms', '--resolve-at-start', 'require',
                         wait_ready=False) as proxy:
            self.dns.wait_queries(1)
            proxy.signal(signal.SIGHUP)
            self.assertEqual(proxy.wait_exit(), 1)
            self.assertFalse(proxy.events('ready'))
            proxy.finished = True

    def test_check_asks_no_server(self):
        done = self.run_sixpipe('[::1]:0', f'{NAME}:9', '--dns-server', self.dns.address, '--check')
        self.assertEqual((done.returncode, done.stdout), (0, 'configuration OK\n'), done)
        self.assertEqual(self.dns.seen(), [])

    def test_the_hosts_file_goes_first(self):
        hosts = pathlib.Path('/etc/hosts')
        if not hosts.exists() or not re.search(r'^127\.0\.0\.1\s.*\blocalhost\b', hosts.read_text(), re.MULTILINE):
            self.skipTest('/etc/hosts does not have 127.0.0.1 localhost')
        backend, = self.backends('127.0.0.1')
        with self.named(backend, name='localhost') as proxy:
            self.assertEqual(self.hosts_of(proxy, (backend,), 1), ['127.0.0.1'])
        self.assertEqual(self.dns.seen(name='localhost'), [])

    def test_after_the_privilege_drop(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')
        old, new = self.backends('127.0.0.2', '127.0.0.3')
        self.dns.set(NAME, dns_server.a('127.0.0.2', ttl=1))
        with self.named(old, '--user', 'nobody') as proxy:
            self.assertEqual(proxy.status()['Uid'].split(), [str(pwd.getpwnam('nobody').pw_uid)] * 4)
            self.dns.set(NAME, dns_server.a('127.0.0.3', ttl=1))
            proxy.wait_event('name_resolved', address=new.endpoint[0])
            self.assertEqual(self.hosts_of(proxy, (old, new), 1), ['127.0.0.3'])
