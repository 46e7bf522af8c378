# SPDX-License-Identifier: MIT
"""The log: logfmt and JSON, fields of the access log, rates, and a reader of stderr that stalls."""

import contextlib
import datetime
import json
import os
import pathlib
import signal
import time
import unittest

from harness import PATIENCE_S, Case, parse_logfmt, wait_until
from peers import EOF, RESET

ACCESS_FIELDS = ['ts', 'level', 'event', 'client', 'forward', 'listen', 'backend', 'source', 'bytes_up',
                 'bytes_down', 'duration_ms', 'reason']
BACKEND_FAILED_PER_SECOND = 5  # for each worker


class Format(Case):

    def one_session(self, proxy, backend):
        client, server = self.pair(proxy, backend)
        client.sendall(b'x' * 1234)
        client.finish_sending()
        self.assertEqual(server.recv_to_end(), (b'x' * 1234, EOF))
        server.sendall(b'y' * 99)
        server.close()
        self.assertEqual(client.recv_to_end(), (b'y' * 99, EOF))
        return client, server, proxy.close_of(client)

    def test_access_log_fields(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server, close = self.one_session(proxy, backend)
            self.assertEqual([key for key, _ in close.pairs], ACCESS_FIELDS)
            self.assertEqual((close['client'], close['listen']), (client.name, client.remote))
            self.assertEqual((close['backend'], close['source']), (backend.address, server.remote))
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (1234, 99))
            self.assertEqual((close['reason'], close['level']), ('done', 'info'))
            self.assertLess(close.int('duration_ms'), PATIENCE_S * 1000)

    def test_duration_is_that_of_the_session(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            start_s = time.monotonic()
            client, server = self.pair(proxy, backend)
            self.assertTrue(client.is_silent(0.3))
            client.close()
            server.close()
            close = proxy.close_of(client)
            self.assertGreaterEqual(close.int('duration_ms'), 280)
            self.assertLessEqual(close.int('duration_ms'), (time.monotonic() - start_s) * 1000 + 20)

    def test_no_access_log_unless_asked(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, access_log=False) as proxy:
            client, server = self.pair(proxy, backend)
            client.close()
            server.close()
            proxy.wait_baseline()
            proxy.finish()
            self.assertEqual(proxy.events('close'), [])

    def test_timestamps(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            now = datetime.datetime.now(datetime.timezone.utc)
            stamp = datetime.datetime.strptime(proxy.ready['ts'], '%Y-%m-%dT%H:%M:%S.%f%z')
            self.assertTrue(proxy.ready['ts'].endswith('Z'))
            self.assertLess(abs((now - stamp).total_seconds()), PATIENCE_S)

    def test_json(self):
        backend = self.backend()
        with self.sixpipe('--listen', '[::1]:0', '--backend', backend.address, '--listen', '[::1]:0', '--backend',
                          backend.address, '--log-format', 'json') as proxy:
            client, _, close = self.one_session(proxy, backend)
            fields = json.loads(close.line)
            self.assertEqual(list(fields), ACCESS_FIELDS)
            self.assertEqual((fields['bytes_up'], fields['bytes_down']), (1234, 99))
            self.assertEqual(fields['client'], client.name)
            ready = json.loads(proxy.ready.line)
            self.assertEqual(len(ready['listen']), 2)
            self.assertIsInstance(ready['workers'], int)
            for line in proxy.lines:
                self.assertIsInstance(json.loads(line), dict)

    def test_values_with_blanks_are_quoted(self):
        refused = self.refused_address()
        for form, expected in (('logfmt', 'error="Connection refused"'), ('json', '"error":"Connection refused"')):
            with self.subTest(form=form), \
                    self.sixpipe('[::1]:0', refused, '--log-format', form) as proxy:
                with proxy.stopped():
                    client = self.connect(proxy.endpoint)
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                failed = proxy.wait_event('backend_failed')
                self.assertIn(expected, failed.line)
                self.assertEqual(failed['error'], 'Connection refused')

    def test_the_parser_of_these_tests_is_strict(self):
        self.assertEqual(parse_logfmt('a=1 b="x \\"y\\" \\x07" c='), [('a', '1'), ('b', 'x "y" \a'), ('c', '')])
        for line in ('plain words', 'a="open', 'a=1  b=2', '=1', 'a=b"c', 'a=1 b', '==1==ERROR: AddressSanitizer: x'):
            with self.subTest(line=line), self.assertRaises(ValueError):
                parse_logfmt(line)


class Amount(Case):

    def test_one_close_line_for_each_session(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            names = []
            for _ in range(300):
                client = self.connect(proxy.endpoint)
                client.sendall(b'x')
                self.assertEqual(client.recv_exact(1), b'x')
                client.close()
                names.append(client.name)
            logged = [event['client'] for event in proxy.wait_events('close', len(names))]
            self.assertEqual(sorted(logged), sorted(names))

    def test_failures_are_limited_in_rate_and_counted(self):
        refused = self.refused_address()
        with self.sixpipe('[::1]:0', refused, '--workers', '2') as proxy:
            start_s = time.monotonic()
            attempts = 0
            while time.monotonic() - start_s < 2.5:
                with contextlib.suppress(ConnectionResetError):  # the RST may come before connect() returns
                    with self.open_client(proxy.endpoint, None, None) as client:
                        self.assertEqual(client.recv_to_end(), (b'', RESET))
                attempts += 1
            seconds = time.monotonic() - start_s
            # on a slow machine the log writer may drop lines, and says how many
            wait_until(lambda: len(proxy.events('close', reason='connect_failed')) +
                       sum(event.int('lines') for event in proxy.events('log_dropped')) >= attempts,
                       what='a line for each session')
            failed = proxy.events('backend_failed')
            suppressed = sum(int(event.get('suppressed', 0)) for event in failed)
            self.assertGreater(attempts, 100)
            self.assertLessEqual(len(failed), 2 * BACKEND_FAILED_PER_SECOND * (seconds + 2))
            self.assertGreater(suppressed, 0)
            self.assertLessEqual(len(failed) + suppressed, attempts)

    def listening_port(self, pid):
        """sixpipe's port, if no log line tells it."""
        inodes = set()
        for name in os.listdir(f'/proc/{pid}/fd'):
            with contextlib.suppress(FileNotFoundError):
                target = os.readlink(f'/proc/{pid}/fd/{name}')
                if target.startswith('socket:['):
                    inodes.add(target[len('socket:['):-1])
        for line in pathlib.Path('/proc/net/tcp6').read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == '0A' and fields[9] in inodes:
                return int(fields[1].rpartition(':')[2], 16)
        return None

    def test_level(self):
        refused = self.refused_address()
        user = ('--user', 'nobody') if os.geteuid() == 0 else ()  # without --user root gets a warning
        for level, shown in (('error', False), ('warn', True)):
            with self.subTest(level=level), \
                    self.sixpipe('[::1]:0', refused, '--log-level', level, *user, wait_ready=False) as proxy:
                port = wait_until(lambda: self.listening_port(proxy.pid), what='a listening socket')
                with proxy.stopped():
                    client = self.connect(('::1', port))
                self.assertEqual(client.recv_to_end(), (b'', RESET))
                if shown:
                    proxy.wait_event('backend_failed', level='warn')
                proxy.signal(signal.SIGTERM)
                self.assertEqual(proxy.wait_exit(), 0)
                self.assertEqual({event['level'] for event in proxy.log}, {'warn'} if shown else set())
                proxy.finished = True


class StalledReader(Case):

    def fill_log(self, proxy, sessions):
        for _ in range(sessions):
            with self.open_client(proxy.endpoint, None, None) as client:
                client.sendall(b'x')
                self.assertEqual(client.recv_exact(1), b'x')

    def test_sessions_go_on_while_nobody_reads_stderr(self):
        """Lines are lost and counted, but no line is cut (the harness parses every line) and no session waits."""
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--workers', '2') as proxy:
            with proxy.unread_log():
                start_s = time.monotonic()
                self.fill_log(proxy, 2500)
                self.assertLess(time.monotonic() - start_s, 60)
            proxy.wait_baseline()

    def test_term_while_nobody_reads_stderr(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            with proxy.unread_log():
                self.fill_log(proxy, 200)
                proxy.wait_baseline()
                proxy.signal(signal.SIGTERM)
                proxy.wait_process(PATIENCE_S)
            proxy.finished = True


if __name__ == '__main__':
    unittest.main()
