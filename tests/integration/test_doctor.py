# SPDX-License-Identifier: MIT
"""sixpipe doctor: its checks of this host, and of a host with less."""

import contextlib
import fcntl
import json
import os
import pathlib
import resource
import socket
import tempfile
import unittest

from cgroups import Cgroup
from harness import Case, environment
from seccomp import KNOWN_HERE, forbid_io_uring
from test_privileges import PrivilegesCase, low_port

STATES = {'ok', 'warn', 'fail'}
NAMES = {'io_uring', 'kernel', 'cpus', 'memory', 'descriptors', 'pipes', 'tcp_memory', 'backlog', 'congestion',
         'ports', 'user'}


def read_number(path):
    return int(pathlib.Path(path).read_text(encoding='ascii'))


@contextlib.contextmanager
def pipes_held(user, pages):
    """Within the block another process of the user holds pipes of so many pages."""
    told, tell = os.pipe()
    hold, let_go = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(OSError):
            os.close(let_go)
            os.setgroups([])
            os.setresuid(user, user, user)
            while pages:
                size = min(256, 1 << (pages.bit_length() - 1))
                fcntl.fcntl(os.pipe()[1], fcntl.F_SETPIPE_SZ, size * resource.getpagesize())
                pages -= size
            os.write(tell, b'x')
            os.read(hold, 1)
            status = 0
        os._exit(status)
    for fd in (tell, hold):
        os.close(fd)
    try:
        if not os.read(told, 1):
            raise OSError('no pipes could be held')
        yield
    finally:
        os.close(let_go)
        os.close(told)
        os.waitpid(child, 0)


