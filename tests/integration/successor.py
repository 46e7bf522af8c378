# SPDX-License-Identifier: MIT
"""New processes that fail in a takeover at a chosen step: programs for an upgrade that speak as much of the protocol as
the step needs. src/os/carrier.h has the form of the records, src/control/takeover.h their order."""

import array
import os
import shutil
import socket
import struct
import sys
import time

HELLO, SOCKET, GREETED, REFUSED, SERVES, PREPARED, HAVE_ALL = range(1, 8)
STATE_END, COMMIT = 20, 21
PROTOCOL, STATE = 1, 1
MESSAGE_BYTES = 65536
MESSAGE_FDS = 253


class Carrier:
    """The connection to the old process."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)

    def put(self, kind, *values):
        """Sends a record. A value is a number or a text."""
        body = b''
        for value in values:
            number, text = (value, '') if isinstance(value, int) else (len(value), value)
            body += struct.pack('=Q', number) + text.encode()
        self.socket.send(struct.pack('=HHI', kind, 0, len(body)) + body)

    def kinds(self):
        """The kinds of the records of the next message. Its descriptors are closed."""
        data, control, _, _ = self.socket.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(MESSAGE_FDS * 4))
        for _, _, fds in control:
            for fd in array.array('i', fds):
                os.close(fd)
        if not data:
            sys.exit(1)
        found = []
        while data:
            kind, _, size = struct.unpack('=HHI', data[:8])
            found.append(kind)
            data = data[8 + size:]
        return found

    def read_until(self, kind):
        while kind not in self.kinds():
            pass


def hang():
    time.sleep(1000)


def greet(carrier, protocol=PROTOCOL):
    carrier.put(HELLO, protocol, STATE, 'a test')
    carrier.read_until(GREETED)


def prepare(carrier, forwards):
    greet(carrier)
    for name in forwards:
        carrier.put(SERVES, name)
    carrier.put(PREPARED, 0)


def play(step, forwards, carrier):
    """Goes as far as `step`, and ends or hangs there."""
    if step == 'hangs at once':
        hang()
    elif step == 'sends garbage':
        carrier.socket.send(b'\xff' * 100)
        hang()
    elif step == 'speaks another protocol':
        carrier.put(HELLO, PROTOCOL + 1, STATE, 'a test')
        hang()
    elif step == 'ends after the greeting':
        greet(carrier)
        sys.exit(3)
    elif step == 'hangs after the greeting':
        greet(carrier)
        hang()
    elif step == 'refuses':
        greet(carrier)
        carrier.put(REFUSED, 2, 'the first fault')
        carrier.put(REFUSED, 2, 'the second fault')
        sys.exit(2)
    elif step == 'does not read the state':
        prepare(carrier, forwards)
        hang()
    elif step == 'ends in the midst of the state':
        prepare(carrier, forwards)
        carrier.kinds()
        sys.exit(1)
    elif step == 'ends with the whole state':
        prepare(carrier, forwards)
        carrier.read_until(STATE_END)
        sys.exit(1)
    elif step == 'hangs with the whole state':
        prepare(carrier, forwards)
        carrier.read_until(STATE_END)
        hang()
    elif step == 'refuses the state':
        prepare(carrier, forwards)
        carrier.read_until(STATE_END)
        carrier.put(REFUSED, 1, 'too many sessions')
        sys.exit(1)
    elif step == 'dies after the commit':
        prepare(carrier, forwards)
        carrier.read_until(STATE_END)
        carrier.put(HAVE_ALL)
        carrier.read_until(COMMIT)
        sys.exit(7)


def program(folder, step, forwards):
    """The text of a program for an upgrade. Copies this module into `folder`, where every user can read it."""
    shutil.copy(os.path.abspath(__file__), folder)
    return f'''#!{sys.executable} -B
import os, sys
sys.path.insert(0, {folder!r})
import successor
_, fd = os.environ['SIXPIPE_TAKEOVER'].split(',')
successor.play({step!r}, {list(forwards)!r}, successor.Carrier(int(fd)))
'''
