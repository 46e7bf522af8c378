# SPDX-License-Identifier: MIT
"""Seccomp filters that forbid a system call, as a container's profile does, and a supervisor that answers calls."""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import threading

KNOWN_HERE = platform.machine() in ('x86_64', 'aarch64')

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7fff0000, 0x00050000
NR_IO_URING_SETUP = 425
NR_SETSOCKOPT = {'x86_64': 54, 'aarch64': 208}.get(platform.machine())
NR_SOCKET = {'x86_64': 41, 'aarch64': 198}.get(platform.machine())
NR_SPLICE = {'x86_64': 275, 'aarch64': 76}.get(platform.machine())
IPPROTO_TCP, TCP_CONGESTION = 6, 13
AF_INET6 = 10
BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06


NUMBER = 0  # offset of the call's number in struct seccomp_data


def argument(index):
    """Offset of an argument's lower half in struct seccomp_data, on a little-endian machine."""
    return 16 + 8 * index


def forbid_io_uring(error):
    """Makes io_uring_setup(2) answer with this errno from now on, as a container's seccomp profile does."""
    install_filter(error, {NUMBER: NR_IO_URING_SETUP})


def forbid_congestion(error):
    """Makes setsockopt(2) of TCP_CONGESTION answer with this errno from now on."""
    install_filter(error, {NUMBER: NR_SETSOCKOPT, argument(1): IPPROTO_TCP, argument(2): TCP_CONGESTION})


def forbid_ipv6():
    """Makes socket(2) of AF_INET6 answer with EAFNOSUPPORT from now on, as on a host that was booted with ipv6.disable=1."""
    install_filter(errno.EAFNOSUPPORT, {NUMBER: NR_SOCKET, argument(0): AF_INET6})


def forbid_splice(error):
    """Makes splice(2) answer with this errno from now on."""
    install_filter(error, {NUMBER: NR_SPLICE})


def install_filter(error, words):
    """Refuses with this errno each call that has these words at these offsets of struct seccomp_data."""
    code = b''
    for left, (offset, value) in zip(range(len(words), 0, -1), words.items()):
        code += struct.pack('HBBI', BPF_LOAD_WORD, 0, 0, offset)
        code += struct.pack('HBBI', BPF_JUMP_EQUAL, 0, 2 * left - 1, value)
    code += struct.pack('HBBI', BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | error)
    code += struct.pack('HBBI', BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), 'prctl')


NR_SECCOMP = {'x86_64': 317, 'aarch64': 277}.get(platform.machine())
NR_POLL = {'x86_64': 7, 'aarch64': 73}.get(platform.machine())  # poll(3) of aarch64 is ppoll(2)
NR_FSYNC = {'x86_64': 74, 'aarch64': 82}.get(platform.machine())
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
SECCOMP_RET_USER_NOTIF = 0x7fc00000
NOTIF_RECV, NOTIF_SEND, FLAG_CONTINUE = 0xc0502100, 0xc0182101, 1


class Supervisor:
    """Decides for a program about one system call: refuse the call, hold the call, or let it through.

        supervisor = seccomp.Supervisor(self, seccomp.NR_FSYNC)
        with self.sixpipe(..., popen={'preexec_fn': supervisor.install}) as proxy:
            supervisor.refuse(errno.ENOSPC)
    """

    def __init__(self, case, number):
        self.number = number
        self.error = 0
        self.holds = False
        self.held = []
        self.refused = 0
        self.changed = threading.Condition()
        self.ends = socket.socketpair()
        thread = threading.Thread(target=self.serve, daemon=True)
        thread.start()
        case.addCleanup(thread.join)
        case.addCleanup(self.let_through)
        case.addCleanup(self.ends[1].close)

    def install(self):
        """Installs the filter. Runs in the child before exec: preexec_fn."""
        code = struct.pack('HBBI', BPF_LOAD_WORD, 0, 0, NUMBER) + struct.pack('HBBI', BPF_JUMP_EQUAL, 0, 1, self.number)
        code += struct.pack('HBBI', BPF_RETURN, 0, 0, SECCOMP_RET_USER_NOTIF)
        code += struct.pack('HBBI', BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)
        text = ctypes.create_string_buffer(code, len(code))
        program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(text))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        listener = libc.syscall(NR_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, program)
        if listener < 0:
            raise OSError(ctypes.get_errno(), 'seccomp')
        socket.send_fds(self.ends[1], [b'x'], [listener])
        os.close(listener)

    def refuse(self, error):
        """From now on the call fails with this errno. 0: the call goes through to the kernel."""
        with self.changed:
            self.error = error

    def hold(self):
        """From now on the call does not return, until let_through()."""
        with self.changed:
            self.holds = True

    def wait_held(self, count, timeout_s):
        """Waits until `count` calls are held. Returns False after timeout_s."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.held) >= count, timeout_s)

    def wait_refused(self, count, timeout_s):
        """Waits until `count` calls have been refused. Returns False after timeout_s."""
        with self.changed:
            return self.changed.wait_for(lambda: self.refused >= count, timeout_s)

    def let_through(self):
        with self.changed:
            self.holds, self.error = False, 0
            held, self.held = self.held, []
        for number in held:
            self.answer(number, 0)

    def answer(self, question, error):
        reply = bytearray(struct.pack('QqiI', question, 0, -error, 0 if error else FLAG_CONTINUE))
        with contextlib.suppress(OSError):  # the calling process is dead
            fcntl.ioctl(self.listener, NOTIF_SEND, reply)

    def serve(self):
        _, fds, _, _ = socket.recv_fds(self.ends[0], 1, 1)
        self.ends[0].close()
        if not fds:
            return
        self.listener = fds[0]
        poller = select.poll()
        poller.register(self.listener, select.POLLIN)
        while True:
            if not poller.poll()[0][1] & select.POLLIN:  # the last process with the filter has ended
                os.close(self.listener)
                return
            question = bytearray(80)
            try:
                fcntl.ioctl(self.listener, NOTIF_RECV, question)
            except FileNotFoundError:  # the calling process is dead
                continue
            number = struct.unpack_from('Q', question)[0]
            with self.changed:
                error = self.error
                if self.holds:
                    self.held.append(number)
                self.refused += bool(error)
                self.changed.notify_all()
                if self.holds:
                    continue
            self.answer(number, error)
