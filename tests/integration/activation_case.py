# SPDX-License-Identifier: MIT
"""Plays the service manager that passes listening sockets: LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES."""

import contextlib
import fcntl
import socket
import subprocess

from harness import SIXPIPE, Case, environment
from peers import PATIENCE_S

# The variables are for the process that bash becomes: LISTEN_PID is its number.
LAUNCH = 'export LISTEN_PID=$$; exec {redirections}; exec "$@"'
FIRST_FREE = 100  # the manager's own descriptors are out of the way of those that it passes


class ActivationCase(Case):

    def listen(self, host='::1', port=0, *, dual_stack=False, kind=socket.SOCK_STREAM, reuse_port=False, backlog=16,
               device=None):
        """A socket as a .socket unit makes it."""
        family = socket.AF_UNIX if host[0] in '/\0' else socket.AF_INET6 if ':' in host else socket.AF_INET
        made = socket.socket(family, kind)
        self.addCleanup(made.close)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.bind(host if family == socket.AF_UNIX else (host, port))
        if kind == socket.SOCK_STREAM:
            made.listen(backlog)
        return made

    @contextlib.contextmanager
    def launch(self, argv, passed, **variables):
        """Gives argv, env and pass_fds that pass these pairs of a name and a socket or file."""
        with contextlib.ExitStack() as stack:
            fds = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, FIRST_FREE) for _, each in passed]
            for fd in fds:
                stack.callback(lambda fd=fd: open(fd, 'rb', closefd=True).close())
            redirections = ' '.join(f'{3 + i}<&{fd} {fd}<&-' for i, fd in enumerate(fds))
            env = environment(LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=':'.join(name for name, _ in passed))
            env = {**env, **{name: value for name, value in variables.items() if value is not None}}
            for name in [name for name, value in variables.items() if value is None]:
                env.pop(name, None)
            yield (['bash', '-c', LAUNCH.format(redirections=redirections), 'bash', *argv],
                   {'env': env, 'pass_fds': fds})

    @contextlib.contextmanager
    def activated(self, passed, *args, **options):
        """A running sixpipe that was passed these pairs of a name and a socket."""
        proxy = self.sixpipe(*args, **options)
        with self.launch(proxy.argv, passed) as (argv, popen):
            proxy.argv, proxy.popen = argv, {**proxy.popen, **popen}
            with proxy:
                yield proxy

    def run_activated(self, passed, *args, **variables):
        """Runs a sixpipe that ends by itself: its CompletedProcess."""
        argv = [SIXPIPE, *map(str, args)]
        with self.launch(argv, passed, **variables) as (argv, popen):
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=False, **popen)

    def exchange(self, client, server):
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')
        server.sendall(b'pong')
        self.assertEqual(client.recv_exact(4), b'pong')
