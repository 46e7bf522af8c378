# SPDX-License-Identifier: MIT
"""What the process inherits at its start: descriptors that are closed, full, or meant for others."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import unittest

from harness import SIXPIPE, Case, environment, wait_until
from peers import EOF

PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24
END_S = 15  # the last lines of the log may take twice 2 s; long enough for a sanitizer build's exit


def full_pipe():
    """The two ends of a pipe that is full."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(65536))
    os.set_blocking(write_end, True)
    return read_end, write_end


class Started(Case):
    """Starts without a log to read. The listener is a local socket, which the test knows by its path."""

    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = os.path.join(self.folder, 'socket')

    def start(self, *args, **popen):
        process = subprocess.Popen([SIXPIPE, '--engine', self.engine, '--access-log', *args], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, env=environment(), **popen)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def serve(self, backend, **popen):
        process = self.start(f'unix:{self.path}', backend.address, **popen)
        wait_until(lambda: os.path.exists(self.path) or process.poll() is not None, what='a listener')
        self.assertIsNone(process.poll(), 'it ended')
        return process

    def try_connect(self):
        """A client; None if nothing listens."""
        try:
            return self.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def exchange(self, backend):
        client = wait_until(self.try_connect, what='a connect')
        server = backend.accept()
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')
        return client, server


class FullStderr(Started):

    def setUp(self):
        super().setUp()
        self.read_end, write_end = full_pipe()
        self.addCleanup(os.close, self.read_end)
        self.stderr = os.fdopen(write_end, 'wb', buffering=0)
        self.addCleanup(self.stderr.close)

    def test_serves_and_drains(self):
        backend = self.backend()
        process = self.serve(backend, stderr=self.stderr)
        client, server = self.exchange(backend)
        process.send_signal(signal.SIGTERM)
        server.close()
        self.assertEqual(client.recv_to_end(), (b'', EOF))
        client.close()
        self.assertEqual(process.wait(END_S), 0)

    def test_a_second_int_ends_it(self):
        backend = self.backend()
        process = self.serve(backend, stderr=self.stderr)
        client, _ = self.exchange(backend)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: not self.try_connect(), what='the drain')
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(END_S), 0)
        client.close()

    def test_the_lines_come_when_stderr_is_read(self):
        backend = self.backend()
        process = self.serve(backend, stderr=self.stderr)
        self.exchange(backend)
        self.close_peers()
        self.stderr.close()
        process.send_signal(signal.SIGTERM)
        with os.fdopen(os.dup(self.read_end), 'rb') as reader:
            lines = reader.read().lstrip(b'\0').decode().splitlines()
        self.assertEqual(process.wait(END_S), 0)
        events = [line.split(' event=')[1].split()[0] for line in lines]
        self.assertIn('limits', events)
        self.assertLess(events.index('limits'), events.index('ready'))
        self.assertEqual(events[-1], 'stopped')

    def test_a_start_that_fails_ends(self):
        process = self.start('[2001:db8::1]:1', '127.0.0.1:1', stderr=self.stderr)
        self.assertEqual(process.wait(END_S), 1)


class ClosedDescriptors(Started):

    def test_each_is_dev_null(self):
        backend = self.backend()
        for closed in ((0,), (1,), (2,), (0, 1, 2)):
            with self.subTest(closed=closed):
                process = self.serve(backend, preexec_fn=lambda numbers=closed: [os.close(fd) for fd in numbers],
                                     stderr=subprocess.DEVNULL)
                self.exchange(backend)
                for fd in (0, 1, 2):
                    self.assertEqual(os.readlink(f'/proc/{process.pid}/fd/{fd}'), '/dev/null')
                self.end(process)
                os.unlink(self.path)

    def test_a_command_whose_stdout_is_closed_says_so(self):
        done = self.run_sixpipe('--dump-config', '[::1]:1', '127.0.0.1:1', preexec_fn=lambda: os.close(1))
        self.assertEqual(done.returncode, 1)
        self.assertIn('stdout cannot be written to', done.stderr)


class Inherited(Started):

    def fds(self, process):
        return {int(fd): os.readlink(f'/proc/{process.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{process.pid}/fd')}

    def test_descriptors_are_closed(self):
        """A program that waits for the end of an inherited pipe must not have to wait for the end of sixpipe."""
        backend = self.backend()
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        name = os.readlink(f'/proc/self/fd/{write_end}')
        process = self.serve(backend, stderr=subprocess.DEVNULL, pass_fds=(write_end,))
        os.close(write_end)
        self.exchange(backend)
        self.assertFalse(name in self.fds(process).values(), 'it is open still')
        self.assertEqual(os.read(read_end, 1), b'')

    def test_a_file_of_the_shell_is_read_first(self):
        """An inherited descriptor of --config <(...) is read before it is closed."""
        backend = self.backend()
        read_end, write_end = os.pipe()
        os.write(write_end, f'[forward one]\nlisten = unix:{self.path}\nbackend = {backend.address}\n'.encode())
        os.close(write_end)
        self.start('--config', f'/dev/fd/{read_end}', pass_fds=(read_end,), stderr=subprocess.DEVNULL)
        os.close(read_end)
        self.exchange(backend)


class Stack(Started):

    def test_a_small_limit_is_raised(self):
        """With a small stack limit sessions run, each with a log line: threads have stacks of their own, and the main
        thread's may grow."""
        backend = self.backend()
        _, hard = resource.getrlimit(resource.RLIMIT_STACK)
        process = self.serve(backend, stderr=subprocess.DEVNULL,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (65536, hard)))
        for _ in range(10):
            for peer in self.exchange(backend):
                peer.close()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(END_S), 0)

    def test_a_limit_that_cannot_be_raised_is_an_error(self):
        def prepare():
            resource.setrlimit(resource.RLIMIT_STACK, (65536, 65536))
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0)  # lets root raise the limit
        done = self.run_sixpipe('[::1]:0', '127.0.0.1:1', preexec_fn=prepare)
        self.assertEqual(done.returncode, 1)
        self.assertIn('the stack may not grow to 256 KiB: Operation not permitted; raise the limit', done.stderr)


if __name__ == '__main__':
    unittest.main()
