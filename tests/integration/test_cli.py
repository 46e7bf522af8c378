# SPDX-License-Identifier: MIT
"""The command line: each mistake is named in one line with its remedy; --check, --help and --version."""

import pathlib
import re
import socket
import subprocess
import tempfile
import unittest

from harness import ROOT, SIXPIPE, Case, environment

GOOD = ('[::1]:0', '127.0.0.1:9')

# (arguments, words that the message must hold). If an option is wrong: its name and its value.
BAD_USAGE = (
    ((), ('LISTEN',)),
    (('[::1]:0',), ("'[::1]:0'", 'backend')),
    (('2000', '127.0.0.1:9'), ("'2000'",)),
    (('::1:2000', '127.0.0.1:9'), ("'::1:2000'", '[')),
    (('[::1]:20x', '127.0.0.1:9'), ("'[::1]:20x'",)),
    (('[::g]:2000', '127.0.0.1:9'), ("'[::g]:2000'",)),
    (('[::1:2000', '127.0.0.1:9'), ("'[::1:2000'",)),
    (('[127.0.0.1]:2000', '127.0.0.1:9'), ("'[127.0.0.1]:2000'",)),
    (('[::1]:0', '127.0.0.1:99999'), ("'127.0.0.1:99999'", 'port')),
    (('[::1]:0', '127.0.0.256:9'), ("'127.0.0.256:9'",)),
    (('[::1]:0', '127.1:9'), ("'127.1:9'",)),
    (('[::1]:0', '127.0.0.1:9', '127.0.0.1'), ("'127.0.0.1'",)),
    (('--listen', '[::1]', '--backend', '127.0.0.1:9'), ('--listen', "'[::1]'")),
    (('--listen', '[::1]:0', '--backend', 'nonsense'), ('--backend', "'nonsense'")),
    (('--maxconn', 'abc', *GOOD), ('--maxconn', "'abc'")),
    (('--maxconn', '0', *GOOD), ('--maxconn', "'0'")),
    (('--maxconn', '-5', *GOOD), ('--maxconn', "'-5'")),
    (('--maxconn', '1.5', *GOOD), ('--maxconn', "'1.5'")),
    (('--maxconn', '', *GOOD), ('--maxconn', "''")),
    (('--maxconn=', *GOOD), ('--maxconn', "''")),
    (('--maxconn', '99999999999999999999', *GOOD), ('--maxconn', "'99999999999999999999'")),
    (('--workers', 'many', *GOOD), ('--workers', "'many'")),
    (('--workers', '1000000', *GOOD), ('--workers', "'1000000'")),
    (('--backlog', '-1', *GOOD), ('--backlog', "'-1'")),
    (('--maxpipes', 'x', *GOOD), ('--maxpipes', "'x'")),
    (('--pipe-size', 'big', *GOOD), ('--pipe-size', "'big'")),
    (('--pipe-size', '1XiB', *GOOD), ('--pipe-size', "'1XiB'")),
    (('--pipe-size', '99999999TiB', *GOOD), ('--pipe-size', "'99999999TiB'")),
    (('--timeout-connect', '5', *GOOD), ('--timeout-connect', "'5'")),
    (('--timeout-idle', '5x', *GOOD), ('--timeout-idle', "'5x'")),
    (('--timeout-client-fin', '-1s', *GOOD), ('--timeout-client-fin', "'-1s'")),
    (('--timeout-server-fin', 's', *GOOD), ('--timeout-server-fin', "'s'")),
    (('--drain-timeout', '1s1', *GOOD), ('--drain-timeout', "'1s1'")),
    (('--keepalive', 'on', *GOOD), ('--keepalive', "'on'")),
    (('--user-timeout', '99999999999999999h', *GOOD), ('--user-timeout', "'99999999999999999h'")),
    (('--log-level', 'loud', *GOOD), ('--log-level', "'loud'", 'warn')),
    (('--log-format', 'xml', *GOOD), ('--log-format', "'xml'", 'json')),
    ((*GOOD, '--maxconn'), ('--maxconn',)),
    (('--listen', '[::]:7', '--backend', '127.0.0.1:9', '--listen', '[::1]:7', '--backend', '127.0.0.1:9'),
     ("--listen '[::1]:7'", 'within [::]:7')),
    (('[::]:7', '127.0.0.1:9', '--dual-stack', '--metrics', '127.0.0.1:7'), ("--metrics '127.0.0.1:7'", 'within [::]:7')),
    (('[::]:7', '[::1]:7'), ("'[::]:7'", 'backend [::1]:7')),
    (('--help', 'no-such-group'), ("'no-such-group'",)),
)

