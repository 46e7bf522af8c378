# SPDX-License-Identifier: MIT
"""The backend knows the client: --source, and how other people's programs use source addresses and PROXY headers."""

import collections
import contextlib
import http.client
import os
import re
import resource
import socket
import stat
import subprocess
import tempfile
import unittest

import proxy_header
from harness import Case
from netns import Netns
from peers import RESET
from programs import Haproxy, Nginx, Postgres, Sshd, find, free_port

CLIENTS = [f'2001:db8:{number:x}::1' for number in range(1, 21)]
NEIGHBOUR = '2001:db8:1::2'  # in the /64 of the first client


class WithClients(Case):
    """A network namespace with many IPv6 clients and a route for pseudo addresses."""

    def setUp(self):
        super().setUp()
        self.netns = Netns()
        self.netns.__enter__()
        self.addCleanup(self.netns.__exit__)
        for client in (*CLIENTS, NEIGHBOUR):
            self.netns.ip(f'address add {client}/128 dev lo nodad')
        self.state = tempfile.mkdtemp(prefix='sixpipe-test-')
        self.addCleanup(lambda: subprocess.run(['rm', '-r', self.state], check=True))

    def route(self, block):
        self.netns.ip(f'route add local {block} dev lo')

    def forward(self, backend, *more, **options):
        return self.sixpipe('[::1]:0', backend, *more, netns=self.netns, **options)

    def source_of(self, proxy, backend, client):
        """The source address that the backend sees for a client."""
        peer = self.connect(proxy.endpoint, netns=self.netns, bind=(client, 0))
        server = backend.accept()
        source = server.remote.rpartition(':')[0]
        peer.close()
        server.close()
        return source

    def sources_of_a_run(self, *options):
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'loopback', *options) as proxy:
            return self.sources_of(proxy, backend, CLIENTS)

    def sources_of(self, proxy, backend, clients):
        return [self.source_of(proxy, backend, client) for client in clients]


