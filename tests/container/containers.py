# SPDX-License-Identifier: MIT
"""Podman with its own storage in a temporary directory, which is removed at the end.

The machine's own images, containers and settings are neither used nor changed. A container has no network but its
loopback, or shares another container's network. The tests open their sockets inside.
"""

import concurrent.futures
import contextlib
import ctypes
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'integration'))

import harness  # noqa: E402
import peers  # noqa: E402

CLONE_NEWNET = 0x40000000
COMMAND_LIMIT_S = 120
BUSYBOX = pathlib.Path('/bin/busybox')
SIXPIPE_IMAGE = 'localhost/sixpipe'
BUSYBOX_IMAGE = 'localhost/busybox'
HARDENED = ('--read-only', '--read-only-tmpfs=false', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges')
IO_URING_PROFILE = ROOT / 'deploy' / 'container' / 'seccomp.json'

CACHE = pathlib.Path('/var/lib/containers/cache')
CGROUPS = pathlib.Path('/sys/fs/cgroup')

BUSYBOX_CONTAINERFILE = """
FROM scratch
COPY busybox /bin/busybox
COPY index.html /www/index.html
USER 65532:65532
ENTRYPOINT ["/bin/busybox"]
"""
PAGE = 'from an IPv4-only program\n'

# Without CAP_SYS_RESOURCE no container gets more than the hard limits here, so podman's default of a million
# descriptors is refused.
SETTINGS = """
[containers]
default_ulimits = ["nofile={descriptors}:{descriptors}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
lock_type = "file"
tmp_dir = "{directory}/tmp"
[network]
network_config_dir = "{directory}/network"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{directory}/graph"
runroot = "{directory}/run"
"""


class Refused(Exception):
    """Podman failed."""


class Podman:
    """A context manager. Within the block there are podman() and the images; at its end everything is removed."""

    def __enter__(self):
        self.traces_before = traces()
        self.used = False
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='sixpipe-containers-'))
        values = {'directory': self.directory, 'descriptors': least_of(resource.RLIMIT_NOFILE, 8192),
                  'processes': least_of(resource.RLIMIT_NPROC, 4096)}
        (self.directory / 'containers.conf').write_text(SETTINGS.format(**values))
        (self.directory / 'storage.conf').write_text(STORAGE.format(**values))
        self.environment = {**os.environ, 'CONTAINERS_CONF': str(self.directory / 'containers.conf'),
                            'CONTAINERS_STORAGE_CONF': str(self.directory / 'storage.conf')}
        return self

    def __exit__(self, *_):
        # a failure here follows an earlier failure; the directory is removed in any case. A container that
        # another container needs is removed in the second round.
        rounds = ('rm --all --force --time 0', 'rm --all --force --time 0', 'rmi --all --force')
        for command in rounds if self.used else ():
            with contextlib.suppress(Refused, FileNotFoundError, subprocess.TimeoutExpired):
                self(*command.split())
        for line in pathlib.Path('/proc/self/mounts').read_text().splitlines()[::-1]:
            if (where := line.split()[1]).startswith(f'{self.directory}/'):
                subprocess.run(['umount', '--lazy', where], check=False)
        shutil.rmtree(self.directory)
        for trace in traces() - self.traces_before:
            remove_trace(trace)

    def __call__(self, *args):
        """Runs `podman ARGS` to its end. Returns stdout; raises Refused if podman fails."""
        return self.run('podman', *args)

    def run(self, *command):
        done = subprocess.run([str(word) for word in command], env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
        if done.returncode:
            raise Refused(f'{" ".join(map(str, command))}: exit code {done.returncode}: {done.stderr.strip()}')
        return done.stdout

    def build_busybox(self):
        context = self.directory / 'busybox'
        context.mkdir()
        shutil.copy(BUSYBOX, context / 'busybox')
        (context / 'index.html').write_text(PAGE)
        (context / 'Containerfile').write_text(BUSYBOX_CONTAINERFILE)
        self('build', '--quiet', '--isolation', 'chroot', '--layers=false', '--tag', BUSYBOX_IMAGE, context)

    def why_not(self):
        """Builds busybox and runs it. Returns None, or the reason why containers do not run here."""
        if os.geteuid() != 0:
            return 'containers are run as root here'
        if not shutil.which('podman') or not BUSYBOX.exists():
            return 'podman or busybox-static is not installed'
        self.used = True
        try:
            self.build_busybox()
            self('run', '--rm', '--network', 'none', BUSYBOX_IMAGE, 'true')
        except Refused as error:
            return f'podman does not run containers here: {error}'
        return None


def traces():
    """Files that podman makes outside its own directories, whatever its settings."""
    found = {*CGROUPS.glob('libpod_parent'), *CGROUPS.glob('*/libpod_parent')}
    return found | {CACHE} if os.path.exists(CACHE) else found


def remove_trace(path):
    if path == CACHE:
        shutil.rmtree(path)
        return
    # a control group is empty after the end of its last process, podman's monitor
    with contextlib.suppress(AssertionError):
        harness.wait_until(lambda: removed(path), timeout_s=2)


def removed(path):
    try:
        for directory in (*path.glob('*/'), path):
            directory.rmdir()
    except OSError:
        return not path.exists()
    return True


def least_of(which, wanted):
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


class Container:
    """One running container. A context manager that removes the container at the end.

    With a name instead of an image: a container that runs already.
    """

    def __init__(self, podman, image=None, *args, options=(), name=None):
        self.podman = podman
        self.command = ['run', '--detach', *options, image, *args] if image else None
        self.id = name

    def __enter__(self):
        if self.command:
            self.id = self.podman(*self.command).strip()
        self.pid = self.inspect()['State']['Pid']
        self.thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        return self

    def __exit__(self, *_):
        self.thread.shutdown()
        self.podman('rm', '--force', '--ignore', '--time', '0', self.id)

    def inspect(self):
        return json.loads(self.podman('inspect', self.id))[0]

    # --- the log ---

    def lines(self):
        """stdout and stderr so far."""
        done = subprocess.run(['podman', 'logs', self.id], env=self.podman.environment, text=True, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_LIMIT_S)
        return done.stdout.splitlines()

    def events(self, name):
        return [event for event in map(harness.parse_line, self.lines()) if event['event'] == name]

    def wait_event(self, name):
        deadline = time.monotonic() + harness.PATIENCE_S
        while True:
            # ask before the log is read, so that the log of an ended container is complete
            state = self.inspect()['State']
            lines = self.lines()
            for line in lines:
                with contextlib.suppress(ValueError, KeyError):
                    if harness.parse_line(line)['event'] == name:
                        return harness.parse_line(line)
            if state['Status'] in ('stopped', 'exited') or time.monotonic() > deadline:
                raise AssertionError(f'no event={name}; {state["Status"]}, exit code {state["ExitCode"]}; the log:\n'
                                     + '\n'.join(lines))
            time.sleep(0.05)

    # --- the process, which is PID 1 in there ---

    def signal(self, name):
        self.podman('kill', '--signal', name, self.id)

    def wait_exit(self):
        return int(self.podman('wait', self.id))

    def statuses(self):
        """Of PID 1, and of its child, which serves."""
        texts = [pathlib.Path(f'/proc/{pid}/status').read_text() for pid in (self.pid, *self.children())]
        rows = [[line.partition(':') for line in text.splitlines()] for text in texts]
        return [{key: value.strip() for key, _, value in row} for row in rows]

    def children(self):
        """The children of PID 1, zombies included, as the host numbers them. The last serves."""
        return harness.children_of(self.pid)

    # --- the network inside ---

    def inside(self, function, *args, **kwargs):
        """Calls function in a thread that is in the container's network namespace."""
        return self.thread.submit(self.enter_and_call, function, args, kwargs).result()

    def enter_and_call(self, function, args, kwargs):
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f'/proc/{self.pid}/ns/net', 'rb') as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), 'setns')
        return function(*args, **kwargs)

    # peers.PeersMixin takes this as its netns
    run = inside


