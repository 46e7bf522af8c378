# SPDX-License-Identifier: MIT
"""Both ends of a thousand sessions of many kinds, in a process of its own. Every byte that arrives is compared with the
byte that the other end sent at this position.

As a program it listens as the backends, says where, and obeys the commands on its standard input, one JSON object a
line, with one JSON object each. A test uses class Traffic.

The kinds of sessions, of which each goes on until `finish`:

relay, paced, local    both ends send and read all the time; through a limited forward; over local sockets.
named                  the same, and the backend gets a PROXY header v2 with the id of the session
fin_client             the client has ended its stream, the backend goes on; fin_backend: the reverse
stall_client           the client does not read, except in one step of three; stall_backend: the reverse
idle                   no byte after the first
reset_client           the client is gone with a RST, and the backend has not read what came before; reset_backend
header                 half of the PROXY header has arrived; the next step sends the rest and opens another session
connecting             the backend's backlog is full until `accept`

Without a size of the streams, most sessions rest after each piece, and the others are fast.
"""

import argparse
import collections
import errno
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time

import proxy_header
from traffic_end import BACKEND, CHURN, CLIENT, End, Session

BUFFER_BYTES = 1 << 16   # of each socket: a thousand sessions must not fill the host's memory for TCP
SHORT_BYTES = 100_000    # what an end sends before an early FIN
LEAST_BYTES = 5_000      # what every other end has sent at least

# The listener that the clients of a kind connect to.
LISTENERS = {'paced': 'paced', 'local': 'local', 'header': 'header', 'connecting': 'full', 'churn_plain': 'plain',
             'churn_passed': 'passed', 'churn_local': 'local', 'named': 'passed'}
HEADER_CLIENTS = 8
POLL_S = 0.05
BEAT_S = 0.25
PROBLEMS_MOST = 30


