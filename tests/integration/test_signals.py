# SPDX-License-Identifier: MIT
"""TERM and INT drain, a second TERM or INT stops, other signals do no harm. No connection is lost silently."""

import errno
import fcntl
import os
import resource
import signal
import tempfile
import threading
import time
import unittest

from bulk import Stream
from harness import Case, parse_line, wait_until
from peers import EOF, RESET

# All signals that neither end nor stop the process; tests/unit/test_signals.c tests the others.
HARMLESS = {signal.SIGUSR1, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ,
            signal.SIGXCPU, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR, signal.SIGURG,
            signal.SIGWINCH, signal.SIGCONT, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)}

PROMPT_S = 10  # far below --drain-timeout's default of 30 s, long enough for a sanitizer build's exit


class Idle(Case):

    def check_stops(self, number):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            proxy.signal(number)
            self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            proxy.wait_event('draining')
            proxy.finish(term=False)

    def test_term_when_idle(self):
        self.check_stops(signal.SIGTERM)

    def test_int_when_idle(self):
        self.check_stops(signal.SIGINT)

    def test_harmless_signals(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            for number in sorted(HARMLESS):
                proxy.signal(number)
                client.sendall(b'still there')
                self.assertEqual(server.recv_exact(11), b'still there', f'signal {number}')
            with proxy.stopped():
                pass
            self.pair(proxy, backend)
            self.assertIsNone(proxy.process.poll())

    def test_a_log_at_its_size_limit(self):
        """SIGXFSZ does not end the process. Lines are lost, and counted in the log when the file has room again, as
        after `copytruncate`."""
        backend = self.backend()
        limit = (resource.RLIMIT_FSIZE, (8192, 8192))
        with tempfile.TemporaryFile('w+b', buffering=0) as log:
            log.write(b'x' * 8000 + b'\n')

            def prepare():
                resource.setrlimit(*limit)
                os.dup2(log.fileno(), 2)
                fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_APPEND)
            with tempfile.TemporaryDirectory() as folder, \
                    self.sixpipe(f'unix:{folder}/socket', backend.address, wait_ready=False,
                                 popen={'preexec_fn': prepare}) as proxy:
                proxy.finished = True  # the harness does not read this log
                wait_until(lambda: os.path.exists(f'{folder}/socket'), what='the listener')
                for _ in range(3):
                    client = wait_until(lambda: self.try_connect(f'{folder}/socket'), what='a connect')
                    backend.accept().close()
                    self.assertEqual(client.recv_to_end(), (b'', EOF))
                    client.close()
                wait_until(lambda: log.seek(0, os.SEEK_END) == 8192, what='a full log')
                log.truncate(0)
                client = self.connect(f'{folder}/socket')
                backend.accept().close()
                self.assertEqual(client.recv_to_end(), (b'', EOF))
                client.close()
                proxy.signal(signal.SIGTERM)
                self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            log.seek(0)
            lines = log.read().decode().splitlines()
        dropped = [line for line in lines if ' event=log_dropped ' in line]
        self.assertTrue(dropped and 'error="File too large"' in dropped[0], lines)
        for line in lines[1:] if not lines[0] else lines:  # the first part ends the line that was cut
            parse_line(line)

    def try_connect(self, path):
        try:
            return self.connect(path)
        except ConnectionRefusedError:
            return None

    def test_children_are_reaped(self):
        """A child that sixpipe did not start, as PID 1 of a container inherits children: no zombie is left."""
        def leave_child():
            child = os.fork()
            if child:
                os.write(report, b'%d' % child)
                return
            os.dup2(gate, 0)
            os.closerange(1, 4096)  # Popen and the log's reader wait for the end of their process
            os.read(0, 1)
            os._exit(0)
        backend = self.backend()
        gate, key = os.pipe()
        reported, report = os.pipe()
        try:
            with self.sixpipe('[::1]:0', backend.address, popen={'preexec_fn': leave_child}) as proxy:
                child = int(os.read(reported, 16))
                stat = f'/proc/{child}/stat'
                with open(stat, encoding='utf-8') as line:
                    self.assertEqual(line.read().rpartition(')')[2].split()[1], str(proxy.main_pid))
                os.write(key, b'x')
                wait_until(lambda: not os.path.exists(stat), what='reaping')
                self.pair(proxy, backend)
        finally:
            for fd in (gate, key, reported, report):
                os.close(fd)


