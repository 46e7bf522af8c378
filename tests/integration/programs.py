# SPDX-License-Identifier: MIT
"""Other people's programs, run in the foreground for a test. A test is skipped if its program is not installed."""

import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import wait_until
from peers import PATIENCE_S


def find(*names):
    """The first of these programs that is installed. SkipTest if none is."""
    for name in names:
        for path in sorted(glob.glob(name), reverse=True) or [shutil.which(name)]:
            if path and os.access(path, os.X_OK):
                return path
    raise unittest.SkipTest(f'{os.path.basename(names[0])} is not installed')


class Program:
    """A running program with a folder of its own, which is removed at the end. Subclasses give arguments() and write
    files."""

    user = None  # the user that the program insists on

    def __init__(self, case, netns=None, **settings):
        self.case, self.settings = case, settings
        self.run = netns.run if netns else lambda function, *args, **kwargs: function(*args, **kwargs)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='sixpipe-test-'))
        case.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.log = self.folder / 'log'
        if self.user and os.geteuid() == 0:
            owner = pwd.getpwnam(self.user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.prepare()
        with open(self.folder / 'output', 'wb') as output:
            self.process = self.run(subprocess.Popen, self.arguments(), stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=output, cwd=self.folder, user=self.user if os.geteuid() == 0 else None)
        case.addCleanup(self.stop)

    def prepare(self):
        pass

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def output(self):
        return (self.folder / 'output').read_text(errors='replace')

    def wait_log(self, condition, path=None, what='a line of the log'):
        """Waits until the condition holds for the log's text, and returns the text."""
        path = path or self.log

        def look():
            if self.process.poll() is not None:
                raise AssertionError(f'{self.process.args[0]} ended: {self.output()}')
            text = path.read_text(errors='replace') if path.exists() else ''
            return text if condition(text) else None
        return wait_until(look, what=f'{what} in {path.name}')

    def wait_port(self, host, port):
        """Waits until the program listens. Reads /proc/net/tcp, so the program sees no connection of the test."""
        wanted = f'{int.from_bytes(bytes(map(int, host.split("."))), "little"):08X}:{port:04X} 00000000:0000 0A'

        def look():
            if self.process.poll() is not None:
                raise AssertionError(f'{self.process.args[0]} ended: {self.output()}')
            return wanted in self.run(pathlib.Path('/proc/thread-self/net/tcp').read_text)
        wait_until(look, what=f'{host}:{port}')

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Nginx(Program):
    """settings: server: the lines of an http server; stream: those of a stream block."""

    def prepare(self):
        self.binary = find('/usr/sbin/nginx', 'nginx')
        module = '/usr/lib/nginx/modules/ngx_stream_module.so'
        stream = self.settings.get('stream', '')
        if stream and not os.path.exists(module):
            raise unittest.SkipTest('nginx has no stream module')
        self.write('conf', f'''
{f'load_module {module};' if stream else ''}
daemon off; worker_processes 1; pid pid; error_log stderr;
events {{}}
http {{
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    log_format test '$remote_addr $proxy_protocol_addr $uri'; access_log {self.log} test;
    server {{ {self.settings.get('server', 'listen 127.0.0.1:1; return 204;')} }}
}}
{f'stream {{ {stream} }}' if stream else ''}
''')

    def arguments(self):
        return [self.binary, '-p', str(self.folder), '-e', 'stderr', '-c', str(self.folder / 'conf')]


class Haproxy(Program):
    """settings: body: its sections besides global and defaults. It logs to its output."""

    def prepare(self):
        self.binary = find('/usr/sbin/haproxy', 'haproxy')
        self.log = self.folder / 'output'
        self.write('conf', f'''
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{self.settings['body']}
''')

    def arguments(self):
        return [self.binary, '-db', '-f', str(self.folder / 'conf')]


class Postgres(Program):
    """settings: port. Accepts clients from 127.0.0.0/8 and 240.0.0.0/4 without a password."""

    user = 'postgres'

    def prepare(self):
        self.binary = find('/usr/lib/postgresql/*/bin/postgres')
        initdb = os.path.join(os.path.dirname(self.binary), 'initdb')
        if os.geteuid() != 0:
            self.user = None
        done = subprocess.run([initdb, '-D', str(self.folder / 'data'), '-A', 'trust', '-N', '-U', 'postgres'],
                              capture_output=True, text=True, check=False, user=self.user, cwd=self.folder)
        if done.returncode:
            raise AssertionError(done.stderr)
        with open(self.folder / 'data' / 'pg_hba.conf', 'a', encoding='ascii') as rules:
            rules.write('host all all 127.0.0.0/8 trust\nhost all all 240.0.0.0/4 trust\n')

    def arguments(self):
        return [self.binary, '-D', str(self.folder / 'data'), '-h', '127.0.0.1', '-p', str(self.settings['port']),
                '-c', f'unix_socket_directories={self.folder}', '-c', 'fsync=off']


class Sshd(Program):
    """settings: port"""

    def prepare(self):
        self.binary = find('/usr/sbin/sshd')
        find('ssh-keygen')
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(self.folder / 'key')], check=True)
        os.makedirs('/run/sshd', exist_ok=True)

    def arguments(self):
        return [self.binary, '-D', '-f', '/dev/null', '-h', str(self.folder / 'key'), '-E', str(self.log),
                '-o', f'ListenAddress=127.0.0.1:{self.settings["port"]}', '-o', 'PidFile=none',
                '-o', 'LogLevel=VERBOSE', '-o', 'UsePAM=no']


def free_port(run=None):
    """A port of 127.0.0.1 that was free a moment ago."""
    def ask():
        with socket.create_server(('127.0.0.1', 0)) as holder:
            return holder.getsockname()[1]
    return run(ask) if run else ask()
