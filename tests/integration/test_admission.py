# SPDX-License-Identifier: MIT
"""Which clients may connect, how many, how often and how fast: --allow, --deny, --maxconn-forward, --per-source-*,
--limit-*."""

import contextlib
import tempfile
import threading
import time

import proxy_header
from bulk import Stream
from harness import SANITIZE, Case, environment, wait_until
from netns import Netns
from peers import EOF, PATIENCE_S, RESET, endpoint_name

TARGET = ('2001:db8::1', 443)
MIB = 1 << 20
# By how much a rate may differ from its limit over two seconds. Sanitizer builds are late now and then.
TOLERANCE = 0.2 if SANITIZE else 0.05
SHARE_TOLERANCE = 0.25
TRIES = 5


class Admission(Case):

    def dial(self, proxy, host='127.0.0.1', index=0):
        """A client from `host`; None if the client was reset while it connected."""
        with contextlib.suppress(ConnectionResetError):
            return self.connect(proxy.endpoints[index], bind=(host, 0))
        return None

    def assert_let_in(self, proxy, backend, host, index=0):
        client = self.dial(proxy, host, index)
        self.assertIsNotNone(client, host)
        server = backend.accept()
        client.sendall(b'hello')
        self.assertEqual(server.recv_exact(5), b'hello')
        return client, server

    def assert_refused(self, proxy, reason, host='127.0.0.1', index=0):
        before = len(proxy.events('close', reason=reason))
        client = self.dial(proxy, host, index)
        if client:
            self.assertEqual(client.recv_to_end(), (b'', RESET), host)
        close = proxy.wait_events('close', before + 1, reason=reason)[-1]
        self.assertEqual(close['client'].rpartition(':')[0].strip('[]'), host)
        self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (0, 0))

    @contextlib.contextmanager
    def file(self, text):
        with tempfile.NamedTemporaryFile('w', suffix='.cidrs') as file:
            file.write(text)
            file.flush()
            yield file.name


