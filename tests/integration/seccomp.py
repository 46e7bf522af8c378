"""Seccomp filters that forbid a system call, as a container's profile does."""

import ctypes
import errno
import platform
import struct

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


NUMBER = 0  # where struct seccomp_data has the call's number


def argument(index):
    """Where it has the lower half of an argument, on a little-endian machine."""
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
    """Answers a call whose words, by their offset in struct seccomp_data, are these with this errno."""
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