class Drain(Case):

    def refuses(self, endpoint):
        """Whether a new connect is refused. A connect that is accepted must be served or end with a RST."""
        try:
            client = self.connect(endpoint)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # the connection was in the backlog of the closed socket
            return False
        client.reset()
        return False

    def test_term_under_load_loses_nothing(self):
        backend = self.backend()
        data = [Stream(number).bytes(1 << 20) for number in range(20)]
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            pairs = [self.pair(proxy, backend) for _ in data]
            ended = {}

            def receive(number, client):
                ended[number] = client.recv_to_end()
            receivers = [threading.Thread(target=receive, args=(number, pair[0])) for number, pair in enumerate(pairs)]
            for receiver in receivers:
                receiver.start()
            for (_, server), payload in zip(pairs, data):
                server.sendall(payload[:300_000])
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            for (client, server), payload in zip(pairs, data):
                server.sendall(payload[300_000:])
                client.sendall(b'thanks')
                self.assertEqual(server.recv_exact(6), b'thanks')
                server.finish_sending()
            for receiver in receivers:
                receiver.join()
            for number, payload in enumerate(data):
                self.assertTrue(ended[number] == (payload, EOF), f'session {number}: cut off or altered')
            self.assertIsNone(proxy.process.poll(), 'the clients have not finished yet')
            proxy.finish(term=False)
            self.assertEqual({event['reason'] for event in proxy.events('close')}, {'done'})

    def test_new_connects_are_refused_and_sessions_go_on(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            wait_until(lambda: self.refuses(proxy.endpoint), what='refusing')
            for _ in range(20):
                self.assertTrue(self.refuses(proxy.endpoint))
            self.assert_idle_cpu(proxy, 0.5)
            client.sendall(b'go on')
            self.assertEqual(server.recv_exact(5), b'go on')
            client.finish_sending()
            self.assertEqual(server.recv_to_end(), (b'', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            proxy.finish(term=False)

    def term_with_backlog(self, count, *args):
        """How `count` clients end that have connected but were not accepted yet when TERM comes."""
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address, *args) as proxy:
            with proxy.stopped():
                clients = [self.connect(proxy.endpoint) for _ in range(count)]
                for client in clients:
                    client.sendall(b'hello')
                    client.finish_sending()
                proxy.signal(signal.SIGTERM)
            ends = [client.recv_to_end() for client in clients]
            self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            self.assertEqual(len(proxy.events('close', reason='done')), ends.count((b'hello', EOF)))
            proxy.finish(term=False)
        return ends

    def test_connections_in_the_backlog_are_served(self):
        for args in (('--workers', '1'), ('--workers', '3'), ('--workers', '2', '--maxconn', '60')):
            with self.subTest(args=args):
                self.assertEqual(self.term_with_backlog(40, *args), [(b'hello', EOF)] * 40)

    def test_connections_in_the_backlog_beyond_maxconn(self):
        """Each client is served or gets a RST, and never a clean end without an answer."""
        ends = self.term_with_backlog(40, '--maxconn', '5', '--workers', '2')
        self.assertLessEqual(set(ends), {(b'hello', EOF), (b'', RESET)})
        self.assertGreaterEqual(ends.count((b'hello', EOF)), 5)

    def test_connects_all_the_while(self):
        """Clients connect all the time around TERM: each is served, reset or refused."""
        backend = self.echo_server()
        strange = []

        def keep_coming(endpoint):
            while not stop.is_set():
                try:
                    with self.open_client(endpoint, None, None) as client:
                        client.sendall(b'ping')
                        client.finish_sending()
                        end = client.recv_to_end()
                        if end not in ((b'ping', EOF), (b'', RESET)):
                            strange.append(end)
                except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                    pass
                except OSError as error:
                    if error.errno != errno.ENOTCONN:  # shutdown(2) after a RST
                        strange.append(error)
        stop = threading.Event()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            threads = [threading.Thread(target=keep_coming, args=(proxy.endpoint,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            try:
                proxy.wait_events('close', 50)
                proxy.signal(signal.SIGTERM)
                self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            self.assertEqual(strange, [])
            proxy.finish(term=False)

    def test_session_still_connecting_is_served(self):
        backend = self.backend(backlog=0)
        filler = self.connect(backend.endpoint)
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client = self.connect(proxy.endpoint)
            client.sendall(b'patience')
            client.finish_sending()
            self.assertTrue(client.is_silent(0.2))
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            self.assertEqual(backend.accept().remote, filler.name)
            server = backend.accept()
            self.assertEqual(server.recv_to_end(), (b'patience', EOF))
            server.close()
            self.assertEqual(client.recv_to_end(), (b'', EOF))
            self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            proxy.finish(term=False)


class Stop(Case):

    def check_reset(self, proxy, client, server, reason):
        self.assertEqual(client.recv_to_end(), (b'', RESET))
        self.assertEqual(server.recv_to_end(), (b'', RESET))
        self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
        self.assert_reason(proxy, client, reason)
        proxy.finish(term=False)

    def test_drain_timeout(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--drain-timeout', '400ms') as proxy:
            client, server = self.pair(proxy, backend)
            start_s = time.monotonic()
            proxy.signal(signal.SIGTERM)
            self.check_reset(proxy, client, server, 'drain_timeout')
            self.assertGreaterEqual(time.monotonic() - start_s, 0.38)

    def test_second_term_stops(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            self.assertTrue(client.is_silent(0.3))
            proxy.signal(signal.SIGTERM)
            self.check_reset(proxy, client, server, 'stopped')

    def test_stop_with_everything_under_way(self):
        """Stalled, half-closed, connecting and silent sessions: all end, and none leaks."""
        backend = self.backend(rcvbuf=8192)
        full = self.backend(backlog=0)
        self.connect(full.endpoint)
        with self.sixpipe('--listen', '[::1]:0', '--backend', backend.address,
                          '--listen', '[::1]:0', '--backend', full.address) as proxy:
            stalled = self.pair(proxy, backend, rcvbuf=8192)
            stalled[0].send_until_full(bytes(16 << 20), quiet_s=0.2)
            half_closed = self.pair(proxy, backend)
            half_closed[0].finish_sending()
            self.assertEqual(half_closed[1].recv_to_end(), (b'', EOF))
            self.pair(proxy, backend)
            connecting = self.connect(proxy.endpoints[1])
            self.assertTrue(connecting.is_silent(0.1))
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            proxy.signal(signal.SIGTERM)
            self.assertEqual(proxy.wait_exit(PROMPT_S), 0)
            self.assertEqual(connecting.recv_to_end(), (b'', RESET))
            self.assertEqual([event['reason'] for event in proxy.events('close')], ['stopped'] * 4)
            proxy.finish(term=False)


if __name__ == '__main__':
    unittest.main()
