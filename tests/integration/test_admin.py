"""--admin: sixpipe who, ban, unban and bans, and the socket that they go through."""

import contextlib
import ipaddress
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import proxy_header
from harness import SANITIZE, SIXPIPE, Case, environment, wait_until
from peers import PATIENCE_S, RESET

NOBODY = pwd.getpwnam('nobody')
PLACES = 8  # CAPACITY_ADMIN_CONNECTIONS in capacity.h
CLIENT = ('2001:db8::7', 51234)
NEIGHBOUR = ('2001:db8::8', 51234)  # of the same /64
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
        """A sixpipe with an admin socket, before clients that say who they are by a PROXY header."""
        return self.sixpipe('[::1]:0', *args, '--admin', self.path, **options)

    def ask(self, *args, path=None):
        """(exit code, stdout, stderr) of a command."""
        done = self.run_sixpipe(*args, '--admin', path or self.path)
        self.assertEqual(bool(done.stderr), done.returncode != 0, done)
        return done.returncode, done.stdout, done.stderr

    def ask_json(self, *args, code=0):
        done = self.run_sixpipe(*args, '--json', '--admin', self.path)
        self.assertEqual(done.returncode, code, done)
        return json.loads(done.stdout)

    def open_as(self, proxy, backend, client):
        """A session of a client that has this address."""
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
            for who in (source, '2001:db8::7', '2001:db8::/64', '[2001:db8::7]:51234'):
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
            self.assertRegex(out, r'^state=live client=\[2001:db8::7\]:51234 listen=\S+ backend=\S+ source=\S+ '
                                  r'since=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ bytes_up=11 bytes_down=22\n$')
            self.assertEqual(len(self.ask_json('who', '127.0.0.1')['sessions']), 2)

    def test_a_session_that_has_ended(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            for reset in (False, True):
                client, server = self.open_as(proxy, backend, CLIENT)
                source = '%s:%u' % server.getpeername()
                # relaying by then: before, a reset is a connect that failed, and there is no source
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

    def test_who_is_refused_pushes_nobody_out(self):
        """What is remembered is of fixed size: one who is banned must not be able to fill it."""
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

    def test_nobody(self):
        with self.admin('127.0.0.1:9') as proxy:
            del proxy
            code, out, error = self.ask('who', '2001:db8::99')
            self.assertEqual((code, out), (1, ''))
            self.assertIn('2001:db8::99 is nobody\'s', error)
            self.assertEqual(self.ask_json('who', '2001:db8::99', code=1)['sessions'], [])

    def test_a_source_of_one_client_leads_back_to_it_when_all_sessions_are_over(self):
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
            self.assertEqual(self.ask_json('who', f'{source}:1')['lease'], lease, 'of a port that nobody has known')
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

    def test_resets_what_lives_and_refuses_what_comes(self):
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
            code, out, error = self.ask('unban', '2001:db8::7')
            self.assertEqual((code, out), (1, ''))
            self.assertIn('2001:db8::7 is not banned', error)

    def test_a_peer_without_a_header_is_banned_by_its_own_address(self):
        backend = self.backend()
        with self.sixpipe('127.0.0.1:0', backend.address, '--admin', self.path) as proxy:
            client, _ = self.pair(proxy, backend, bind=('127.0.0.2', 0))
            other, far = self.pair(proxy, backend, bind=('127.0.0.3', 0))
            self.assertEqual(self.ask_json('ban', '127.0.0.2')['sessions_reset'], 1)
            self.assertEqual(client.recv_to_end()[1], RESET)
            # the reset may be there before connect() returns
            with contextlib.suppress(ConnectionResetError):
                again = self.connect(proxy.endpoint, bind=('127.0.0.2', 0))
                self.assertEqual(again.recv_to_end()[1], RESET)
            proxy.wait_events('close', 2, reason='banned')
            other.sendall(b'x')
            self.assertEqual(far.recv_exact(1), b'x')

    def test_by_the_address_that_the_backend_saw(self):
        """What fail2ban does, with an address of the pool."""
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

    def test_by_source_and_port_where_all_share_the_address(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            code, _, error = self.ask('ban', '127.0.0.1')
            self.assertEqual(code, 2)
            self.assertIn('clients share; give its port too', error)
            source = '%s:%u' % server.getpeername()
            self.assertEqual(self.ask_json('ban', source)['ban']['client'], '2001:db8::/64')
            self.assertEqual(client.recv_to_end()[1], RESET)
            # by then it has ended: the history knows it
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
                code, _, error = self.ask('ban', who)
                self.assertEqual(code, 2, who)
                self.assertIn(says, error)
            self.assertEqual(self.ask('ban', '2001:db8::/32')[0], 0)
            code, _, error = self.ask('unban', '2001:db8:5::/48')
            self.assertEqual(code, 1)
            self.assertIn('is banned as a part of 2001:db8::/32', error)

    def test_an_address_of_a_pool_that_nobody_has(self):
        """It stood for a client of an earlier life: to ban an IPv4 client of that address would shut out nobody."""
        with self.admin('127.0.0.1:9', '--source', 'loopback') as proxy:
            del proxy
            code, _, error = self.ask('ban', '127.64.3.4')
            self.assertEqual(code, 1)
            self.assertIn('--pseudo-state', error)
            for block in ('127.99.0.0/16', '127.0.0.0/8'):
                code, _, error = self.ask('ban', block)
                self.assertEqual(code, 2, block)
                self.assertIn('pool of --source', error)
            self.assertEqual(self.ask_json('bans')['bans'], [])
            self.assertEqual(self.ask('ban', '192.0.2.4')[0], 0)

    def test_one_address_with_a_prefix_length(self):
        """10.0.0.1/32 is 10.0.0.1, and stands for a client where it is one of a pool."""
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


class Socket(AdminCase):

    def test_mode_and_end(self):
        for option, mode in ((), 0o600), (('--admin-mode', '0660'), 0o660):
            with self.admin('127.0.0.1:9', *option) as proxy:
                self.assertEqual(proxy.ready['admin'], self.path)
                self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), mode)
            self.assertFalse(os.path.exists(self.path))

    def test_off_by_default(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            self.assertNotIn('admin', proxy.ready)
            code, _, error = self.ask('bans')
            self.assertEqual(code, 1)
            self.assertIn(f'cannot reach {self.path}: No such file or directory; start sixpipe with --admin PATH', error)

    def test_a_directory_that_others_can_write_in(self):
        os.chmod(self.directory, 0o777)
        done = self.run_sixpipe('[::1]:0', '127.0.0.1:9', '--admin', self.path)
        self.assertEqual(done.returncode, 1)
        self.assertIn('others can write in its directory', done.stderr)
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_stale_socket_is_replaced_and_a_live_one_is_not(self):
        with self.admin('127.0.0.1:9') as proxy:
            done = self.run_sixpipe('[::1]:0', '127.0.0.1:9', '--admin', self.path)
            self.assertEqual(done.returncode, 1)
            self.assertIn('another process listens there', done.stderr)
            self.assertEqual(self.ask('bans')[0], 0)
            del proxy
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(self.path)
        stale.close()
        code, _, error = self.ask('bans')
        self.assertEqual(code, 1)
        self.assertIn('Connection refused; start sixpipe with --admin', error)
        with self.admin('127.0.0.1:9') as proxy:
            self.assertEqual(self.ask('bans')[0], 0)
            del proxy

    def test_user_of_sixpipe(self):
        """After --user the socket is that user's, who and root may ask; others may not."""
        if os.geteuid() != 0:
            self.skipTest('needs root')
        other = next(user for user in pwd.getpwall() if user.pw_uid not in (0, NOBODY.pw_uid))
        os.chmod(self.directory, 0o755)
        with self.admin('127.0.0.1:9', '--user', 'nobody') as proxy:
            self.assertEqual(os.stat(self.path).st_uid, NOBODY.pw_uid)
            self.assertEqual(self.ask('bans')[0], 0)
            self.assertEqual(self.connect_as(NOBODY.pw_uid), b'0\n')
            # past the mode of the file it is still refused, by who it is
            os.chmod(self.path, 0o666)
            self.assertEqual(self.connect_as(other.pw_uid), b'1 refused: this user may not ask\n')
            self.assertEqual(proxy.wait_event('admin_refused').int('uid'), other.pw_uid)
        os.unlink(self.path)  # nobody cannot, in root's directory; the next start replaces it

    def connect_as(self, uid):
        """The answer to `bans`, asked in a child of that user."""
        script = ('import socket,sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n'
                  'answer = b""\n'
                  'try:\n    s.sendall(b"bans\\n")\nexcept BrokenPipeError:\n    pass\n'
                  'try:\n    while piece := s.recv(4096):\n        answer += piece\n'
                  'except ConnectionResetError:\n    pass\nsys.stdout.buffer.write(answer)\n')
        done = subprocess.run(['python3', '-c', script, self.path], user=uid, group=NOBODY.pw_gid, extra_groups=[],
                              capture_output=True, cwd='/', timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def test_nonsense(self):
        rows = ((b'\n', b'2 the request is not known'), (b'who\n', b'2 the request lacks WHO'),
                (b'who x\n', b'2 the request is not an address'), (b'x' * 300, b'2 the request is too long'),
                (b'bans\0\n', b'2 the request holds a NUL'), (b'GET / HTTP/1.1\r\n\r\n', b'2 the request is not known'),
                (b'\xff\xfe\n', b'2 the request is not known'))
        with self.admin('127.0.0.1:9') as proxy:
            for line, says in rows:
                with self.subTest(line):
                    peer = self.raw()
                    peer.sendall(line)
                    self.assertEqual(self.read_answer(peer)[:len(says)], says)
            half = self.raw()
            half.sendall(b'who 2001')
            half.close()
            gone = self.raw()
            gone.sendall(b'who 2001:db8::1\n')
            gone.close()
            slow = self.raw()
            for byte in b'bans\n':
                slow.send(bytes([byte]))
            self.assertEqual(self.read_answer(slow), b'0\n')
            proxy.wait_baseline()

    def test_all_places_taken(self):
        """Those who say nothing hold their places for five seconds; then others come."""
        with self.admin('127.0.0.1:9') as proxy:
            silent = [self.raw() for _ in range(PLACES)]
            start = time.monotonic()
            self.assertEqual(self.ask('bans')[0], 0)
            self.assertGreater(time.monotonic() - start, 3)
            self.assertEqual([self.read_answer(peer) for peer in silent], [b''] * PLACES)
            proxy.wait_baseline()

    def test_many_at_once(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED) as proxy:
            client, server = self.open_as(proxy, backend, STRANGER)
            wrong = []

            def keep_asking(number):
                for turn in range(20):
                    who = f'2001:db8:0:{number:x}{turn:x}::/64'
                    for verb, wanted in (('ban', b'0\n'), ('who', b'1 '), ('unban', b'0\n')):
                        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                        peer.settimeout(PATIENCE_S)
                        with peer:
                            peer.connect(self.path)
                            peer.sendall(f'{verb} {who}\n'.encode())
                            answer = self.read_answer(peer)
                        if not answer.startswith(wanted):
                            wrong.append((verb, who, answer))
            threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(1, 17)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            client.sendall(b'x')
            self.assertEqual(server.recv_exact(1), b'x')
            self.assertEqual(self.ask_json('bans')['bans'], [])

    def test_during_the_drain(self):
        backend = self.backend()
        with self.admin(backend.address, *PROXIED, '--workers', '3') as proxy:
            client, server = self.open_as(proxy, backend, CLIENT)
            proxy.signal(signal.SIGTERM)
            proxy.wait_event('draining')
            # workers without sessions are gone by now, or soon
            for _ in range(5):
                self.assertEqual(len(self.ask_json('who', '2001:db8::7')['sessions']), 1)
            self.assertEqual(self.ask_json('ban', '2001:db8::7')['sessions_reset'], 1)
            self.assertEqual(client.recv_to_end()[1], RESET)
            proxy.finish(term=False)


class Commands(AdminCase):

    per_engine = False

    def test_usage(self):
        rows = ((('who',), 2, 'who: whom?'), (('who', 'nobody'), 2, "who 'nobody' is not an address"),
                (('who', '1.2.3.4', '1.2.3.5'), 2, 'one address at a time'), (('bans', '1.2.3.4'), 2, 'takes no address'),
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

    def test_what_is_no_sixpipe(self):
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
        """The example's commands, with what fail2ban puts in their places."""
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
