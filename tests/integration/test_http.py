# SPDX-License-Identifier: MIT
"""--metrics: /live, /ready and /metrics beside the forwarding; --drain-delay; sixpipe healthcheck."""

import contextlib
import http.client
import re
import signal
import socket
import tempfile
import threading
import time
import unittest

from harness import ROOT, SANITIZE, Case, wait_until
from peers import EOF, PATIENCE_S, RESET, endpoint_name, parse_endpoint
from pool_case import PoolCase

METRICS = ('--metrics', '[::1]:0')
SLOTS = 32  # CAPACITY_HTTP_CONNECTIONS in capacity.h
REQUEST_LIMIT_S = 10  # HTTP_REQUEST_LIMIT_MS in http.h


def table(name, pattern):
    return re.findall(pattern, (ROOT / 'src' / 'stats' / name).read_text(), re.MULTILINE)


class HttpCase(Case):

    def address(self, proxy):
        return proxy.ready['metrics']

    def ask(self, proxy, path, method='GET', body=None, address=None):
        """Sends one request. Returns (status, headers, body)."""
        host, port = parse_endpoint(address or self.address(proxy))
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def readiness(self, proxy):
        status, _, body = self.ask(proxy, '/ready')
        return status, body

    def healthcheck(self, *args, **environment):
        """Runs sixpipe healthcheck. Returns (exit code, the only line on stdout or stderr)."""
        done = self.run_sixpipe('healthcheck', *args, env=environment)
        lines = (done.stdout + done.stderr).splitlines()
        self.assertEqual(len(lines), 1, done)
        self.assertEqual(bool(done.stdout), done.returncode == 0, done)
        return done.returncode, lines[0]


class Endpoints(HttpCase):

    def test_answers(self):
        rows = (('GET', '/live', 200, 'live\n'), ('GET', '/ready', 200, 'ready\n'), ('HEAD', '/ready', 200, ''),
                ('GET', '/ready?verbose', 200, 'ready\n'), ('HEAD', '/nothing', 404, ''),
                ('POST', '/ready', 405, None), ('DELETE', '/metrics', 405, None), ('GET', '/', 404, None))
        for listen in ('[::1]:0', '127.0.0.1:0'):
            with self.sixpipe('[::1]:0', '127.0.0.1:9', '--metrics', listen) as proxy:
                for method, path, status, body in rows:
                    with self.subTest(listen=listen, method=method, path=path):
                        got = self.ask(proxy, path, method, b'x' * 100 if method == 'POST' else None)
                        self.assertEqual(got[0], status)
                        self.assertEqual(got[1]['Cache-Control'], 'no-store')
                        self.assertEqual(got[1].get_content_type(), 'text/plain')
                        self.assertEqual(got[1]['Allow'], 'GET, HEAD' if status == 405 else None)
                        if body is not None:
                            self.assertEqual(got[2], body)

    def test_off_by_default(self):
        with self.sixpipe('[::1]:0', '127.0.0.1:9') as proxy:
            self.assertNotIn('metrics', proxy.ready)
            without = proxy.fds()
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            self.assertEqual(proxy.fds() - without, {'socket': 1, '[eventpoll]': 1})

    def test_metrics_are_the_tables(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, *METRICS) as proxy:
            for _ in range(3):
                client = self.connect(proxy.endpoint)
                client.sendall(b'x' * 1000)
                client.finish_sending()
                self.assertEqual(client.recv_to_end(), (b'x' * 1000, EOF))
            # a session's slot is released after its close line
            wait_until(lambda: '\nsixpipe_sessions_open 0\n' in self.ask(proxy, '/metrics')[2], what='no session')
            status, headers, text = self.ask(proxy, '/metrics')
            self.assertEqual((status, headers['Content-Type']), (200, 'text/plain; version=0.0.4; charset=utf-8'))
            samples = dict(line.rsplit(' ', 1) for line in text.splitlines() if not line.startswith('#'))
            wanted = {f'sixpipe_{word}' + ('_total' if kind == 'COUNTER' else '')
                      for word, kind in table('metrics.def', r'^METRIC\((\w+), (\w+)')}
            wanted |= {f'sixpipe_sessions_closed_by_reason_total{{reason="{word}"}}'
                       for word in table('close_reasons.def', r'^CLOSE_REASON\((\w+)')}
            labels = f'{{forward="1",listen="{endpoint_name(proxy.endpoint)}",backend="{backend.address}",name=""}}'
            wanted |= {f'sixpipe_backend_{word}' + ('_total' if kind == 'COUNTER' else '') + labels
                       for word, kind in table('metrics.def', r'^BACKEND_METRIC\((\w+), (\w+)')}
            self.assertEqual(set(samples), wanted)
            self.assertEqual(samples['sixpipe_sessions_opened_total'], '3')
            self.assertEqual(samples['sixpipe_bytes_up_total'], '3000')
            self.assertEqual(samples['sixpipe_backend_connects_total' + labels], '3')
            self.assertEqual(samples['sixpipe_sessions_closed_by_reason_total{reason="done"}'], '3')

    def test_asked_by_many_at_once(self):
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            wrong = []

            def keep_asking():
                for _ in range(20):
                    if self.ask(proxy, '/metrics')[0] != 200:
                        wrong.append(1)
            threads = [threading.Thread(target=keep_asking) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])

    def test_an_address_in_use(self):
        holder = self.backend(host='::1')
        done = self.run_sixpipe('--metrics', holder.address, '[::1]:0', '127.0.0.1:9')
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f'cannot listen on {holder.address}: Address already in use; stop', done.stderr)

    def test_the_listener_s_own_address(self):
        done = self.run_sixpipe('--metrics', '[::1]:2000', '[::1]:2000', '127.0.0.1:9')
        self.assertEqual(done.returncode, 2, done)
        self.assertIn("--metrics '[::1]:2000'", done.stderr)

    def test_check_does_not_bind(self):
        holder = self.backend(host='::1')
        done = self.run_sixpipe('--check', '--metrics', holder.address, '[::1]:0', '127.0.0.1:9')
        self.assertEqual(done.returncode, 0, done)