# Mistakes of people who know other programs, and the whole message of each.
EVERY = 'write [::]:{0} for every address of this host, or [::1]:{0} for itself alone'.format
MONITORING = 'write [::1]:9100 for this host alone, or the address that monitoring connects to'
FOREGROUND = "sixpipe stays in the foreground: start it by systemd (sixpipe.service), or with '&' at the end"
MISTAKES = (
    (('--source', 'eth0', *GOOD), "--source 'eth0': not a way to choose an address; give none, an address, pseudo[:CIDR], "
                                  'loopback[:CIDR] or embedded[,one of these]'),
    (("'[::1]:80'", GOOD[1]), "LISTEN ''[::1]:80'': the quotes are a part of the value; leave them out"),
    (('2100', GOOD[1]), f"LISTEN '2100': is a port without an address; {EVERY(2100)}"),
    (('localhost:2100', GOOD[1]), "LISTEN 'localhost:2100': is a name, and an address is needed; write [::1]:2100"),
    (('TCP6-LISTEN:2100,bind=[::1],fork', 'TCP:192.0.2.1:80'),
     "LISTEN 'TCP6-LISTEN:2100,bind=[::1],fork': begins with TCP6-LISTEN:, as socat's addresses do; write [::1]:2100"),
    ((GOOD[0], 'TCP:192.0.2.1:80'), "BACKEND 'TCP:192.0.2.1:80': begins with TCP:, as socat's addresses do; write 192.0.2.1:80"),
    ((GOOD[0], 'a:1,b:2'), "BACKEND 'a:1,b:2': holds several addresses; put blanks between them, not commas, or a --backend before each"),
    (('--metrics', '9100', *GOOD), f"--metrics '9100': is a port without an address; {MONITORING}"),
    (('--user', *GOOD), f"--user: has no value: the next word is '{GOOD[0]}', which cannot be one; give NAME[:GROUP]"),
    (('--user', '--access-log', *GOOD), "--user: has no value: the next word is '--access-log', which cannot be one; give NAME[:GROUP]"),
    (('--access-log', 'yes', *GOOD),
     "--access-log 'yes': takes a value only after '='; write --access-log=yes, or --access-log alone for yes"),
    ((*GOOD, 'weight=3'), f"'weight=3': belongs to the backend before it, in one argument; write '{GOOD[1]} weight=3'"),
    (('doctr',), "LISTEN 'doctr': is neither an address nor a command; did you mean sixpipe doctor?"),
    (('healthchek',), "LISTEN 'healthchek': is neither an address nor a command; did you mean sixpipe healthcheck?"),
    (('version',), "LISTEN 'version': is neither an address nor a command; did you mean sixpipe --version?"),
    (('start', *GOOD), "LISTEN 'start': is neither an address nor a command; write [address]:port, or see sixpipe --help"),
    (('--admin', '/run/x', 'who', '240.1.2.3'), "LISTEN 'who': is a command, which comes before everything else; write sixpipe who ..."),
    (('--daemon', *GOOD), f'--daemon: no such option; {FOREGROUND}'),
    (('--frobnicate', *GOOD), '--frobnicate: no such option; sixpipe --help all lists them'),
    (('--admin', 'relative.sock', *GOOD),
     "--admin 'relative.sock': is not a whole path; begin it with '/', as in /run/sixpipe/admin.sock"),
)
MISTAKES_IN_FILE = (
    ('[forward x]\nlisten = "[::1]:80"\nbackend = 192.0.2.1:80\n',
     ":2: listen '\"[::1]:80\"': the quotes are a part of the value; leave them out"),
    ('user = "nobody"\n[forward x]\nlisten = [::1]:80\nbackend = 192.0.2.1:80\n', ":1: user '\"nobody\"': the quotes are a part of the value; leave them out"),
    ('daemon = yes\n[forward x]\nlisten = [::1]:80\nbackend = 192.0.2.1:80\n', f':1: daemon: no such option; {FOREGROUND}'),
    ('frobnicate = 1\n[forward x]\nlisten = [::1]:80\nbackend = 192.0.2.1:80\n', ':1: frobnicate: no such option; sixpipe --help all lists them'),
    ('[forward x]\nlisten = [::1]:80\nbackend = a:1,b:2\n', ":3: backend 'a:1,b:2': holds several addresses; write a line backend = ADDRESS for each"),
)

UNKNOWN = (('--maxcon', '--maxconn'), ('--lsten', '--listen'))


