# SPDX-License-Identifier: MIT
"""A Debian root that systemd-nspawn boots, with the package installed, for tests with a real systemd.

The machine has its own network, of a loopback alone. Commands run inside through nsenter. Peers are opened by a thread of
the test that is in the machine's network namespace, so the root needs neither Python nor other programs.
"""

import concurrent.futures
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests' / 'integration'))

import harness  # noqa: E402
import peers  # noqa: E402

CLONE_NEWNET = 0x40000000
BOOT_LIMIT_S = 60
COMMAND_LIMIT_S = 60
INSTALL_LIMIT_S = 600  # it downloads packages
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LC_ALL': 'C.UTF-8', 'TERM': 'dumb',
               'DEBIAN_FRONTEND': 'noninteractive', 'SYSTEMD_COLORS': '0', 'SYSTEMD_PAGER': ''}
CONFIGURATION = pathlib.Path('etc/sixpipe')
# Tests need not wait long. The settings that are tested stay those of the package.
FAST = """[Unit]
StartLimitBurst=1000
[Service]
RestartSec=100ms
WatchdogSec=1500ms
"""


class NotHere(Exception):
    """No machine can be booted on this host; the text says why."""


def call(*command, limit_s=COMMAND_LIMIT_S, **options):
    """Runs a command on this host. Returns stdout; AssertionError if it fails."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors='replace', timeout=limit_s, check=False, env=ENVIRONMENT, **options)
    if done.returncode:
        raise AssertionError(f'{" ".join(map(str, command))}: exit code {done.returncode}: {done.stdout}{done.stderr}')
    return done.stdout


class Machine:
    """A context manager: the machine runs within the block."""

    def __init__(self, root, package):
        self.root = pathlib.Path(root)
        self.package = pathlib.Path(package)
        self.process = self.thread = None

    def install(self):
        """Installs a package, or copies the files of a DESTDIR and makes the user, as the package does."""
        if self.package.is_dir():
            call('cp', '-a', '--no-preserve=ownership', f'{self.package}/.', self.root)
            call('chroot', self.root, 'systemd-sysusers')
            return
        shutil.copy(self.package, self.root / 'tmp')
        call('chroot', self.root, 'apt-get', 'install', '-qq', '-y', '--no-install-recommends', 'logrotate',
             f'/tmp/{self.package.name}', limit_s=INSTALL_LIMIT_S)

    def __enter__(self):
        for program in ('systemd-nspawn', 'nsenter'):
            if not shutil.which(program):
                raise NotHere(f'{program} is not installed')
        if os.geteuid() != 0:
            raise NotHere('a machine is booted by root')
        self.install()
        # a root without an id has its first boot, which enables units; the package has decided that already
        call('systemd-machine-id-setup', f'--root={self.root}')
        # it waits two minutes for a network, which the machine does not have
        self.mask('systemd-networkd-wait-online.service')
        for name in ('sixpipe.service', 'sixpipe@.service'):
            folder = self.root / 'etc/systemd/system' / f'{name}.d'
            folder.mkdir(parents=True)
            (folder / 'fast.conf').write_text(FAST)
        self.output = open(self.root / 'tmp/console', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(
            ['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--private-network', '--console=pipe',
             '--link-journal=no', f'--directory={self.root}', '--boot'],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self.leader = harness.wait_until(self.find_leader, BOOT_LIMIT_S, 'the first process of the machine')
            self.wait_boot()
        except BaseException:
            self.kill()
            raise
        self.thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        return self

    def mask(self, name):
        path = self.root / 'etc/systemd/system' / name
        if not path.is_symlink():
            path.symlink_to('/dev/null')

    def find_leader(self):
        """The machine's PID 1, once it is systemd."""
        if self.process.poll() is not None:
            raise NotHere(f'systemd-nspawn ended: {self.console()}')
        tasks = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        return next((int(task) for task in tasks if pathlib.Path(f'/proc/{task}/comm').read_text() == 'systemd\n'), None)

    def wait_boot(self):
        harness.wait_until(lambda: self.process.poll() is not None or
                           self('systemctl', 'is-system-running', check=False).strip() in ('running', 'degraded'),
                           BOOT_LIMIT_S, 'the boot')
        if self.process.poll() is not None:
            raise NotHere(f'the machine does not boot: {self.console()}')

    def console(self):
        return (self.root / 'tmp/console').read_text(errors='replace')[-2000:]

    def __exit__(self, *_):
        self.thread.shutdown()
        try:
            self('systemctl', 'poweroff', '--force', check=False)
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close()

    # --- inside ---

    def __call__(self, *command, check=True):
        """Runs a command inside. Returns stdout; AssertionError if it fails and check is true."""
        done = self.try_run(*command)
        if check and done.returncode:
            raise AssertionError(f'{" ".join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}')
        return done.stdout

    def try_run(self, *command):
        return subprocess.run(['nsenter', f'--target={self.leader}', '--all', '--wd', '--', *command],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', check=False,
                              timeout=COMMAND_LIMIT_S, env=ENVIRONMENT)

    def run(self, function, *args, **kwargs):
        """Calls a function in the machine's network. peers.PeersMixin takes the machine as its netns."""
        return self.thread.submit(self.enter_and_call, function, args, kwargs).result()

    def enter_and_call(self, function, args, kwargs):
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f'/proc/{self.leader}/ns/net', 'rb') as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), 'setns')
        return function(*args, **kwargs)

    def path(self, name):
        """A path inside, as this host sees it, mounts inside included."""
        return pathlib.Path(f'/proc/{self.leader}/root') / name.lstrip('/')


