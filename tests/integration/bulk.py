# SPDX-License-Identifier: MIT
"""One end of a bulk connection, in a process of its own so that the two ends do not share an interpreter.

As a program it takes over a connected socket, sends a stream made from a seed while it receives, and prints what it
saw as JSON. A test uses class Bulk.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

BLOCK_BYTES = 1 << 20
FLOWING_BYTES = 8 << 20
ROTATIONS = 4096


class Stream:
    """A reproducible stream that does not soon repeat: a random block, then the same block shifted by one byte, and
    so on."""

    def __init__(self, seed):
        self.block = memoryview(random.Random(seed).randbytes(BLOCK_BYTES + ROTATIONS))

    def pieces(self, count):
        index = 0
        while count > 0:
            start = index % ROTATIONS
            size = min(count, BLOCK_BYTES)
            yield self.block[start:start + size]
            count -= size
            index += 1

    def bytes(self, count):
        return b''.join(self.pieces(count))


def send_stream(sock, seed, count, report, hashed):
    digest, sent = hashlib.sha1(), 0
    try:
        for piece in Stream(seed).pieces(count):
            if hashed:
                digest.update(piece)
            sock.sendall(piece)
            sent += len(piece)
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        report['send_error'] = error.strerror
    report.update(sent=sent, sent_sha1=digest.hexdigest())


def receive_stream(sock, report, hashed, announce):
    digest, received, end = hashlib.sha1(), 0, 'eof'
    buffer = bytearray(BLOCK_BYTES)
    view = memoryview(buffer)
    try:
        while got := sock.recv_into(buffer):
            if hashed:
                digest.update(view[:got])
            received += got
            if announce and received >= FLOWING_BYTES:
                print('flowing', flush=True)
                announce = False
    except ConnectionResetError:
        end = 'reset'
    report.update(received=received, received_sha1=digest.hexdigest(), end=end)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--fd', type=int, required=True)
    parser.add_argument('--send', type=int, default=0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--no-hash', action='store_true')
    parser.add_argument('--announce', action='store_true', help='say when the first bytes have come')
    arguments = parser.parse_args()
    sock = socket.socket(fileno=arguments.fd)
    sock.settimeout(None)
    report = {}
    sender = threading.Thread(target=send_stream, args=(sock, arguments.seed, arguments.send, report,
                                                        not arguments.no_hash))
    sender.start()
    receive_stream(sock, report, not arguments.no_hash, arguments.announce)
    sender.join()
    print(json.dumps(report))


class Bulk:
    """Hands a connected socket to a process that sends `send` bytes made from `seed` and receives to the end."""

    def __init__(self, case, sock, send=0, seed=1, hashed=True, announce=False):
        command = [sys.executable, os.path.abspath(__file__), '--fd', str(sock.fileno()), '--send', str(send),
                   '--seed', str(seed)] + ([] if hashed else ['--no-hash']) + (['--announce'] if announce else [])
        self.process = subprocess.Popen(command, pass_fds=[sock.fileno()], stdout=subprocess.PIPE, text=True)
        sock.close()
        case.adopt(self)

    def result(self, timeout_s):
        try:
            output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'the transfer did not end within {timeout_s} s') from None
        return json.loads(output)

    def wait_flowing(self):
        """Waits until this end has received the first megabytes (announce=True only)."""
        if self.process.stdout.readline() != 'flowing\n':
            raise AssertionError('the bulk flow ended')

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """Kills the process if it still runs. The kernel then ends its connection."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


if __name__ == '__main__':
    main()
