# SPDX-License-Identifier: MIT
"""A DNS server on loopback for tests: one port for UDP and TCP, and a zone that may change while it runs.

    with dns_server.DnsServer() as dns:
        dns.set('a.example', dns_server.a('127.0.0.1', '127.0.0.2', ttl=1))
        ... --dns-server dns.address ...
        dns.set('a.example', dns_server.NXDOMAIN)
        dns.wait_queries(2, name='a.example')

Each name has an Answer, which the helpers below make. A name that was not set is NXDOMAIN.
"""

import collections
import dataclasses
import ipaddress
import os
import selectors
import socket
import struct
import threading
import time

PATIENCE_S = 40 if os.environ.get('SIXPIPE_SANITIZE', '') not in ('', '0') else 20

TYPES = {'A': 1, 'CNAME': 5, 'AAAA': 28}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
CODES = {'NOERROR': 0, 'FORMERR': 1, 'SERVFAIL': 2, 'NXDOMAIN': 3, 'NOTIMP': 4, 'REFUSED': 5}
UDP_BYTES = 512  # without EDNS (RFC 1035, 4.2.1); longer answers are truncated
FLAG_ANSWER, FLAG_TRUNCATED, FLAG_RECURSION = 0x8000, 0x0200, 0x0180

Query = collections.namedtuple('Query', 'name type transport')


@dataclasses.dataclass(frozen=True)
class Answer:
    """records: a list of (type, ttl, value), sent in this order. Only records of the type in the query are sent.

    how: '' is a correct answer. 'truncated': over UDP, TC and no record; over TCP, all records. 'silent': no answer.
    'silent-AAAA': no answer to a query for AAAA. 'malformed': the last record is cut off. 'wrong-id': another id.
    'garbage': the right id and bytes that are no message.
    """
    records: tuple = ()
    code: str = 'NOERROR'
    how: str = ''


def a(*addresses, ttl=60):
    return Answer(tuple(('A', ttl, address) for address in addresses))


def aaaa(*addresses, ttl=60):
    return Answer(tuple(('AAAA', ttl, address) for address in addresses))


def cname(target, ttl=60):
    """The server follows the chain of CNAMEs within its zone, as a resolving server does."""
    return Answer((('CNAME', ttl, target),))


def join(*answers):
    return Answer(tuple(record for answer in answers for record in answer.records))


def but(answer, how):
    return dataclasses.replace(answer, how=how)


EMPTY = Answer()
NXDOMAIN = Answer(code='NXDOMAIN')
SERVFAIL = Answer(code='SERVFAIL')
REFUSED = Answer(code='REFUSED')
SILENT = Answer(how='silent')


def canonical(name):
    return name.rstrip('.').lower()


def encode_name(name):
    labels = [label.encode('ascii') for label in name.rstrip('.').split('.')]
    return b''.join(bytes([len(label)]) + label for label in labels) + b'\0'


def parse_query(message):
    """(id, name, type number, bytes of the question). ValueError if the message does not hold exactly one question."""
    if len(message) < 12:
        raise ValueError('no head')
    number, _, questions = struct.unpack_from('!HHH', message)
    labels, at = [], 12
    while at < len(message) and message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode('ascii'))
        at += 1 + message[at]
    if questions != 1 or at + 5 > len(message):
        raise ValueError('not one question')
    return number, '.'.join(labels), struct.unpack_from('!H', message, at + 1)[0], message[12:at + 5]


