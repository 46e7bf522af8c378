# SPDX-License-Identifier: MIT
"""The privileges of the running program, from /proc/PID/task/*/status of every thread."""

import ctypes
import grp
import os
import pwd
import re
import shlex
import shutil
import socket
import tempfile
import unittest

from harness import ROOT, Case

CAPABILITY_SETS = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')
# in the order of their numbers: capabilities(7)
CAPABILITY_NAMES = (
    'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP '
    'CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER '
    'CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE '
    'CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL '
    'CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ').split()
PR_CAPBSET_DROP = 24
NOBODY = pwd.getpwnam('nobody')


def low_port(below=1024):
    """A free port below this number."""
    for port in range(below - 1, 600, -1):
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(('::1', port))
                return port
            except OSError:
                continue
    raise unittest.SkipTest('no free port below 1024')


class PrivilegesCase(Case):

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')

    def assert_serves(self, proxy, backend):
        client, server = self.pair(proxy, backend)
        client.sendall(b'ping')
        self.assertEqual(server.recv_exact(4), b'ping')

    def assert_thread_is(self, status, user, group, sets=CAPABILITY_SETS):
        self.assertEqual(status['Uid'].split(), [str(user)] * 4, status['Name'])
        self.assertEqual(status['Gid'].split(), [str(group)] * 4, status['Name'])
        for name in sets:
            self.assertEqual(int(status[name], 16), 0, f'{name} of {status["Name"]}')
        self.assertEqual(status['NoNewPrivs'], '1', status['Name'])

    def as_nobody(self):
        """Popen arguments for an ordinary user."""
        self.need_root()
        return {'user': NOBODY.pw_uid, 'group': NOBODY.pw_gid, 'extra_groups': [], 'cwd': '/'}


class AsRoot(PrivilegesCase):

    def setUp(self):
        super().setUp()
        self.need_root()

    def check_user(self, name, group_id, workers='3'):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--user', name, '--workers', workers) as proxy:
            self.assert_serves(proxy, backend)
            statuses = proxy.statuses()
            self.assertGreaterEqual(len(statuses), int(workers))
            for status in statuses:
                self.assert_thread_is(status, NOBODY.pw_uid, group_id)
                self.assertLessEqual(set(status['Groups'].split()), {str(group_id)})
            self.assertEqual(proxy.events('started_as_root'), [])

    def test_user(self):
        self.check_user('nobody', NOBODY.pw_gid)

    def test_user_and_group(self):
        group = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY.pw_gid))
        self.check_user(f'nobody:{group.gr_name}', group.gr_gid)

    def test_without_user_says_so_and_drops_all_capabilities(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address) as proxy:
            self.assert_serves(proxy, backend)
            for status in proxy.statuses():
                self.assert_thread_is(status, 0, os.getgid())
            self.assertIn('user', proxy.wait_event('started_as_root', level='warn').line)

    def test_port_below_1024_and_user(self):
        backend = self.backend()
        port = low_port()
        with self.sixpipe(f'[::1]:{port}', backend.address, '--user', 'nobody') as proxy:
            self.assertEqual(proxy.endpoint, ('::1', port))
            self.assert_serves(proxy, backend)
            for status in proxy.statuses():
                self.assert_thread_is(status, NOBODY.pw_uid, NOBODY.pw_gid)

    def test_metrics_below_1024_and_user(self):
        port = low_port()
        with self.sixpipe('[::1]:0', '127.0.0.1:9', '--metrics', f'[::1]:{port}', '--user', 'nobody') as proxy:
            self.assertEqual(proxy.ready['metrics'], f'[::1]:{port}')
            done = self.run_sixpipe('healthcheck', '--metrics', f'[::1]:{port}')
            self.assertEqual((done.returncode, done.stdout), (0, 'ready\n'), done.stderr)
            for status in proxy.statuses():
                self.assert_thread_is(status, NOBODY.pw_uid, NOBODY.pw_gid)

    def test_sessions_after_the_drop_find_pipes(self):
        """The pipes are made before the drop, when the user's pipe budget does not apply yet: all pipes are there."""
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, '--user', 'nobody', '--maxpipes', '16') as proxy:
            before = proxy.fds()['pipe']
            self.assertGreaterEqual(before, 32)
            for _ in range(30):
                client, server = self.pair(proxy, backend)
                client.sendall(b'x' * 100_000)
                self.assertEqual(server.recv_exact(100_000), b'x' * 100_000)
            self.assertEqual(proxy.fds()['pipe'], before)

    def test_unknown_user(self):
        for value in ('no-such-user-here', 'nobody:no-such-group-here'):
            with self.subTest(user=value):
                done = self.run_sixpipe('--user', value, '[::1]:0', '127.0.0.1:9')
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(value.rpartition(':')[2], done.stderr)