class Case(peers.PeersMixin, unittest.TestCase):
    """A test with containers. `podman` is set by run.py."""

    podman = None
    maxDiff = 2000

    def setUp(self):
        self.addCleanup(self.close_peers)

    def container(self, image, *args, options=()):
        """A running container, removed at the end of the test, after the peers that were opened before."""
        container = Container(self.podman, image, *args, options=options)
        self.enterContext(container)
        self.addCleanup(self.close_peers)
        return container

    def sixpipe(self, *args, options=(), network='none'):
        return self.container(SIXPIPE_IMAGE, *args, options=('--network', network, *options))

    def forwarder(self, *args, options=()):
        """A ready sixpipe that listens on [::1]:2000, and the Backend inside that it forwards to."""
        box = self.sixpipe('--access-log', *args, '[::1]:2000', '127.0.0.1:8080', options=options)
        box.wait_event('ready')
        return box, self.backend(netns=box, port=8080)

    def pair(self, box, backend):
        client = self.connect(('::1', 2000), netns=box)
        return client, backend.accept()

    def check_forwards(self, box, backend):
        """Sends a megabyte each way, then ends both streams."""
        client, server = self.pair(box, backend)
        data = os.urandom(1 << 20)
        for source, target in ((client, server), (server, client)):
            sender = concurrent.futures.ThreadPoolExecutor(max_workers=1)
            sending = sender.submit(source.sendall, data)
            self.assertTrue(target.recv_exact(len(data)) == data, 'altered on the way')
            sending.result()
            sender.shutdown()
            source.finish_sending()
            self.assertEqual(target.recv_to_end(), (b'', peers.EOF))