class Pseudo(WithClients):
    """--source pseudo and loopback"""

    def test_every_client_gets_its_own_address_and_keeps_it(self):
        for mode, route, first in (('pseudo', '240.0.0.0/4', '2[45]'), ('loopback', None, '127'),
                                   ('pseudo:100.64.0.0/10', '100.64.0.0/10', '100'),
                                   ('loopback:127.99.0.0/16', None, r'127\.99')):
            with self.subTest(mode):
                if route:
                    self.route(route)
                backend = self.backend(netns=self.netns)
                with self.forward(backend.address, '--source', mode) as proxy:
                    sources = self.sources_of(proxy, backend, CLIENTS)
                    self.assertEqual(len(set(sources)), len(CLIENTS), sources)
                    for source in sources:
                        self.assertRegex(source, f'^{first}')
                        self.assertNotRegex(source, r'\.(0|255)$')
                    self.assertEqual(self.sources_of(proxy, backend, reversed(CLIENTS)), sources[::-1])
                    self.assertEqual(self.source_of(proxy, backend, NEIGHBOUR), sources[0], 'one /64 is one client')
                    close = proxy.wait_events('close', len(CLIENTS))[0]
                    self.assertRegex(close['source'], f'^{first}.*:\\d+$')

    def test_a_single_address_can_be_a_client(self):
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'loopback', '--pseudo-prefix', '128') as proxy:
            self.assertNotEqual(*self.sources_of(proxy, backend, (CLIENTS[0], NEIGHBOUR)))

    def test_addresses_outlive_a_restart(self):
        state = os.path.join(self.state, 'state')
        before = self.sources_of_a_run('--pseudo-state', state)
        self.assertEqual(stat.S_IMODE(os.stat(state).st_mode), 0o600)
        self.assertEqual(self.sources_of_a_run('--pseudo-state', state), before)
        self.assertEqual(sorted(os.listdir(self.state)), ['state', 'state.lock'], 'no other file is left')

    def test_two_processes_do_not_share_a_state_file(self):
        state = os.path.join(self.state, 'state')
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'loopback', '--pseudo-state', state):
            for removed in (False, True):
                if removed:
                    os.remove(state)
                done = self.netns.run(self.run_sixpipe, '[::1]:0', '127.0.0.1:1', '--source', 'loopback:127.99.0.0/16',
                                      '--pseudo-state', state)
                self.assertEqual(done.returncode, 1)
                self.assertIn(state, done.stderr)
                self.assertIn('another process', done.stderr)
        self.assertTrue(os.path.exists(state), 'written again at the end')

    def test_the_state_file_of_a_killed_process_is_free(self):
        state = os.path.join(self.state, 'state')
        backend = self.backend(netns=self.netns)
        options = (backend.address, '--source', 'loopback', '--pseudo-state', state)
        with self.forward(*options) as proxy:
            proxy.finished = True
            proxy.kill()
        with self.forward(*options):
            pass

    def test_the_end_of_a_session_is_saved_too(self):
        """The time of a client's last session decides which client is forgotten first, so it is saved even if no
        address is new."""
        state = os.path.join(self.state, 'state')

        def last_use():
            with open(state, encoding='ascii') as file:
                return max(int(line.split()[3]) for line in file if line.startswith('lease'))
        self.sources_of_a_run('--pseudo-state', state)
        with open(state, encoding='ascii') as file:
            aged = re.sub(r'(?m)^(lease .* )\d+$', r'\g<1>1700000000', file.read())
        with open(state, 'w', encoding='ascii') as file:
            file.write(aged)
        self.sources_of_a_run('--pseudo-state', state)
        self.assertGreater(last_use(), 1700000000)

    def test_the_same_key_gives_the_same_addresses(self):
        key = os.path.join(self.state, 'key')
        with open(key, 'w', encoding='ascii') as file:
            file.write('00112233445566778899aabbccddeeff\n')
        os.chmod(key, 0o600)
        one = self.sources_of_a_run('--pseudo-key', key)
        self.assertEqual(self.sources_of_a_run('--pseudo-key', key), one)
        self.assertNotEqual(self.sources_of_a_run(), one, 'a key of its own')

    def test_no_address_left_is_refused_and_counted(self):
        """A pool of 4 addresses, of which 2 can be used, and 20 clients at once: no two clients share an address."""
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'loopback:127.99.7.4/30') as proxy:
            sources = []
            for client in CLIENTS:
                with contextlib.suppress(ConnectionResetError):
                    peer = self.connect(proxy.endpoint, netns=self.netns, bind=(client, 0))
                    if not backend.has_waiting(0.1):
                        self.assertEqual(peer.recv_to_end(), (b'', RESET))
                        continue
                    sources.append(backend.accept().remote.rpartition(':')[0])
            self.assertEqual(sorted(sources), ['127.99.7.5', '127.99.7.6'])
            proxy.wait_events('close', len(CLIENTS) - 2, reason='no_source')
            self.assertIn('--pseudo-leases', proxy.wait_event('source_exhausted')['remedy'])

    def test_two_clients_may_use_one_port(self):
        """Each source address has all local ports. Without --source all clients share 28,000 ports towards a
        backend."""
        backend = self.backend(netns=self.netns)
        self.netns.run(self.narrow_ports)
        with self.forward(backend.address, '--source', 'loopback') as proxy:
            clients = []
            for client in CLIENTS[:5]:
                for _ in range(8):
                    clients.append(self.connect(proxy.endpoint, netns=self.netns, bind=(client, 0)))
            names = [backend.accept().remote for _ in clients]
            self.assertEqual(len(set(names)), 40)
            self.assertLessEqual(len({name.rpartition(':')[2] for name in names}), 11)

    @staticmethod
    def narrow_ports():
        with open('/proc/sys/net/ipv4/ip_local_port_range', 'w', encoding='ascii') as file:
            file.write('40000 40010')

    def test_a_missing_route_is_named(self):
        done = self.netns.run(self.run_sixpipe, '[::1]:0', '127.0.0.1:1', '--source', 'pseudo')
        self.assertEqual(done.returncode, 1)
        self.assertIn('ip route add local 240.0.0.0/4 dev lo', done.stderr)
        done = self.netns.run(self.run_sixpipe, 'doctor', '[::1]:0', '127.0.0.1:1', '--source', 'pseudo')
        self.assertEqual(done.returncode, 1)
        self.assertIn('ip route add local 240.0.0.0/4 dev lo', done.stdout)

    def test_a_part_of_the_pool_with_another_route_is_named(self):
        self.route('100.64.0.0/10')
        self.netns.ip('route add blackhole 100.96.0.0/13')
        done = self.netns.run(self.run_sixpipe, '[::1]:0', '127.0.0.1:1', '--source', 'pseudo:100.64.0.0/10')
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r'100\.9[6-9]\.\d+\.\d+ of it is not .* ip route get 100\.9[6-9]\.')
        self.assertNotIn('ip route add', done.stderr)

    def test_blocks_that_cannot_be_a_pool(self):
        for block in ('0.0.0.0/0', '0.0.0.0/8', '128.0.0.0/1', '224.0.0.0/4', '239.0.0.0/8'):
            done = self.run_sixpipe('--check', '[::1]:0', '127.0.0.1:1', '--source', f'pseudo:{block}')
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(block, done.stderr)

    def test_a_route_that_disappears_is_logged(self):
        self.route('240.0.0.0/4')
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'pseudo') as proxy:
            self.source_of(proxy, backend, CLIENTS[0])
            self.netns.ip('route del local 240.0.0.0/4 dev lo')
            with contextlib.suppress(ConnectionResetError):
                peer = self.connect(proxy.endpoint, netns=self.netns, bind=(CLIENTS[0], 0))
                self.assertEqual(peer.recv_to_end(), (b'', RESET))
            proxy.wait_event('close', reason='no_source')
            self.assertRegex(proxy.wait_event('source_failed')['source'], '^2[45]')
            self.assertFalse(proxy.events('backend_failed'))

    def test_a_state_file_beyond_the_file_size_limit_is_an_error_at_the_start(self):
        """SIGXFSZ, which the kernel sends then, does not end the process."""
        done = self.run_sixpipe('[::1]:0', '127.0.0.1:1', '--source', 'loopback', '--pseudo-state',
                                os.path.join(self.state, 'state'),
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)))
        self.assertEqual(done.returncode, 1)
        self.assertIn('File too large; raise the limit on file sizes', done.stderr)

    def test_a_state_file_that_cannot_be_written_is_an_error_at_the_start(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')
        os.chmod(self.state, 0o755)
        for name, remedy in (('state', 'must be writable by --user'), ('none/state', 'make its directory')):
            state = os.path.join(self.state, name)
            done = self.run_sixpipe('[::1]:0', '127.0.0.1:1', '--source', 'loopback', '--pseudo-state', state,
                                    '--user', 'nobody')
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"--pseudo-state '{state}': cannot make", done.stderr)
            self.assertIn(remedy, done.stderr)


