# SPDX-License-Identifier: MIT
"""A network namespace for one test. It has no name, and ends with its last thread, process and socket."""

import concurrent.futures
import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

CLONE_NEWNET = 0x40000000


class Netns:
    """A thread in a namespace of its own. Sockets and processes that it creates are in that namespace.

    ns.run(function, ...) calls the function there, ns.ip('link set lo up') configures the namespace. SkipTest if no
    namespace can be made.
    """

    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest('a network namespace needs root')
        if not shutil.which('ip'):
            raise unittest.SkipTest('ip (iproute2) is not installed')
        self.thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)

    def __enter__(self):
        libc = ctypes.CDLL(None, use_errno=True)

        def unshare():
            return 0 if libc.unshare(CLONE_NEWNET) == 0 else ctypes.get_errno()
        error = self.run(unshare)
        if error:
            self.thread.shutdown()
            raise unittest.SkipTest(f'no network namespace here: {os.strerror(error)}')
        self.ip('link set lo up')
        return self

    def __exit__(self, *_):
        self.thread.shutdown()

    def run(self, function, *args, **kwargs):
        return self.thread.submit(function, *args, **kwargs).result()

    def ip(self, command):
        done = self.run(subprocess.run, ['ip', *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise unittest.SkipTest(f'ip {command}: {done.stderr.strip()}')

    def set_resolv_conf(self, text):
        """Processes that are started here from now on read this text in /etc/resolv.conf. SkipTest if the host has no
        such file."""
        clone_newns, private, bind = 0x20000, 1 << 18 | 1 << 14, 1 << 12  # mount(2): MS_PRIVATE, MS_REC, MS_BIND

        def mount():
            libc = ctypes.CDLL(None, use_errno=True)
            with tempfile.NamedTemporaryFile('w') as file:
                file.write(text)
                file.flush()
                os.chmod(file.name, 0o644)
                if (libc.unshare(clone_newns) or libc.mount(b'none', b'/', None, private, None) or
                        libc.mount(file.name.encode(), b'/etc/resolv.conf', None, bind, None)):
                    return ctypes.get_errno()
            return 0
        error = self.run(mount)
        if error:
            raise unittest.SkipTest(f'no /etc/resolv.conf of its own here: {os.strerror(error)}')

    def add_black_hole(self, host='192.0.2.9', own='192.0.2.1'):
        """Adds an address that never answers: a veth pair whose far end has another MAC."""
        self.ip('link add hole0 type veth peer name hole1')
        for name in ('hole0', 'hole1'):
            self.ip(f'link set {name} up')
        self.ip(f'address add {own}/24 dev hole0')
        self.ip(f'neighbour add {host} lladdr 02:00:00:00:00:09 dev hole0 nud permanent')
        return host

    def link_to(self, other):
        """A cable to another Netns. This end is 192.0.2.1 and 2001:db8::1, that one .2 and ::2."""
        self.ip(f'link add near0 type veth peer name far0 netns {other.run(threading.get_native_id)}')
        for netns, name, host in ((self, 'near0', 1), (other, 'far0', 2)):
            netns.ip(f'link set {name} up')
            netns.ip(f'address add 192.0.2.{host}/24 dev {name}')
            netns.ip(f'address add 2001:db8::{host}/64 dev {name} nodad')

    def lose_link(self):
        """From now on all packets of this end are lost, without an error."""
        for host in ('192.0.2.2', '2001:db8::2'):
            self.ip(f'neighbour replace {host} lladdr 02:00:00:00:00:09 dev near0 nud permanent')
