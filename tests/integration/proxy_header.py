# SPDX-License-Identifier: MIT
"""Writes and reads PROXY protocol headers by the specification alone. The tests compare sixpipe's headers with
these."""

import ipaddress
import struct

SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID = 1, 2, 3, 4, 5


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def v1(source, target):
    """source and target: (host, port)."""
    family = 'TCP6' if ':' in source[0] else 'TCP4'
    return f'PROXY {family} {source[0]} {target[0]} {source[1]} {target[1]}\r\n'.encode()


def tlv(kind, value):
    return struct.pack('!BH', kind, len(value)) + value


def v2_raw(command, family, body):
    return SIGNATURE + struct.pack('!BBH', 0x20 | command, family, len(body)) + body


def v2(source=None, target=None, tlvs=(), command=1, crc=False):
    body, family = b'', 0
    if source:
        hosts = [ipaddress.ip_address(host).packed for host, _ in (source, target)]
        family = 0x11 if len(hosts[0]) == 4 else 0x21
        body = b''.join(hosts) + struct.pack('!HH', source[1], target[1])
    body += b''.join(tlv(kind, value) for kind, value in tlvs)
    if not crc:
        return v2_raw(command, family, body)
    whole = v2_raw(command, family, body + tlv(CRC32C, bytes(4)))
    return whole[:-4] + struct.pack('!I', crc32c(whole))


class Header:
    """A header received: version, local, source and target as (host, port) or None, tlvs as [(type, value)], size."""

    def __init__(self, data):
        if data.startswith(SIGNATURE):
            self.read_v2(data)
        else:
            self.read_v1(data)

    def read_v1(self, data):
        line, end, _ = data.partition(b'\r\n')
        assert end, data
        self.version, self.local, self.tlvs, self.size = 1, False, [], len(line) + 2
        words = line.decode('ascii').split(' ')
        assert words[0] == 'PROXY', line
        self.family = words[1]
        self.source = self.target = None
        if words[1] != 'UNKNOWN':
            _, _, source, target, source_port, target_port = words
            self.source, self.target = (source, int(source_port)), (target, int(target_port))

    def read_v2(self, data):
        kind, self.family, length = struct.unpack('!BBH', data[12:16])
        assert kind >> 4 == 2, data[:16]
        self.version, self.local, self.size = 2, kind & 15 == 0, 16 + length
        body = data[16:self.size]
        assert len(body) == length, 'the header is not whole'
        width = {0: 0, 0x11: 4, 0x21: 16}[self.family]
        self.source = self.target = None
        if width:
            ports = struct.unpack('!HH', body[2 * width:2 * width + 4])
            hosts = [str(ipaddress.ip_address(body[i * width:(i + 1) * width])) for i in (0, 1)]
            self.source, self.target = zip(hosts, ports)
            body = body[2 * width + 4:]
        self.tlvs = []
        while body:
            kind, length = struct.unpack('!BH', body[:3])
            assert len(body) >= 3 + length
            self.tlvs.append((kind, body[3:3 + length]))
            body = body[3 + length:]
        given = dict(self.tlvs).get(CRC32C)
        if given is not None:
            whole = data[:self.size]
            assert whole.count(tlv(CRC32C, given)) == 1
            assert struct.pack('!I', crc32c(whole.replace(tlv(CRC32C, given), tlv(CRC32C, bytes(4))))) == given, 'CRC'

    def all(self, kind):
        return [value for own, value in self.tlvs if own == kind]


def receive(peer):
    """Reads exactly the header from a socket."""
    data = peer.recv_exact(len(SIGNATURE))
    if data == SIGNATURE:
        data += peer.recv_exact(4)
        data += peer.recv_exact(struct.unpack('!H', data[14:16])[0])
    else:
        while not data.endswith(b'\r\n'):
            data += peer.recv_exact(1)
    return Header(data)
