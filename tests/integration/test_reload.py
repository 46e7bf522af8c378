# SPDX-License-Identifier: MIT
"""What a reload changes while sessions are open."""

import contextlib
import json
import os
import pathlib
import signal
import time
import unittest

from harness import parse_line, wait_until
from peers import RESET, free_ports
from takeover_case import TakeoverCase

HEAD = 'engine = {engine}\naccess-log = yes\n'


class ReloadCase(TakeoverCase):

    def setUp(self):
        super().setUp()
        self.server = self.backend()
        self.port = free_ports(4)

    def write(self, *lines, **forwards):
        """Writes the file: lines of the global part, and for each forward its lines without a default listener."""
        text = HEAD.format(engine=self.engine) + ''.join(line + '\n' for line in lines)
        for name, own in forwards.items():
            text += f'[forward {name}]\n' + ''.join(line + '\n' for line in own)
        self.configure(text)

    def web(self, *lines, backend=None, port=0):
        """The lines of a forward to the test's backend."""
        return (f'listen = [::1]:{self.port + port}', f'backend = {(backend or self.server).address}', *lines)

    def endpoint(self, port=0):
        return '::1', self.port + port

    def session(self, port=0, backend=None):
        return self.connect(self.endpoint(port)), (backend or self.server).accept()

    def assert_refused(self):
        """A new client gets a RST, maybe before connect(2) has returned."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(self.connect(self.endpoint()).recv_to_end(), (b'', RESET))

    def refuses(self, endpoint):
        try:
            with contextlib.suppress(ConnectionResetError):  # the listener was closed meanwhile
                self.connect(endpoint)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        return False


class Forwards(ReloadCase):

    def test_new(self):
        other = self.backend()
        self.write(web=self.web())
        with self.serve() as proxy:
            session = self.session()
            self.write(web=self.web(), mail=self.web(port=1, backend=other))
            self.take_over(proxy)
            self.assert_exchanges(*session)
            self.assert_exchanges(*self.session())
            self.assert_exchanges(*self.session(1, other))

    def test_removed(self):
        """Its port closes. Its sessions go on in the old process, which ends with the last."""
        self.write(web=self.web(), mail=self.web(port=1))
        with self.serve() as proxy:
            stays, drains = self.session(), self.session(1)
            old = self.serving(proxy)
            self.write(web=self.web())
            proxy.signal(signal.SIGHUP)
            proxy.wait_event('takeover_done')
            proxy.wait_events('ready', 2)
            wait_until(lambda: self.refuses(self.endpoint(1)), what='the end of the listener')
            self.assert_exchanges(*stays)
            self.assert_exchanges(*drains)
            self.assertEqual(sorted(self.children(proxy)), sorted({old, self.serving(proxy)}))
            for end in drains:
                end.close()
            self.wait_alone(proxy)
            self.assert_exchanges(*stays)

    def test_removed_and_not_drained_in_time(self):
        self.write('drain-timeout = 200ms', web=self.web(), mail=self.web(port=1))
        with self.serve() as proxy:
            stays, (client, server) = self.session(), self.session(1)
            self.write(web=self.web())
            self.take_over(proxy)
            self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', RESET), (b'', RESET)))
            self.assert_exchanges(*stays)

    def test_another_listener(self):
        """A forward is known by its name: its sessions move, and its old port closes."""
        self.write(web=self.web())
        with self.serve() as proxy:
            session = self.session()
            self.write(web=self.web(port=1))
            self.take_over(proxy)
            self.assertTrue(self.refuses(self.endpoint()))
            self.assert_exchanges(*session)
            self.assert_exchanges(*self.session(1))

    def test_another_order(self):
        other = self.backend()
        self.write(web=self.web(), mail=self.web(port=1, backend=other))
        with self.serve() as proxy:
            sessions = self.session(), self.session(1, other)
            self.write(mail=self.web(port=1, backend=other), web=self.web())
            self.take_over(proxy)
            for session in (*sessions, self.session(), self.session(1, other)):
                self.assert_exchanges(*session)

    def test_local_listeners(self):
        path = os.path.join(self.folder, 'front.sock')
        self.write(web=self.web()[1:] + (f'listen = unix:{path}',))
        with self.serve() as proxy:
            client, server = self.connect(path), self.server.accept()
            for _ in range(2):
                self.take_over(proxy)
                self.assert_exchanges(client, server)
                self.assert_exchanges(self.connect(path), self.server.accept())
            self.write(web=self.web())
            self.take_over(proxy)
            self.assertFalse(os.path.exists(path))
            self.assert_exchanges(client, server)


class Backends(ReloadCase):

    def test_changed(self):
        """New sessions go to the new backend. A session keeps its own."""
        other = self.backend()
        self.write(web=self.web())
        with self.serve() as proxy:
            session = self.session()
            self.write(web=self.web(backend=other))
            self.take_over(proxy)
            self.assert_exchanges(*self.session(backend=other))
            self.assert_exchanges(*session)
            self.write(web=self.web())
            self.take_over(proxy)
            self.assert_exchanges(*self.session())
            self.assert_exchanges(*session)

    def test_health_stays(self):
        """A backend that is down is down after the reload too: no session tries it."""
        refused = self.refused_address()
        self.write('metrics = [::1]:0', web=self.web(f'backend = {refused}', 'max-fails = 1', 'fail-timeout = 1h'))
        with self.serve() as proxy:
            for _ in range(2):
                self.assert_exchanges(*self.session())
            proxy.wait_event('backend_down', backend=refused)
            before = self.samples(proxy)
            self.take_over(proxy)
            self.assertEqual(self.samples(proxy)['sixpipe_backends_down'], 1)
            for _ in range(4):
                self.assert_exchanges(*self.session())
            after = self.samples(proxy)
            self.assert_counters_grow(before, after)
            self.assertEqual(after['sixpipe_connects_failed_total'], before['sixpipe_connects_failed_total'])
            self.assertEqual(after['sixpipe_sessions_opened_total'], 6)

    def test_proxy_headers(self):
        self.write(web=self.web())
        with self.serve() as proxy:
            session = self.session()
            self.write(web=self.web('send-proxy = v1'))
            self.take_over(proxy)
            self.assert_exchanges(*session)
            _, server = self.session()
            self.assertEqual(server.recv_exact(11), b'PROXY TCP6 ')


class Changes(ReloadCase):
    """What commands have changed at run time."""

    def setUp(self):
        super().setUp()
        self.quiet, self.gone, self.added = self.backend(), self.backend(), self.backend()

    def write_all(self, *forwards):
        own = {'web': self.web(*(f'backend = {backend.address}' for backend in (self.quiet, self.gone))),
               'api': self.web(port=1)}
        self.write(f'admin = {self.admin}', 'drain-timeout = 1h', **{name: own[name] for name in forwards})

    def ask(self, *words):
        done = self.command(*words, '--json')
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def change_all(self):
        """Makes a change of every kind; returns the commands."""
        commands = [('backend', f'web/{self.server.address}', 'weight=0'),
                    ('backend', f'web/{self.server.address}', 'maxconn=9'),
                    ('backend', self.quiet.address, 'down'),
                    ('backend', 'remove', 'web', self.gone.address),
                    ('backend', 'add', 'web', f'{self.added.address} weight=4 maxconn=8'),
                    ('backend', self.added.address, 'weight=5'),
                    ('drain', 'api'),
                    ('log-level', 'debug')]
        for words in commands:
            if 'remove' in words:
                self.left = self.session(backend=self.gone)
            self.ask(*words)
        return [' '.join(words) for words in commands]

    def state(self):
        """What the changes have made, without what else changes."""
        stats = self.ask('stats')
        backends = self.ask('backends', 'web')['backends']
        rows = {}
        for row in backends:
            if row['state'] == 'removed':
                rows['removed ' + row['address']] = row['sessions']
            else:
                rows[row['address']] = [row[key] for key in ('state', 'weight', 'maxconn', 'sessions')]
        self.assertEqual(len(rows), len(backends), 'a backend is there twice')
        return rows, stats['log_level'], [(row['forward'], row['state']) for row in stats['forwards']], stats['changes']

    @staticmethod
    def undone(proxy):
        return [event['command'] for event in proxy.events('change_undone')]

    def test_an_upgrade_keeps_them_and_a_reload_undoes_them(self):
        self.write_all('web', 'api')
        with self.serve() as proxy:
            original = self.state()
            drained = self.session(port=1)
            commands = self.change_all()
            client, server = self.session(backend=self.added)
            wait_until(lambda: self.refuses(self.endpoint(1)), what='the end of the listener')
            wait_until(lambda: self.ask('stats')['uptime_s'], what='a second')
            before = self.state()
            self.assertEqual(before[0], {self.server.address: ['up', 0, 9, 0],
                                         self.quiet.address: ['off', 1, 0, 0],
                                         'removed ' + self.gone.address: 1,
                                         self.added.address: ['up', 5, 8, 1]})
            self.assertEqual([change['command'] for change in before[3]], commands)
            for _ in range(2):
                self.take_over(proxy, 'upgrade')
                self.assertEqual(self.state(), before)
                self.assertGreaterEqual(self.ask('stats')['uptime_s'], 1, 'of the service, not of the process')
                wait_until(lambda: self.refuses(self.endpoint(1)), what='the end of the listener')
                self.assert_exchanges(client, server)
                self.assert_exchanges(*drained)
                self.assert_exchanges(*self.left)
                later = self.session(backend=self.added)
                self.assert_exchanges(*later)
                for end in later:
                    end.close()
                wait_until(lambda: self.state() == before, what='the end of the session')
            self.assertEqual(self.undone(proxy), [])
            self.assertEqual(len(proxy.events('changed')), len(commands), 'an upgrade changes nothing')
            self.take_over(proxy)
            self.assertEqual(self.undone(proxy), commands)
            left = {'removed ' + backend.address: 1 for backend in (self.added, self.gone)}
            self.assertEqual(self.state(), ({**original[0], **left}, *original[1:]))
            self.assert_exchanges(*self.session(port=1))
            self.assert_exchanges(client, server)

    def test_one_that_the_new_file_does_not_allow(self):
        self.write_all('web', 'api')
        with self.serve() as proxy:
            commands = self.change_all()
            self.write_all('web')
            self.take_over(proxy, 'upgrade')
            event = proxy.wait_event('change_undone')
            self.assertEqual((event['command'], self.undone(proxy)), ('drain api', ['drain api']))
            self.assertIn('there is no forward api', event['reason'])
            commands.remove('drain api')
            self.assertEqual([change['command'] for change in self.ask('stats')['changes']], commands)
            self.take_over(proxy)
            self.assertEqual(self.undone(proxy), ['drain api', *commands])

    def test_one_that_the_new_file_has(self):
        self.write(f'admin = {self.admin}', web=self.web(f'backend = {self.gone.address}'))
        with self.serve() as proxy:
            self.ask('backend', 'add', 'web', self.added.address)
            self.ask('backend', 'remove', 'web', self.gone.address)
            self.write(f'admin = {self.admin}', web=self.web(f'backend = {self.added.address}'))
            self.take_over(proxy, 'upgrade')
            self.assertEqual(set(self.state()[0]), {self.server.address, self.added.address})
            self.assertEqual((self.state()[3], self.undone(proxy)), ([], []))


class Limits(ReloadCase):

    def test_a_limit_below_the_sessions_that_are_open(self):
        """No session ends. New clients wait until there is room."""
        self.write(web=self.web())
        with self.serve() as proxy:
            sessions = [self.session() for _ in range(3)]
            self.write(web=self.web('maxconn-forward = 2'))
            self.take_over(proxy)
            for session in sessions:
                self.assert_exchanges(*session)
            waiting = self.connect(self.endpoint())
            self.assertFalse(self.server.has_waiting(0.2))
            for session in sessions[:2]:
                for end in session:
                    end.close()
            self.assert_exchanges(waiting, self.server.accept())

    def test_clients_are_counted_over_a_reload(self):
        self.write(web=self.web('per-source-maxconn = 2'))
        with self.serve() as proxy:
            sessions = [self.session() for _ in range(2)]
            self.take_over(proxy)
            self.assert_refused()
            for session in sessions:
                for end in session:
                    end.close()
            proxy.wait_events('close', 3)
            self.assert_exchanges(*self.session())

    def test_bandwidth_of_open_sessions(self):
        self.write(web=self.web())
        with self.serve() as proxy:
            client, server = self.session()
            self.write(web=self.web('limit-up = 64KiB'))
            self.take_over(proxy)
            start_s = time.monotonic()
            client.sendall(bytes(96 << 10))
            server.recv_exact(96 << 10)
            self.assertGreater(time.monotonic() - start_s, 0.3)
            self.write(web=self.web())
            self.take_over(proxy)
            client.sendall(bytes(1 << 20))
            server.recv_exact(1 << 20)

    def test_timeouts_of_open_sessions(self):
        self.write(web=self.web())
        with self.serve() as proxy:
            client, _ = self.session()
            self.write(web=self.web('timeout-idle = 300ms'))
            self.take_over(proxy)
            self.assertEqual(client.recv_to_end()[1], RESET)

    def test_rules(self):
        """Rules are for new clients."""
        self.write(web=self.web())
        with self.serve() as proxy:
            session = self.session()
            self.write(web=self.web('deny = ::1'))
            self.take_over(proxy)
            self.assert_refused()
            self.assert_exchanges(*session)
            self.write(web=self.web())
            self.take_over(proxy)
            self.assert_exchanges(*self.session())


class Process(ReloadCase):

    def test_log(self):
        path = os.path.join(self.folder, 'log')
        self.write(web=self.web())
        with self.serve() as proxy:
            client, server = self.session()
            self.write('log-format = json', web=self.web())
            self.take_over(proxy)
            self.assertTrue(proxy.events('ready')[-1].line.startswith('{'))
            self.write(f'log-file = {path}', 'log-level = debug', web=self.web())
            proxy.signal(signal.SIGHUP)
            wait_until(lambda: os.path.exists(path) and ' event=takeover_done ' in pathlib.Path(path).read_text(),
                       what='the new log')
            self.write(web=self.web())
            proxy.signal(signal.SIGHUP)
            proxy.wait_events('ready', 3)
            self.wait_alone(proxy)
            for line in pathlib.Path(path).read_text().splitlines():
                parse_line(line)
            self.assert_exchanges(client, server)
            client.close()
            server.close()
            self.assertEqual(proxy.wait_event('close')['reason'], 'done')

    def test_metrics_and_admin(self):
        admins = [os.path.join(self.folder, name) for name in ('one', 'two')]
        self.write(f'metrics = [::1]:{self.port + 2}', f'admin = {admins[0]}', web=self.web())
        with self.serve() as proxy:
            session = self.session()
            for _ in range(2):
                self.take_over(proxy)
                self.assertEqual(self.samples(proxy)['sixpipe_sessions_open'], 1)
                self.assertEqual(self.run_sixpipe('bans', '--admin', admins[0]).returncode, 0)
            self.write(f'metrics = [::1]:{self.port + 3}', f'admin = {admins[1]}', web=self.web())
            self.take_over(proxy)
            self.assertTrue(self.refuses(self.endpoint(2)))
            self.assertFalse(os.path.exists(admins[0]))
            proxy.ready = proxy.events('ready')[-1]
            self.assertEqual(self.samples(proxy)['sixpipe_sessions_open'], 1)
            self.assertEqual(self.run_sixpipe('bans', '--admin', admins[1]).returncode, 0)
            self.write(web=self.web())
            self.take_over(proxy)
            self.assertTrue(self.refuses(self.endpoint(3)))
            self.assertFalse(os.path.exists(admins[1]))
            self.write('metrics = [::1]:0', web=self.web())
            self.take_over(proxy)
            self.assert_exchanges(*session)

    def test_more_and_fewer_workers(self):
        self.write('workers = 1', web=self.web())
        with self.serve() as proxy:
            sessions = [self.session() for _ in range(8)]
            for count in (4, 2, 3, 1):
                self.write(f'workers = {count}', web=self.web())
                self.take_over(proxy)
                self.assertEqual(proxy.events('ready')[-1]['workers'], str(count))
                sessions += [self.session() for _ in range(8)]
                for session in sessions:
                    self.assert_exchanges(*session)

    def test_an_option_of_the_command_line_stays(self):
        self.write('timeout-idle = 1h', web=self.web())
        with self.serve('--timeout-idle', '300ms') as proxy:
            self.take_over(proxy)
            client, _ = self.session()
            self.assertEqual(client.recv_to_end()[1], RESET)


if __name__ == '__main__':
    unittest.main()