class DnsServer:
    """Runs in a thread of its own. address is 'HOST:PORT', or '[HOST]:PORT'."""

    def __init__(self, host='127.0.0.1', port=0):
        self.zone = {}
        self.queries = []
        self.changed = threading.Condition()
        self.family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self.udp, self.tcp = self.bind(host, port)
        self.port = self.udp.getsockname()[1]
        self.address = f'[{host}]:{self.port}' if ':' in host else f'{host}:{self.port}'
        self.selector = selectors.DefaultSelector()
        self.waker, self.wake = socket.socketpair()
        for readable, handler in ((self.udp, self.on_datagram), (self.tcp, self.on_accept), (self.waker, None)):
            readable.setblocking(False)
            self.selector.register(readable, selectors.EVENT_READ, handler)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def bind(self, host, port):
        """Two sockets with one port. If the port is taken for the second socket, another port is tried."""
        for attempt in range(16):
            tcp = socket.create_server(self.resolve(host, port), family=self.family)
            udp = socket.socket(self.family, socket.SOCK_DGRAM)
            try:
                udp.bind(self.resolve(host, tcp.getsockname()[1]))
                return udp, tcp
            except OSError:
                udp.close()
                tcp.close()
        raise AssertionError('no port is free for both protocols')

    def resolve(self, host, port):
        """The address, with the interface's number after a '%'."""
        return socket.getaddrinfo(host, port, self.family, socket.SOCK_STREAM)[0][4]

    def close(self):
        if self.thread:
            self.wake.send(b'x')
            self.thread.join(PATIENCE_S)
            self.thread = None
            for key in list(self.selector.get_map().values()):
                key.fileobj.close()
            self.selector.close()
            self.wake.close()

    # --- what tests do ---

    def set(self, name, answer):
        with self.changed:
            self.zone[canonical(name)] = answer

    def remove(self, name):
        with self.changed:
            self.zone.pop(canonical(name), None)

    def seen(self, **fields):
        """The queries so far with these fields (name, type, transport)."""
        with self.changed:
            return [query for query in self.queries
                    if all(getattr(query, field) == value for field, value in fields.items())]

    def wait_queries(self, count, timeout_s=PATIENCE_S, **fields):
        """The queries with these fields, once there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while len(found := self.seen(**fields)) < count:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise AssertionError(f'{len(found)} of {count} queries {fields} within {timeout_s} s: '
                                         f'{self.queries[-20:]}')
                self.changed.wait(left_s)
        return found

    # --- the thread ---

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.waker:
                    return
                key.data(key.fileobj)

    def on_datagram(self, udp):
        message, peer = udp.recvfrom(4096)
        reply = self.answer(message, 'udp')
        if reply is not None:
            udp.sendto(reply, peer)

    def on_accept(self, tcp):
        connection, _ = tcp.accept()
        connection.setblocking(False)
        pending = bytearray()
        self.selector.register(connection, selectors.EVENT_READ, lambda fd: self.on_stream(fd, pending))

    def on_stream(self, connection, pending):
        try:
            part = connection.recv(4096)
        except OSError:
            part = b''
        pending += part
        while part and len(pending) >= 2 and len(pending) >= 2 + (length := int.from_bytes(pending[:2], 'big')):
            reply = self.answer(bytes(pending[2:2 + length]), 'tcp')
            del pending[:2 + length]
            if reply is not None:
                connection.settimeout(PATIENCE_S)
                connection.sendall(len(reply).to_bytes(2, 'big') + reply)
                connection.setblocking(False)
        if not part:
            self.selector.unregister(connection)
            connection.close()

    def answer(self, message, transport):
        """The message to send, or None for silence."""
        try:
            number, name, kind, question = parse_query(message)
        except (ValueError, UnicodeDecodeError):
            return None
        with self.changed:
            answer, records = self.look_up(canonical(name), kind)
            self.queries.append(Query(canonical(name), TYPE_NAMES.get(kind, str(kind)), transport))
            self.changed.notify_all()
        if answer.how in ('silent', f'silent-{TYPE_NAMES.get(kind)}'):
            return None
        if answer.how == 'garbage':
            return struct.pack('!H', number) + bytes(range(1, 40))
        if answer.how == 'wrong-id':
            number ^= 1
        flags = FLAG_ANSWER | FLAG_RECURSION | CODES[answer.code]
        length = 12 + len(question) + sum(map(len, records))
        if transport == 'udp' and (answer.how == 'truncated' or length > UDP_BYTES):
            flags, records = flags | FLAG_TRUNCATED, []
        reply = struct.pack('!HHHHHH', number, flags, 1, len(records), 0, 0) + question + b''.join(records)
        return reply[:-2] if answer.how == 'malformed' else reply

    def look_up(self, name, kind):
        """The name's Answer, and the records of that type at the end of its CNAMEs, as bytes."""
        first, records = None, []
        for _ in range(8):
            answer = self.zone.get(name, NXDOMAIN)
            first = first or answer
            target = None
            for type_name, ttl, value in answer.records:
                if type_name == 'CNAME':
                    target, data = canonical(value), encode_name(value)
                elif TYPES[type_name] == kind:
                    data = ipaddress.ip_address(value).packed
                else:
                    continue
                head = struct.pack('!HHIH', TYPES[type_name], 1, ttl, len(data))
                records.append(encode_name(name) + head + data)
            if target is None:
                break
            name = target
        # the name at the end of the chain decides whether the answer is NXDOMAIN
        return (answer if answer.code != 'NOERROR' and not first.how else first), records
