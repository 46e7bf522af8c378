# SPDX-License-Identifier: MIT
"""One session of traffic.py, and its two ends. Every byte that arrives is compared with the byte that the other end
sent at this position."""

import fcntl
import os
import random
import select
import socket
import struct

import proxy_header

PIECE_BYTES = 1 << 16
PERIOD = 1_000_003  # of the stream; no size of a pipe or buffer divides it
ID_BYTES = 8
SIOCOUTQ = 0x5411
CLIENT, BACKEND = 0, 1
CHURN = ('churn_plain', 'churn_passed', 'churn_local')


class Pattern:
    """The stream of one end: a piece of a fixed random block, which begins at a place of its own."""

    BLOCK = random.Random(6).randbytes(PERIOD)
    BLOCK += BLOCK[:PIECE_BYTES]

    def __init__(self, number, side):
        self.start = (2 * number + side) * 104_729 % PERIOD

    def piece(self, position, count):
        at = (self.start + position) % PERIOD
        return self.BLOCK[at:at + count]


class End:
    """One socket of a session. `goal`: how much of the stream is sent, None: no end. `fin`: then the stream ends."""

    def __init__(self, loop, sock, side):
        self.loop, self.sock, self.side = loop, sock, side
        self.session = None
        self.connecting = False
        self.first = b''       # goes out before the stream
        self.head = b''        # of a backend's end: the first bytes, until they name the session
        self.has_header = False
        self.sent = self.got = 0
        self.goal, self.fin, self.fin_sent = 0, False, False
        self.rests = self.resting = False  # sends a piece, then waits for the next beat
        self.reading = True
        self.ended = None      # 'eof', 'reset', or another error
        self.mask = None
        sock.setblocking(False)
        loop.ends[sock.fileno()] = self

    def wants_to_send(self):
        if self.fin_sent or self.resting or self.ended not in (None, 'eof'):
            return False
        return bool(self.first) or self.goal is None or self.sent < self.goal or self.fin

    def watch(self):
        """Asks epoll for what this end wants."""
        mask = 0
        if self.sock.fileno() < 0:
            return
        if self.connecting or self.wants_to_send():
            mask |= select.EPOLLOUT
        if self.reading and not self.connecting and not self.ended:
            mask |= select.EPOLLIN
        if mask == (self.mask or 0):
            return
        # Without a wish the socket is left out: a HUP cannot be masked.
        if not mask:
            self.loop.epoll.unregister(self.sock)
        elif self.mask:
            self.loop.epoll.modify(self.sock, mask)
        else:
            self.loop.epoll.register(self.sock, mask)
        self.mask = mask

    def on_event(self, events):
        if self.connecting:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self.fail(f'connect: {os.strerror(error)}')
                return
            self.connecting = False
        if events & select.EPOLLIN or (events & (select.EPOLLHUP | select.EPOLLERR) and self.reading):
            self.read()
        if events & select.EPOLLOUT and self.sock.fileno() >= 0:
            self.send()
        self.watch()

    def fail(self, text):
        self.ended = self.ended or text
        self.loop.problem(f'{self}: {text}')
        self.close()

    def __str__(self):
        name = f'{self.session.kind} {self.session.number}' if self.session else 'unknown session'
        state = ', connecting' if self.connecting else f', to send {self.first}' if self.first else ''
        return f'{name}, {("client", "backend")[self.side]}, sent {self.sent}, got {self.got}{state}'

    def read(self):
        try:
            data = self.sock.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.end('reset')
            return
        except OSError as error:
            self.fail(f'recv: {error.strerror}')
            return
        if self.session is None:
            data = self.take_name(data)
            if data is None:
                return
        elif not data:
            self.end('eof')
            return
        if data:
            self.take(data)

    def take_name(self, data):
        """The rest of the first bytes once they name the session; else None."""
        if not data:
            self.fail('the stream ends before the name of the session')
            return None
        self.head += data
        if self.has_header and not self.take_header():
            return None
        if len(self.head) < ID_BYTES:
            return None
        name, data = self.head[:ID_BYTES], self.head[ID_BYTES:]
        session = self.loop.sessions.get(name)
        if session is None or session.ends[BACKEND] is not None:
            self.fail(f'a second connection of a session, or none: {name}')
            return None
        self.session, session.ends[BACKEND] = session, self
        self.loop.up_bytes += ID_BYTES
        self.loop.on_named(session)
        return data

    def take_header(self):
        """Whether the forwarder's PROXY header has arrived. No two connections may have the same id."""
        if len(self.head) < 16 or len(self.head) < 16 + struct.unpack('!H', self.head[14:16])[0]:
            return False
        header = proxy_header.Header(self.head)
        self.has_header, self.head = False, self.head[header.size:]
        self.loop.take_id(header.all(proxy_header.UNIQUE_ID))
        return True

    def take(self, data):
        if self.session.kind in CHURN:
            right = self.session.name[self.got:self.got + len(data)]
        else:
            right = self.session.patterns[1 - self.side].piece(self.got, len(data))
        if data != right:
            self.fail(f'other bytes than were sent, among the {len(data)} bytes here')
            return
        self.got += len(data)
        if self.side == BACKEND:
            self.loop.up_bytes += len(data)
        else:
            self.loop.down_bytes += len(data)

    def end(self, how):
        self.ended = how
        if how != 'eof':
            self.close()
        self.loop.on_end(self)

    def send(self):
        try:
            if self.first:
                self.first = self.first[self.sock.send(self.first):]
            elif self.goal is None or self.sent < self.goal:
                count = PIECE_BYTES if self.goal is None else min(PIECE_BYTES, self.goal - self.sent)
                self.sent += self.sock.send(self.session.patterns[self.side].piece(self.sent, count))
                if self.rests:
                    self.resting = True
                    self.loop.resting.append(self)
            if self.fin and not self.first and self.sent == self.goal and not self.fin_sent:
                self.fin_sent = True
                self.sock.shutdown(socket.SHUT_WR)
                self.loop.on_end(self)
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(f'send: {error.strerror}')

    def finish(self, goal):
        """Ends the stream at `goal`, or where it is if that is further."""
        if not self.fin:
            self.goal, self.fin = max(self.sent, goal), True
        self.reading = True
        self.watch()

    def unacked(self):
        return struct.unpack('i', fcntl.ioctl(self.sock, SIOCOUTQ, bytes(4)))[0]

    def close(self, reset=False):
        if self.sock.fileno() < 0:
            return
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        if self.mask:
            self.loop.epoll.unregister(self.sock)
            self.mask = None
        self.loop.ends.pop(self.sock.fileno(), None)
        self.sock.close()


class Session:
    def __init__(self, kind, number):
        self.kind, self.number = kind, number
        self.name = b'S%07d' % number
        self.ends = [None, None]
        self.patterns = [Pattern(number, side) for side in (CLIENT, BACKEND)]
        self.acked = 0          # of a reset kind: at least so much arrives
        self.header_rest = b''  # of its PROXY header, and its name
