# SPDX-License-Identifier: MIT
"""Puts sockets into an eBPF sockmap, as an agent that inspects all traffic does: bpf(2)."""

import ctypes
import os
import platform
import struct
import unittest

NR_BPF = {'x86_64': 321, 'aarch64': 280}.get(platform.machine())
BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_PROG_ATTACH = 0, 2, 5, 8
BPF_MAP_TYPE_SOCKMAP, BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT = 15, 14, 5
PASS_ALL = struct.pack('BBhi', 0xb7, 0, 0, 1) + struct.pack('BBhi', 0x95, 0, 0, 0)  # r0 = SK_PASS; exit
ATTRIBUTE_BYTES = 128


def bpf(command, attributes):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NR_BPF, command, ctypes.create_string_buffer(attributes, ATTRIBUTE_BYTES), ATTRIBUTE_BYTES)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), 'bpf')
    return result


class Sockmap:
    """A context manager. add() may be called until `size` sockets are in the map."""

    def __init__(self, size=16):
        self.size = size
        self.count = 0
        self.fds = []

    def __enter__(self):
        code, licence = ctypes.create_string_buffer(PASS_ALL), ctypes.create_string_buffer(b'GPL')
        try:
            program = bpf(BPF_PROG_LOAD, struct.pack(
                'IIQQIIQII16sII', BPF_PROG_TYPE_SK_SKB, len(PASS_ALL) // 8, ctypes.addressof(code),
                ctypes.addressof(licence), 0, 0, 0, 0, 0, b'', 0, BPF_SK_SKB_STREAM_VERDICT))
            self.fds.append(program)
            self.map = bpf(BPF_MAP_CREATE, struct.pack('IIIII', BPF_MAP_TYPE_SOCKMAP, 4, 4, self.size, 0))
            self.fds.append(self.map)
            bpf(BPF_PROG_ATTACH, struct.pack('IIII', self.map, program, BPF_SK_SKB_STREAM_VERDICT, 0))
        except OSError as error:
            self.__exit__()
            raise unittest.SkipTest(f'no sockmap here: {error}') from None
        return self

    def __exit__(self, *_):
        while self.fds:
            os.close(self.fds.pop())

    def add(self, sock):
        """Adds a connected TCP socket to the map."""
        key, value = ctypes.c_uint32(self.count), ctypes.c_uint32(sock.fileno())
        bpf(BPF_MAP_UPDATE_ELEM, struct.pack('IIQQQ', self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
        self.count += 1
