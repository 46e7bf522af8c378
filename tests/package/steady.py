# SPDX-License-Identifier: MIT
"""What must not notice a takeover: an idle connection, a transfer in both directions, and clients that come one by one."""

import concurrent.futures
import hashlib
import os
import threading

import peers
from harness import wait_until

BLOCK_BYTES = 1 << 16
PAUSE_S = 0.005  # between two blocks: the machine has other work

CONFIGURATION = """admin = /run/sixpipe/{name}.sock

[forward web]
listen = [::1]:{port}
backend = 127.0.0.1:{backend_port}
[forward echo]
listen = [::1]:{echo_port}
backend = {echo}
"""


class Traffic:
    """Through a unit, which is started. finish() ends it and finds what went wrong. Uses port, port + 100, and 8000 + port."""

    def __init__(self, case, unit, port=80, more=''):
        self.case, self.unit, self.machine = case, unit, case.machine
        self.port = port
        echo = case.adopt(self.machine.run(peers.EchoServer))
        instance = unit.name.partition('@')[2].removesuffix('.service')
        self.text = CONFIGURATION.format(name=instance or 'admin', port=port, backend_port=8000 + port,
                                         echo_port=port + 100, echo=echo.address)
        case.configure(self.text + more, instance or 'sixpipe')
        unit.systemctl('start')
        self.backend = case.backend_inside(8000 + port)
        self.idle = case.pair(self.backend, port)
        self.busy = case.pair(self.backend, port)
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=5)
        case.addCleanup(self.stop)
        client, server = self.busy
        self.lanes = [(self.pool.submit(self.send, source), self.pool.submit(self.receive, target))
                      for source, target in ((client, server), (server, client))]
        self.answers = 0
        self.clients = self.pool.submit(self.machine.enter_and_call, self.connect_in_turn, (), {})
        self.wait_client()

    def send(self, source):
        digest = hashlib.sha256()
        while not self.over.is_set():
            block = os.urandom(BLOCK_BYTES)
            source.sendall(block)
            digest.update(block)
            self.over.wait(PAUSE_S)
        source.finish_sending()
        return digest.hexdigest()

    @staticmethod
    def receive(target):
        digest = hashlib.sha256()
        while part := target.recv(BLOCK_BYTES):
            digest.update(part)
        return digest.hexdigest()

    def connect_in_turn(self):
        while not self.over.is_set():
            client = self.case.open_client(('::1', self.port + 100), None, None)
            client.sendall(b'ping')
            if client.recv_exact(4) != b'ping':
                raise AssertionError('another answer')
            client.close()
            self.answers += 1

    def wait_client(self):
        """Waits until a client that came after now has its answer."""
        before = self.answers
        wait_until(lambda: self.answers > before + 1 or self.clients.done(), what='the answer to a client')

    def stop(self):
        self.over.set()
        self.pool.shutdown()

    def finish(self):
        """Every byte arrived in order, no client was refused, and the idle connection passes bytes."""
        self.wait_client()
        self.case.assert_passes(*self.idle)
        self.stop()
        for sent, received in self.lanes:
            self.case.assertEqual(sent.result(), received.result())
        self.clients.result()