class Rules(Admission):
    """--allow and --deny"""

    def check(self, options, let_in, refused, **variables):
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', backend.address, *options, popen={'env': environment(**variables)}) as proxy:
            for host in let_in:
                client, server = self.assert_let_in(proxy, backend, host)
                client.close()
                server.close()
            for host in refused:
                self.assert_refused(proxy, 'denied', host)
            self.assertFalse(backend.has_waiting(0), 'no backend hears of a refused client')
            self.assertEqual(bool(proxy.events('refused', reason='denied')), bool(refused))
            proxy.finish()
            self.assertEqual(proxy.wait_event('stopped').get('closed_denied', '0'), str(len(refused)))

    def test_allow_refuses_all_others(self):
        self.check(('--allow', '127.0.0.2,127.0.1.0/24', '--allow', '127.0.2.0/24'),
                   ('127.0.0.2', '127.0.1.77', '127.0.2.1'), ('127.0.0.1', '127.0.3.1'))

    def test_deny_admits_all_others(self):
        self.check(('--deny', '127.0.0.0/30'), ('127.0.0.4',), ('127.0.0.1', '127.0.0.3'))

    def test_the_first_matching_rule_decides(self):
        self.check(('--deny', '127.0.0.2', '--allow', '127.0.0.0/24', '--deny', '127.0.0.3'),
                   ('127.0.0.1', '127.0.0.3'), ('127.0.0.2', '127.0.1.1'))

    def test_files_keep_their_position_among_the_rules(self):
        with self.file('# ours\n127.0.0.0/24\n') as ours, self.file('127.0.0.2 # gone\n\n0.0.0.0/0\n') as theirs:
            self.check(('--allow', '127.0.0.2', '--deny-file', theirs, '--allow-file', ours),
                       ('127.0.0.2',), ('127.0.0.1', '127.0.1.1'))
            self.check(('--deny', '127.0.0.3', '--allow-file', ours, '--deny-file', theirs),
                       ('127.0.0.2',), ('127.0.0.3', '127.0.1.1'))

    def test_an_empty_allow_file_admits_no_client(self):
        with self.file('# none yet\n') as none:
            self.check(('--allow-file', none), (), ('127.0.0.1',))
            self.check(('--deny-file', none), ('127.0.0.1',), ())

    def test_rules_of_the_environment(self):
        variables = [('SIXPIPE_ALLOW', '127.0.0.0/24'), ('SIXPIPE_DENY', '127.0.0.2')]
        for order in (variables, variables[::-1]):
            with self.subTest(order):
                self.check((), ('127.0.0.1',), ('127.0.0.2',), **dict(order))

    def test_each_listener_has_its_own_rules(self):
        backend = self.backend()
        with self.sixpipe('--deny', '127.0.0.9', '--listen', '127.0.0.1:0', '--backend', backend.address,
                          '--allow', '127.0.0.2', '--listen', '127.0.0.1:0', '--backend', backend.address) as proxy:
            self.assert_let_in(proxy, backend, '127.0.0.2', 0)
            self.assert_refused(proxy, 'denied', '127.0.0.1', 0)
            self.assert_let_in(proxy, backend, '127.0.0.1', 1)
            self.assert_refused(proxy, 'denied', '127.0.0.9', 1)

    def test_a_hundred_thousand_in_a_file(self):
        # every other address of 10.0.0.0/15, and the address of the test's client
        with self.file(''.join(f'10.{n >> 15 & 1}.{n >> 7 & 255}.{n * 2 & 255}\n' for n in range(100000))
                       + '127.0.0.2\n') as path:
            self.check(('--deny-file', path), ('127.0.0.1',), ('127.0.0.2',))

    def test_errors_of_files(self):
        with self.file('127.0.0.1\n# fine\n127.0.0.1/33\n') as bad, self.file('') as empty:
            for path, words in ((bad, (f'sixpipe: {bad}:3: ', '127.0.0.1/33', '(given by --allow-file)')),
                                (empty + '.none', (f"--allow-file '{empty}.none': No such", '; give a file')),
                                ('/', ("--allow-file '/': Is a directory; give a file",))):
                for check in ((), ('--check',)):
                    done = self.run_sixpipe('[::1]:0', '127.0.0.1:9', '--allow-file', path, *check)
                    self.assertEqual((done.returncode, done.stdout), (1, ''), done)
                    for word in words:
                        self.assertIn(word, done.stderr)
            self.assertEqual(self.run_sixpipe('[::1]:0', '127.0.0.1:9', '--allow-file', empty, '--check').returncode, 0)

    def test_the_announced_client_counts(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--accept-proxy', '--trust', '::1', '--allow',
                          '2001:db8::/48') as proxy:
            for host, good in (('2001:db8::7', True), ('2001:db8:1::7', False)):
                client = self.connect(proxy.endpoint)
                client.sendall(proxy_header.v2((host, 5000), TARGET) + b'hello')
                if good:
                    self.assertEqual(backend.accept().recv_exact(5), b'hello')
                else:
                    self.assertEqual(client.recv_to_end(), (b'', RESET))
                    close = proxy.wait_event('close', client=f'[{host}]:5000')
                    self.assertEqual(close['reason'], 'denied')


class MaxconnForward(Admission):
    """--maxconn-forward"""

    def test_further_clients_wait_in_the_backlog(self):
        for workers in (1, 3):
            limited, free = self.echo_server(), self.echo_server()
            with self.sixpipe('--workers', workers, '--listen', '127.0.0.1:0', '--backend', free.address,
                              '--listen', '127.0.0.1:0', '--backend', limited.address,
                              '--maxconn-forward', '4') as proxy:
                waiting = [self.connect(proxy.endpoints[1]) for _ in range(12)]
                for client in waiting:
                    client.sendall(b'ping')
                paused = proxy.wait_event('accept_paused', reason='maxconn_forward')
                self.assertEqual((paused['listen'], paused['sessions']), (endpoint_name(proxy.endpoints[1]), '4'))
                wait_until(lambda: limited.open == 4, what='as many sessions as admitted')
                others = [self.connect(proxy.endpoints[0]) for _ in range(10)]
                for client in others:
                    client.sendall(b'ping')
                    self.assertEqual(client.recv_exact(4), b'ping')
                self.assert_idle_cpu(proxy, 0.3)
                while waiting:
                    served = wait_until(lambda: [peer for peer in waiting if not peer.is_silent(0)], what='an answer')
                    self.assertEqual(served[0].recv_exact(4), b'ping')
                    served[0].close()
                    waiting.remove(served[0])
                    proxy.close_of(served[0])
                self.assertEqual((limited.most_open, limited.total), (4, 12))
                wait_until(lambda: proxy.events('accept_resumed', reason='maxconn_forward'), what='accepting again')
                for client in others:
                    client.close()

    def test_with_maxconn_too(self):
        one, two = self.echo_server(), self.echo_server()
        with self.sixpipe('--workers', 2, '--maxconn', '3', '--maxconn-forward', '2', '--listen', '127.0.0.1:0',
                          '--backend', one.address, '--listen', '127.0.0.1:0', '--backend', two.address) as proxy:
            waiting = [self.connect(endpoint) for _ in range(6) for endpoint in proxy.endpoints]
            for client in waiting:
                client.sendall(b'ping')
            while waiting:
                served = wait_until(lambda: [peer for peer in waiting if not peer.is_silent(0)], what='an answer')
                self.assertLessEqual(one.open + two.open, 3)
                for client in served:
                    self.assertEqual(client.recv_exact(4), b'ping')
                    client.close()
                    waiting.remove(client)
            self.assertEqual((one.total, two.total), (6, 6))
            self.assertLessEqual(max(one.most_open, two.most_open), 2)


