# SPDX-License-Identifier: MIT
"""Runs the real sixpipe for a test, reads its log and checks what it leaves behind.

A test derives from Case, opens peers (peers.py) through it and runs sixpipe as a context manager:

    with self.sixpipe('[::1]:0', backend.address) as proxy:
        client, server = self.pair(proxy, backend)

At the end of the block the harness closes the test's sockets, waits until sixpipe holds the same descriptors as when it
became ready, and sends TERM. It checks the exit code, the counters of the event=stopped line, that each session has one
close line, and that every line on stderr is a log line. A sanitizer's report is not a log line.

Environment: SIXPIPE (the binary), SIXPIPE_ENGINES (comma separated), SIXPIPE_SANITIZE=1 (a sanitizer build: limits on
memory, latency and CPU do not apply).
"""

import atexit
import collections
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import peers


def reachable_by_all(path):
    """`path`, or a copy of the program if other users cannot enter a directory of its path. Some tests run the
    program as another user, or as root without the capabilities that open every directory."""
    if not os.path.exists(path) or all(os.stat(folder).st_mode & 0o001 for folder in pathlib.Path(path).parents):
        return path
    folder = tempfile.mkdtemp(prefix='sixpipe-test-')
    atexit.register(shutil.rmtree, folder)
    os.chmod(folder, 0o755)
    return shutil.copy(path, folder)


ROOT = pathlib.Path(__file__).resolve().parents[2]
SIXPIPE = reachable_by_all(os.path.abspath(os.environ.get('SIXPIPE') or ROOT / 'build' / 'src' / 'sixpipe'))
ENGINES = [name for name in os.environ.get('SIXPIPE_ENGINES', '').split(',') if name] or ['io_uring', 'epoll']
SANITIZE = os.environ.get('SIXPIPE_SANITIZE', '') not in ('', '0')
PATIENCE_S = peers.PATIENCE_S

LOGFMT_PAIR = re.compile(r'([a-z][a-z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s"=]*))(?: |$)')
LOGFMT_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))')
LOGFMT_LETTER = {'n': '\n', 't': '\t', 'r': '\r', '"': '"', '\\': '\\'}
USER_HZ = os.sysconf('SC_CLK_TCK')


def environment(**more):
    """The environment for sixpipe, without the tests' own SIXPIPE_ variables: sixpipe would refuse them."""
    own = {name: value for name, value in os.environ.items() if not name.startswith('SIXPIPE_')}
    return {**own, **more}


class Event:
    """One log line: its keys in order. A key may occur more than once (listen=)."""

    def __init__(self, line, pairs):
        self.line = line
        self.pairs = pairs

    def __getitem__(self, key):
        for name, value in self.pairs:
            if name == key:
                return value
        raise KeyError(f'{key} is not in: {self.line}')

    def __contains__(self, key):
        return any(name == key for name, _ in self.pairs)

    def __repr__(self):
        return self.line

    def get(self, key, default=None):
        return self[key] if key in self else default

    def all(self, key):
        return [value for name, value in self.pairs if name == key]

    def int(self, key):
        return int(self[key])


def parse_logfmt(line):
    """The pairs of a logfmt line. ValueError if any part of the line is not logfmt."""
    pairs, at = [], 0
    while at < len(line):
        match = LOGFMT_PAIR.match(line, at)
        if not match:
            raise ValueError(f'not logfmt at column {at}: {line!r}')
        key, quoted, bare = match.groups()
        if quoted is not None:
            bare = LOGFMT_ESCAPE.sub(unescape, quoted)
        pairs.append((key, bare))
        at = match.end()
    return pairs


def unescape(match):
    two, four, letter = match.groups()
    return chr(int(two or four, 16)) if two or four else LOGFMT_LETTER[letter]


def parse_json(line):
    pairs = []
    for key, value in json.loads(line).items():
        for item in value if isinstance(value, list) else [value]:
            pairs.append((key, item))
    return pairs


def parse_line(line):
    pairs = parse_json(line) if line.startswith('{') else parse_logfmt(line)
    if not any(key == 'event' for key, _ in pairs):
        raise ValueError(f'a log line without event=: {line!r}')
    return Event(line, pairs)


def describe_fd(target):
    """The kind of a descriptor from its /proc link: 'socket:[123]' is a socket, '/dev/null' a file."""
    if target.startswith('/'):
        return 'file'
    return target.rstrip('0123456789[]:') if not target.startswith('anon_inode:') else target[len('anon_inode:'):]