class Usage(Case):
    per_engine = False

    def assert_refused(self, done, words, code=2):
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stdout, '')
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, f'not one line: {done.stderr!r}')
        self.assertTrue(lines[0].startswith('sixpipe: '), lines[0])
        for word in words:
            self.assertIn(word, lines[0])
        reason, _, remedy = lines[0].partition('; ')
        self.assertGreater(len(remedy), 5, f'no remedy: {lines[0]}')
        self.assertGreater(len(reason), 15, f'no reason: {lines[0]}')

    def test_bad_usage(self):
        for arguments, words in BAD_USAGE:
            with self.subTest(arguments=arguments):
                self.assert_refused(self.run_sixpipe(*arguments), words)

    def test_the_same_with_check(self):
        for arguments, words in BAD_USAGE:
            if '--help' in arguments:
                continue
            with self.subTest(arguments=arguments):
                self.assert_refused(self.run_sixpipe('--check', *arguments), words)

    def test_all_errors_in_one_run(self):
        done = self.run_sixpipe('--maxconn', 'x', *GOOD, '--workers', 'y', env=environment(SIXPIPE_BACKLOG='z'))
        self.assertEqual((done.returncode, done.stdout), (2, ''), done)
        self.assertEqual([line.split(':')[1] for line in done.stderr.splitlines()],
                         [" SIXPIPE_BACKLOG 'z'", " --maxconn 'x'", " --workers 'y'"])

    def test_unknown_option_with_a_suggestion(self):
        for wrong, right in UNKNOWN:
            with self.subTest(option=wrong):
                self.assert_refused(self.run_sixpipe(wrong, '1', *GOOD), (wrong, right))

    def test_unknown_option_that_resembles_none(self):
        for wrong in ('--zzzzzzzzzz', '-x', '-', '--'):
            with self.subTest(option=wrong):
                done = self.run_sixpipe(wrong, '[::1]:0')
                self.assertEqual(done.returncode, 2, done)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def directory(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return pathlib.Path(directory.name)

    def assert_told(self, done, message, code=2):
        self.assertEqual((done.returncode, done.stdout, done.stderr), (code, '', f'sixpipe: {message}\n'))

    def test_known_mistakes(self):
        for arguments, message in MISTAKES:
            with self.subTest(arguments=arguments):
                self.assert_told(self.run_sixpipe(*arguments), message)

    def test_known_mistakes_in_a_file(self):
        path = self.directory() / 'conf'
        for text, message in MISTAKES_IN_FILE:
            with self.subTest(text=text):
                path.write_text(text)
                self.assert_told(self.run_sixpipe('--config', str(path)), f'{path}{message}')

    def test_backends_of_the_environment_with_commas(self):
        done = self.run_sixpipe(env=environment(SIXPIPE_LISTEN='[::1]:0', SIXPIPE_BACKEND='a:1,b:2'))
        self.assert_told(done, "SIXPIPE_BACKEND 'a:1,b:2': holds several addresses; put blanks between them, not commas")

    def test_local_sockets_that_cannot_be_listened_on(self):
        directory = self.directory()
        (directory / 'file').touch()
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(str(directory / 'used'))
            holder.listen()
            for name, reason in (('none/s', 'No such file or directory; create the directory, or choose another path'),
                                 ('file/s', 'Not a directory; choose another path'),
                                 ('file', 'File exists; a file that is not a socket has this path; remove it, or choose another path'),
                                 ('used', 'Address already in use; stop the program that listens there (ss -lxp shows it), '
                                          'or choose another path')):
                with self.subTest(name=name):
                    done = self.run_sixpipe(f'unix:{directory}/{name}', GOOD[1])
                    self.assert_told(done, f'cannot listen on unix:{directory}/{name}: {reason}', code=1)

    def test_values_are_shown_on_one_line(self):
        for value in ('a\nb', 'a\x1b[31mb', 'a' * 5000, "it's"):
            with self.subTest(value=value[:20]):
                done = self.run_sixpipe('--maxconn', value, *GOOD)
                self.assertEqual(done.returncode, 2, done)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertNotIn('\x1b', done.stderr)

    def test_listener_in_use(self):
        holder = self.backend(host='::1')
        port = holder.endpoint[1]
        self.assert_refused(self.run_sixpipe(f'[::1]:{port}', '127.0.0.1:9'), (f'[::1]:{port}', 'in use'), code=1)

    def test_listener_in_use_by_another_sixpipe(self):
        backend = self.backend()
        with self.sixpipe('[::1]:0', backend.address, engine='auto') as proxy:
            port = proxy.endpoint[1]
            self.assert_refused(self.run_sixpipe(f'[::1]:{port}', '127.0.0.1:9'), (f'[::1]:{port}', 'in use'), code=1)

    def test_second_listener_in_use(self):
        holder = self.backend(host='::1')
        done = self.run_sixpipe('--listen', '[::1]:0', '--backend', '127.0.0.1:9',
                                '--listen', holder.address, '--backend', '127.0.0.1:9')
        self.assert_refused(done, (holder.address, 'in use'), code=1)

    def test_listeners_and_metrics_in_one_run(self):
        holders = [self.backend(host='::1') for _ in range(2)]
        done = self.run_sixpipe(holders[0].address, '127.0.0.1:9', '--metrics', holders[1].address)
        self.assertEqual((done.returncode, done.stdout), (1, ''), done)
        self.assertEqual([line.partition(': Address already in use; ')[0] for line in done.stderr.splitlines()],
                         [f'sixpipe: cannot listen on {holder.address}' for holder in holders])

    def test_address_that_is_not_of_this_host(self):
        done = self.run_sixpipe('[2001:db8::dead]:2000', '127.0.0.1:9')
        self.assert_refused(done, ('[2001:db8::dead]:2000',), code=1)


class Output(Case):
    """If stdout cannot be written, the command says so and fails."""

    per_engine = False

    def assert_not_written(self, *arguments):
        with self.subTest(arguments=arguments), open('/dev/full', 'w', encoding='utf-8') as full:
            done = subprocess.run([SIXPIPE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                  env=environment(), timeout=60)
            self.assertEqual((done.returncode, done.stderr),
                             (1, 'sixpipe: stdout cannot be written to: No space left on device; give it a file with room, or a pipe\n'))

    def test_stdout_is_full(self):
        commands = re.findall(r'^COMMAND\(([\w-]+)', (ROOT / 'src' / 'config' / 'commands.def').read_text(), re.MULTILINE)
        self.assertIn('healthcheck', commands)
        for arguments in (('--version',), ('--help',), ('--help', 'all'), ('--check', *GOOD), ('--dump-config', *GOOD), ('doctor',),
                          ('doctor', '--json'), *((command, '--help') for command in commands)):
            self.assert_not_written(*arguments)

    def test_stdout_is_full_for_an_answer(self):
        with tempfile.TemporaryDirectory() as directory, \
                self.sixpipe(*GOOD, '--metrics', '[::1]:0', '--admin', f'{directory}/admin', engine='auto') as proxy:
            self.assert_not_written('healthcheck', '--metrics', proxy.ready['metrics'])
            self.assert_not_written('bans', '--json', '--admin', f'{directory}/admin')
            self.assert_not_written('ban', '2001:db8::1', '--json', '--admin', f'{directory}/admin')


class Check(Case):
    per_engine = False

    def test_good(self):
        for arguments in (GOOD, (*GOOD, '127.0.0.1:10'), ('--listen', '[::1]:0', '--backend', '127.0.0.1:9'),
                          ('--maxconn', '10', '--timeout-idle', '0', '--pipe-size=65536', *GOOD),
                          ('--timeout-connect', '500ms', '--timeout-idle', '1m', '--drain-timeout', '1h', *GOOD),
                          ('--pipe-size', '64KiB', '--keepalive', '0', '--user-timeout', '0', *GOOD)):
            with self.subTest(arguments=arguments):
                done = self.run_sixpipe('--check', *arguments)
                self.assertEqual(done.returncode, 0, done)

    def test_does_not_bind(self):
        with socket.create_server(('::1', 0), family=socket.AF_INET6) as holder:
            done = self.run_sixpipe('--check', f'[::1]:{holder.getsockname()[1]}', '127.0.0.1:9')
            self.assertEqual(done.returncode, 0, done)

    def test_unknown_user(self):
        done = self.run_sixpipe('--check', '--user', 'no-such-user-here', *GOOD)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn('no-such-user-here', done.stderr)


class Help(Case):
    per_engine = False

    def assert_screen(self, text):
        lines = text.splitlines()
        self.assertLessEqual(len(lines), 24, 'lines of a screen')
        self.assertLessEqual(max(map(len, lines)), 80, 'columns of a screen')

    def test_help(self):
        done = self.run_sixpipe('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for word in ('LISTEN', 'BACKEND', '--help'):
            self.assertIn(word, done.stdout)
        self.assert_screen(done.stdout)

    def test_version(self):
        done = self.run_sixpipe('--version')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(done.stdout, r'^sixpipe \d+\.\d+')


if __name__ == '__main__':
    unittest.main()
