# SPDX-License-Identifier: MIT
"""--admin: sixpipe who, ban, unban and bans."""

import contextlib
import ipaddress
import pathlib
import socket
import subprocess
import threading
import time
import unittest

import proxy_header
from admin_case import CLIENT, NEIGHBOUR, PROXIED, STRANGER, TARGET, AdminCase
from harness import SANITIZE, SIXPIPE, environment, wait_until
from netns import Netns
from peers import PATIENCE_S, RESET


class Who(AdminCase):

    def test_a_live_session_by_all_its_addresses(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            self.open_as(proxy, backend, STRANGER)
            client.sendall(b'x' * 11)
            self.assertEqual(server.recv_exact(11), b'x' * 11)
            server.sendall(b'y' * 22)
            self.assertEqual(client.recv_exact(22), b'y' * 22)
            source = '%s:%u' % server.getpeername()
            for who in (source, '2001:db8::7', '[2001:db8::7]', '2001:db8::/64', '[2001:db8::7]:51234'):
                with self.subTest(who):
                    answer = self.ask_json('who', who)
                    self.assertEqual(answer['truncated'], False)
                    self.assertEqual(len(answer['sessions']), 1)
                    session = answer['sessions'][0]
                    self.assertEqual(session['state'], 'live')
                    self.assertEqual(session['client'], '[2001:db8::7]:51234')
                    self.assertEqual(session['listen'], proxy.ready['listen'])
                    self.assertEqual(session['backend'], backend.address)
                    self.assertEqual(session['source'], source)
                    self.assertEqual((session['bytes_up'], session['bytes_down']), (11, 22))
            code, out, _ = self.ask('who', source)
            self.assertEqual(code, 0)
            self.assertRegex(out, r'^state=live client=\[2001:db8::7\]:51234 forward=1 listen=\S+ backend=\S+ source=\S+ '
                                  r'since=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ bytes_up=11 bytes_down=22\n$')
            self.assertEqual(len(self.ask_json('who', '127.0.0.1')['sessions']), 2)

    def test_a_session_that_has_ended(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            for reset in (False, True):
                client, server = self.open_as(proxy, backend, CLIENT)
                source = '%s:%u' % server.getpeername()
                # the session relays by now; an earlier reset would be a failed connect, without a source address
                server.sendall(b'!')
                client.recv_exact(1)
                if reset:
                    server.reset()
                client.close()
                server.close()
                proxy.wait_events('close', 1 + reset)
                session = wait_until(lambda: self.ask_json('who', source)['sessions'], what='the session')[0]
                self.assertEqual(session['state'], 'closed')
                self.assertIn(session['reason'], ('backend_reset',) if reset else ('done',))
                self.assertLessEqual(session['since'], session['closed'])

    def test_refused_clients_do_not_fill_the_history(self):
        """The history has a fixed size: a banned client must not be able to fill it."""
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--workers', '1') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            source = '%s:%u' % server.getpeername()
            server.sendall(b'!')
            client.recv_exact(1)
            client.close()
            server.close()
            proxy.wait_events('close', 1)
            self.ask('ban', STRANGER[0])
            for _ in range(3):
                self.assert_refused(proxy, STRANGER)
            proxy.wait_events('close', 4)
            self.assertEqual(self.ask_json('who', STRANGER[0], code=1)['sessions'], [])
            self.assertEqual(len(self.ask_json('who', source)['sessions']), 1)

    def test_no_session(self):
        with self.admin('127.0.0.1:9') as proxy:
            del proxy
            self.assert_fails(1, "2001:db8::99 is not known", 'who', '2001:db8::99')
            self.assertEqual(self.ask_json('who', '2001:db8::99', code=1)['sessions'], [])

    def test_the_source_address_of_a_client_without_sessions(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            source = server.getpeername()[0]
            client.close()
            server.close()
            proxy.wait_events('close', 1)
            lease = {'client': '2001:db8::/64', 'source': source}
            self.assertEqual(self.ask_json('who', source)['lease'], lease)
            self.assertIn(f'state=lease client=2001:db8::/64 source={source}\n', self.ask('who', source)[1])
            self.assertEqual(self.ask_json('who', f'{source}:1')['lease'], lease, 'a port without a session')
            self.ask('ban', f'{source}:1')
            self.assert_refused(proxy, CLIENT)

    @unittest.skipIf(SANITIZE, 'too many sessions')
    def test_among_two_thousand_sessions(self):
        backend = self.echo_server()
        with self.admin(backend.address, *PROXIED, '--maxconn', '2500', access_log=False) as proxy:
            for number in range(2000):
                peer = self.connect(proxy.endpoint)
                peer.sendall(proxy_header.v1((f'2001:db8:{number:x}::1', 1000), TARGET) + b'x')
                self.assertEqual(peer.recv_exact(1), b'x')
            for number in (0, 1000, 1999):
                sessions = self.ask_json('who', f'2001:db8:{number:x}::/64')['sessions']
                client = ipaddress.ip_address(f'2001:db8:{number:x}::1')
                self.assertEqual([session['client'] for session in sessions], [f'[{client}]:1000'])
            answer = self.ask_json('who', '2001:db8::/32')
            self.assertEqual((len(answer['sessions']) <= 1024, answer['truncated']), (True, True))
            self.assertGreaterEqual(len(answer['sessions']), 256)
            self.assertEqual(self.ask_json('ban', '2001:db8::/32')['sessions_reset'], 2000)


class Ban(AdminCase):

    def test_open_sessions_are_reset_and_new_ones_refused(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            clients = [self.open_as(proxy, backend, address)[0] for address in (CLIENT, NEIGHBOUR)]
            stranger, far = self.open_as(proxy, backend, STRANGER)
            code, out, _ = self.ask('ban', '2001:db8::7')
            self.assertEqual(code, 0)
            self.assertRegex(out, r'^client=2001:db8::/64 given=2001:db8::7 since=\S+ until=never sessions_reset=2\n$')
            for client in clients:
                self.assertEqual(client.recv_to_end()[1], RESET)
            for address in (CLIENT, NEIGHBOUR):
                self.assert_refused(proxy, address)
            stranger.sendall(b'ping')
            self.assertEqual(far.recv_exact(4), b'ping')
            self.open_as(proxy, backend, STRANGER)
            self.assertEqual(len(proxy.wait_events('close', 4, reason='banned')), 4)
            self.assertEqual(proxy.wait_event('ban')['client'], '2001:db8::/64')

            bans = self.ask_json('bans')['bans']
            self.assertEqual([(ban['client'], ban['given'], ban['until']) for ban in bans],
                             [('2001:db8::/64', '2001:db8::7', 'never')])
            self.assertEqual(self.ask('unban', '2001:db8::7')[0], 0)
            self.assertEqual(self.ask_json('bans')['bans'], [])
            self.open_as(proxy, backend, CLIENT)
            self.assert_fails(1, '2001:db8::7 is not banned', 'unban', '2001:db8::7')

    def test_a_client_without_a_header_is_banned_by_its_own_address(self):
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', backend.address, '--admin', self.path) as proxy:
            client, _ = self.pair(proxy, backend, bind=('127.0.0.2', 0))
            other, far = self.pair(proxy, backend, bind=('127.0.0.3', 0))
            self.assertEqual(self.ask_json('ban', '127.0.0.2')['sessions_reset'], 1)
            self.assertEqual(client.recv_to_end()[1], RESET)
            # the reset may come before connect() returns
            with contextlib.suppress(ConnectionResetError):
                again = self.connect(proxy.endpoint, bind=('127.0.0.2', 0))
                self.assertEqual(again.recv_to_end()[1], RESET)
            proxy.wait_events('close', 2, reason='banned')
            other.sendall(b'x')
            self.assertEqual(far.recv_exact(1), b'x')

    def test_by_the_address_that_the_backend_saw(self):
        """As fail2ban does: by an address of the lease pool."""
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            stranger, far = self.open_as(proxy, backend, STRANGER)
            source = server.getpeername()[0]
            answer = self.ask_json('ban', source)
            self.assertEqual((answer['ban']['client'], answer['sessions_reset']), ('2001:db8::/64', 1))
            self.assertEqual(client.recv_to_end()[1], RESET)
            self.assert_refused(proxy, NEIGHBOUR)
            stranger.sendall(b'x')
            self.assertEqual(far.recv_exact(1), b'x')
            self.assertEqual(self.ask('unban', source)[0], 0)
            self.open_as(proxy, backend, CLIENT)

    def test_a_ban_covers_what_the_pool_counts_as_one_client(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback', '--pseudo-prefix', '128') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            neighbour, far = self.open_as(proxy, backend, NEIGHBOUR)
            source = server.getpeername()[0]
            answer = self.ask_json('ban', source)
            self.assertEqual((answer['ban']['client'], answer['sessions_reset']), (CLIENT[0], 1))
            self.assertEqual(client.recv_to_end()[1], RESET)
            self.assert_refused(proxy, CLIENT)
            neighbour.sendall(b'x')
            self.assertEqual(far.recv_exact(1), b'x')
            self.assertEqual(self.ask('unban', source)[0], 0)
            self.open_as(proxy, backend, CLIENT)
            self.assertEqual(self.ask_json('ban', '%s:%u' % far.getpeername())['ban']['client'], NEIGHBOUR[0])

    def test_an_address_that_another_client_has_now(self):
        """The third client of a pool of two addresses gets another client's old address. The ban is for the third
        client."""
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback:127.99.7.4/30') as proxy:
            held = {}
            for number in range(3):
                client, server = self.open_as(proxy, backend, (f'2001:db8:{number + 1}::7', 1000))
                source = server.getpeername()[0]
                before, held[source] = held.get(source), f'2001:db8:{number + 1}::/64'
                server.sendall(b'!')
                client.recv_exact(1)
                client.close()
                server.close()
                proxy.wait_events('close', number + 1)
            answer = self.ask_json('ban', source)
            self.assertEqual(answer['ban']['client'], '2001:db8:3::/64')
            self.assertEqual(answer['previous']['client'], before)
            ended = {session['client']: session['closed'] for session in self.ask_json('who', source)['sessions']}
            self.assertEqual(answer['previous']['closed'], ended['[%s7]:1000' % before.removesuffix('/64')])
            self.assert_refused(proxy, ('2001:db8:3::7', 1000))

    def test_this_hosts_own_address_cannot_be_banned(self):
        with self.sixpipe('127.0.0.1:0', '127.0.0.1:9', '--admin', self.path) as proxy:
            self.assert_fails(2, 'clients share', 'ban', '127.0.0.1')
            self.assert_fails(2, 'clients share', 'ban', '127.0.0.2')
            self.assertEqual(self.ask_json('bans')['bans'], [])
            # a client that connects from this address can be banned all the same
            self.assertEqual(self.ask_json('ban', '127.0.0.2/32')['ban']['client'], '127.0.0.2')
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(self.connect(proxy.endpoint, bind=('127.0.0.2', 0)).recv_to_end()[1], RESET)
            proxy.wait_events('close', 1, reason='banned')

    def test_an_interfaces_address_cannot_be_banned(self):
        """An address that is only routed here can be banned: with --source embedded a client has it."""
        with Netns() as netns:
            netns.ip('address add 198.51.100.7/32 dev lo')
            netns.ip('route add local 198.51.100.8/32 dev lo')
            with self.admin('127.0.0.1:9', netns=netns) as proxy:
                del proxy
                self.assert_fails(2, 'clients share', 'ban', '198.51.100.7')
                self.assertEqual(self.ask('ban', '198.51.100.8')[0], 0)

    def test_by_source_and_port_where_all_share_the_address(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            self.assert_fails(2, 'clients share; give its port too', 'ban', '127.0.0.1')
            source = '%s:%u' % server.getpeername()
            self.assertEqual(self.ask_json('ban', source)['ban']['client'], '2001:db8::/64')
            self.assertEqual(client.recv_to_end()[1], RESET)
            # the session has ended by now, so the history has it
            wait_until(lambda: self.ask_json('who', source)['sessions'][0]['state'] == 'closed', what='the end')
            self.assertEqual(self.ask('unban', source)[0], 0)
            self.assertEqual(self.ask_json('ban', source)['ban']['client'], '2001:db8::/64')
            self.assertEqual(self.ask('ban', '127.0.0.1:1')[0], 1)

    def test_for_a_time(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            start = time.monotonic()
            self.assertEqual(self.ask('ban', '2001:db8::/48', '--for', '1s')[0], 0)
            self.assert_refused(proxy, CLIENT)
            event = proxy.wait_event('unban')
            self.assertGreaterEqual(time.monotonic() - start, 0.9)
            self.assertEqual((event['client'], event['cause']), ('2001:db8::/48', 'expired'))
            self.open_as(proxy, backend, CLIENT)
            self.assertEqual(self.ask_json('bans')['bans'], [])

    def test_what_cannot_be_banned(self):
        rows = (('::/0', 'too wide'), ('2000::/15', 'too wide'), ('0.0.0.0/0', 'too wide'),
                ('::/64', 'all IPv4 clients'))
        with self.admin('127.0.0.1:9') as proxy:
            del proxy
            for who, says in rows:
                self.assert_fails(2, says, 'ban', who)
            self.assertEqual(self.ask('ban', '2001:db8::/32')[0], 0)
            self.assert_fails(1, 'is banned as a part of 2001:db8::/32', 'unban', '2001:db8:5::/48')

    def test_an_address_of_the_pool_without_a_client(self):
        """A client of an earlier process had the address. A ban of an IPv4 client with that address would have no
        effect."""
        with self.admin('127.0.0.1:9', '--source', 'loopback') as proxy:
            del proxy
            self.assert_fails(1, '--pseudo-state', 'ban', '127.64.3.4')
            for block in ('127.99.0.0/16', '127.0.0.0/8'):
                self.assert_fails(2, 'pool of --source', 'ban', block)
            self.assertEqual(self.ask_json('bans')['bans'], [])
            self.assertEqual(self.ask('ban', '192.0.2.4')[0], 0)

    def test_one_address_with_a_prefix_length(self):
        """10.0.0.1/32 means 10.0.0.1, and the client that has the address if it is in a lease pool."""
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback') as proxy:
            _, server = self.open_as(proxy, backend, CLIENT)
            code, out, _ = self.ask('ban', f'{server.getpeername()[0]}/32')
            self.assertEqual(code, 0)
            self.assertIn('client=2001:db8::/64 ', out)
            self.assert_refused(proxy, CLIENT)

    def test_the_metrics(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            self.ask('ban', '2001:db8::/64')
            self.assert_refused(proxy, CLIENT)
            proxy.wait_events('close', 1, reason='banned')
            proxy.finish()
            stopped = proxy.wait_event('stopped')
            self.assertEqual((stopped.int('bans'), stopped.int('connections_banned')), (1, 1))


class Links(AdminCase):
    """Two hosts with the same link-local address, on two links. WHO as in the log means one of the hosts."""

    LINKS = ('near', 'far')

    def open_on(self, port, link):
        peer = self.adopt(socket.socket(socket.AF_INET6))
        peer.settimeout(PATIENCE_S)
        index = socket.if_nametoindex(link)
        peer.bind(('fe80::53', 0, 0, index))
        peer.connect(('fe80::53', port, 0, index))
        return peer

    def is_served(self, netns, proxy, link):
        """Whether a new client on that link is served."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            peer = netns.run(self.open_on, proxy.endpoint[1], link)
            peer.sendall(b'x')
            return peer.recv(1) == b'x'
        return False

    def test_one_of_two(self):
        with Netns() as netns:
            netns.ip('link add near type veth peer name far')
            for link in self.LINKS:
                netns.ip(f'link set {link} up')
                netns.ip(f'address add fe80::53/64 dev {link} nodad')
            backend = netns.run(self.echo_server)
            with self.sixpipe('[::]:0', backend.address, '--admin', self.path, netns=netns) as proxy:
                near, far = (netns.run(self.open_on, proxy.endpoint[1], link) for link in self.LINKS)
                for peer in near, far:
                    peer.sendall(b'x')
                    self.assertEqual(peer.recv(1), b'x')
                one, other = (netns.run(socket.if_nametoindex, link) for link in self.LINKS)
                logged = f'[fe80::53%{one}]:{near.getsockname()[1]}'
                for who, count in ((logged, 1), (f'fe80::53%{one}', 1), (f'[fe80::53%{one}]', 1), ('fe80::53', 2)):
                    sessions = netns.run(self.ask_json, 'who', who)['sessions']
                    self.assertEqual(len(sessions), count, who)
                    self.assertIn(logged, [session['client'] for session in sessions])
                self.assertEqual(len(netns.run(self.ask_json, 'who', 'fe80::53%near')['sessions']), 1)
                # with the port, as in the log: that client, on its link
                for who in logged, 'fe80::53%near', f'fe80::53%{one}':
                    self.assertEqual(netns.run(self.ask_json, 'ban', who)['ban']['client'], f'fe80::53%{one}')
                    self.assertEqual([ban['client'] for ban in self.ask_json('bans')['bans']], [f'fe80::53%{one}'])
                    self.assertFalse(self.is_served(netns, proxy, 'near'))
                    self.assertTrue(self.is_served(netns, proxy, 'far'))
                    netns.run(self.ask_json, 'unban', who)
                    self.assertTrue(self.is_served(netns, proxy, 'near'))
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(near.recv(1), b'')
                far.sendall(b'y')
                self.assertEqual(far.recv(1), b'y')
                # without a link: on all of them
                self.assertEqual(self.ask_json('ban', 'fe80::53')['ban']['client'], 'fe80::53')
                for link in self.LINKS:
                    self.assertFalse(self.is_served(netns, proxy, link))
                self.assert_fails(1, 'is banned as a part of fe80::53; unban that', 'unban', f'fe80::53%{other}')
                self.assertEqual(self.ask('unban', 'fe80::53')[0], 0)
                self.assertTrue(self.is_served(netns, proxy, 'far'))


class Commands(AdminCase):

    per_engine = False

    def test_usage(self):
        rows = ((('who',), 2, 'who: lacks WHO'), (('who', 'nobody'), 2, "who 'nobody': is not an address"),
                (('who', '1.2.3.4', '1.2.3.5'), 2, "who '1.2.3.5': is not known there"), (('bans', '1.2.3.4'), 2, "bans '1.2.3.4': is not known there"),
                (('ban', '1.2.3.4', '--for'), 2, '--for: has no value'),
                (('ban', '1.2.3.4', '--for', '0'), 2, "--for '0': not a duration"),
                (('ban', '1.2.3.4', '--for=5'), 2, "--for '5': not a duration"),
                (('who', '1.2.3.4', '--for', '1h'), 2, "'--for': not known"),
                (('unban', '--nothing'), 2, "'--nothing': not known"), (('who', '1.2.3.4', '--admin'), 2, 'has no value'))
        for args, code, says in rows:
            with self.subTest(args):
                done = self.run_sixpipe(*args)
                self.assertEqual((done.returncode, done.stdout), (code, ''), done)
                self.assertIn(says, done.stderr)
        for word in ('who', 'ban', 'unban', 'bans'):
            done = self.run_sixpipe(word, '--help')
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            self.assertTrue(done.stdout.startswith(f'Usage: sixpipe {word} '), done.stdout)

    def test_the_path_from_the_environment(self):
        with self.admin('127.0.0.1:9') as proxy:
            del proxy
            done = self.run_sixpipe('bans', env=environment(SIXPIPE_ADMIN=self.path))
            self.assertEqual(done.returncode, 0, done)

    def test_a_socket_that_is_not_sixpipes(self):
        other = self.adopt(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        other.bind(self.path)
        other.listen()

        def answer():
            peer, _ = other.accept()
            peer.recv(100)
            peer.sendall(b'220 mail.example ESMTP\r\n')
            peer.close()
        thread = threading.Thread(target=answer)
        thread.start()
        code, _, error = self.ask('bans')
        thread.join()
        self.assertEqual(code, 1)
        self.assertIn('Protocol error; is this sixpipe\'s --admin socket', error)

    def test_fail2ban_action(self):
        """The example's commands, with the values that fail2ban inserts."""
        root = pathlib.Path(__file__).resolve().parents[2]
        text = (root / 'examples' / 'fail2ban' / 'action.d' / 'sixpipe.conf').read_text()
        lines = dict(line.split(' = ', 1) for line in text.splitlines() if line.startswith('action') and ' = ' in line)
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--source', 'loopback') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            source = server.getpeername()[0]
            for name, code in (('actionban', 0), ('actionban', 0), ('actionunban', 0), ('actionunban', 0)):
                command = lines[name].replace('<ip>', source).replace('<admin>', self.path)
                command = command.replace('<sixpipe>', SIXPIPE)
                done = subprocess.run(['sh', '-c', command], capture_output=True, timeout=PATIENCE_S, check=False)
                self.assertEqual(done.returncode, code, done)
                if name == 'actionban':
                    self.assert_refused(proxy, CLIENT)
            self.assertEqual(client.recv_to_end()[1], RESET)
            again, _ = self.open_as(proxy, backend, CLIENT)
            again.finish_sending()


if __name__ == '__main__':
    unittest.main()