class ClientLimits(Admission):
    """--per-source-maxconn and --per-source-rate"""

    def test_sessions_at_a_time(self):
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', backend.address, '--per-source-maxconn', '2') as proxy:
            pairs = [self.assert_let_in(proxy, backend, '127.0.0.1') for _ in range(2)]
            for _ in range(3):
                self.assert_refused(proxy, 'source_maxconn')
            self.assert_let_in(proxy, backend, '127.0.0.2')
            client, server = pairs[0]
            client.reset()
            server.close()
            proxy.close_of(client)
            self.assert_let_in(proxy, backend, '127.0.0.1')
            self.assert_refused(proxy, 'source_maxconn')
            self.assertEqual(proxy.events('refused')[0]['reason'], 'source_maxconn')
            proxy.finish()
            self.assertEqual(proxy.wait_event('stopped').int('closed_source_maxconn'), 4)

    def test_prefixes(self):
        with Netns() as netns:
            for host in ('2001:db8::1', '2001:db8::2', '2001:db8:0:1::1'):
                netns.ip(f'address add {host}/128 dev lo nodad')
            for bits, shared in (('64', True), ('128', False)):
                backend = self.backend(netns=netns)
                with self.sixpipe('[::]:0', backend.address, '--per-source-maxconn', '1', '--per-source-prefix6', bits,
                                  netns=netns) as proxy:
                    endpoint = ('::1', proxy.endpoint[1])
                    for host, good in (('2001:db8::1', True), ('2001:db8::2', not shared), ('2001:db8:0:1::1', True)):
                        try:
                            client = self.connect(endpoint, netns=netns, bind=(host, 0))
                            end = None if good else client.recv_to_end()
                        except ConnectionResetError:
                            end = (b'', RESET)
                        if good:
                            backend.accept()
                        else:
                            self.assertEqual(end, (b'', RESET))
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', backend.address, '--per-source-maxconn', '1', '--per-source-prefix4',
                          '24') as proxy:
            self.assert_let_in(proxy, backend, '127.0.0.1')
            self.assert_refused(proxy, 'source_maxconn', '127.0.0.200')
            self.assert_let_in(proxy, backend, '127.0.1.1')

    def test_rate(self):
        backend = self.echo_server()
        with self.sixpipe('127.0.0.1:0', backend.address, '--per-source-rate', '5') as proxy:
            start_s = time.monotonic()
            served = 0
            while time.monotonic() - start_s < 2:
                client = self.dial(proxy)
                if client:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        client.sendall(b'x')
                        served += client.recv(1) == b'x'
                    client.close()
                time.sleep(0.01)
            # five sessions at once, and five more each second
            took_s = time.monotonic() - start_s
            self.assertLessEqual(served, 5 + 5 * took_s + 1)
            self.assertGreaterEqual(served, 5 + 5 * took_s - 3)
            self.assertTrue(proxy.events('close', reason='source_rate'))
            refused = len(proxy.events('refused', reason='source_rate'))
            self.assertTrue(0 < refused <= 5 * 2 * (took_s + 2), f'{refused} lines: their rate is limited')
            other = self.dial(proxy, '127.0.0.2')
            other.sendall(b'x')
            self.assertEqual(other.recv_exact(1), b'x')

    def test_the_announced_client_counts(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--accept-proxy', '--trust', '::1',
                          '--per-source-maxconn', '1') as proxy:
            for host, good in (('2001:db8::7', True), ('2001:db8::8', False), ('2001:db8:1::7', True)):
                client = self.connect(proxy.endpoint)
                client.sendall(proxy_header.v1((host, 5000), TARGET) + b'hello')
                if good:
                    self.assertEqual(backend.accept().recv_exact(5), b'hello')
                else:
                    self.assertEqual(client.recv_to_end(), (b'', RESET))
                    proxy.wait_event('close', client=f'[{host}]:5000', reason='source_maxconn')

    def test_a_flood_of_addresses_costs_no_memory(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--accept-proxy', '--trust', '::1', '--per-source-rate', '3',
                          '--per-source-maxconn', '3', '--maxconn', '500', access_log=False) as proxy:
            def visit(number):
                client = self.connect(proxy.endpoint)
                client.sendall(proxy_header.v1((f'2001:db8:{number >> 16:x}:{number & 65535:x}::1', 5000), TARGET) + b'x')
                self.assertEqual(client.recv_exact(1), b'x')
                client.reset()
                self.peers().remove(client)
            for number in range(300):
                visit(number)
            before = proxy.own_memory_bytes()
            for number in range(300, 3300):
                visit(number)
            if not SANITIZE:
                self.assertLess(proxy.own_memory_bytes() - before, 128 << 10)
            proxy.finish()
            self.assertEqual(proxy.wait_event('stopped').int('sources_uncounted'), 0)


