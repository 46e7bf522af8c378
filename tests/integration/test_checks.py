# SPDX-License-Identifier: MIT
"""Active checks of backends, and the metrics of each backend."""

import re
import unittest

from harness import ROOT, wait_until
from peers import endpoint_name
from pool_case import PoolCase

class Checks(PoolCase):
    GOOD, BAD = True, False

    def checked(self, *args):
        return self.sixpipe('--check-interval', '40ms', '--check-send', r'check\r\n', '--check-expect', 'f\\x69t', *args)

    def test_connect_alone(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('[::1]:0', a.address, b.address, '--check-backends', '--check-interval', '40ms',
                          '--fall', '2', '--rise', '2') as proxy:
            a.go()
            down = proxy.wait_event('backend_down')
            self.assertEqual((down['backend'], down['cause'], down.int('up')), (a.address, 'check', 1))
            self.assertIn('refused', down['error'].lower())
            self.assertEqual(self.letters_of(proxy, 4), 'bbbb')
            self.assertEqual(proxy.events('backend_failed'), [], 'no session has tried a')
            a.come_back()
            self.assertEqual(proxy.wait_event('backend_up')['cause'], 'check')
            self.assertEqual(sorted(self.letters_of(proxy, 4)), list('aabb'))
        stopped = proxy.wait_event('stopped')
        self.assertGreaterEqual(stopped.int('checks_failed'), 2)
        self.assertGreater(stopped.int('checks'), stopped.int('checks_failed'))

    def test_they_come_from_the_port_range_of_sessions(self):
        """A firewall may recognise sixpipe by its ports."""
        first, last = 42000, 42015
        listener = self.backend()
        with self.sixpipe('[::1]:0', listener.address, '--check-backends', '--check-interval', '10ms',
                          '--source-port-range', f'{first}-{last}') as proxy:
            for _ in range(3):
                check = listener.accept()
                self.assertIn(int(check.remote.rpartition(':')[2]), range(first, last + 1))
                check.close()

    def test_fall_and_rise(self):
        good, bad = [self.GOOD], [self.BAD]
        before_down = good + (bad * 2 + good) * 3 + bad * 3
        before_up = (good * 2 + bad) * 2 + good * 3
        a = self.service('a', script=before_down + before_up)
        b = self.service('b', script=good)
        with self.checked('[::1]:0', a.address, b.address, '--check-backends', '--fall', '3', '--rise', '3') as proxy:
            down = proxy.wait_event('backend_down')
            self.assertGreaterEqual(len(a.requests), len(before_down))
            self.assertEqual(down['backend'], a.address)
            self.assertIn('--check-expect', down['error'])
            self.assertEqual(proxy.wait_event('backend_up')['backend'], a.address)
            self.assertGreaterEqual(len(a.requests), len(before_down) + len(before_up))
            self.assertEqual((len(proxy.events('backend_down')), len(proxy.events('backend_up'))), (1, 1))
            self.assertEqual(set(a.requests), {b'check\r\n'})

    def test_all_down_and_unchecked_backends(self):
        a = self.service('a', script=[self.BAD])
        b = self.service('b', script=[self.BAD])
        with self.checked('--listen', '[::1]:0', '--backend', f'{a.address} check', '--backend', b.address,
                          '--listen', '[::1]:0', '--backend', f'{a.address} check') as proxy:
            proxy.wait_events('backend_down', 2, backend=a.address)
            self.assertEqual(self.letters_of(proxy, 3), 'bbb', 'b is not checked')
            with self.subTest(listener=2):
                client, letter = self.open_client_named(proxy.endpoints[1])
                self.assertIsNone(letter)
                self.assert_reason(proxy, client, 'no_backend')
            self.assertEqual(b.requests, [])

    def test_failed_sessions_take_down_and_checks_bring_up(self):
        a, b = self.service('a', script=[self.GOOD]), self.service('b', script=[self.GOOD])
        with self.checked('[::1]:0', a.address, b.address, '--check-backends', '--fall', '200') as proxy:
            wait_until(lambda: a.requests and b.requests, what='checks')
            a.go()
            self.assertEqual(self.letters_of(proxy, 4), 'bbbb')
            self.assertEqual(proxy.wait_event('backend_down')['cause'], 'connect')
            a.come_back()
            self.assertEqual(proxy.wait_event('backend_up')['cause'], 'check')

    def test_source_and_proxy_header(self):
        seen = self.backend()
        with self.sixpipe('--source', '127.0.0.77', '--listen', '[::1]:0', '--backend',
                          f'{seen.address} check send-proxy=v1', '--check-send', 'hello', '--check-interval', '50ms') as proxy:
            server = seen.accept()
            self.assertEqual(server.recv_exact(20), b'PROXY UNKNOWN\r\nhello')
            self.assertEqual(server.remote.rpartition(':')[0], '127.0.0.77')

    def test_a_check_that_hangs_does_not_delay_another_listener(self):
        silent, a = self.backend(), self.service('a')
        hanging = [word for _ in range(80) for word in ('--backend', silent.address)]
        with self.sixpipe('--listen', '[::1]:0', *hanging, '--check-backends', '--check-expect', 'x',
                          '--check-timeout', '1h', '--check-interval', '10ms',
                          '--listen', '[::1]:0', '--backend', a.address, '--check-backends',
                          '--check-interval', '10ms') as proxy:
            checks = [silent.accept() for _ in range(32)]
            a.go()
            proxy.wait_event('backend_down', backend=a.address)
            a.come_back()
            proxy.wait_event('backend_up', backend=a.address)
            self.assertFalse(silent.has_waiting(0.05), 'more than half of all checks at a time')
            checks.pop().close()
            silent.accept()


class Metrics(PoolCase):
    """The series of /metrics for each backend."""

    def samples_of(self, proxy, service, listener=0):
        return self.backend_samples(proxy, f'{{forward="{listener + 1}",'
                                           f'listen="{endpoint_name(proxy.endpoints[listener])}",'
                                           f'backend="{service.address}",name=""}}')

    def test_which_backend_is_down(self):
        a, b = self.service('a'), self.service('b')
        with self.sixpipe('[::1]:0', a.address, b.address, '--check-backends', '--check-interval', '40ms',
                          '--metrics', '[::1]:0') as proxy:
            self.assertEqual(sorted(self.letters_of(proxy, 2)), ['a', 'b'])
            a.go()
            proxy.wait_event('backend_down')
            held, letter = self.open_session(proxy)
            self.assertEqual((letter, self.letters_of(proxy, 2)), ('b', 'bb'))
            wait_until(lambda: self.samples_of(proxy, b)['sessions'] == 1, what='the end of the others')
            self.assertEqual(self.samples_of(proxy, a), {'up': 0, 'sessions': 0, 'connects_total': 1,
                                                              'connects_failed_total': 0, 'outages_total': 1})
            self.assertEqual(self.samples_of(proxy, b), {'up': 1, 'sessions': 1, 'connects_total': 4,
                                                              'connects_failed_total': 0, 'outages_total': 0})
            a.come_back()
            proxy.wait_event('backend_up')
            self.assertEqual(self.samples_of(proxy, a)['up'], 1)
            held.close()
            wait_until(lambda: self.samples_of(proxy, b)['sessions'] == 0, what='the end of the last')

    def alerts(self, proxy):
        """{name of an alert in docs/watch.md: the listeners it fires for}, evaluated on /metrics now."""
        text = (ROOT / 'docs' / 'watch.md').read_text()
        rows = re.findall(r'- alert: (\w+)\n +expr: (?:max by \((.*?)\) \()?(\w+)\)? == 0\n', text)
        self.assertEqual([name for name, _, _ in rows], ['SixpipeBackendDown', 'SixpipeListenerWithoutBackend'])
        fires = {}
        for name, by, metric in rows:
            groups = {}
            for series, value in self.samples(proxy).items():
                labels = dict(re.findall(r'(\w+)="(.*?)"', series))
                if series.partition('{')[0] == metric:
                    kept = by.split(', ') if by else labels
                    groups.setdefault(tuple((key, labels[key]) for key in kept), []).append((value, labels['listen']))
            fires[name] = [max(group)[1] for group in groups.values() if max(group)[0] == 0]
        return fires

    def test_documented_alerts(self):
        """A listener's only backend, without checks, is tried for every client. The alerts follow its last answer."""
        a, b, lone = self.service('a'), self.service('b'), self.service('c')
        with self.sixpipe('--listen', '[::1]:0', '--backend', a.address, '--backend', b.address,
                          '--listen', '[::1]:0', '--backend', lone.address, '--metrics', '[::1]:0') as proxy:
            first, second = map(endpoint_name, proxy.endpoints)
            self.assertEqual(self.alerts(proxy), {'SixpipeBackendDown': [], 'SixpipeListenerWithoutBackend': []})
            lone.go()
            client, letter = self.open_client_named(proxy.endpoints[1])
            self.assertIsNone(letter)
            self.assertEqual(self.alerts(proxy),
                             {'SixpipeBackendDown': [second], 'SixpipeListenerWithoutBackend': [second]})
            samples = self.samples(proxy)
            self.assertEqual((samples['sixpipe_backends_up'], samples['sixpipe_backends_down']), (2, 1))
            lone.come_back()
            client, letter = self.open_client_named(proxy.endpoints[1])
            self.assertEqual(letter, 'c')
            self.assertEqual(self.alerts(proxy), {'SixpipeBackendDown': [], 'SixpipeListenerWithoutBackend': []})
            client.close()
            a.go()
            self.assertEqual(self.letters_of(proxy, 2), 'bb')
            self.assertEqual(self.alerts(proxy), {'SixpipeBackendDown': [first], 'SixpipeListenerWithoutBackend': []})
            b.go()
            self.assertEqual(self.letters_of(proxy, 1), '-')
            self.assertEqual(self.alerts(proxy),
                             {'SixpipeBackendDown': [first, first], 'SixpipeListenerWithoutBackend': [first]})

    def test_states_and_failures(self):
        """A full backend is up, a backend that is off is not. A backend given twice is one. Listeners do not mix."""
        a, b, gone = self.service('a'), self.service('b'), self.service('c')
        gone.go()
        with self.sixpipe('--listen', '[::1]:0', '--backend', f'{a.address} maxconn=1', '--backend', f'{b.address} down',
                          '--listen', '[::1]:0', '--backend', a.address, '--backend', a.address,
                          '--backend', gone.address, '--metrics', '[::1]:0') as proxy:
            clients = [self.open_session(proxy)[0]]
            clients += [self.open_client_named(proxy.endpoints[1])[0] for _ in range(6)]
            self.assertEqual(sum(series.startswith('sixpipe_backend_up{') for series in self.samples(proxy)), 4)
            for service, listener, up, sessions, failed in ((a, 0, 1, 1, 0), (b, 0, 0, 0, 0), (a, 1, 1, 6, 0),
                                                            (gone, 1, 0, 0, 1)):
                with self.subTest(backend=service.name, listener=listener):
                    self.assertEqual(self.samples_of(proxy, service, listener),
                                     {'up': up, 'sessions': sessions, 'connects_total': sessions + failed,
                                      'connects_failed_total': failed, 'outages_total': failed})
            for client in clients:
                client.close()


if __name__ == '__main__':
    unittest.main()