class Unit:
    """A unit of the machine."""

    def __init__(self, machine, name):
        self.machine = machine
        self.name = name
        self.since_s = time.time()

    def systemctl(self, verb, *args):
        return self.machine('systemctl', verb, *args, self.name)

    def show(self, name):
        return self.machine('systemctl', 'show', '--property', name, '--value', self.name).strip()

    def pid(self):
        return int(self.show('MainPID'))

    def outside_pid(self):
        """The main process, the parent, as this host numbers it."""
        procs = pathlib.Path('/proc').glob('[0-9]*/status')
        wanted, namespace = str(self.pid()), os.readlink(f'/proc/{self.machine.leader}/ns/pid')
        for path in procs:
            try:
                ids = [line.split() for line in path.read_text().splitlines() if line.startswith('NSpid:')][0]
                if ids[-1] == wanted and os.readlink(path.parent / 'ns' / 'pid') == namespace:
                    return int(path.parent.name)
            except (FileNotFoundError, ProcessLookupError):
                continue
        raise AssertionError(f'{self.name} has no process {wanted}')

    def outside_child(self):
        """The process that serves."""
        return harness.children_of(self.outside_pid())[-1]

    def process_statuses(self):
        """Of the main process, and of its child, which serves."""
        main = self.outside_pid()
        texts = [pathlib.Path(f'/proc/{pid}/status').read_text() for pid in (main, *harness.children_of(main))]
        rows = [[line.partition(':') for line in text.splitlines()] for text in texts]
        return [{key: value.strip() for key, _, value in row} for row in rows]

    def wait(self, name, *values):
        """Waits until a property has one of these values."""
        return harness.wait_until(lambda: (value := self.show(name)) in values and (value or True),
                                  what=f'{name} of {self.name} is {values}')

    def wait_status(self, text):
        harness.wait_until(lambda: text in self.show('StatusText'), what=f'{text!r} in the status of {self.name}')

    # --- the journal ---

    def journal(self, *options):
        """[{field: value}] since this object was made, from systemd and from sixpipe."""
        self.machine('journalctl', '--sync')
        text = self.machine('journalctl', '--quiet', '--output=json', f'--since=@{self.since_s:.6f}',
                            f'--unit={self.name}', *options)
        return [json.loads(line) for line in text.splitlines()]

    def messages(self, *options):
        return [entry['MESSAGE'] for entry in self.journal(*options)]

    def wait_messages(self, part, count):
        harness.wait_until(lambda: sum(part in text for text in self.messages()) >= count,
                           what=f'{count} times {part!r} in the journal of {self.name}')

    def wait_message(self, part):
        return harness.wait_until(lambda: next((text for text in self.messages() if part in text), None),
                                  what=f'{part!r} in the journal of {self.name}')


class Case(peers.PeersMixin, unittest.TestCase):
    """A test in the machine, which run.py sets. Each test begins and ends without configuration and running units."""

    machine = None
    maxDiff = 4000

    def setUp(self):
        self.addCleanup(self.clean)
        self.service = self.unit('sixpipe.service')
        self.used = {self.service.name}

    def clean(self):
        self.close_peers()
        self.machine('systemctl', 'stop', 'sixpipe.socket', *self.used, check=False)
        self.machine('systemctl', 'reset-failed', check=False)
        for path in self.machine.path(str(CONFIGURATION)).glob('*.conf'):
            path.unlink()
        drop_ins = list(self.machine.path('run/systemd/system').glob('sixpipe*'))
        for path in drop_ins:
            shutil.rmtree(path)
        if drop_ins:
            self.machine('systemctl', 'daemon-reload')

    def unit(self, name):
        if name.startswith('sixpipe@'):
            self.used.add(name)
        return Unit(self.machine, name)

    def configure(self, text, name='sixpipe'):
        self.machine.path(str(CONFIGURATION / f'{name}.conf')).write_text(text)

    def drop_in(self, unit, text):
        folder = self.machine.path(f'run/systemd/system/{unit}.d')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'test.conf').write_text(text)
        self.machine('systemctl', 'daemon-reload')

    def backend_inside(self, port=8080):
        return self.backend(netns=self.machine, port=port)

    def pair(self, backend, port=80):
        client = self.connect(('::1', port), netns=self.machine)
        return client, backend.accept()

    def assert_passes(self, client, server):
        for source, target in ((client, server), (server, client)):
            source.sendall(b'ping')
            self.assertEqual(target.recv_exact(4), b'ping')
