# SPDX-License-Identifier: MIT
"""Shared by the tests of backends: services that can stop and start again, and the backend that a session got."""

import collections
import contextlib
import selectors
import socket
import threading

from harness import Case
from peers import PATIENCE_S, Peer


class Service:
    """A backend that sends its name and then echoes. It can stop and start again on its port."""

    def __init__(self, name, script=()):
        self.name = name.encode()
        self.port = 0
        self.script = collections.deque(script)  # whether each of the next checks succeeds; the last value stays
        self.requests = []
        self.sessions = 0
        self.socket = None
        self.come_back()

    def come_back(self):
        self.socket = socket.create_server(('127.0.0.1', self.port), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.address = f'127.0.0.1:{self.port}'
        self.connections = set()
        self.leaving = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while not self.leaving:
                for key, _ in selector.select(0.05):
                    if key.fileobj is self.socket:
                        with contextlib.suppress(OSError):
                            connection, _ = self.socket.accept()
                            selector.register(connection, selectors.EVENT_READ)
                            self.connections.add(connection)
                            self.sessions += 1
                            connection.sendall(self.name)
                    elif not self.answer(key.fileobj):
                        selector.unregister(key.fileobj)
                        self.connections.discard(key.fileobj)
                        key.fileobj.close()

    def answer(self, connection):
        try:
            data = connection.recv(1 << 16)
            if data.endswith(b'check\r\n'):
                self.requests.append(data)
                data = b'fit' if self.script[0] else b'ill'
                if len(self.script) > 1:
                    self.script.popleft()
                connection.sendall(data)
                return False
            connection.sendall(data)
            return bool(data)
        except OSError:
            return False

    def go(self):
        self.leaving = True
        self.thread.join(PATIENCE_S)
        self.socket.close()
        for connection in self.connections:
            connection.close()

    def close(self):
        if not self.leaving:
            self.go()


class PoolCase(Case):

    def service(self, name, **options):
        return self.adopt(Service(name, **options))

    def open_session(self, proxy, bind=None):
        """(client, the letter of its backend), or (client, None) if the client was refused."""
        return self.open_client_named(proxy.endpoint, bind)

    def open_client_named(self, endpoint, bind=None):
        """The same. The client's name is known even if the client is reset before connect() returns."""
        client = self.adopt(Peer(socket.AF_INET6 if ':' in endpoint[0] else socket.AF_INET, socket.SOCK_STREAM))
        client.bind(bind or (endpoint[0], 0))
        client.settle(endpoint)
        try:
            client.connect(endpoint)
            return client, client.recv(1).decode() or None
        except ConnectionResetError:
            return client, None

    def letters_of(self, proxy, count, **options):
        """The letters of the backends of `count` sessions, opened one after the other; '-' for a refused client."""
        letters = ''
        for _ in range(count):
            client, letter = self.open_session(proxy, **options)
            letters += letter or '-'
            client.close()
        return letters
