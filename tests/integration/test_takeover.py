# SPDX-License-Identifier: MIT
"""A reload and an upgrade lose no connection and no byte, whatever the sessions are doing."""

import collections
import json
import os
import unittest

import proxy_header
from harness import SANITIZE, describe_fd, wait_until
from takeover_case import TakeoverCase
from traffic import Traffic

# TAKEOVER_BYTES=10000000 is the contract in full: each end sends so many bytes. Half a minute.
STREAM_BYTES = int(os.environ.get('TAKEOVER_BYTES', '0'))
KINDS = {'relay': 470, 'named': 30, 'fin_client': 60, 'fin_backend': 60, 'stall_client': 60, 'stall_backend': 60,
         'reset_client': 30, 'reset_backend': 30, 'paced': 60, 'local': 60, 'idle': 60, 'header': 10, 'connecting': 10}
CHURN = {'churn_plain': 4, 'churn_passed': 4, 'churn_local': 4}
ROUNDS = 3 if SANITIZE else 10  # of each kind
# Slow enough for a session that is limited for the whole test.
PACED_RATE = '50MiB' if STREAM_BYTES else '100KiB'
WITNESS = ('2001:db8:f::7', 51234)
BANNED = '2001:db8:bad::1'

CONFIG = '''
engine = {engine}
access-log = yes
metrics = [::1]:0
admin = {folder}/admin.sock
# the host must have the memory for a thousand full buffers
sndbuf = 256KiB
rcvbuf = 256KiB
[forward plain]
listen = [::1]:0
backend = {plain}
[forward paced]
listen = [::1]:0
backend = {plain}
limit-up = {rate}
limit-down = {rate}
[forward local]
listen = unix:{folder}/front.sock
backend = {local}
[forward header]
listen = [::1]:0
backend = {plain}
accept-proxy = yes
trust = ::1
timeout-proxy = 5m
source = loopback
[forward full]
listen = [::1]:0
backend = {full}
timeout-connect = 5m
[forward passed]
listen = systemd:web
backend = {named}
send-proxy = v2
[forward witness]
listen = [::1]:0
backend = {witness}
accept-proxy = yes
trust = ::1
source = loopback
'''
FORWARDS = ('plain', 'paced', 'local', 'header', 'full', 'passed', 'witness')


class Survival(TakeoverCase):

    def config(self, engine):
        self.configure(CONFIG.format(engine=engine, folder=self.folder, rate=PACED_RATE,
                                     witness=self.backend_of_witness.address, **self.traffic.backends))

    def check(self, *engines):
        """Ten reloads and ten upgrades. The engines are those of the processes in turn."""
        self.traffic = Traffic(self, self.folder, STREAM_BYTES)
        self.backend_of_witness = self.backend()
        self.config(engines[0])
        passed = self.listen(backlog=1024)
        with self.launch(self.serve().argv, [('web', passed)]) as (argv, popen):
            proxy = self.serve()
            proxy.argv, proxy.popen = argv, {**proxy.popen, **popen}
            with proxy:
                self.check_running(proxy, engines)

    def check_running(self, proxy, engines):
        first = self.descriptors(proxy)
        self.open(proxy)
        witness = self.open_witness(proxy.endpoints[-1])
        self.assertEqual(self.command('ban', BANNED, '--for', '1h').returncode, 0)
        seen = [self.remembered()]
        samples = self.samples(proxy)
        for number in range(2 * ROUNDS):
            self.config(engines[(number + 1) % len(engines)])
            self.take_over(proxy, 'reload' if number < ROUNDS else 'upgrade')
            self.assertEqual(proxy.events('ready')[-1]['engine'], engines[(number + 1) % len(engines)])
            self.assertEqual(self.traffic.do('progress')['problems'], [])
            earlier, samples = samples, self.samples(proxy)
            self.assert_counters_grow(earlier, samples)
            self.traffic.do('step')
            if number == ROUNDS // 2:
                self.traffic.do('accept')
        seen.append(self.remembered())
        self.assertEqual(seen[1], seen[0])
        self.assert_exchanges(*witness)
        result = self.traffic.do('finish', patience_s=90)
        self.assertEqual(result['problems'], [])
        for end in witness:
            end.close()
        self.check_end(proxy, result, first)

    def open(self, proxy):
        endpoints = dict(zip(FORWARDS, proxy.endpoints))
        share = 5 if SANITIZE else 1
        counts = {kind: max(2, count // share) for kind, count in KINDS.items()}
        self.assertGreaterEqual(self.traffic.do('open', endpoints=endpoints, counts={**counts, **CHURN})['open'],
                                sum(counts.values()))
        self.traffic.do('reset')

    def open_witness(self, endpoint):
        """A session of which `who` must tell the same to the end."""
        client = self.connect(endpoint)
        client.sendall(proxy_header.v1(WITNESS, ('2001:db8::1', 443)))
        server = self.backend_of_witness.accept()
        self.assert_exchanges(client, server)
        return client, server

    def remembered(self):
        """What an administrator sees that must not change."""
        sessions = json.loads(self.command('who', WITNESS[0], '--json').stdout)['sessions']
        self.assertEqual(len(sessions), 1)
        return sessions, json.loads(self.command('bans', '--json').stdout)

    def descriptors(self, proxy):
        """How many descriptors the serving process has by kind, and which sockets listen."""
        pid = self.serving(proxy)
        links = [os.readlink(f'/proc/{pid}/fd/{name}') for name in os.listdir(f'/proc/{pid}/fd')]
        listening = {f'socket:[{inode}]' for inode in proxy.listening()}
        return collections.Counter(map(describe_fd, links)), listening & set(links)

    def check_end(self, proxy, result, first):
        opened = result['opened'] + 1
        wait_until(lambda: self.samples(proxy)['sixpipe_sessions_open'] == 0, what='the end of all sessions')
        samples = self.samples(proxy)
        self.assertEqual(samples['sixpipe_sessions_opened_total'], opened)
        self.assertEqual(samples['sixpipe_sessions_closed_total'], opened)
        self.assertEqual(samples['sixpipe_takeovers_total'], 2 * ROUNDS)
        self.assertEqual(samples['sixpipe_takeover_failures_total'], 0)
        wait_until(lambda: self.descriptors(proxy) == first, what=f'{self.descriptors(proxy)} == {first}')
        closes = proxy.events('close')
        dropped = sum(event.int('lines') for event in proxy.events('log_dropped'))
        self.assertEqual(len(closes) + dropped, opened)
        ids = [event['id'] for event in closes if 'id' in event]
        self.assertGreater(len(ids), KINDS['named'] // 5)
        self.assertEqual(len(set(ids)), len(ids), 'session ids are not unique')


class OneEngine(Survival):

    def test_ten_reloads_and_ten_upgrades(self):
        self.check(self.engine)


class BothEngines(Survival):
    per_engine = False

    def test_from_one_engine_to_the_other(self):
        self.check('io_uring', 'epoll')


if __name__ == '__main__':
    unittest.main()
