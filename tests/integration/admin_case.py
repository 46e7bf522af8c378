# SPDX-License-Identifier: MIT
"""Shared by the tests of --admin: a sixpipe with an admin socket, clients with PROXY headers, and the commands."""

import contextlib
import json
import os
import shutil
import socket
import tempfile

import proxy_header
from harness import Case
from peers import PATIENCE_S, RESET

CLIENT = ('2001:db8::7', 51234)
NEIGHBOUR = ('2001:db8::8', 51234)  # in the same /64
STRANGER = ('2001:db8:1::7', 51234)
TARGET = ('2001:db8::1', 443)
PROXIED = ('--accept-proxy', '--trust', '::1')


class AdminCase(Case):

    def setUp(self):
        super().setUp()
        self.directory = tempfile.mkdtemp(prefix='sixpipe-admin-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = os.path.join(self.directory, 'admin.sock')

    def admin(self, *args, **options):
        """A sixpipe with an admin socket that accepts PROXY headers."""
        return self.sixpipe('[::1]:0', *args, '--admin', self.path, **options)

    def ask(self, *args):
        """(exit code, stdout, stderr) of a command."""
        done = self.run_sixpipe(*args, '--admin', self.path)
        self.assertEqual(bool(done.stderr), done.returncode != 0, done)
        return done.returncode, done.stdout, done.stderr

    def assert_fails(self, code, says, *args):
        """The command fails with this exit code and this text."""
        told, out, error = self.ask(*args)
        self.assertEqual((told, out), (code, ''), args)
        self.assertIn(says, error)

    def ask_json(self, *args, code=0):
        done = self.run_sixpipe(*args, '--json', '--admin', self.path)
        self.assertEqual(done.returncode, code, done)
        return json.loads(done.stdout)

    def open_as(self, proxy, backend, client):
        """Opens a session of a client with this address."""
        peer = self.connect(proxy.endpoint)
        peer.sendall(proxy_header.v1(client, TARGET))
        return peer, backend.accept()

    def assert_refused(self, proxy, client):
        peer = self.connect(proxy.endpoint)
        with contextlib.suppress(OSError):
            peer.sendall(proxy_header.v1(client, TARGET))
        self.assertEqual(peer.recv_to_end()[1], RESET)

    def raw(self):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(PATIENCE_S)
        self.adopt(peer)
        peer.connect(self.path)
        return peer

    @staticmethod
    def read_answer(peer):
        answer = b''
        with contextlib.suppress(ConnectionResetError):
            while piece := peer.recv(65536):
                answer += piece
        return answer
