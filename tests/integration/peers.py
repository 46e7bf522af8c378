# SPDX-License-Identifier: MIT
"""Clients and backends, and how each of them sees a connection end."""

import collections
import contextlib
import fcntl
import os
import pathlib
import select
import socket
import struct
import threading
import time
import unittest

# How long a test waits for an event that must come. Sanitizer builds on a busy machine need the longer time.
PATIENCE_S = 40 if os.environ.get('SIXPIPE_SANITIZE', '') not in ('', '0') else 20

SIOCINQ = 0x541B
SIOCOUTQ = 0x5411
IP_BIND_ADDRESS_NO_PORT = 24

EOF = 'eof'
RESET = 'reset'


def parse_endpoint(text):
    """The argument for socket.connect(): a tuple for '[::1]:2000' or '127.0.0.1:2000', the path for 'unix:/path'."""
    if text.startswith('unix:'):
        return text[len('unix:'):].replace('@', '\0', 1) if text[5] == '@' else text[len('unix:'):]
    host, _, port = text.rpartition(':')
    return host.strip('[]'), int(port)


def endpoint_name(endpoint):
    if not isinstance(endpoint, tuple):  # a local socket; a client's local socket has no name
        name = endpoint if isinstance(endpoint, str) else endpoint.decode()
        return 'unix:' + name.replace('\0', '@', 1) if name else 'unix'
    host, port = endpoint[:2]
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def family_of(endpoint):
    if not isinstance(endpoint, tuple):
        return socket.AF_UNIX
    return socket.AF_INET6 if ':' in endpoint[0] else socket.AF_INET


def free_ports(count):
    """The first of `count` free ports in a row, below the ports that the kernel gives to clients."""
    low = int(pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])
    for first in range(low - count, 1024, -count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(('127.0.0.1', port)))
                    stack.enter_context(socket.create_server(('::1', port), family=socket.AF_INET6))
            except OSError:
                continue
            return first
    raise unittest.SkipTest('no ports in a row are free')


# How many sockets have connected from a name to an address so far: the kernel uses a free port again.
connected = collections.Counter()


