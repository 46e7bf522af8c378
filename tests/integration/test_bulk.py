# SPDX-License-Identifier: MIT
"""Large transfers and many sessions at once, compared by hash."""

import asyncio
import errno
import hashlib
import random
import socket
import struct
import time
import unittest

from bulk import Bulk
from harness import SANITIZE, Case
from peers import PATIENCE_S

BULK_BYTES = (256 << 20) if SANITIZE else (1 << 30)
SESSIONS = 150 if SANITIZE else 300
HEAD = struct.Struct('!Q')


class Transfer(Case):

    def test_one_gib_in_each_direction_at_once(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            ends = [Bulk(self, client, send=BULK_BYTES, seed=1), Bulk(self, server, send=BULK_BYTES, seed=2)]
            up, down = [end.result(timeout_s=110) for end in ends]
            for sender, receiver in ((up, down), (down, up)):
                self.assertEqual(sender['sent'], BULK_BYTES)
                self.assertEqual((receiver['received'], receiver['received_sha1'], receiver['end']),
                                 (BULK_BYTES, sender['sent_sha1'], 'eof'))
            close = self.assert_reason(proxy, client, 'done')
            self.assertEqual((close.int('bytes_up'), close.int('bytes_down')), (BULK_BYTES, BULK_BYTES))


class Plan:
    """What both ends of one random session do. Each end derives the plan from the session's number."""

    def __init__(self, seed, number):
        self.random = random.Random(f'{seed}/{number}')
        self.number = number
        self.up = self.some_bytes()
        self.down = self.some_bytes()
        self.up_pieces = self.cut(len(self.up) + HEAD.size)
        self.down_pieces = self.cut(len(self.down))
        # The backend may wait for the client's end before it sends, or the client for the backend's, or neither waits.
        self.backend_waits = self.random.random() < 0.3
        self.client_reads_late = self.random.random() < 0.2
        self.client_resets = self.random.random() < 0.1

    def some_bytes(self):
        size = int(2 ** self.random.uniform(0, 20)) if self.random.random() < 0.9 else 0
        return self.random.randbytes(size)

    def cut(self, total):
        """Yields (bytes, pause in seconds before these bytes), up to total."""
        pieces = []
        while total > 0:
            size = min(total, int(2 ** self.random.uniform(0, 18)))
            pieces.append((size, self.random.choice([0, 0, 0, 0.001, 0.02]) if len(pieces) < 30 else 0))
            total -= size
        return pieces


async def send_pieces(sock, data, pieces):
    loop, at, view = asyncio.get_running_loop(), 0, memoryview(data)
    for size, pause_s in pieces:
        if pause_s:
            await asyncio.sleep(pause_s)
        await loop.sock_sendall(sock, view[at:at + size])
        at += size
    sock.shutdown(socket.SHUT_WR)


async def receive_to_end(sock):
    loop, digest, count = asyncio.get_running_loop(), hashlib.sha1(), 0
    while part := await loop.sock_recv(sock, 1 << 16):
        digest.update(part)
        count += len(part)
    return count, digest.hexdigest()


def summary(data):
    return len(data), hashlib.sha1(data).hexdigest()


class Storm:
    """Many sessions at once through one sixpipe, each by its Plan."""

    def __init__(self, seed, endpoint):
        self.seed = seed
        self.endpoint = endpoint
        self.problems = []
        self.served = 0

    async def client(self, number):
        plan, loop = Plan(self.seed, number), asyncio.get_running_loop()
        await asyncio.sleep(plan.random.uniform(0, 1))
        with socket.socket(socket.AF_INET6) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, self.endpoint)
            if plan.client_resets:
                await self.send_and_reset(sock, plan)
                return
            sending = send_pieces(sock, HEAD.pack(number) + plan.up, plan.up_pieces)
            if plan.client_reads_late:
                sender = asyncio.ensure_future(sending)
                await asyncio.sleep(0.3)
                got, _ = await asyncio.gather(receive_to_end(sock), sender)
            else:
                got, _ = await asyncio.gather(receive_to_end(sock), sending)
            if got != summary(plan.down):
                self.problems.append(f'session {number} down: {got[0]} bytes, expected {len(plan.down)}')

    async def send_and_reset(self, sock, plan):
        """Sends a part, then a RST: the backend must not take this for a clean end."""
        data = HEAD.pack(plan.number) + plan.up
        await asyncio.get_running_loop().sock_sendall(sock, data[:max(HEAD.size, len(data) // 2)])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    async def backend(self, sock):
        loop, plan = asyncio.get_running_loop(), None
        with sock:
            try:
                head = b''
                while len(head) < HEAD.size:
                    part = await loop.sock_recv(sock, HEAD.size - len(head))
                    if not part:
                        raise EOFError('end within the head')
                    head += part
                plan = Plan(self.seed, HEAD.unpack(head)[0])
                await self.serve(sock, plan)
                if plan.client_resets:
                    self.problems.append(f'session {plan.number}: a RST became a clean end')
            except (OSError, EOFError) as error:
                reset = isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
                if not reset or (plan is not None and not plan.client_resets):
                    self.problems.append(f'session {plan and plan.number} at the backend: {error!r}')
            finally:
                self.served += 1

    async def serve(self, sock, plan):
        if plan.backend_waits:
            got = await receive_to_end(sock)
            await send_pieces(sock, plan.down, plan.down_pieces)
        else:
            got, _ = await asyncio.gather(receive_to_end(sock), send_pieces(sock, plan.down, plan.down_pieces))
        if got != summary(plan.up) and not plan.client_resets:
            self.problems.append(f'session {plan.number} up: {got[0]} bytes, expected {len(plan.up)}')

    async def run(self, listener, count):
        loop, backends = asyncio.get_running_loop(), []

        async def accept_all():
            while True:
                sock, _ = await loop.sock_accept(listener)
                backends.append(asyncio.ensure_future(self.backend(sock)))
        accepting = asyncio.ensure_future(accept_all())
        ends = await asyncio.gather(*(self.client(number) for number in range(count)), return_exceptions=True)
        self.problems += [f'session {number} at the client: {end!r}' for number, end in enumerate(ends) if end]
        await asyncio.wait_for(asyncio.gather(*backends), PATIENCE_S)
        accepting.cancel()


class RandomSessions(Case):

    def check_storm(self, *args, seed, sessions):
        backend = self.backend()
        backend.socket.setblocking(False)
        with self.sixpipe('[::1]:0', backend.address, *args) as proxy:
            storm = Storm(seed, proxy.endpoint)
            asyncio.run(asyncio.wait_for(storm.run(backend.socket, sessions), 90))
            # The backend may not hear of a client that resets before sixpipe has accepted it.
            self.assertGreater(storm.served, sessions * 0.8)
            self.assertEqual(storm.problems, [], f'seed {seed}')
            proxy.wait_baseline()
            reasons = {event['reason'] for event in proxy.events('close')}
            self.assertLessEqual(reasons, {'done', 'client_reset'})

    def test_random_sessions(self):
        self.check_storm(seed=20_240_601, sessions=SESSIONS)

    def test_random_sessions_with_few_pipes(self):
        """Without a free pipe a lane copies, or waits. It loses no byte and mixes no streams."""
        self.check_storm('--maxpipes', '2', '--workers', '2', seed=7, sessions=SESSIONS // 2)

    def test_random_sessions_through_small_pipes(self):
        self.check_storm('--pipe-size', '4KiB', '--workers', '3', seed=8, sessions=SESSIONS // 2)


class ManyInARow(Case):

    def test_2000_short_sessions_leave_nothing_behind(self):
        backend = self.echo_server()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            start_s = time.monotonic()
            count = 0
            while count < 2000 and time.monotonic() - start_s < 20:
                with self.open_client(proxy.endpoint, None, None) as client:
                    client.sendall(b'ping')
                    self.assertEqual(client.recv_exact(4), b'ping')
                    client.reset() if count % 3 == 0 else client.close()
                count += 1
            self.assertGreater(count, 200)
            proxy.wait_events('close', count)
            proxy.wait_baseline()


if __name__ == '__main__':
    unittest.main()
