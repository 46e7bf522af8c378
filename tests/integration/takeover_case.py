# SPDX-License-Identifier: MIT
"""Shared by the tests of takeovers: a sixpipe with a configuration file, run from a copy of the program that an upgrade
may replace."""

import contextlib
import os
import pathlib
import shutil
import signal
import tempfile

from activation_case import ActivationCase
from harness import SIXPIPE, children_of, wait_until

SIGNALS = {'reload': signal.SIGHUP, 'upgrade': signal.SIGUSR2}


class TakeoverCase(ActivationCase):

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix='sixpipe-takeover-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.chmod(self.folder, 0o755)
        self.program = shutil.copy(SIXPIPE, os.path.join(self.folder, 'sixpipe'))
        self.file = os.path.join(self.folder, 'sixpipe.conf')
        self.admin = os.path.join(self.folder, 'admin.sock')
        self.addCleanup(self.assert_no_process_left)

    # --- files ---

    def configure(self, text):
        self.replace(self.file, text.encode(), 0o644)

    @staticmethod
    def replace(path, content, mode=0o755):
        """Puts a new file in the place of `path`, as a package manager does."""
        with open(path + '.new', 'wb') as file:
            file.write(content)
        os.chmod(path + '.new', mode)
        os.rename(path + '.new', path)

    # --- processes ---

    def serve(self, *args, **options):
        """A sixpipe with the configuration file, without --engine: the file may name the engine."""
        proxy = self.sixpipe(*args, **options)
        proxy.argv = [self.program, '--config', self.file, *proxy.argv[proxy.argv.index('--engine') + 2:]]
        return proxy

    @staticmethod
    def children(proxy):
        """The process ids of the main process's children, zombies included."""
        return children_of(proxy.main_pid)

    @staticmethod
    def serving(proxy):
        """The process id of the process that serves now."""
        return proxy.events('ready')[-1].int('pid')

    def wait_alone(self, proxy):
        """Waits until the old process has ended and has been reaped."""
        wait_until(lambda: self.children(proxy) == [self.serving(proxy)], what='the end of the old process')
        proxy.take_over(self.serving(proxy))

    def take_over(self, proxy, kind='reload'):
        """One takeover, from the signal to the end of the old process: its event=takeover_done."""
        done, ready = len(proxy.events('takeover_done')), len(proxy.events('ready'))
        failures = len(proxy.events('takeover_failed'))
        proxy.signal(SIGNALS[kind])

        def ended():
            self.assertEqual(len(proxy.events('takeover_failed')), failures, proxy.events('takeover_failed')[-1:])
            self.assertIsNone(proxy.process.poll(), proxy.lines[-5:])
            return len(proxy.events('takeover_done')) > done and len(proxy.events('ready')) > ready
        wait_until(ended, what=kind)
        self.wait_alone(proxy)
        event = proxy.events('takeover_done')[done]
        self.assertEqual(event['kind'], kind)
        return event

    def assert_no_process_left(self):
        """No process runs a program of this test's folder any more, whatever the test has done."""
        wait_until(lambda: not self.programs_of(self.folder), what='the end of all processes')

    @staticmethod
    def programs_of(folder):
        """The processes that run a program or script of the folder."""
        found = []
        for entry in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                words = pathlib.Path(f'/proc/{entry}/cmdline').read_text(errors='replace').split('\0')[:3]
                if any(word.startswith(folder + '/') for word in [os.readlink(f'/proc/{entry}/exe'), *words]):
                    found.append(int(entry))
        return found

    # --- what must stay ---

    def assert_counters_grow(self, before, after):
        """No counter of /metrics is less than it was, and none has gone."""
        for series, value in before.items():
            if series.partition('{')[0].endswith('_total'):
                self.assertIn(series, after)
                self.assertGreaterEqual(after[series], value, series)

    def assert_exchanges(self, client, server, text=b'still there'):
        for source, target in ((client, server), (server, client)):
            source.sendall(text)
            self.assertEqual(target.recv_exact(len(text)), text)

    def command(self, *words):
        """The CompletedProcess of a command for the admin socket."""
        return self.run_sixpipe(*words, '--admin', self.admin)