class Flow:
    """
    Keeps a direction of a session full, and counts the bytes that arrive, until both ends are closed. No call blocks
    for long, because a blocked call keeps a closed socket alive.
    """
    CALL_S = 0.05

    def __init__(self, source, target, piece):
        self.source, self.target, self.piece = source, target, bytes(piece)
        self.got = 0
        source.settimeout(self.CALL_S)
        target.settimeout(self.CALL_S)
        self.threads = [threading.Thread(target=self.repeat, args=(step,), daemon=True)
                        for step in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def repeat(step):
        with contextlib.suppress(OSError):
            while True:
                with contextlib.suppress(TimeoutError):
                    if not step():
                        return

    def send(self):
        return self.source.send(self.piece)

    def receive(self):
        count = len(self.target.recv(MIB))
        self.got += count
        return count

    def join(self):
        for thread in self.threads:
            thread.join(PATIENCE_S)


def measure(flows, over_s=2.0):
    """Bytes per second of each flow, measured over over_s seconds."""
    before, start_s = [flow.got for flow in flows], time.monotonic()
    time.sleep(over_s)
    took_s = time.monotonic() - start_s
    return [(flow.got - had) / took_s for flow, had in zip(flows, before)]


class Bandwidth(Admission):
    """--limit-up, --limit-down and their totals"""

    def assert_rates(self, flows, limits, total=None, shares=(), over_s=2.0):
        """
        Each flow passes its limit, and all flows together pass `total`. `shares`: roughly, the part of the total that
        each flow passes. A busy machine makes flows late, and early after that: one good measurement of several
        is enough.
        """
        for _ in range(TRIES):
            rates = measure(flows, over_s)
            rows = [(rate, limit, TOLERANCE) for rate, limit in zip(rates, limits)]
            rows += [(rate, share, SHARE_TOLERANCE) for rate, share in zip(rates, shares)]
            rows += [(sum(rates), total, TOLERANCE)] if total else []
            off = [(rate, wanted) for rate, wanted, tolerance in rows if abs(rate / wanted - 1) > tolerance]
            if not off:
                return
        self.fail(f'(bytes per second, wanted): {off}')

    def check_session(self, up, down, piece, *more):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', f'{up}', '--limit-down', f'{down}/s',
                          *more) as proxy:
            client, server = self.pair(proxy, backend)
            flows = [Flow(client, server, piece), Flow(server, client, piece)]
            start_s, start_cpu_s, start_wakes = time.monotonic(), proxy.cpu_s(), self.wakes(proxy)
            self.assert_rates(flows, [up, down])
            cpu_s, wakes = proxy.cpu_s() - start_cpu_s, self.wakes(proxy) - start_wakes
            took_s = time.monotonic() - start_s
            client.reset()
            server.reset()
            for flow in flows:
                flow.join()
            return cpu_s / took_s, wakes / took_s

    @staticmethod
    def wakes(proxy):
        return sum(int(status['voluntary_ctxt_switches']) for status in proxy.statuses())

    def test_both_ways_bulk(self):
        self.check_session(40 * MIB, 20 * MIB, MIB)

    def test_both_ways_small(self):
        self.check_session(200000, 100000, 50)

    def test_both_ways_without_a_pipe(self):
        self.check_session(3 * MIB, 5 * MIB, 65536, '--maxpipes', '1', '--pipe-size', '4KiB', '--workers', '1')

    def test_a_paced_session_uses_next_to_no_cpu(self):
        share, wakes_per_s = self.check_session(MIB, MIB, 65536)
        self.assertLess(share, 0.3 if SANITIZE else 0.05)
        # each direction runs 100 times a second
        self.assertLess(wakes_per_s, 250)

    def test_one_way_only(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '1MiB') as proxy:
            client, server = self.pair(proxy, backend)
            flows = [Flow(client, server, MIB), Flow(server, client, MIB)]
            self.assert_rates(flows, [MIB])
            self.assertGreater(measure(flows)[1], 20 * MIB)

    def test_a_total_is_shared(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-down-total', '8MiB/s', '--workers', '2') as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(4)]
            flows = [Flow(server, client, 65536) for client, server in pairs]
            self.assert_rates(flows, [], total=8 * MIB, shares=[2 * MIB] * 4, over_s=3.0)
            # the remaining flows get the share of the ended flows
            for client, server in pairs[1:]:
                client.reset()
                server.reset()
            wait_until(lambda: len(proxy.events('close')) == 3, what='only one session left')
            self.assert_rates(flows[:1], [8 * MIB])

    def test_a_session_has_its_own_limit_within_the_total(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up-total', '4MiB', '--limit-up', '3MiB') as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(2)]
            flows = [Flow(*pairs[0], 65536)]
            self.assert_rates(flows, [3 * MIB])
            flows.append(Flow(*pairs[1], 65536))
            self.assert_rates(flows, [], total=4 * MIB, shares=[2 * MIB] * 2, over_s=3.0)

    def test_the_stream_is_exact_and_ends_after_its_last_byte(self):
        data = Stream(31).bytes(700000)
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '400KiB', '--limit-down', '1MiB',
                          '--send-proxy', 'v2') as proxy:
            client, server = self.pair(proxy, backend)
            proxy_header.receive(server)
            start_s = time.monotonic()
            sender = threading.Thread(target=lambda: (client.sendall(data), client.finish_sending()))
            sender.start()
            self.assertEqual(server.recv_to_end(), (data, EOF))
            sender.join(PATIENCE_S)
            self.assertGreater(time.monotonic() - start_s, 700000 / (400 << 10) - 0.1)
            # half-closed: the other direction goes on
            server.sendall(data)
            server.close()
            self.assertEqual(client.recv_to_end(), (data, EOF))
            self.assert_reason(proxy, client, 'done')

    def test_a_reset_comes_after_the_bytes_before_it(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '100KiB') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(bytes(60000))
            client.wait_acked()
            client.reset()
            self.assertEqual(server.recv_to_end(), (bytes(60000), RESET))
            self.assert_reason(proxy, client, 'client_reset')

    def test_a_failed_write_side_ends_a_paced_session(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '1000') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(bytes(100000))
            server.recv(1)
            server.reset()
            with contextlib.suppress(ConnectionResetError):
                client.recv(1)
            self.assert_reason(proxy, client, 'backend_reset')

    def test_a_peer_that_does_not_read_costs_nothing(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '50MiB') as proxy:
            client, server = self.pair(proxy, backend)
            client.send_until_full(bytes(64 * MIB))
            self.assert_idle_cpu(proxy)
            sent = server.recv_exact(MIB)
            self.assertEqual(sent, bytes(MIB))

    def test_a_drain_ends_paced_sessions_in_time(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '1000', '--drain-timeout', '300ms') as proxy:
            client, server = self.pair(proxy, backend)
            client.sendall(bytes(100000))
            server.recv(1)
            proxy.signal(15)
            self.assert_reason(proxy, client, 'drain_timeout')
            proxy.finish(term=False)

    def test_small_exchanges_within_the_limit_do_not_wait(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, '--limit-up', '1MiB', '--limit-down', '1MiB') as proxy:
            client = self.connect(proxy.endpoint)
            client.no_delay()
            start_s = time.monotonic()
            for _ in range(200):
                client.sendall(b'x' * 64)
                client.recv_exact(64)
            self.assertLess(time.monotonic() - start_s, 5.0 if SANITIZE else 0.5)
            proxy.finish()
            self.assertEqual(proxy.wait_event('stopped').int('paced_waits'), 0)