class SlowClients(HttpCase):

    def occupy(self, proxy, count):
        endpoint = parse_endpoint(self.address(proxy))
        clients = [self.connect(endpoint) for _ in range(count)]
        for client in clients:
            client.sendall(b'GET /ready HTTP/1.1\r\n')
        return clients

    def test_they_are_bounded_and_delay_no_other(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, *METRICS) as proxy:
            slow = self.occupy(proxy, 3 * SLOTS)
            for client in slow[:-(SLOTS - 1)]:
                client.recv_to_end()
            self.assert_idle_cpu(proxy, 0.5)
            self.assertEqual(proxy.fds()['socket'], proxy.baseline['socket'] + SLOTS - 1)
            client, server = self.pair(proxy, backend)
            client.sendall(b'hello')
            self.assertEqual(server.recv_exact(5), b'hello')
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            proxy.signal(signal.SIGTERM)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.finish(term=False)

    def test_probes_are_answered_while_others_are_slow(self):
        """Each slow client sends a byte a second, and each second more slow clients connect."""
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            slow, over = self.occupy(proxy, SLOTS), threading.Event()

            def drip():
                while not over.wait(1):
                    for client in slow:
                        with contextlib.suppress(OSError):
                            client.sendall(b'X')
                    slow.extend(self.occupy(proxy, SLOTS // 2))
            thread = threading.Thread(target=drip)
            thread.start()
            try:
                for _ in range(10):
                    self.assertEqual(self.readiness(proxy), (200, 'ready\n'))
                    self.assertEqual(self.ask(proxy, '/live')[::2], (200, 'live\n'))
            finally:
                over.set()
                thread.join()


class SlowForLong(HttpCase):

    per_engine = False  # no engine takes part

    def test_a_request_ends_in_time(self):
        """Further bytes do not extend the limit: the test sends one more each time it finds the connection open."""
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            client = socket.create_connection(parse_endpoint(self.address(proxy)))
            with client:
                start_s = time.monotonic()
                client.settimeout(0.2)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    while time.monotonic() < start_s + PATIENCE_S:
                        client.send(b'G')
                        with contextlib.suppress(TimeoutError):
                            self.assertEqual(client.recv(1), b'')
                            break
                self.assertGreater(time.monotonic() - start_s, REQUEST_LIMIT_S - 1)
                self.assertLess(time.monotonic() - start_s, REQUEST_LIMIT_S + 5)

    def test_unread_answers_make_room(self):
        """Each client asks for 500 KB of metrics and reads nothing. Small segments keep sixpipe's send buffer small."""
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            for number in range(4):
                file.write(f'[forward many{number}]\nlisten = [::1]:0\n')
                file.writelines(f'backend = 127.1.{number}.{last}:9\n' for last in range(256))
            file.flush()
            with self.sixpipe('--config', file.name, '--workers', '1', *METRICS) as proxy:
                endpoint = parse_endpoint(self.address(proxy))
                greedy = []
                for _ in range(2 * SLOTS):
                    client = socket.socket(socket.AF_INET6)
                    self.adopt(client)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
                    client.settimeout(PATIENCE_S)
                    client.connect(endpoint)
                    client.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
                    greedy.append(client)
                self.assertEqual(self.readiness(proxy), (200, 'ready\n'))
                wait_until(lambda: proxy.fds()['socket'] == proxy.baseline['socket'] + SLOTS - 1,
                           what='all slots but one held')
                self.assertGreater(len(self.ask(proxy, '/metrics')[2]), 400_000)


class OtherRequests(HttpCase):

    def test_endless_request(self):
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            client = self.connect(parse_endpoint(self.address(proxy)))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for _ in range(1000):
                    client.sendall(b'X-Filler: ' + b'x' * 10_000 + b'\r\n')
                self.fail('10 MB of a request were taken')
            self.assertEqual(self.readiness(proxy), (200, 'ready\n'))

    @unittest.skipIf(SANITIZE, "a sanitizer's own threads wake up")
    def test_idle_makes_no_system_call(self):
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            self.ask(proxy, '/metrics')
            time.sleep(0.3)

            def switches():
                return [(status['voluntary_ctxt_switches'], status['nonvoluntary_ctxt_switches'])
                        for status in proxy.statuses()]
            before = switches()
            time.sleep(1)
            self.assertEqual(switches(), before)


class Draining(HttpCase):

    def test_answers_until_the_last_session_has_ended(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, *METRICS) as proxy:
            client, server = self.pair(proxy, backend)
            self.assertEqual(self.readiness(proxy), (200, 'ready\n'))
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            self.assertEqual(self.readiness(proxy), (503, 'draining\n'))
            self.assertEqual(self.ask(proxy, '/live')[::2], (200, 'live\n'))
            self.assertIn('\nsixpipe_sessions_open 1\n', self.ask(proxy, '/metrics')[2])
            self.assertEqual(self.healthcheck('--metrics', self.address(proxy))[0], 1)
            self.assertEqual(self.healthcheck('--live', '--metrics', self.address(proxy)), (0, 'live'))
            client.finish_sending()
            server.finish_sending()
            proxy.finish(term=False)

    def test_delay_accepts_and_says_draining(self):
        """The delay does not end in this test. Events, not time, tell what happens during the delay."""
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, *METRICS, '--drain-delay', '1h') as proxy:
            proxy.signal(signal.SIGTERM)
            delayed = proxy.wait_event('drain_delayed')
            self.assertEqual(delayed.int('drain_delay_ms'), 3_600_000)
            self.assertEqual(self.readiness(proxy), (503, 'draining\n'))
            for _ in range(20):
                client = self.connect(proxy.endpoint)
                client.sendall(b'still')
                client.finish_sending()
                self.assertEqual(client.recv_to_end(), (b'still', EOF))
            last = self.connect(proxy.endpoint)
            last.sendall(b'?')
            last.recv_exact(1)
            self.assertEqual(proxy.events('draining'), [])
            proxy.signal(signal.SIGTERM)
            self.assertEqual(last.recv_to_end(), (b'', RESET))
            proxy.finish(term=False)
            self.assertEqual(proxy.events('draining'), [])
            self.assert_reason(proxy, last, 'stopped')

    def test_drain_follows_the_delay(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--drain-delay', '200ms') as proxy:
            client, server = self.pair(proxy, backend)
            proxy.signal(signal.SIGINT)
            proxy.wait_event('draining')
            self.assertEqual(len(proxy.events('drain_delayed')), 1)
            client.sendall(b'bye')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'bye', EOF))
            server.finish_sending()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            proxy.finish(term=False)

    def test_drain_timeout_counts_from_the_drain(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--drain-delay', '300ms', '--drain-timeout', '10ms') as proxy:
            client, _ = self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('stopping')
            self.assertEqual([event['event'] for event in proxy.log
                              if event['event'] in ('drain_delayed', 'draining', 'stopping')],
                             ['drain_delayed', 'draining', 'stopping'])
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.finish(term=False)
            self.assert_reason(proxy, client, 'drain_timeout')

    def test_second_term_while_draining_after_a_delay(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--drain-delay', '1ms') as proxy:
            client, _ = self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            proxy.signal(signal.SIGTERM)
            self.assertEqual(client.recv_to_end(), (b'', RESET))
            proxy.finish(term=False)
            self.assert_reason(proxy, client, 'stopped')


class ReadyBackends(PoolCase, HttpCase):

    def forwards(self, *options):
        """Two listeners, and the service behind the second."""
        first, second = self.service('a'), self.service('b')
        return second, self.sixpipe('--check-interval', '40ms', *METRICS, *options,
                                    '--listen', '[::1]:0', '--backend', first.address + ' check',
                                    '--listen', '[::1]:0', '--backend', second.address + ' check')

    def test_follows_the_checks(self):
        service, proxy = self.forwards('--ready', 'backends')
        with proxy:
            self.assertEqual(self.readiness(proxy), (200, 'ready\n'))
            service.go()
            proxy.wait_event('backend_down', listen=endpoint_name(proxy.endpoints[1]))
            reason = f'forward 2 on {endpoint_name(proxy.endpoints[1])}: no backend is up'
            self.assertEqual(self.readiness(proxy), (503, reason + '\n'))
            self.assertEqual(self.ask(proxy, '/live')[::2], (200, 'live\n'))
            code, line = self.healthcheck('--metrics', self.address(proxy))
            self.assertEqual(code, 1)
            self.assertIn(f"/ready: 503 '{reason}'; ", line)
            service.come_back()
            proxy.wait_event('backend_up')
            self.assertEqual(self.readiness(proxy), (200, 'ready\n'))
            self.assertEqual(self.healthcheck('--metrics', self.address(proxy)), (0, 'ready'))

    def test_each_reason_has_a_line(self):
        service, proxy = self.forwards('--ready', 'backends', '--drain-delay', '1h')
        with proxy:
            service.go()
            proxy.wait_event('backend_down')
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('drain_delayed')
            status, body = self.readiness(proxy)
            self.assertEqual((status, body.splitlines()[0], len(body.splitlines())), (503, 'draining', 2))
            proxy.signal(signal.SIGTERM)
            proxy.finish(term=False)

    def test_not_by_default(self):
        service, proxy = self.forwards()
        with proxy:
            service.go()
            proxy.wait_event('backend_down')
            self.assertEqual(self.readiness(proxy), (200, 'ready\n'))

    def test_needs_checks_and_metrics(self):
        for args, says in ((METRICS, "127.0.0.1:9 has none; add --check-backends"),
                           (('--check-backends',), "--ready 'backends': changes /ready, which is served only with --metrics")):
            done = self.run_sixpipe('--check', '--ready', 'backends', *args, '[::1]:0', '127.0.0.1:9')
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(says, done.stderr)


class Healthcheck(HttpCase):

    def test_ready_and_live(self):
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            where = self.address(proxy)
            self.assertEqual(self.healthcheck('--metrics', where), (0, 'ready'))
            self.assertEqual(self.healthcheck(f'--metrics={where}', '--live'), (0, 'live'))
            self.assertEqual(self.healthcheck(SIXPIPE_METRICS=where), (0, 'ready'))
            self.assertEqual(self.healthcheck('--metrics', where, SIXPIPE_METRICS='[::1]:1'), (0, 'ready'))

    def test_wildcards_are_asked_on_loopback(self):
        for host in ('[::]', '0.0.0.0'):
            with self.subTest(host=host), self.sixpipe('[::1]:0', '127.0.0.1:9', '--metrics', f'{host}:0') as proxy:
                self.assertEqual(self.healthcheck('--metrics', self.address(proxy)), (0, 'ready'))

    def test_optional(self):
        """Without an address nothing is asked; with an address, the answer counts."""
        for environment in ({}, {'SIXPIPE_METRICS': ''}):
            code, line = self.healthcheck('--optional', **environment)
            self.assertEqual((code, 'nothing asked' in line, 'SIXPIPE_METRICS' in line), (0, True, True), line)
        with socket.socket(socket.AF_INET6) as unused:
            unused.bind(('::1', 0))
            where = endpoint_name(unused.getsockname())
            self.assertEqual(self.healthcheck('--optional', SIXPIPE_METRICS=where)[0], 1)
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            self.assertEqual(self.healthcheck('--optional', SIXPIPE_METRICS=self.address(proxy)), (0, 'ready'))

    def test_nothing_listens(self):
        with socket.socket(socket.AF_INET6) as unused:
            unused.bind(('::1', 0))
            where = endpoint_name(unused.getsockname())
            code, line = self.healthcheck('--metrics', where)
        self.assertEqual(code, 1)
        self.assertIn(f'{where}/ready: Connection refused; ', line)

    def test_no_answer(self):
        """A stopped process: its kernel accepts, and no answer comes."""
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *METRICS) as proxy:
            with proxy.stopped():
                code, line = self.healthcheck('--metrics', self.address(proxy))
            self.assertEqual(code, 1)
            self.assertIn('; it was given 2 s', line)

    def test_other_servers(self):
        for answer, word in ((b'SSH-2.0-x\r\n', 'not HTTP'), (b'', 'not HTTP'),
                             (b'HTTP/1.0 404 Not Found\r\n\r\nno\n', "404 'no'")):
            with self.subTest(answer=answer):
                server = self.backend()

                def reply():
                    peer = server.accept()
                    peer.recv_exact(len(b'GET /live HTTP/1.0\r\n\r\n'))
                    peer.sendall(answer)
                    peer.close()
                thread = threading.Thread(target=reply)
                thread.start()
                code, line = self.healthcheck('--live', '--metrics', server.address)
                thread.join()
                self.assertEqual(code, 1)
                self.assertIn(word, line)
                self.assertIn('; ', line)

    def test_usage(self):
        rows = (((), {}, 'SIXPIPE_METRICS'), (('--metrics',), {}, '--metrics'),
                (('--metrics', '9100'), {}, "--metrics '9100'"), (('--metrics', '[::1]:0'), {}, 'port 0'),
                ((), {'SIXPIPE_METRICS': 'x'}, "SIXPIPE_METRICS 'x'"), ((), {'SIXPIPE_METRICS': ''}, 'no address'),
                (('--optional',), {'SIXPIPE_METRICS': 'x'}, "SIXPIPE_METRICS 'x'"), (('--ready',), {}, "'--ready'"))
        for args, environment, word in rows:
            with self.subTest(args=args):
                code, line = self.healthcheck(*args, **environment)
                self.assertEqual(code, 2)
                self.assertIn(word, line)
                self.assertGreater(len(line.partition('; ')[2]), 5, f'no remedy: {line}')

    def test_help(self):
        done = self.run_sixpipe('healthcheck', '--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('--live', done.stdout)


if __name__ == '__main__':
    unittest.main()