def sockets_of(links):
    return {link for link in links if describe_fd(link) == 'socket'}


def children_of(pid):
    """The children of a process, the oldest first. A process that has ended has none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    return []


def wait_until(condition, timeout_s=PATIENCE_S, what='the condition'):
    """Polls for a condition that no event announces, such as another process's descriptors."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f'{what} did not come true within {timeout_s} s')
        time.sleep(0.01)


class Sixpipe:
    """One running sixpipe. Use Case.sixpipe(); the keyword arguments are described there."""

    def __init__(self, case, *args, engine, access_log=True, netns=None, wait_ready=True, popen=None):
        self.case = case
        self.argv = [SIXPIPE, '--engine', engine]
        self.argv += ['--access-log'] if access_log else []
        self.argv += [str(arg) for arg in args]
        self.access_log = access_log
        self.netns = netns
        self.wait_ready = wait_ready
        self.popen = {'env': environment(), **(popen or {})}
        peers.connected.clear()  # a new log begins, without these clients
        self.lines = []
        self.log = []
        self.strange_lines = []
        self.changed = threading.Condition()
        self.may_read = threading.Event()
        self.may_read.set()
        self.finished = False
        self.found_pid = None
        self.was_taken_over = False

    def __enter__(self):
        run = self.netns.run if self.netns else lambda function, *args, **kwargs: function(*args, **kwargs)
        self.process = run(subprocess.Popen, self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, **self.popen)
        self.main_pid = self.process.pid
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        try:
            if self.wait_ready:
                self.ready = self.wait_event('ready')
                self.endpoints = [peers.parse_endpoint(text) for text in self.ready.all('listen')]
                self.count_baseline()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None and not self.finished:
                self.finish()
        finally:
            self.kill()
            if kind is not None:
                self.case.show_log(self)

    def read_log(self):
        for raw in self.process.stderr:
            self.may_read.wait()
            line = raw.decode('utf-8', 'backslashreplace').rstrip('\n')
            with self.changed:
                self.lines.append(line)
                try:
                    self.log.append(parse_line(line))
                except (ValueError, KeyError):
                    self.strange_lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    # --- the log ---

    def events(self, name, /, **fields):
        with self.changed:
            return [event for event in self.log if event.get('event') == name
                    and all(event.get(key) == value for key, value in fields.items())]

    def wait_events(self, name, count, /, timeout_s=PATIENCE_S, **fields):
        """The events of that name and with these fields, once there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self.changed:
                found = self.events(name, **fields)
                if len(found) >= count:
                    return found
                left_s = deadline - time.monotonic()
                over = not self.reader.is_alive()
                if left_s <= 0 or over:
                    why = 'sixpipe ended' if over else f'{timeout_s} s passed'
                    raise AssertionError(f'{len(found)} of {count} event={name} {fields or ""} lines when {why};'
                                         f' arguments: {self.argv[1:]}; stderr:\n' + '\n'.join(self.lines[-30:]))
                self.changed.wait(min(left_s, 0.5))

    def wait_event(self, name, /, timeout_s=PATIENCE_S, **fields):
        return self.wait_events(name, 1, timeout_s, **fields)[0]

    def close_of(self, client, timeout_s=PATIENCE_S):
        """The close line of the session that this client socket opened. The socket may be closed already."""
        return self.wait_events('close', client.before + 1, timeout_s, client=client.name)[client.before]

    @contextlib.contextmanager
    def unread_log(self):
        """Within the block nobody reads sixpipe's stderr, so the pipe of stderr fills up."""
        fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        self.may_read.clear()
        try:
            yield
        finally:
            self.may_read.set()

    # --- the process ---

    @property
    def endpoint(self):
        return self.endpoints[0]

    @property
    def pid(self):
        """The process that serves: the child of the process that was started, whose number is main_pid."""
        if self.found_pid is None:
            self.found_pid = wait_until(lambda: children_of(self.main_pid), what='a process that serves')[-1]
        return self.found_pid

    def signal(self, number):
        """To the parent process, as a service manager does."""
        self.process.send_signal(number)

    @contextlib.contextmanager
    def stopped(self):
        """Stops sixpipe within the block. After the block, sixpipe meets all that the test did meanwhile at once."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: all(state in 'Tt' for state in self.task_states()), what='stopping sixpipe')
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def task_states(self):
        states = []
        for task in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = pathlib.Path(f'/proc/{self.pid}/task/{task}/stat').read_text()
                states.append(stat.rpartition(')')[2].split()[0])
        return states

    def fds(self):
        """How many descriptors sixpipe holds, by kind. The reserve of each worker is an eventfd."""
        return collections.Counter(map(describe_fd, self.fd_links()))

    def fd_links(self):
        """The target of each descriptor's link in /proc: 'socket:[123]', 'pipe:[45]', '/dev/null'."""
        links = []
        for name in os.listdir(f'/proc/{self.pid}/fd'):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f'/proc/{self.pid}/fd/{name}'))
        return links

    def listening(self):
        """The inodes of all sockets that listen in sixpipe's network namespace."""
        rows = {name: [line.split() for line in pathlib.Path(f'/proc/{self.pid}/net/{name}').read_text().splitlines()[1:]]
                for name in ('tcp', 'tcp6', 'unix')}
        return ({row[9] for row in rows['tcp'] + rows['tcp6'] if row[3] == '0A'}
                | {row[6] for row in rows['unix'] if int(row[3], 16) & 0x10000})

    def cpu_s(self):
        """User and system time so far of all threads, including io_uring's kernel workers."""
        fields = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / USER_HZ

    def cpu_share(self, over_s=1.0):
        """The CPU used during the next over_s seconds, as a share of one CPU. Sleeps for that time."""
        before_s, start_s = self.cpu_s(), time.monotonic()
        time.sleep(over_s)
        return (self.cpu_s() - before_s) / (time.monotonic() - start_s)

    def status(self, task=None):
        path = f'/proc/{self.pid}/task/{task}/status' if task else f'/proc/{self.pid}/status'
        rows = (line.partition(':') for line in pathlib.Path(path).read_text().splitlines())
        return {key: value.strip() for key, _, value in rows}

    def statuses(self):
        """Of all threads. ThreadSanitizer has a thread of its own from the fork on, which has the name of the first."""
        return [status for task in os.listdir(f'/proc/{self.pid}/task') for status in [self.status(task)]
                if not SANITIZE or task == str(self.pid) or '/' in status['Name']]

    def own_memory_bytes(self):
        status = self.status()
        return (int(status['RssAnon'].split()[0]) + int(status['RssShmem'].split()[0])) * 1024

    # --- the end ---

    def count_baseline(self):
        """Remembers the descriptors that sixpipe holds without any session."""
        links, listening = self.fd_links(), self.listening()
        self.baseline = collections.Counter(map(describe_fd, links))
        self.first_sockets = sockets_of(links)
        self.listeners = {link for link in self.first_sockets if link[len('socket:['):-1] in listening}

    def against_baseline(self):
        """The differences from the baseline, by kind. Fewer pipes are no leak: a pipe that met an error is closed.
        Fewer files
        are no leak: /etc/hosts may have been open for the baseline. Sockets are compared one by one: the baseline may
        hold the socket of a health check or of a DNS query. A process that took over has other sockets, and may have
        other listeners."""
        links = self.fd_links()
        sockets = sockets_of(links)
        extra = collections.Counter(map(describe_fd, links))
        extra.subtract(self.baseline)
        if self.was_taken_over:
            listening = {f'socket:[{inode}]' for inode in self.listening()}
            extra['socket'] = max(0, len(sockets - listening) - len(self.first_sockets - self.listeners))
        else:
            extra['socket'] = len(sockets - self.first_sockets)
            extra['listener'] = -len(self.listeners - sockets)
        return {kind: count for kind, count in extra.items() if count > 0 or (count < 0 and kind not in ('pipe', 'file'))}

    def wait_baseline(self, timeout_s=PATIENCE_S):
        """Waits until sixpipe holds the descriptors of the baseline: no session is left."""
        deadline = time.monotonic() + timeout_s
        while leaked := self.against_baseline():
            if time.monotonic() > deadline:
                raise AssertionError(f'descriptors against the start after {timeout_s} s: {leaked};'
                                     f' tail of the log:\n' + '\n'.join(self.lines[-10:]))
            time.sleep(0.01)

    def wait_process(self, timeout_s=PATIENCE_S):
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'sixpipe still runs after {timeout_s} s; tail of the log:\n'
                                 + '\n'.join(self.lines[-10:])) from None

    def wait_exit(self, timeout_s=PATIENCE_S):
        """Waits for the end of the process and for the last line of its log. Returns the exit code."""
        code = self.wait_process(timeout_s)
        self.reader.join(PATIENCE_S)
        return code

    def finish(self, term=True):
        """Closes the test's sockets, sends TERM and checks the log. term=False: sixpipe is stopping already."""
        self.finished = True
        self.case.close_peers()
        self.may_read.set()
        if term:
            self.wait_baseline()
            self.signal(signal.SIGTERM)
        code = self.wait_exit()
        if self.strange_lines:
            raise AssertionError('lines on stderr that are no log lines:\n' + '\n'.join(self.strange_lines[:60]))
        if code != 0:
            raise AssertionError(f'exit code {code}; tail of the log:\n' + '\n'.join(self.lines[-20:]))
        self.check_counters()

    def take_over(self, pid):
        """Process `pid` serves from here on."""
        self.found_pid = pid
        self.was_taken_over = True

    def check_counters(self):
        stopped = self.events('stopped')[-1]
        counters = {key: stopped.int(key) for key in ('sessions_opened', 'sessions_closed', 'sessions_open',
                                                      'pipes_total', 'pipes_free', 'stale_events')}
        problems = []
        # Sessions that did not move end in the old process, which the counters of the new one do not tell.
        left = sum(event.int('sessions') for event in self.events('takeover_left'))
        if counters['sessions_opened'] != counters['sessions_closed'] + left or counters['sessions_open']:
            problems.append('sessions remain')
        if counters['pipes_total'] != counters['pipes_free']:
            problems.append('pipes are lent')
        closes = len(self.events('close'))
        dropped = sum(event.int('lines') for event in self.events('log_dropped'))
        if self.access_log and not closes <= counters['sessions_opened'] <= closes + dropped:
            problems.append(f'{closes} close lines')
        if counters['stale_events']:
            problems.append('stale events')
        if problems:
            raise AssertionError(f'{", ".join(problems)}: {stopped}')

    def kill(self):
        self.may_read.set()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stderr.close()