class Peer(socket.socket):
    """
    A connected TCP socket with a time limit on every call. name and remote stay known after the connection has ended.
    before counts the earlier connections with the same name and remote.
    """

    def settle(self, remote):
        self.settimeout(PATIENCE_S)
        self.name = endpoint_name(self.getsockname())
        self.remote = endpoint_name(remote)
        self.before = 0
        if self.name != 'unix':  # all clients of a local socket have this name
            self.before = connected[self.name, self.remote]
            connected[self.name, self.remote] += 1
        return self

    def no_delay(self):
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self):
        """Ends the connection with a RST. Bytes that were not sent yet are dropped."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()

    def finish_sending(self):
        self.shutdown(socket.SHUT_WR)

    def unacked(self):
        """How many sent bytes the other end's kernel has not acknowledged."""
        return struct.unpack('i', fcntl.ioctl(self, SIOCOUTQ, bytes(4)))[0]

    def unread(self):
        return struct.unpack('i', fcntl.ioctl(self, SIOCINQ, bytes(4)))[0]

    def wait_acked(self, timeout_s=PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while self.unacked():
            if time.monotonic() > deadline:
                raise AssertionError(f'{self.unacked()} bytes not acknowledged after {timeout_s} s')
            time.sleep(0.001)

    def recv_exact(self, count):
        """Receives exactly count bytes. EOFError if the stream ends before."""
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            part = self.recv_into(view[got:])
            if part == 0:
                raise EOFError(f'end of stream after {got} of {count} bytes')
            got += part
        return bytes(data)

    def recv_to_end(self, piece=1 << 16, pause_s=0.0):
        """(bytes, EOF or RESET): all bytes to the end, and how the stream ended. pause_s between pieces makes a slow
        reader."""
        data = bytearray()
        while True:
            try:
                part = self.recv(piece)
            except ConnectionResetError:
                return bytes(data), RESET
            if not part:
                return bytes(data), EOF
            data += part
            if pause_s:
                time.sleep(pause_s)

    def wait_error(self, timeout_s=PATIENCE_S):
        """The socket's error, once there is one. Only this shows a RST after a FIN: recv goes on returning EOF."""
        poller = select.poll()
        poller.register(self, 0)
        if not poller.poll(timeout_s * 1000):
            raise AssertionError(f'no error on the socket within {timeout_s} s')
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def is_silent(self, for_s=0.2):
        """Whether nothing arrives for so long: no data, no end of the stream."""
        return not select.select([self], [], [], for_s)[0]

    def send_until_full(self, stream, quiet_s=0.5):
        """Sends from stream until the socket has taken nothing for quiet_s. Returns the bytes that were sent."""
        view, sent, last_s = memoryview(stream), 0, time.monotonic()
        self.setblocking(False)
        while sent < len(view) and time.monotonic() - last_s < quiet_s:
            try:
                sent += self.send(view[sent:sent + (1 << 18)])
                last_s = time.monotonic()
            except BlockingIOError:
                select.select([], [self], [], 0.05)
        self.settimeout(PATIENCE_S)
        return sent


class Backend:
    """A listening socket. The test accepts each connection itself."""

    def __init__(self, case, host='127.0.0.1', port=0, backlog=512, rcvbuf=None):
        self.case = case
        endpoint = host if host[0] in '/\0' else (host, port)
        self.socket = socket.socket(family_of(endpoint), socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.bind(endpoint)
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE_S)
        self.endpoint = self.socket.getsockname()[:2] if isinstance(endpoint, tuple) else endpoint
        self.address = endpoint_name(self.endpoint)

    def accept(self):
        taken, remote = self.socket.accept()
        return self.case.adopt(Peer(fileno=taken.detach()).settle(remote))

    def has_waiting(self, for_s):
        return bool(select.select([self.socket], [], [], for_s)[0])

    def close(self):
        self.socket.close()


class EchoServer:
    """Sends back all that it receives, with a thread per connection. Counts connections. Sends greeting first, if
    given."""

    def __init__(self, host='127.0.0.1', greeting=b''):
        self.socket = socket.create_server((host, 0), backlog=1024)
        self.address = endpoint_name(self.socket.getsockname())
        self.greeting = greeting
        self.lock = threading.Lock()
        self.open = self.most_open = self.total = 0
        self.connections = set()
        self.thread = threading.Thread(target=self.accept_all, daemon=True)
        self.thread.start()

    def accept_all(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
                self.total += 1
                self.most_open = max(self.most_open, self.open)
                self.connections.add(connection)
            threading.Thread(target=self.echo, args=(connection,), daemon=True).start()

    def echo(self, connection):
        try:
            connection.sendall(self.greeting)
            while part := connection.recv(1 << 16):
                connection.sendall(part)
        except OSError:
            pass
        # Count down before sixpipe can see the close, so that most_open is never too high.
        with self.lock:
            self.open -= 1
            self.connections.discard(connection)
        connection.close()

    def close(self):
        with self.lock:
            remaining = list(self.connections)
        for end in [self.socket, *remaining]:
            try:
                end.shutdown(socket.SHUT_RDWR)  # wake the thread that waits in accept or recv
            except OSError:
                pass
        self.socket.close()
        self.thread.join(PATIENCE_S)


class PeersMixin:
    """Opens peers for a test, and closes all of them at the end of the test."""

    def peers(self):
        return self.__dict__.setdefault('opened_peers', [])

    def adopt(self, peer):
        self.peers().append(peer)
        return peer

    def connect(self, endpoint, rcvbuf=None, netns=None, bind=None):
        run = netns.run if netns else lambda function, *args: function(*args)
        peer = run(self.open_client, endpoint, rcvbuf, bind)
        return self.adopt(peer)

    @staticmethod
    def open_client(endpoint, rcvbuf, bind):
        peer = Peer(family_of(endpoint), socket.SOCK_STREAM)
        try:
            peer.settimeout(PATIENCE_S)
            if rcvbuf:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if bind:
                # the kernel chooses the port at connect: a port that is chosen at bind is taken for all destinations
                peer.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                peer.bind(bind)
            peer.connect(endpoint)
            return peer.settle(endpoint)
        except BaseException:
            peer.close()
            raise

    def backend(self, netns=None, **options):
        run = netns.run if netns else lambda function, *args, **kwargs: function(*args, **kwargs)
        return self.adopt(run(Backend, self, **options))

    def echo_server(self, **options):
        return self.adopt(EchoServer(**options))

    def refused_address(self):
        """An IPv4 address and port that refuses connections: a socket is bound to it but does not listen."""
        holder = self.adopt(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        holder.bind(('127.0.0.1', 0))
        return endpoint_name(holder.getsockname())

    def close_peers(self):
        while self.peers():
            self.peers().pop().close()
