# SPDX-License-Identifier: MIT
"""--admin: the commands that look at a running sixpipe and change it: stats, sessions, backends, backend, kill, drain,
log-level; and --on-down."""

import http.client
import os
import shutil
import tempfile

from admin_case import AdminCase
from harness import wait_until
from peers import RESET, parse_endpoint
from pool_case import PoolCase


class CommandCase(PoolCase, AdminCase):

    def setUp(self):
        PoolCase.setUp(self)
        self.directory = tempfile.mkdtemp(prefix='sixpipe-admin-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = os.path.join(self.directory, 'admin.sock')

    def run_with(self, *args, **options):
        return self.sixpipe(*args, '--admin', self.path, **options)

    def rows(self, *args):
        """The lines of a command's text, as {heading: word}; checks that its columns are aligned."""
        code, out, error = self.ask(*args)
        self.assertEqual(code, 0, error)
        lines = [line for line in out.splitlines() if not line.startswith('#')]
        keys = lines[0].split()
        for line in lines[1:]:
            self.assertEqual(len(line.split()), len(keys), line)
            for key in keys:
                at = lines[0].index(key)
                self.assertTrue(not at or line[at - 1] == ' ' != line[at], (key, line))
        return [dict(zip(keys, line.split())) for line in lines[1:]]

    def backend_row(self, address, forward='1'):
        rows = [row for row in self.ask_json('backends', forward)['backends'] if row['address'] == address]
        self.assertEqual(len(rows), 1, rows)
        return rows[0]

    def sessions(self, *args):
        return self.ask_json('sessions', *args)['sessions']


class Look(CommandCase):

    def test_stats(self):
        backend = self.backend()
        with self.run_with('--listen', '[::1]:0', '--backend', backend.address, '--maxconn-forward', '7',
                           '--listen', '[::1]:0', '--backend', self.refused_address(), '--workers', '2') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(b'x' * 11)
            server.recv_exact(11)
            server.sendall(b'y' * 22)
            client.recv_exact(22)
            self.assertIsNone(self.open_client_named(parse_endpoint(proxy.ready.all('listen')[1]))[1])
            proxy.wait_events('close', 1)
            stats = self.ask_json('stats')
            self.assertEqual((stats['state'], stats['version'], stats['pid']),
                             ('serving', proxy.ready['version'], proxy.ready.int('pid')))
            self.assertEqual((stats['engine'], stats['workers']), (proxy.ready['engine'], 2))
            self.assertEqual((stats['sessions'], stats['sessions_opened']), (1, 2))
            self.assertEqual((stats['bytes_up'], stats['bytes_down']), (11, 22), 'of an open session')
            self.assertEqual(stats['changes'], [])
            first, second = stats['forwards']
            self.assertEqual((first['forward'], first['sessions'], first['limit'], first['opened'], first['refused']),
                             ('1', 1, 7, 1, 0))
            self.assertEqual((first['bytes_up'], first['bytes_down']), (11, 22))
            self.assertEqual((second['sessions'], second['refused']), (0, 1))
            self.assertEqual(second['limit'], stats['sessions_limit'])
            client.close()
            server.close()
            proxy.wait_events('close', 2)
            stats = self.ask_json('stats')
            self.assertEqual((stats['sessions'], stats['bytes_up'], stats['bytes_down']), (0, 11, 22))
            self.assertEqual(stats['forwards'][0]['bytes_down'], 22, 'of a session that has ended')
            text = self.ask('stats')[1]
            self.assertRegex(text, r'(?m)^state +serving\n')
            self.assertRegex(text, r'(?m)^1 +\[::1\]:\d+ +serving +0 +7 +1 +0 +11 +22$')

    def test_sessions(self):
        backend, other = self.backend(), self.backend()
        # one worker: of sessions of the same millisecond, the one with the lower id is older
        with self.run_with('--listen', '[::1]:0', '--backend', backend.address, '--workers', '1',
                           '--listen', '[::1]:0', '--backend', other.address) as proxy:
            clients = []
            for count in (1, 3, 2):
                client, server = self.pair(proxy, backend)
                client.sendall(b'x' * count)
                server.recv_exact(count)
                clients.append(client)
            far = self.connect(parse_endpoint(proxy.ready.all('listen')[1]))
            other.accept()
            names = ['[%s]:%u' % client.getsockname()[:2] for client in clients]
            wait_until(lambda: [row['bytes_up'] for row in self.sessions()] == [3, 2, 1, 0], what='the bytes')
            self.assertEqual([row['client'] for row in self.sessions('--limit', '3')], [names[1], names[2], names[0]])
            self.assertEqual([row['client'] for row in self.sessions('--sort', 'age', '--limit', '3')], names)
            self.assertEqual(self.ask_json('sessions', '--limit', '1')['matched'], 4)
            self.assertIn('# 1 of 4 sessions', self.ask('sessions', '--limit', '1')[1])
            self.assertEqual(len(self.sessions('--forward', '1')), 3)
            row, = self.sessions('--forward', '2')
            self.assertEqual((row['client'], row['backend']), ('[%s]:%u' % far.getsockname()[:2], other.address))
            self.assertEqual([found['id'] for found in self.sessions('--backend', other.address)], [row['id']])
            self.assertEqual([row['client'] for row in self.sessions('--client', names[2])], [names[2]])
            self.assertEqual(len(self.sessions('--client', '::1')), 4)
            self.assertEqual(self.sessions('--client', '::2'), [])
            self.assertEqual([row['CLIENT'] for row in self.rows('sessions', '--sort', 'age', '--forward', '1')], names)
            self.assert_fails(1, 'there is no forward web', 'sessions', '--forward', 'web')
            self.assert_fails(1, 'is no backend', 'sessions', '--backend', 'web.example:80')

    def test_backends(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address + ' weight=3 maxconn=9 down') as proxy:
            self.assertEqual(self.letters_of(proxy, 2), 'aa')
            rows = self.rows('backends')
            self.assertEqual([(row['ADDRESS'], row['STATE'], row['WEIGHT'], row['MAXCONN']) for row in rows],
                             [(a.address, 'up', '1', '0'), (b.address, 'off', '3', '9')])
            self.assertEqual((rows[0]['TOTAL'], rows[0]['FAILED'], rows[0]['LAST_ERROR']), ('2', '0', '-'))
            a.go()
            self.assertEqual(self.letters_of(proxy, 1), '-')
            row = self.backend_row(a.address)
            self.assertEqual((row['failed'], row['last_error']), (1, 'Connection refused'))
            self.assert_fails(1, 'there is no forward web', 'backends', 'web')


class Backends(CommandCase):

    def test_down_and_drain_and_up(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address) as proxy:
            clients = {letter: client for client, letter in (self.open_session(proxy) for _ in range(2))}
            for action, state in (('down', 'off'), ('drain', 'drain')):
                with self.subTest(action):
                    row = self.ask_json('backend', a.address, action)['backends'][0]
                    self.assertEqual((row['address'], row['state'], row['sessions']), (a.address, state, 1))
                    self.assertEqual(self.letters_of(proxy, 4), 'bbbb')
                    clients['a'].sendall(b'x')
                    self.assertEqual(clients['a'].recv_exact(1), b'x', '--on-down keep')
                    self.assertEqual(self.ask_json('backend', a.address, 'up')['backends'][0]['state'], 'up')
                    self.assertEqual(sorted(self.letters_of(proxy, 4)), list('aabb'))
            event = proxy.wait_events('changed', 4)[0]
            self.assertEqual((event['command'], event['backend'], event.int('uid')),
                             (f'backend {a.address} down', a.address, os.getuid()))
            self.assertEqual([change['command'].split()[-1] for change in self.ask_json('stats')['changes']],
                             ['down', 'up', 'drain', 'up'])

    def test_checks_decide_after_up(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address, '--check-backends', '--check-interval', '40ms',
                           '--fall', '2', '--rise', '1') as proxy:
            self.ask('backend', a.address, 'down')
            a.go()
            self.ask('backend', a.address, 'up')
            down = proxy.wait_event('backend_down')
            self.assertEqual((down['backend'], down['cause']), (a.address, 'check'))
            # down by the checks, and then by the command: up leaves it down
            self.ask('backend', a.address, 'drain')
            self.assertIn(self.ask_json('backend', a.address, 'up')['backends'][0]['state'], ('down', 'checking'))
            a.come_back()
            proxy.wait_event('backend_up')
            self.assertEqual(self.backend_row(a.address)['state'], 'up')

    def test_weight_and_maxconn(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address) as proxy:
            self.ask('backend', a.address, 'weight=3')
            self.assertEqual(sorted(self.letters_of(proxy, 8)), list('aaaaaabb'))
            self.ask('backend', a.address, 'weight=0')
            self.assertEqual(self.letters_of(proxy, 2), 'bb')
            self.ask('backend', b.address, 'maxconn=1')
            client, letter = self.open_session(proxy)
            self.assertEqual(letter, 'b')
            self.assertEqual(self.open_session(proxy)[1], None)
            self.assertEqual(self.backend_row(b.address)['state'], 'full')
            self.ask('backend', b.address, 'maxconn=0')
            self.assertEqual(self.letters_of(proxy, 1), 'b')
            client.close()

    def test_add_and_remove(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address) as proxy:
            row, = self.ask_json('backend', 'add', '1', b.address, 'weight=2')['backends']
            self.assertEqual((row['address'], row['state'], row['weight']), (b.address, 'up', 2))
            self.assertEqual(sorted(self.letters_of(proxy, 6)), list('aabbbb'))
            self.assert_fails(2, 'is a backend of this forward already', 'backend', 'add', '1', b.address)
            client, letter = self.open_session(proxy)
            while letter != 'b':
                client, letter = self.open_session(proxy)
            self.assertEqual(self.ask('backend', 'remove', '1', b.address)[1], 'removed=1\n')
            self.assertEqual(self.letters_of(proxy, 3), 'aaa')
            client.sendall(b'x')
            self.assertEqual(client.recv_exact(1), b'x', 'sessions go on')
            self.assertEqual(self.backend_row(b.address)['state'], 'removed')
            self.assert_fails(1, 'is no backend of forward 1', 'backend', 'remove', '1', b.address)
            # again, while the first still drains
            self.ask('backend', 'add', '1', b.address)
            self.assertEqual(sorted(self.letters_of(proxy, 4)), list('aabb'))
            self.assertEqual(self.ask('backend', 'remove', '1', a.address)[0], 0)
            self.assertEqual(self.letters_of(proxy, 2), 'bb')

    def test_an_added_backend_is_checked_and_gets_a_header(self):
        a, b = self.service('a'), self.backend()
        with self.run_with('[::1]:0', a.address, '--check-backends', '--check-interval', '40ms', '--rise', '1') as proxy:
            self.ask('backend', 'add', '1', b.address, 'send-proxy=v1')
            self.assertEqual(b.accept().recv_exact(5), b'PROXY', 'the check')
            self.ask('backend', a.address, 'down')
            client = self.connect(proxy.endpoint)
            del client
            wait_until(lambda: b.accept().recv_exact(10) == b'PROXY TCP6', what='the header of a session')


class Names(CommandCase):

    per_engine = False

    def test_room_for_sixteen(self):
        with self.run_with('[::1]:0', '127.0.0.1:9') as proxy:
            del proxy
            for round_number in range(2):
                for number in range(16):
                    self.assertEqual(self.ask('backend', 'add', '1', f'127.0.1.{number}:9')[0], 0, round_number)
                self.assert_fails(2, '16 backends can be added', 'backend', 'add', '1', '127.0.2.1:9')
                for number in range(16):
                    self.assertEqual(self.ask('backend', 'remove', '1', f'127.0.1.{number}:9')[0], 0)

    def test_names(self):
        a = self.service('a')
        with self.run_with('--listen', '[::1]:0', '--backend', a.address, '--listen', '[::1]:0', '--backend',
                           a.address) as proxy:
            self.assert_fails(2, f'as in 1/{a.address}', 'backend', a.address, 'down')
            self.ask('backend', f'2/{a.address}', 'down')
            self.assertEqual([row['state'] for row in self.ask_json('backends')['backends']], ['up', 'off'])
            self.assertEqual(self.letters_of(proxy, 1), 'a')
            for code, says, args in (
                    (1, 'is no backend', ('127.0.0.1:1', 'up')), (1, 'is no backend', ('3/' + a.address, 'up')),
                    (2, 'is no change of a backend', (a.address, 'sideways')), (2, 'lacks what to do', (a.address,)),
                    (2, 'is no number, or too large', (a.address, 'weight=257')),
                    (1, 'there is no forward web', ('add', 'web', '127.0.0.1:1')),
                    (2, "'wight=3' is no parameter", ('add', '1', '127.0.0.1:1', 'wight=3')),
                    (2, 'a name or a range', ('add', '1', 'web.example:80')),
                    (2, 'would forward to itself', ('add', '1', proxy.ready.all('listen')[0])),
                    (2, 'has no backend with checks', ('add', '1', '127.0.0.1:1 check'))):
                with self.subTest(args):
                    self.assert_fails(code, says, 'backend', *args)


class OnDown(CommandCase):

    def test_a_command(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address, '--on-down', 'reset', '--workers', '2') as proxy:
            sessions = [self.open_session(proxy) for _ in range(8)]
            self.ask('backend', a.address, 'drain')
            self.ask('backend', a.address, 'down')
            for client, letter in sessions:
                if letter == 'a':
                    self.assertEqual(client.recv_to_end()[1], RESET)
            proxy.wait_events('close', 4, reason='backend_down')
            for client, letter in sessions:
                if letter == 'b':
                    client.sendall(b'x')
                    self.assertEqual(client.recv_exact(1), b'x')

    def test_a_failed_connect(self):
        """Without --admin, and found by a worker."""
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('[::1]:0', a.address, b.address, '--on-down', 'reset', '--workers', '2') as proxy:
            sessions = [self.open_session(proxy) for _ in range(4)]
            a.socket.close()  # its sessions stay
            self.assertEqual(self.letters_of(proxy, 2), 'bb')
            for client, letter in sessions:
                if letter == 'a':
                    self.assertEqual(client.recv_to_end()[1], RESET)
            proxy.wait_events('close', 2, reason='backend_down')
            a.leaving = True


class Kill(CommandCase):

    def test_who(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('[::1]:0', a.address, b.address) as proxy:
            clients = {}
            for _ in range(4):
                client, letter = self.open_session(proxy)
                clients.setdefault(letter, []).append(client)
            victim = clients['a'].pop()
            name = '[%s]:%u' % victim.getsockname()[:2]
            row, = self.sessions('--client', name)
            self.assertEqual(self.ask('kill', row['id'])[1], 'sessions_reset=1\n')
            self.assertEqual(victim.recv_to_end()[1], RESET)
            self.assert_fails(1, 'has no session', 'kill', row['id'])
            self.assertEqual(self.ask_json('kill', row['id'], code=1), {'sessions_reset': 0})
            self.assertEqual(self.ask_json('kill', f'backend={b.address}'), {'sessions_reset': 2})
            for client in clients['b']:
                self.assertEqual(client.recv_to_end()[1], RESET)
            last = clients['a'].pop()
            last.sendall(b'x')
            self.assertEqual(last.recv_exact(1), b'x')
            self.assertEqual(self.ask_json('kill', '::1'), {'sessions_reset': 1})
            proxy.wait_events('close', 4, reason='killed')
            self.assertEqual(proxy.wait_event('changed', sessions='2')['command'], f'kill backend={b.address}')
            self.assertEqual([event['sessions'] for event in proxy.wait_events('changed', 3)], ['1', '2', '1'],
                             'a kill without a session changes nothing')
            self.assert_fails(2, "is no session's id", 'kill', 'everyone')
            self.assert_fails(2, 'lacks WHO', 'kill')


class Drain(CommandCase):

    def ready(self, proxy):
        connection = http.client.HTTPConnection(*parse_endpoint(proxy.ready['metrics']), timeout=10)
        self.addCleanup(connection.close)
        connection.request('GET', '/ready')
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def test_the_process(self):
        backend = self.backend()
        with self.run_with('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            self.assertEqual(self.ask_json('drain')['draining'], 'begun')
            proxy.wait_event('draining')
            self.assertEqual(self.ask_json('drain')['draining'], 'already')
            self.assertEqual(self.ask_json('stats')['state'], 'draining')
            client.sendall(b'x')
            self.assertEqual(server.recv_exact(1), b'x')
            proxy.finish(term=False)

    def test_a_forward(self):
        a, b = self.service('a'), self.service('b')
        with self.run_with('--listen', '[::1]:0', '--backend', a.address, '--listen', '[::1]:0', '--backend', b.address,
                           '--metrics', '[::1]:0', '--drain-timeout', '1s', '--workers', '2') as proxy:
            first, second = (parse_endpoint(listen) for listen in proxy.ready.all('listen'))
            client, letter = self.open_client_named(first)
            self.assertEqual(letter, 'a')
            self.assertEqual(self.ask_json('drain', '1')['draining'], 'begun')
            wait_until(lambda: self.is_refused(first), what='closed listeners')
            self.assertEqual(self.open_client_named(second)[1], 'b')
            client.sendall(b'x')
            self.assertEqual(client.recv_exact(1), b'x', 'sessions finish')
            status, text = self.ready(proxy)
            self.assertEqual((status, text), (503, f'forward 1 on {proxy.ready.all("listen")[0]}: draining\n'))
            self.assertEqual(self.samples(proxy)['sixpipe_forwards_draining'], 1)
            self.assertEqual(self.ask_json('drain', '1')['draining'], 'already')
            self.assertEqual([row['state'] for row in self.ask_json('stats')['forwards']], ['draining', 'serving'])
            self.assertEqual(client.recv_to_end()[1], RESET)
            proxy.wait_event('forward_expired', forward='1')
            proxy.wait_events('close', 1, reason='drain_timeout')
            self.assertEqual(self.open_client_named(second)[1], 'b')
            self.assert_fails(1, 'there is no forward 3', 'drain', '3')
            self.close_peers()
            wait_until(lambda: not self.sessions(), what='the end of all sessions')
            proxy.count_baseline()

    def is_refused(self, endpoint):
        try:
            peer = self.connect(endpoint)
        except ConnectionRefusedError:
            return True
        peer.close()
        return False


class LogLevel(CommandCase):

    per_engine = False

    def test_change(self):
        a = self.service('a')
        with self.run_with('[::1]:0', a.address) as proxy:
            self.assertEqual(self.ask_json('log-level'), {'log_level': 'info'})
            self.assertEqual(self.ask('log-level', 'warn')[1], 'log_level=warn\n')
            event = proxy.wait_event('changed')
            self.assertEqual((event['from'], event['to']), ('info', 'warn'))
            self.assertEqual(self.letters_of(proxy, 1), 'a')
            self.assertEqual(self.ask('log-level', 'info')[0], 0)
            proxy.wait_events('changed', 2)
            self.assert_fails(2, 'is no level of the log', 'log-level', 'loud')
            self.assertEqual(proxy.events('close'), [])
            proxy.access_log = False  # the line of the first session was left out
