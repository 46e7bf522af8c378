# SPDX-License-Identifier: MIT
"""A peer that does not read costs bounded memory and no CPU, and delays no other session. Small sessions are served
beside bulk."""

import hashlib
import statistics
import threading
import time
import unittest

from bulk import Bulk, Stream
from harness import SANITIZE, Case
from peers import EOF

MORE_THAN_FITS = 96 << 20
OWN_MEMORY_BYTES = 4 << 20
ENDLESS = 1 << 40


class BackpressureCase(Case):

    def round_trips_s(self, client, server, count):
        """The times of `count` exchanges of 64 bytes."""
        server.no_delay()
        client.no_delay()
        taken_s = []
        for number in range(count):
            message = b'%064d' % number
            start_s = time.monotonic()
            client.sendall(message)
            self.assertEqual(server.recv_exact(64), message)
            server.sendall(message)
            self.assertEqual(client.recv_exact(64), message)
            taken_s.append(time.monotonic() - start_s)
        return taken_s

    def assert_prompt(self, taken_s, median_s=0.1, worst_s=2.0):
        if not SANITIZE:
            self.assertLess(statistics.median(taken_s), median_s)
            self.assertLess(max(taken_s), worst_s)


class StalledReader(BackpressureCase):

    def check_stalled(self, by_client):
        backend = self.backend(rcvbuf=8192)
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1') as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=8192)
            lively = self.pair(proxy, backend)
            self.round_trips_s(*lively, 5)
            before = proxy.own_memory_bytes()
            sender, reader = (server, client) if by_client else (client, server)
            data = Stream(31).bytes(MORE_THAN_FITS)
            sent = sender.send_until_full(data)
            self.assertLess(sent, MORE_THAN_FITS, 'the sender must be held back')
            self.assert_idle_cpu(proxy)
            self.assertLess(proxy.own_memory_bytes() - before, OWN_MEMORY_BYTES if not SANITIZE else 1 << 30)
            self.assert_prompt(self.round_trips_s(*lively, 50))
            sender.finish_sending()
            got, end = reader.recv_to_end(piece=1 << 20)
            self.assertEqual((len(got), end), (sent, EOF))
            self.assertTrue(got == data[:sent], 'altered bytes')

    def test_client_does_not_read(self):
        self.check_stalled(by_client=True)

    def test_backend_does_not_read(self):
        self.check_stalled(by_client=False)

    def check_stalled_after_fin(self, by_client):
        """The side that does not read has ended its own stream, which poll(2) reports again and again."""
        backend = self.backend(rcvbuf=8192)
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=8192)
            sender, reader = (server, client) if by_client else (client, server)
            reader.finish_sending()
            self.assertEqual(sender.recv_to_end(), (b'', EOF))
            data = Stream(34).bytes(MORE_THAN_FITS)
            sent = sender.send_until_full(data)
            self.assertLess(sent, MORE_THAN_FITS)
            self.assert_idle_cpu(proxy)
            sender.finish_sending()
            self.assertTrue(reader.recv_to_end(piece=1 << 20) == (data[:sent], EOF), 'altered bytes')
            self.assert_reason(proxy, client, 'done')

    def test_client_ends_its_stream_and_does_not_read(self):
        self.check_stalled_after_fin(by_client=True)

    def test_backend_ends_its_stream_and_does_not_read(self):
        self.check_stalled_after_fin(by_client=False)

    def test_neither_reads(self):
        backend = self.backend(rcvbuf=8192)
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1') as proxy:
            client, server = self.pair(proxy, backend, rcvbuf=8192)
            up = client.send_until_full(bytes(MORE_THAN_FITS), quiet_s=0.2)
            down = server.send_until_full(bytes(MORE_THAN_FITS), quiet_s=0.2)
            self.assert_idle_cpu(proxy)
            reader = threading.Thread(target=lambda: server.recv_exact(up))
            reader.start()
            client.recv_exact(down)
            reader.join()

    def test_many_stalled_beside_an_active_one(self):
        """There are more stalled sessions than pipes. A stalled session keeps no pipe from other sessions."""
        backend = self.backend(rcvbuf=8192)
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1', '--maxpipes', '4') as proxy:
            lively = self.pair(proxy, backend)
            stalled = [self.pair(proxy, backend, rcvbuf=8192) for _ in range(30)]
            sent = [server.send_until_full(bytes(8 << 20), quiet_s=0.02) for _, server in stalled]
            self.assert_idle_cpu(proxy)
            self.assert_prompt(self.round_trips_s(*lively, 50))
            data = Stream(32).bytes(1 << 20)
            sender = threading.Thread(target=lively[1].sendall, args=(data,))
            sender.start()
            self.assertTrue(lively[0].recv_exact(len(data)) == data, 'altered bytes')
            sender.join()
            for (client, _), count in zip(stalled, sent):
                self.assertEqual(len(client.recv_exact(count)), count)


class StoppedBackend(BackpressureCase):

    def test_stopped_and_resumed(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            data = Stream(33).bytes(MORE_THAN_FITS)
            process = Bulk(self, server, send=1000, seed=5)
            self.assertEqual(client.recv_exact(1000), Stream(5).bytes(1000))
            process.stop()
            sent = client.send_until_full(data)
            self.assertLess(sent, len(data))
            self.assert_idle_cpu(proxy)
            process.go_on()
            client.sendall(memoryview(data)[sent:])
            client.finish_sending()
            result = process.result(timeout_s=60)
            self.assertEqual((result['received'], result['received_sha1'], result['end']),
                             (len(data), hashlib.sha1(data).hexdigest(), EOF))
            self.assert_reason(proxy, client, 'done')


class Fairness(BackpressureCase):

    def test_small_exchange_beside_bulk_flows(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--workers', '1') as proxy:
            flows = [self.pair(proxy, backend) for _ in range(3)]
            lively = self.pair(proxy, backend)
            names = [client.name for client, _ in flows]
            receivers, ends = [], []
            for number, (client, server) in enumerate(flows):
                source, target = (client, server) if number == 0 else (server, client)
                receivers.append(Bulk(self, target, hashed=False, announce=True))
                ends += [receivers[-1], Bulk(self, source, send=ENDLESS, hashed=False)]
            for receiver in receivers:
                receiver.wait_flowing()
            self.assert_prompt(self.round_trips_s(*lively, 300))
            for end in ends:
                end.close()
            for name in names:
                proxy.wait_event('close', client=name)


if __name__ == '__main__':
    unittest.main()