class AsOrdinaryUser(PrivilegesCase):

    def test_runs_without_any_privilege(self):
        options = self.as_nobody()
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, popen=options) as proxy:
            self.assert_serves(proxy, backend)
            for status in proxy.statuses():
                # shrinking the bounding set needs CAP_SETPCAP; with no_new_privs the bounding set gives nothing
                self.assert_thread_is(status, NOBODY.pw_uid, NOBODY.pw_gid, ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'))
            self.assertEqual(proxy.events('started_as_root'), [])

    def test_port_below_1024_fails_with_a_remedy(self):
        options = self.as_nobody()
        with open('/proc/sys/net/ipv4/ip_unprivileged_port_start', encoding='ascii') as setting:
            if int(setting.read()) < 1024:
                self.skipTest('ports below 1024 are open to all here')
        port = low_port()
        done = self.run_sixpipe(f'[::1]:{port}', '127.0.0.1:9', **options)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f'[::1]:{port}', done.stderr)
        self.assertRegex(done.stderr, r'root|CAP_NET_BIND_SERVICE|capabilit')

    def test_first_command_of_the_readme(self):
        command = re.search(r'^ +scripts/run (.*?) *#', (ROOT / 'README.md').read_text(), re.MULTILINE)[1]
        someone = {**self.as_nobody(), 'user': 64321, 'group': 64321}  # not user nobody, who may become nobody
        with self.sixpipe(*shlex.split(command), popen=someone):
            pass

    def test_user_cannot_be_changed(self):
        options = self.as_nobody()
        done = self.run_sixpipe('--user', 'root', '[::1]:0', '127.0.0.1:9', **options)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('root', done.stderr)


class FewCapabilities(PrivilegesCase):
    """docs/security.md: the capabilities that it names are enough for a start as root."""

    def test_the_documented_capabilities(self):
        self.need_root()
        text = (ROOT / 'docs' / 'security.md').read_text()
        kept = re.findall(r'CAP_[A-Z_]+', re.search(r'These capabilities are enough:(.*?);', text, re.DOTALL)[1])
        self.assertIn('CAP_CHOWN', kept)
        names = {name: number for number, name in enumerate(CAPABILITY_NAMES)}
        libc = ctypes.CDLL(None, use_errno=True)

        def drop_others():
            for name, number in names.items():
                if name not in kept and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0):
                    raise OSError(ctypes.get_errno(), name)
        directory = tempfile.mkdtemp(prefix='sixpipe-unit-')
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        state = os.path.join(directory, 'state')
        os.mkdir(state, 0o700)
        os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid)
        backend = self.backend()
        for _ in range(2):  # the second time there is a state file that belongs to user nobody
            with self.sixpipe('--user', 'nobody', '--admin', f'{directory}/admin.sock', '--source', 'loopback',
                              '--pseudo-state', f'{state}/pool', f'[::1]:{low_port()}', backend.address,
                              popen={'preexec_fn': drop_others}) as proxy:
                client, server = self.pair(proxy, backend)
                client.sendall(b'ping')
                self.assertEqual(server.recv_exact(4), b'ping')
                done = self.run_sixpipe('bans', '--admin', f'{directory}/admin.sock')
                self.assertEqual(done.returncode, 0, done)
                for one in (client, server):
                    one.close()
            backend = self.backend()


if __name__ == '__main__':
    unittest.main()