class Doctor(PrivilegesCase):
    per_engine = False

    def doctor(self, *args, code=0, **popen):
        """The checks by name, from --json. The text for people must say the same."""
        done = self.run_sixpipe('doctor', '--json', *args, **popen)
        self.assertEqual((done.returncode, done.stderr), (code, ''), done)
        told = json.loads(done.stdout)
        self.assertEqual(told['ok'], code == 0)
        checks = {check['name']: check for check in told['checks']}
        self.assertEqual(len(checks), len(told['checks']))
        for check in checks.values():
            self.assertEqual(set(check), {'name', 'state', 'value', 'remedy'})
            self.assertIn(check['state'], STATES)
            self.assertEqual(check['remedy'] == '', check['state'] == 'ok', check)
        self.assertEqual('fail' in [check['state'] for check in checks.values()], code == 1)
        self.check_text(self.run_sixpipe('doctor', *args, **popen), code, checks)
        return checks

    def check_text(self, done, code, checks):
        self.assertEqual((done.returncode, done.stderr), (code, ''), done)
        lines = done.stdout.splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)
        states = {line.split()[0]: line.split()[1].lower() for line in lines[:-1] if line[0] != ' '}
        self.assertEqual(states, {name: check['state'] for name, check in checks.items()})
        self.assertEqual(lines[-1].startswith('Can serve'), code == 0, lines[-1])

    def test_this_host(self):
        checks = self.doctor('[::1]:0', '127.0.0.1:9')
        self.assertLessEqual(NAMES, set(checks))
        self.assertEqual(checks['ports']['state'], 'ok')

    def test_without_a_listener(self):
        self.assertLessEqual(NAMES, set(self.doctor()))

    def test_listener_alone_in_use(self):
        holder = self.backend(host='::1')
        ports = self.doctor(holder.address)['ports']
        self.assertEqual(ports['state'], 'warn')
        self.assertIn(str(holder.endpoint[1]), ports['remedy'])

    def test_metrics_are_tried(self):
        self.assertNotIn('metrics', self.doctor('[::1]:0'))
        self.assertEqual(self.doctor('--metrics', '[::1]:0')['metrics']['value'], '[::1]:0 can be bound')
        holder = self.backend(host='::1')
        used = self.doctor('--metrics', holder.address)['metrics']
        self.assertEqual((used['state'], used['value']),
                         ('warn', f'cannot listen on {holder.address}: Address already in use'))
        missing = self.doctor('--metrics', '[2001:db8::dead]:9006', code=1)['metrics']
        self.assertEqual(missing['state'], 'fail')
        self.assertIn('2001:db8::dead', missing['value'])
        self.assertIn('Cannot assign requested address', missing['value'])
        self.assertNotIn('--freebind', missing['remedy'])

    def test_address_that_is_not_of_this_host(self):
        ports = self.doctor('[2001:db8::dead]:2000', '127.0.0.1:9', code=1)['ports']
        self.assertIn('Cannot assign requested address', ports['value'])
        self.assertIn('--freebind', ports['remedy'])

    def test_dual_stack_takes_the_port_of_both_families(self):
        port = self.backend(host='127.0.0.1').endpoint[1]
        self.assertEqual(self.doctor(f'[::]:{port}')['ports']['state'], 'ok')
        self.assertEqual(self.doctor('--dual-stack', f'[::]:{port}')['ports']['state'], 'warn')

    def test_local_listeners(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            path = f'{directory}/socket'
            self.assertEqual(self.doctor(f'unix:{path}')['ports']['state'], 'ok')
            self.assertEqual(os.listdir(directory), [])
            missing = self.doctor(f'unix:{path}/socket', code=1)['ports']
            self.assertIn('create the directory', missing['remedy'])
            self.assertIn('let this user write', self.doctor(f'unix:{path}', code=1, **self.as_nobody())['ports']['remedy'])
            pathlib.Path(path).touch()
            other = self.doctor(f'unix:{path}', code=1)['ports']
            self.assertEqual(other['state'], 'fail')
            self.assertIn('File exists', other['value'])
            os.unlink(path)
            dead = f'{directory}/dead'
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as holder:
                holder.bind(dead)
                os.chmod(dead, 0o600)
            self.assertIn('let this user write', self.doctor(f'unix:{dead}', code=1, **self.as_nobody())['ports']['remedy'])
            self.backend(host=path)
            taken = self.doctor(f'unix:{path}')['ports']
            self.assertEqual((taken['state'], taken['value']),
                             ('warn', f'cannot listen on unix:{path}: Address already in use'))
            self.assertIn('ss -lxp', taken['remedy'])

    def test_low_port_as_nobody(self):
        ports = self.doctor(f'[::1]:{low_port()}', code=1, **self.as_nobody())['ports']
        self.assertEqual(ports['state'], 'fail')
        self.assertIn('CAP_NET_BIND_SERVICE', ports['remedy'])

    def test_pipes_as_nobody(self):
        pipes = self.doctor('--maxpipes', '1000', **self.as_nobody())['pipes']
        self.assertEqual(pipes['state'], 'warn')
        self.assertIn('fs.pipe-user-pages-soft=256000', pipes['remedy'])

    def check_pipes(self, *args, **popen):
        """When sixpipe starts, it gets the pipes that doctor predicted."""
        pipes = self.doctor(*args, **popen)['pipes']
        with self.sixpipe('[::1]:0', '127.0.0.1:9', *args, engine='auto', popen=popen) as proxy:
            short = proxy.events('pipes_short')
            self.assertEqual(pipes['state'], 'warn' if short else 'ok', (pipes, short))

    def test_pipes_are_as_predicted(self):
        # pipes are counted per user, and other tests run as user nobody at the same time
        someone = {**self.as_nobody(), 'user': 64321, 'group': 64321}
        for args in ((), ('--maxpipes', '100'), ('--maxpipes', '4', '--pipe-size', '2MiB')):
            with self.subTest(args=args):
                self.check_pipes(*args)
                self.check_pipes(*args, **someone)

    def test_pipes_in_use_elsewhere(self):
        """sixpipe takes few pipes of the wanted size, not many small pipes. doctor counts the pages that are left."""
        if [read_number(f'/proc/sys/fs/pipe-{name}') for name in ('max-size', 'user-pages-soft', 'user-pages-hard')] != [1 << 20, 16384, 0]:
            self.skipTest('the limits of pipes are not the defaults')
        someone = {**self.as_nobody(), 'user': 64324, 'group': 64324}
        for pages, count, size in ((16, 63, 1 << 20), (16384 - 2048, 8, 1 << 20), (16384 - 1024, 8, 1 << 19)):
            with self.subTest(pages=pages), pipes_held(64324, pages):
                pipes = self.doctor('--workers', '2', **someone)['pipes']
                self.assertEqual(pipes['state'], 'warn')
                self.assertRegex(pipes['value'], rf"^{count} of .*: the user's other programs have pipes$")
                for engine in ('io_uring', 'epoll'):
                    with self.sixpipe('[::1]:0', '127.0.0.1:9', '--workers', '2', engine=engine, popen=someone) as proxy:
                        short = proxy.wait_event('pipes_short', level='warn')
                        self.assertEqual((short['pipes'], short['pipe_bytes']), (str(count), str(size)))

    def test_descriptors(self):
        limit = {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))}
        descriptors = self.doctor('--maxconn', '1000', **limit)['descriptors']
        self.assertEqual(descriptors['state'], 'warn')
        self.assertIn('ulimit -Hn', descriptors['remedy'])
        limit = {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))}
        self.assertEqual(self.doctor(code=1, **limit)['descriptors']['state'], 'fail')

    def test_files_that_cannot_be_used(self):
        for option, path, words in (('--pseudo-state', '/no/such/state', 'make it'),
                                    ('--pseudo-key', '/no/such/key', '/dev/urandom'),
                                    ('--admin', '/no/such/admin.sock', 'RuntimeDirectory'),
                                    ('--allow-file', '/no/such/list', 'give a file')):
            more = ('--source', 'loopback') if 'pseudo' in option else ()
            done = self.run_sixpipe('doctor', '--json', '[::1]:0', '127.0.0.1:9', option, path, *more)
            self.assertEqual(done.returncode, 1, done)
            files = next(check for check in json.loads(done.stdout)['checks'] if check['name'] == 'files')
            self.assertIn(path, files['value'] + files['remedy'])
            self.assertIn(words, files['value'] + files['remedy'])

    def test_long_words_are_on_several_lines(self):
        done = self.run_sixpipe('doctor', '[::1]:0', '127.0.0.1:9', '--congestion', 'no-such')
        remedy = ' '.join(done.stdout.split())
        self.assertIn('add it to net.ipv4.tcp_allowed_congestion_control', remedy)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)

    def test_options_of_the_environment(self):
        checks = self.doctor(env=environment(SIXPIPE_BACKLOG='65535', SIXPIPE_USER='no-such-user-here'), code=1)
        self.assertIn('no-such-user-here', checks['user']['value'])
        self.assertIn('65535', checks['backlog']['value'])

    def test_quota_and_memory(self):
        with Cgroup('cpu', '50000') as group:
            cpus = self.doctor('--workers', '2', **group.popen)['cpus']
            self.assertEqual(cpus['state'], 'warn')
            self.assertIn('quota 0.5', cpus['value'])
        with Cgroup('memory', str(64 << 20)) as group:
            memory = self.doctor('--maxconn', '5000', **group.popen)['memory']
            self.assertEqual(memory['state'], 'warn')
            self.assertIn('--maxconn 1536', memory['remedy'])

    @unittest.skipUnless(KNOWN_HERE, 'the filter is for 64-bit system calls')
    def test_seccomp(self):
        for error, name in ((1, 'EPERM'), (38, 'ENOSYS')):
            forbidden = {'preexec_fn': lambda error=error: forbid_io_uring(error)}
            ring = self.doctor(**forbidden)['io_uring']
            self.assertEqual((ring['state'], ring['value']), ('warn', f'forbidden by a seccomp filter ({name}); epoll runs instead'))
            self.assertIn('--security-opt', ring['remedy'])
            ring = self.doctor('--engine', 'io_uring', code=1, **forbidden)['io_uring']
            self.assertEqual(ring['state'], 'fail')

    def test_bad_usage(self):
        for arguments in (('--maxconn', 'x'), ('--jsn',), ('[::1]',), ('--json=1',)):
            done = self.run_sixpipe('doctor', *arguments)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, '', 1), done)

    def test_help(self):
        done = self.run_sixpipe('doctor', '--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('sixpipe doctor [--json]', done.stdout)
        for arguments in (('--help',), ('--help', 'commands')):
            self.assertIn('doctor', self.run_sixpipe(*arguments).stdout)


class Commands(Case):
    per_engine = False

    def test_only_the_first_word_is_a_command(self):
        done = self.run_sixpipe('--check', 'doctor')
        self.assertEqual(done.returncode, 2, done)
        self.assertIn("LISTEN 'doctor'", done.stderr)


if __name__ == '__main__':
    unittest.main()
