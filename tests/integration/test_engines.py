# SPDX-License-Identifier: MIT
"""Which engine runs and why, and cases that depend on the engine or on how a worker waits."""

import errno
import os
import pathlib
import socket
import threading
import unittest

from harness import Case
from seccomp import KNOWN_HERE, forbid_io_uring


@unittest.skipUnless(KNOWN_HERE, 'the filter is for 64-bit system calls')
class Choice(Case):
    per_engine = False

    def assert_serves(self, proxy, backend):
        client, server = self.pair(proxy, backend)
        client.sendall(b'hello')
        self.assertEqual(server.recv_exact(5), b'hello')

    def test_auto_falls_back_and_logs_why(self):
        for code in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOMEM):
            backend = self.backend()
            with self.sixpipe('[::1]:0', backend.address, engine='auto',
                              popen={'preexec_fn': lambda code=code: forbid_io_uring(code)}) as proxy:
                self.assertEqual(proxy.ready['engine'], 'epoll')
                told = proxy.wait_event('engine')
                self.assertEqual((told['engine'], told['error']), ('epoll', os.strerror(code)))
                self.assertIn('doctor', told['remedy'])
                self.assert_serves(proxy, backend)

    def test_auto_prefers_io_uring(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, engine='auto') as proxy:
            self.assertEqual(proxy.ready['engine'], 'io_uring')
            self.assertNotIn('io_uring', proxy.wait_event('engine'))
            self.assert_serves(proxy, backend)

    def test_a_named_engine_that_is_missing_fails_with_the_remedy(self):
        done = self.run_sixpipe('--engine', 'io_uring', '[::1]:0', '127.0.0.1:9',
                                preexec_fn=lambda: forbid_io_uring(errno.EPERM))
        self.assertEqual(done.returncode, 1)
        for text in ("--engine 'io_uring'", os.strerror(errno.EPERM), 'seccomp', '--engine auto'):
            self.assertIn(text, done.stderr)

    def test_another_failure_is_no_reason_to_fall_back(self):
        done = self.run_sixpipe('--engine', 'auto', '[::1]:0', '127.0.0.1:9',
                                preexec_fn=lambda: forbid_io_uring(errno.EMFILE))
        self.assertEqual(done.returncode, 1)
        self.assertIn(os.strerror(errno.EMFILE), done.stderr)


class Waits(Case):

    def exchange(self, client, server, count):
        for number in range(count):
            message = b'%08d' % number
            client.sendall(message)
            self.assertEqual(server.recv_exact(8), message)
            server.sendall(message)
            self.assertEqual(client.recv_exact(8), message)

    def test_urgent_data_in_a_chatty_session(self):
        """A read stops before urgent data. The bytes after the urgent data arrive, and so do all later bytes."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            for _ in range(5):
                self.exchange(client, server, 20)
                client.send(b'before!', socket.MSG_OOB)
                client.sendall(b'behind')
                self.assertEqual(server.recv_exact(13), b'before!behind')
            self.exchange(client, server, 20)

    def test_urgent_data_while_the_other_direction_is_never_silent(self):
        """As telnet does to interrupt output: the client's bytes must not wait for a pause of the output."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            self.exchange(client, server, 20)
            over = threading.Event()

            def flood():
                while not over.wait(0.005):
                    server.sendall(b'output')

            def drain():
                while not over.is_set():
                    client.recv(65536)
            threads = [threading.Thread(target=work) for work in (flood, drain)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(5):
                    client.send(b'before!', socket.MSG_OOB)
                    client.sendall(b'behind')
                    self.assertEqual(server.recv_exact(13), b'before!behind')
            finally:
                over.set()
                server.sendall(b'the end')
                for thread in threads:
                    thread.join()

    def test_a_chatty_session_turns_to_bulk_and_back(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            client, server = self.pair(proxy, backend)
            data = os.urandom(1 << 18)
            for _ in range(20):
                self.exchange(client, server, 10)
                client.sendall(data)
                self.assertEqual(server.recv_exact(len(data)), data)
                server.sendall(data)
                self.assertEqual(client.recv_exact(len(data)), data)
            self.exchange(client, server, 10)

    def test_a_chatty_session_costs_nothing_when_it_falls_silent(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            pairs = [self.pair(proxy, backend) for _ in range(20)]
            for client, server in pairs:
                self.exchange(client, server, 20)
            self.assert_idle_cpu(proxy)
            for client, server in pairs:
                self.exchange(client, server, 20)

    def test_a_chatty_session_ends(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            for by_client in (True, False):
                client, server = self.pair(proxy, backend)
                self.exchange(client, server, 20)
                first, second = (client, server) if by_client else (server, client)
                first.sendall(b'last words')
                first.finish_sending()
                self.assertEqual(second.recv_to_end()[0], b'last words')
                second.sendall(b'answer')
                second.finish_sending()
                self.assertEqual(first.recv_to_end()[0], b'answer')
                self.assert_reason(proxy, client, 'done')

    def test_pinned_workers(self):
        backend = self.backend()
        allowed = sorted(os.sched_getaffinity(0))
        with self.sixpipe('[::1]:0', backend.address, '--workers', '2', '--pin', 'on') as proxy:
            masks = {}
            for task in pathlib.Path(f'/proc/{proxy.pid}/task').iterdir():
                name = (task / 'comm').read_text().strip()
                masks[name] = os.sched_getaffinity(int(task.name))
            self.assertEqual(masks['sixpipe/0'], {allowed[0]})
            self.assertEqual(masks['sixpipe/1'], {allowed[1 % len(allowed)]})
            self.exchange(*self.pair(proxy, backend), 5)


if __name__ == '__main__':
    unittest.main()
