"""A seccomp filter that forbids io_uring, as a container's profile does."""

import ctypes
import platform
import struct

KNOWN_HERE = platform.machine() in ('x86_64', 'aarch64')

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7fff0000, 0x00050000
NR_IO_URING_SETUP = 425
BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06


def forbid_io_uring(error):
    """Makes io_uring_setup(2) answer with this errno from now on, as a container's seccomp profile does."""
    code = b''.join(struct.pack('HBBI', *instruction) for instruction in (
        (BPF_LOAD_WORD, 0, 0, 0),
        (BPF_JUMP_EQUAL, 0, 1, NR_IO_URING_SETUP),
        (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | error),
        (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)))
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), 'prctl')