class Case(peers.PeersMixin, unittest.TestCase):
    """A test against a running sixpipe. It runs once per engine (see run.py), or once if per_engine is False."""

    engine = ENGINES[0]
    per_engine = True
    maxDiff = 2000

    def setUp(self):
        if not os.access(SIXPIPE, os.X_OK):
            self.fail(f'{SIXPIPE} is not there: build it, or name it in SIXPIPE')
        self.addCleanup(self.close_peers)

    def sixpipe(self, *args, engine=None, **options):
        """A Sixpipe to enter with `with`. Options: access_log=True; netns: run it in this netns.Netns;
        wait_ready=False: do not wait for event=ready; popen: more arguments of subprocess.Popen."""
        return Sixpipe(self, *args, engine=engine or self.engine, **options)

    def pair(self, proxy, backend, **options):
        """A session: the client's socket and the backend's socket, both connected."""
        client = self.connect(proxy.endpoint, **options)
        return client, backend.accept()

    def run_sixpipe(self, *args, timeout_s=PATIENCE_S, **popen):
        """Runs a sixpipe that ends by itself, such as a refused start: a CompletedProcess, stdout and stderr as
        text."""
        return subprocess.run([SIXPIPE, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout_s, check=False, **{'env': environment(), **popen})

    def samples(self, proxy):
        """{series: value} of /metrics. Fails if a series occurs twice."""
        connection = http.client.HTTPConnection(*peers.parse_endpoint(proxy.ready['metrics']), timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request('GET', '/metrics')
            lines = connection.getresponse().read().decode().splitlines()
        pairs = [line.rsplit(' ', 1) for line in lines if not line.startswith('#')]
        self.assertEqual(len(dict(pairs)), len(pairs))
        return {series: int(value) for series, value in pairs}

    def backend_samples(self, proxy, labels):
        """{word: value} of the backend with these labels."""
        return {series.removeprefix('sixpipe_backend_').removesuffix(labels): value
                for series, value in self.samples(proxy).items() if series.endswith(labels)}

    def show_log(self, proxy):
        """Keeps the end of sixpipe's log. run.py prints it if the test fails."""
        self.last_log = proxy.lines[-20:]

    def assert_idle_cpu(self, proxy, over_s=1.0, limit=0.05):
        """sixpipe does not spin: it uses nearly no CPU for a second. A sanitizer's own threads may use more."""
        share = proxy.cpu_share(over_s)
        self.assertLess(share, 0.3 if SANITIZE else limit, 'share of one CPU while nothing can move')

    def assert_reason(self, proxy, client, *reasons):
        """The session of this client ended for one of these reasons."""
        close = proxy.close_of(client)
        self.assertIn(close['reason'], reasons, close)
        return close