class Loop:
    def __init__(self, arguments):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        self.bytes = arguments.bytes
        self.epoll = select.epoll()
        self.ends, self.sessions, self.problems = {}, {}, []
        self.count = self.named = self.closed = 0
        self.up_bytes = self.down_bytes = 0
        self.churned = collections.Counter()
        self.leases, self.ids = {}, set()
        self.finishing = False
        self.step_number = 0
        self.answer = None      # (condition, function that makes the answer, deadline) of the command under way
        self.filler = None
        self.resting = []
        self.listeners = {}
        for name, place in (('plain', ('127.0.0.1', 0)), ('local', f'{arguments.folder}/backend.sock'),
                            ('full', ('127.0.0.1', 0)), ('named', ('127.0.0.1', 0))):
            self.listen(name, place)

    def listen(self, name, place):
        listener = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET, socket.SOCK_STREAM)
        self.shape(listener)
        listener.bind(place)
        listener.listen(0 if name == 'full' else 1024)
        listener.setblocking(False)
        self.listeners[listener.fileno()] = (name, listener)
        if name == 'full':
            self.filler = socket.create_connection(listener.getsockname())
        else:
            self.epoll.register(listener, select.EPOLLIN)

    @staticmethod
    def shape(sock):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)

    def addresses(self):
        return {name: f'unix:{listener.getsockname()}' if listener.family == socket.AF_UNIX else
                '%s:%d' % listener.getsockname() for name, listener in self.listeners.values()}

    def problem(self, text):
        if len(self.problems) < PROBLEMS_MOST:
            self.problems.append(text)

    # --- sessions ---

    def open(self, kind):
        self.count += 1
        session = Session(kind, self.count)
        self.sessions[session.name] = session
        place = self.endpoints[LISTENERS.get(kind, 'plain')]
        place = tuple(place) if isinstance(place, list) else place
        sock = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET6, socket.SOCK_STREAM)
        self.shape(sock)
        end = End(self, sock, CLIENT)
        end.session, session.ends[CLIENT] = session, end
        end.first, end.connecting = session.name, True
        if kind == 'header':
            self.open_with_header(session, end)
        error = sock.connect_ex(place)
        if error not in (0, errno.EINPROGRESS):
            end.fail(f'connect: {os.strerror(error)}')
            return
        if kind in CHURN:
            end.fin = True
        end.watch()

    def open_with_header(self, session, end):
        source = f'2001:db8:{session.number % HEADER_CLIENTS:x}::7'
        header = proxy_header.v1((source, session.number), ('2001:db8::1', 443))
        half = len(header) // 2
        end.first, session.header_rest = header[:half], header[half:] + session.name

    def on_named(self, session):
        """The backend has read which session this is: both ends begin."""
        client, backend = session.ends
        kind = session.kind
        if kind in CHURN:
            backend.first, backend.fin = session.name, True
            self.churned[kind] += 1
            return
        self.named += 1
        if kind == 'header':
            self.check_lease(session, backend.sock.getpeername()[0])
        elif kind != 'idle':
            for end in (client, backend):
                end.goal, end.fin = (self.bytes, True) if self.bytes else (None, False)
                end.rests = session.number % 16 != 0 and not self.bytes
        for side, end in enumerate((client, backend)):
            word = ('client', 'backend')[side]
            if kind == f'fin_{word}':
                end.goal, end.fin = SHORT_BYTES, True
            elif kind == f'stall_{word}':
                end.reading = False
            elif kind == f'reset_{word}':
                end.goal, end.fin = None, False
                session.ends[1 - side].reading = False
                session.ends[1 - side].goal = 0
            if self.finishing:
                end.finish(LEAST_BYTES)
            end.watch()

    def check_lease(self, session, source):
        client = session.number % HEADER_CLIENTS
        if self.leases.setdefault(client, source) != source:
            self.problem(f'client {client} had the source {self.leases[client]}, and has {source} now')

    def take_id(self, ids):
        if len(ids) != 1 or ids[0] in self.ids:
            self.problem(f'no id, or the id of another session: {ids}')
        self.ids.update(ids)

    def on_end(self, end):
        session = end.session
        if session.kind in CHURN:
            self.on_churn_end(session)
            return
        if self.session_is_over(session):
            for each in session.ends:
                each.close()
            self.closed += 1

    @staticmethod
    def is_over(end):
        return end.ended not in (None, 'eof') or (end.ended == 'eof' and end.fin_sent)

    def on_churn_end(self, session):
        client, backend = session.ends
        if client.ended and client.fin_sent:
            if client.ended != 'eof':
                self.problem(f'{client}: {client.ended}')
            for end in (client, backend):
                if end:
                    end.close()
            del self.sessions[session.name]
            if not self.finishing:
                self.open(session.kind)

    def accept(self, name, listener):
        for _ in range(64):
            try:
                taken, _ = listener.accept()
            except BlockingIOError:
                return
            end = End(self, taken, BACKEND)
            end.has_header = name == 'named'
            if name == 'full' and self.filler and taken.getpeername() == self.filler.getsockname():
                self.filler.close()
                self.filler = None
                end.close()
                continue
            end.watch()

    # --- commands ---

    def of_kind(self, *kinds):
        return [session for session in self.sessions.values() if session.kind in kinds]

    def do_open(self, command):
        self.endpoints = command['endpoints']
        for kind, count in command['counts'].items():
            for _ in range(count):
                self.open(kind)
        wanted = sum(count for kind, count in command['counts'].items()
                     if kind not in ('header', 'connecting', *CHURN))
        return lambda: self.named >= wanted, lambda: {'open': len(self.sessions)}

    def do_step(self, _):
        """Something happens between two takeovers."""
        self.step_number += 1
        for session in self.of_kind('stall_client', 'stall_backend'):
            stalls = session.ends[CLIENT if session.kind == 'stall_client' else BACKEND]
            stalls.reading = session.number % 3 == self.step_number % 3
            stalls.watch()
        waiting = self.send_headers()
        for _ in waiting:
            self.open('header')
        return lambda: all(session.ends[BACKEND] for session in waiting), lambda: {'headers': len(waiting)}

    def send_headers(self):
        waiting = [session for session in self.of_kind('header') if session.header_rest]
        for session in waiting:
            session.ends[CLIENT].first += session.header_rest
            session.header_rest = b''
            session.ends[CLIENT].watch()
        return waiting

    def do_reset(self, _):
        """One end of each reset kind leaves with a RST. It waits until the forwarder takes no more bytes: then more
        bytes have arrived than the reader has room for."""
        leaving = [(session, session.ends[CLIENT if session.kind == 'reset_client' else BACKEND])
                   for session in self.of_kind('reset_client', 'reset_backend')]
        still = {session: (None, 0.0) for session, _ in leaving}

        def is_full():
            for session, end in leaving:
                if still[session][0] != end.sent:
                    still[session] = (end.sent, time.monotonic())
            return time.monotonic() - max((since for _, since in still.values()), default=0) > 0.2

        def leave():
            for session, end in leaving:
                end.goal = end.sent
                session.acked = end.sent - end.unacked()
                end.ended = 'left'
                end.close(reset=True)
            return {'reset': len(leaving)}
        return is_full, leave

    def do_accept(self, _):
        for name, listener in self.listeners.values():
            if name == 'full':
                listener.listen(1024)
                self.epoll.register(listener, select.EPOLLIN)
        return lambda: True, lambda: {}

    def do_progress(self, _):
        return lambda: True, lambda: {'bytes': self.up_bytes + self.down_bytes, 'problems': self.problems,
                                      'named': self.named, 'churned': sum(self.churned.values())}

    def do_finish(self, _):
        """All sessions come to their end; those without a backend get one."""
        self.finishing = True
        self.send_headers()
        for session in self.sessions.values():
            if session.kind in CHURN or session.ends[BACKEND] is None:
                continue
            if session.kind.startswith('reset'):
                for end in session.ends:
                    end.reading = True
                    end.watch()
            else:
                for end in session.ends:
                    end.finish(LEAST_BYTES)
        return lambda: all(self.session_is_over(session) for session in self.sessions.values()), self.result

    def session_is_over(self, session):
        return all(end is not None and self.is_over(end) for end in session.ends)

    def result(self):
        kinds = collections.Counter()
        for session in self.sessions.values():
            kinds[session.kind] += 1
            self.judge(session)
        return {'problems': self.problems, 'kinds': kinds, 'churned': self.churned, 'opened': self.count,
                'up_bytes': self.up_bytes, 'down_bytes': self.down_bytes, 'leases': self.leases}

    def late(self):
        """What a command waits for in vain."""
        over = {session for session in self.sessions.values() if self.session_is_over(session)}
        left = [session for session in self.sessions.values() if session not in over]
        nameless = [str(end) for session in left for end in session.ends[:1] if end and not session.ends[BACKEND]]
        busy = [str(end) for session in left for end in session.ends if end and not self.is_over(end)]
        return {'problems': self.problems, 'named': self.named, 'without a backend': nameless[:PROBLEMS_MOST],
                'not over': len(left), 'ends': busy[:PROBLEMS_MOST]}

    def judge(self, session):
        client, backend = session.ends
        if client is None or backend is None:
            self.problem(f'{client or backend}: there is no other end')
            return
        for end, other in ((client, backend), (backend, client)):
            if end.ended == 'left':
                continue
            if other.ended == 'left':
                if end.ended != 'reset' or not session.acked <= end.got <= other.sent:
                    self.problem(f'{end}: {end.ended}; {session.acked} bytes arrived before the RST')
            elif end.ended != 'eof' or end.got != other.sent:
                self.problem(f'{end}: {end.ended}, of {other.sent} bytes')

    def run(self):
        os.set_blocking(0, False)
        self.epoll.register(0, select.EPOLLIN)
        commands = b''
        say({'backends': self.addresses()})
        beat_s = 0.0
        while True:
            if time.monotonic() - beat_s > BEAT_S:
                beat_s = time.monotonic()
                rested, self.resting = self.resting, []
                for end in rested:
                    end.resting = False
                    end.watch()
            for number, events in self.epoll.poll(POLL_S):
                if number == 0:
                    data = os.read(0, 65536)
                    if not data:
                        return
                    commands += data
                elif number in self.listeners:
                    self.accept(*self.listeners[number])
                elif number in self.ends:
                    self.ends[number].on_event(events)
            if b'\n' in commands and self.answer is None:
                line, _, commands = commands.partition(b'\n')
                command = json.loads(line)
                condition, answer = getattr(self, 'do_' + command['do'])(command)
                self.answer = condition, answer, time.monotonic() + command['patience_s']
            if self.answer:
                condition, answer, deadline = self.answer
                if condition():
                    self.answer = None
                    say(answer())
                elif time.monotonic() > deadline:
                    self.answer = None
                    say({'late': self.late()})


def say(answer):
    print(json.dumps(answer), flush=True)


class Traffic:
    """The process, for a test. folder: for the backends' local socket. bytes: what each end of the sending kinds sends;
    0: until finish()."""

    def __init__(self, case, folder, stream_bytes=0):
        command = [sys.executable, os.path.abspath(__file__), '--folder', folder, '--bytes', str(stream_bytes)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        case.adopt(self)
        self.backends = self.read()['backends']

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError('the traffic process ended')
        return json.loads(line)

    def do(self, name, patience_s=30, **more):
        self.process.stdin.write(json.dumps({'do': name, 'patience_s': patience_s, **more}) + '\n')
        self.process.stdin.flush()
        answer = self.read()
        if 'late' in answer:
            raise AssertionError(f'{name} did not end within {patience_s} s: {answer["late"]}')
        return answer

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', required=True)
    parser.add_argument('--bytes', type=int, default=0)
    Loop(parser.parse_args()).run()