class Fixed(WithClients):
    """--source ADDR and embedded"""

    def test_a_fixed_address(self):
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', '127.0.0.77') as proxy:
            self.assertEqual(self.source_of(proxy, backend, CLIENTS[0]), '127.0.0.77')

    def test_a_fixed_address_that_this_host_does_not_have(self):
        done = self.netns.run(self.run_sixpipe, '[::1]:0', '127.0.0.1:1', '--source', '192.0.2.77')
        self.assertEqual(done.returncode, 1)
        self.assertIn('192.0.2.77', done.stderr)

    def test_the_ipv4_address_inside_the_clients_address(self):
        self.route('198.51.100.7/32')
        self.route('8.8.4.4/32')
        self.netns.ip('address add 64:ff9b::808:404/128 dev lo nodad')   # 8.8.4.4
        self.netns.ip('address add 2002:808:404::1/128 dev lo nodad')    # 8.8.4.4
        self.netns.ip('address add 2002:808:808::1/128 dev lo nodad')    # 8.8.8.8, not routed here
        backend = self.backend(netns=self.netns)
        with self.forward(backend.address, '--source', 'embedded,127.0.0.78') as proxy:
            self.assertEqual(self.sources_of(proxy, backend, ('64:ff9b::808:404', '2002:808:404::1',
                                                              '2002:808:808::1', CLIENTS[0])),
                             ['8.8.4.4', '8.8.4.4', '127.0.0.78', '127.0.0.78'])


    def test_a_ban_of_the_address_inside(self):
        """A site with 6to4 has one IPv4 address in 65,536 blocks, and a client behind NAT64 may have the same IPv4
        address."""
        self.route('8.8.8.8/32')
        forms = ('2002:808:808::1', '2002:808:808:2::1', '64:ff9b::808:808')
        for form in forms:
            self.netns.ip(f'address add {form}/128 dev lo nodad')
        backend = self.backend(netns=self.netns)
        admin = os.path.join(self.state, 'admin.sock')
        with self.forward(backend.address, '--source', 'embedded', '--admin', admin) as proxy:
            def refused(form):
                try:
                    return self.connect(proxy.endpoint, netns=self.netns, bind=(form, 0)).recv_to_end()[1] == RESET
                except ConnectionResetError:  # the RST came before connect() returned
                    return True

            def ask(*args):
                done = self.run_sixpipe(*args, '--admin', admin)
                self.assertEqual(done.returncode, 0, done)
                return done.stdout
            ask('ban', '8.8.8.8')  # a client that sixpipe has never seen
            self.assertEqual([refused(form) for form in forms], [True] * 3)
            ask('unban', '8.8.8.8')
            peers = []
            for form in forms:
                peers.append(self.connect(proxy.endpoint, netns=self.netns, bind=(form, 0)))
                self.assertEqual(backend.accept().remote.rpartition(':')[0], '8.8.8.8')
            other = self.connect(proxy.endpoint, netns=self.netns, bind=(CLIENTS[0], 0))
            kept = backend.accept()
            self.assertIn('sessions_reset=3', ask('ban', '8.8.8.8'))
            for peer in peers:
                self.assertEqual(peer.recv_to_end()[1], RESET)
            other.sendall(b'still here')
            self.assertEqual(kept.recv_exact(10), b'still here')

    def set_sysctl(self, name, value):
        def write():
            with open(f'/proc/sys/net/{name}', 'w', encoding='ascii') as file:
                file.write(value)
        self.netns.run(write)

    def test_a_source_address_that_reaches_no_backend_takes_none_down(self):
        """A client on loopback, backends on other hosts: the client's address is not used, and all backends stay up."""
        with Netns() as far:
            self.netns.link_to(far)
            for mode in ('embedded', 'embedded,192.0.2.1'):
                backends = [self.backend(netns=far, host='192.0.2.2') for _ in range(2)]
                with self.subTest(mode), self.sixpipe(
                        '[::]:0', *(backend.address for backend in backends), '--dual-stack', '--source', mode,
                        netns=self.netns) as proxy:
                    for backend, host in zip(backends, ('127.0.0.1', '::1')):
                        self.connect((host, proxy.endpoint[1]), netns=self.netns)
                        self.assertEqual(backend.accept().remote.rpartition(':')[0], '192.0.2.1')
                    self.assertFalse(proxy.events('backend_down'))
                    self.assertFalse(proxy.events('backend_failed'))
                    self.close_peers()

    def check_refused(self, *args, words):
        done = self.netns.run(self.run_sixpipe, *args)
        self.assertEqual(done.returncode, 1, done)
        doctor = self.netns.run(self.run_sixpipe, 'doctor', '--json', *args)
        self.assertEqual(doctor.returncode, 1, doctor)
        for word in words:
            self.assertIn(word, done.stderr)
            self.assertIn(word, doctor.stdout)

    def test_options_that_cannot_work_are_refused(self):
        self.netns.add_black_hole()
        self.check_refused('[::1]:0', '192.0.2.9:80', '--source', 'loopback',
                           words=('127.64.0.0/10', '192.0.2.9:80', 'use --source pseudo'))
        self.check_refused('[::1]:0', '127.0.0.1:80', '192.0.2.9:80', '--source', '127.0.0.7',
                           words=('127.0.0.7', '192.0.2.9:80'))
        self.set_sysctl('ipv4/ip_nonlocal_bind', '1')
        self.check_refused('[::1]:0', '127.0.0.1:80', '--source', 'embedded',
                           words=('embedded', 'sysctl -w net.ipv4.ip_nonlocal_bind=0'))
        backend = self.backend(netns=self.netns, host='192.0.2.1')
        with self.forward(backend.address, '--source', 'loopback') as proxy:
            self.assertRegex(self.source_of(proxy, backend, CLIENTS[0]), '^127', 'this host has that address')


