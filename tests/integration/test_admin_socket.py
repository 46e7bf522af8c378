# SPDX-License-Identifier: MIT
"""--admin: the socket that sixpipe who, ban, unban and bans go through."""

import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

from admin_case import CLIENT, PROXIED, STRANGER, AdminCase
from peers import PATIENCE_S, RESET

NOBODY = pwd.getpwnam('nobody')
SLOTS = 32  # CAPACITY_ADMIN_CONNECTIONS in capacity.h


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
            self.assert_fails(1, f'cannot reach {self.path}: No such file or directory; start sixpipe with --admin PATH', 'bans')

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
        self.assert_fails(1, 'Connection refused; start sixpipe with --admin', 'bans')
        with self.admin('127.0.0.1:9') as proxy:
            self.assertEqual(self.ask('bans')[0], 0)
            del proxy

    def test_user_of_sixpipe(self):
        """After --user the socket belongs to that user. The user and root may ask, other users may not."""
        if os.geteuid() != 0:
            self.skipTest('needs root')
        other = next(user for user in pwd.getpwall() if user.pw_uid not in (0, NOBODY.pw_uid))
        os.chmod(self.directory, 0o755)
        with self.admin('127.0.0.1:9', '--user', 'nobody') as proxy:
            self.assertEqual(os.stat(self.path).st_uid, NOBODY.pw_uid)
            self.assertEqual(self.ask('bans')[0], 0)
            self.assertEqual(self.connect_as(NOBODY.pw_uid), b'0\n')
            # a user who may open the file is still refused by uid
            os.chmod(self.path, 0o666)
            self.assertEqual(self.connect_as(other.pw_uid), b'1 refused: this user may not ask\n')
            self.assertEqual(proxy.wait_event('admin_refused').int('uid'), other.pw_uid)
        os.unlink(self.path)  # nobody cannot remove the file from root's directory; the next start can

    def connect_as(self, uid):
        """The answer to `bans`, asked by a child process of that user."""
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
                (b'who x\n', b'2 the request is not an address'), (b'x' * 2000, b'2 the request is too long'),
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

    def test_silent_clients_keep_no_other_waiting(self):
        """The oldest connections are ended to make room. The others stay."""
        with self.admin('127.0.0.1:9') as proxy:
            silent = [self.raw() for _ in range(2 * SLOTS)]
            for peer in silent[:-(SLOTS - 1)]:
                self.assertEqual(self.read_answer(peer), b'1 refused: too many ask at the same time; ask again\n')
            self.assertEqual(self.ask('bans')[0], 0)
            # one more was ended if the asking client was accepted before its request came
            self.assertGreaterEqual(proxy.fds()['socket'], proxy.baseline['socket'] + SLOTS - 2)
            silent[-1].sendall(b'bans\n')
            self.assertEqual(self.read_answer(silent[-1]), b'0\n')

    def test_root_is_refused_last(self):
        """Root connects, and sends its request only after many others have connected."""
        if os.geteuid() != 0:
            self.skipTest('needs root')
        os.chmod(self.directory, 0o755)
        with self.admin('127.0.0.1:9', '--user', 'nobody'):
            root = self.raw()
            script = ('import socket,sys\npeers = []\n'
                      f'for _ in range({2 * SLOTS}):\n'
                      '    peers.append(socket.socket(socket.AF_UNIX))\n    peers[-1].connect(sys.argv[1])\n'
                      'peers[0].settimeout(20)\nprint(peers[0].recv(100))\n')
            done = subprocess.run(['python3', '-c', script, self.path], user=NOBODY.pw_uid, group=NOBODY.pw_gid,
                                  extra_groups=[], capture_output=True, cwd='/', timeout=2 * PATIENCE_S, check=False)
            self.assertIn(b'refused: too many', done.stdout, done)
            root.sendall(b'bans\n')
            self.assertEqual(self.read_answer(root), b'0\n')

    def test_a_silent_client_is_ended(self):
        with self.admin('127.0.0.1:9') as proxy:
            peer = self.raw()
            start = time.monotonic()
            self.assertEqual(self.read_answer(peer), b'')
            self.assertGreater(time.monotonic() - start, 3)
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
            # workers without sessions have ended by now, or end soon
            for _ in range(5):
                self.assertEqual(len(self.ask_json('who', '2001:db8::7')['sessions']), 1)
            self.assertEqual(self.ask_json('ban', '2001:db8::7')['sessions_reset'], 1)
            self.assertEqual(client.recv_to_end()[1], RESET)
            proxy.finish(term=False)


if __name__ == '__main__':
    unittest.main()