class Programs(WithClients):
    """What other people's programs see."""

    def get(self, endpoint, client, path='/'):
        connection = http.client.HTTPConnection(*endpoint[:2], source_address=(client, 0), timeout=20)
        self.netns.run(connection.connect)
        connection.request('GET', path)
        status = connection.getresponse().status
        connection.close()
        return status

    def test_nginx_logs_a_stable_address_for_each_client(self):
        self.route('240.0.0.0/4')
        port = free_port(self.netns.run)
        nginx = Nginx(self, self.netns, server=f'listen 127.0.0.1:{port}; location / {{ return 204; }}')
        nginx.wait_port('127.0.0.1', port)
        with self.forward(f'127.0.0.1:{port}', '--source', 'pseudo') as proxy:
            for turn in range(3):
                for number, client in enumerate(CLIENTS):
                    self.assertEqual(self.get(proxy.endpoint, client, f'/{number}'), 204)
            text = nginx.wait_log(lambda text: text.count('\n') == 3 * len(CLIENTS))
        seen = collections.defaultdict(set)
        for address, _, path in map(str.split, text.splitlines()):
            seen[path].add(address)
        self.assertTrue(all(len(addresses) == 1 for addresses in seen.values()), seen)
        self.assertEqual(len(set.union(*seen.values())), len(CLIENTS), 'distinct')
        self.assertTrue(all(address.startswith(('24', '25')) for address in set.union(*seen.values())))

    def test_nginx_takes_both_versions(self):
        for version in ('v1', 'v2'):
            with self.subTest(version):
                port = free_port(self.netns.run)
                nginx = Nginx(self, self.netns,
                              server=f'listen 127.0.0.1:{port} proxy_protocol; location / {{ return 204; }}')
                nginx.wait_port('127.0.0.1', port)
                values = ('--proxy-tlv', '0xE0=x') if version == 'v2' else ()
                with self.forward(f'127.0.0.1:{port}', '--send-proxy', version, *values) as proxy:
                    self.assertEqual(self.get(proxy.endpoint, CLIENTS[3], f'/{version}'), 204)
                    nginx.wait_log(lambda text: f'127.0.0.1 {CLIENTS[3]} /{version}\n' in text)

    def test_haproxy_takes_both_versions(self):
        for version in ('v1', 'v2'):
            with self.subTest(version):
                port, backend = free_port(self.netns.run), self.backend(netns=self.netns)
                haproxy = Haproxy(self, self.netns, body=f'''
listen test
    bind 127.0.0.1:{port} accept-proxy
    option tcplog
    server one {backend.address}
''')
                haproxy.wait_port('127.0.0.1', port)
                with self.forward(f'127.0.0.1:{port}', '--send-proxy', version) as proxy:
                    client = self.connect(proxy.endpoint, netns=self.netns, bind=(CLIENTS[4], 0))
                    client.sendall(b'hello')
                    server = backend.accept()
                    self.assertEqual(server.recv_exact(5), b'hello')
                    server.close()
                    client.recv_to_end()
                    client.close()
                    haproxy.wait_log(lambda text: f'{CLIENTS[4]}:{client.getsockname()[1]} ' in text
                                     if client.fileno() >= 0 else CLIENTS[4] + ':' in text)

    def test_headers_of_haproxy_and_nginx_are_accepted(self):
        for name, line in (('haproxy v1', 'send-proxy'), ('haproxy v2', 'send-proxy-v2 proxy-v2-options crc32c,unique-id'),
                           ('nginx', None)):
            with self.subTest(name):
                port, backend = free_port(self.netns.run), self.backend(netns=self.netns)
                with self.sixpipe('127.0.0.1:0', backend.address, '--accept-proxy', '--trust', '127.0.0.0/8',
                                  '--send-proxy', 'v2', netns=self.netns) as proxy:
                    inner = '%s:%d' % proxy.endpoint
                    if line:
                        front = Haproxy(self, self.netns, body=f'''
listen test
    bind 127.0.0.1:{port}
    bind :::{port} v6only
    unique-id-format %ci-%cp
    server one {inner} {line}
''')
                    else:
                        front = Nginx(self, self.netns, stream=f'''
server {{ listen 127.0.0.1:{port}; listen [::]:{port} ipv6only=on; proxy_pass {inner}; proxy_protocol on; }}''')
                    front.wait_port('127.0.0.1', port)
                    client = self.connect((CLIENTS[5], port), netns=self.netns, bind=(CLIENTS[6], 0))
                    got = proxy_header.receive(backend.accept())
                    self.assertEqual((got.source, got.target),
                                     (client.getsockname()[:2], client.getpeername()[:2]))
                    front.stop()

    def test_postgres_tells_its_clients_apart(self):
        psql = find('psql')
        port = free_port(self.netns.run)
        postgres = Postgres(self, self.netns, port=port)
        postgres.wait_port('127.0.0.1', port)
        with self.sixpipe('[::]:0', f'127.0.0.1:{port}', '--source', 'loopback', netns=self.netns) as proxy:
            seen = set()
            for client in CLIENTS[:3]:
                # a connection to an address of this host comes from that address
                done = self.netns.run(subprocess.run, [
                    psql, '-XAt', '-h', client, '-p', str(proxy.endpoint[1]), '-U', 'postgres', '-c',
                    'select client_addr from pg_stat_activity where pid = pg_backend_pid()'],
                    capture_output=True, text=True, check=False, timeout=20)
                self.assertEqual(done.returncode, 0, done.stderr)
                seen.add(done.stdout.strip())
            self.assertEqual(len(seen), 3, seen)
            for address in seen:
                self.assertRegex(address, r'^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.')

    def test_sshd_logs_its_clients(self):
        port = free_port(self.netns.run)
        sshd = Sshd(self, self.netns, port=port)
        sshd.wait_port('127.0.0.1', port)
        with self.forward(f'127.0.0.1:{port}', '--source', 'loopback') as proxy:
            for client in CLIENTS[:3]:
                peer = self.connect(proxy.endpoint, netns=self.netns, bind=(client, 0))
                self.assertTrue(peer.recv(100).startswith(b'SSH-2.0'))
                peer.sendall(b'nonsense\r\n')
                peer.recv_to_end()
                peer.close()
            found = r'Connection from (127\.\d+\.\d+\.\d+) port'
            text = sshd.wait_log(lambda text: len(re.findall(found, text)) >= 3)
            self.assertEqual(len(set(re.findall(found, text))), 3, text)


if __name__ == '__main__':
    unittest.main()
