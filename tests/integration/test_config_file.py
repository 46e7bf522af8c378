# SPDX-License-Identifier: MIT
"""The configuration file: the real program with --config and --dump-config."""

import os
import re
import tempfile
import unittest

from harness import Case, environment
from peers import endpoint_name

FORWARD = '[forward web]\nlisten = [::1]:0\nbackend = 127.0.0.1:9\n'


class FileCase(Case):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def write(self, text, name='sixpipe.conf'):
        path = os.path.join(self.directory, name)
        with open(path, 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path


class Serving(FileCase):
    def test_serves_from_a_file(self):
        servers = [self.echo_server(greeting=b'%04d' % number) for number in range(3)]
        path = self.write('workers = 2\ntimeout-idle = 1m\n'
                          f'[forward first]\nlisten = [::1]:0\nbackend = {servers[0].address}\n'
                          f'[forward second]\nbackend = {servers[1].address}\nbackend = {servers[2].address}\n'
                          'listen = 127.0.0.1:0\n')
        with self.sixpipe('--config', path) as proxy:
            self.assertEqual(len(proxy.endpoints), 2)
            seen = [set(), set()]
            for _ in range(8):
                for number, endpoint in enumerate(proxy.endpoints):
                    client = self.connect(endpoint)
                    seen[number].add(client.recv_exact(4))
                    client.close()
                    proxy.close_of(client)
            self.assertEqual(seen, [{b'0000'}, {b'0001', b'0002'}])

    def test_metrics_have_the_names_of_forwards(self):
        path = self.write('metrics = [::1]:0\n[forward web.a]\nlisten = [::1]:0\nbackend = 127.0.0.1:9\n')
        with self.sixpipe('--config', path, '[::1]:0', '127.0.0.1:9') as proxy:
            for forward, endpoint in zip(('web.a', '1'), proxy.endpoints):
                labels = f'{{forward="{forward}",listen="{endpoint_name(endpoint)}",backend="127.0.0.1:9",name=""}}'
                self.assertEqual(self.backend_samples(proxy, labels)['up'], 1)

    def test_the_forwards_of_file_and_command_line(self):
        servers = [self.echo_server(greeting=b'%04d' % number) for number in range(2)]
        path = self.write(f'[forward a]\nlisten = [::1]:0\nbackend = {servers[0].address}\n')
        with self.sixpipe('--config', path, '[::1]:0', servers[1].address) as proxy:
            for number, endpoint in enumerate(proxy.endpoints):
                client = self.connect(endpoint)
                self.assertEqual(client.recv_exact(4), b'%04d' % number)
                client.close()
                proxy.close_of(client)


class Usage(FileCase):
    per_engine = False

    def check(self, text, *args, **variables):
        path = self.write(text)
        return path, self.run_sixpipe('--check', '--config', path, *args, env=environment(**variables))

    def dump(self, *args, **variables):
        done = self.run_sixpipe('--dump-config', *args, env=environment(**variables))
        self.assertEqual((done.returncode, done.stderr), (0, ''), done)
        return done.stdout

    def test_accepted(self):
        self.assertEqual(self.check(FORWARD)[1].stdout, 'configuration OK\n')

    def test_every_error_is_printed_once(self):
        path, done = self.check(
            'maxcon = 5\nworkers = 0\nbacklog\n[forward web]\nlisten = [::1]:7\nmaxpipes = 5\n'
            '[forward web]\n[forward mail]\nbackend = 127.0.0.1:9\nlisten = [::1]:7\n')
        self.assertEqual((done.returncode, done.stdout), (2, ''), done)
        self.assertEqual([line.removeprefix('sixpipe: ') for line in done.stderr.splitlines()], [
            f'{path}:1: maxcon: no such option; did you mean maxconn?',
            f"{path}:2: workers '0': out of range; give 1 to 256",
            f"{path}:3: backlog: no '=' behind an option's name; write NAME = VALUE",
            f'{path}:6: maxpipes: is of the whole process; put it before the first section',
            f'{path}:4: [forward web]: has no backend; add backend = ADDRESS',
            f'{path}:7: [forward web]: is at line 4 already; give this one another name',
            f"{path}:10: listen '[::1]:7': is given at {path}:5 too; put all its backends behind one"])

    def test_many_errors(self):
        path, done = self.check('x = 1\n' * 1000 + FORWARD)
        lines = done.stderr.splitlines()
        self.assertEqual((done.returncode, len(lines)), (2, 101), lines[-2:])
        self.assertEqual(lines[-1], 'sixpipe: 900 more like these')

    def test_a_conflict_is_printed_beside_an_unknown_option(self):
        path, done = self.check('maxcon = 4\nmax-fails = 1\nfail-timeout = 0\n'
                                '[forward a]\nlisten = [::1]:1-5\nbackend = 1.1.1.1:1-2\naccept-proxy = yes\n')
        self.assertEqual(done.returncode, 2, done)
        self.assertEqual([line.split(';')[0] for line in done.stderr.splitlines()], [
            f'sixpipe: {path}:1: maxcon: no such option',
            f"sixpipe: {path}:5: listen '[::1]:1-5': backend 1.1.1.1:1 has 2 ports for the listener's 5",
            f"sixpipe: {path}:5: listen '[::1]:1-5': with --fail-timeout 0 a backend that failed once would never be "
            'tried again'])

    def test_bytes_that_are_not_text(self):
        for text, what in ((b'user = a\0b\n', 'byte 9 is 0x00'), (b'user = \x1b[31m\n', 'byte 8 is 0x1b'),
                           (b'user = \xff\n', 'byte 8 is 0xff'),
                           (b'user = ' + b'a' * (1 << 20) + b'\n', 'has 1048583 bytes')):
            path, done = self.check(text + FORWARD.encode())
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr[:500])
            self.assertTrue(done.stderr.startswith(f'sixpipe: {path}:1: {what}'), done.stderr[:500])
            self.assertTrue(done.stderr.isascii())

    def test_paths_that_are_not_files(self):
        for path, reason in ((self.directory, 'Is a directory'), ('/nonexistent/x', 'No such file or directory'),
                             ('/dev/zero', '16 MiB'), ('/dev/null', 'holds no option'), ('', "''")):
            done = self.run_sixpipe('--check', '--config', path)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, '', 1), done)
            self.assertIn(reason, done.stderr)
            self.assertIn('; ', done.stderr)
        path = self.write(FORWARD, 'a\nb\xff')
        done = self.run_sixpipe('--check', '--config', path, '--maxconn', '5')
        self.assertEqual(done.returncode, 0, done)

    def test_a_file_name_with_control_characters_is_shown_on_one_line(self):
        done = self.run_sixpipe('--config', self.write('x', 'a\nb'))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn('a\\x0ab:1: ', done.stderr)

    def test_precedence(self):
        path = self.write('maxconn = 5\nbacklog = 5\nmaxpipes = 5\ntimeout-idle = 5s\n' + FORWARD + 'keepalive = 5s\n')
        text = self.dump('--config', path, '--maxconn', '7', '--keepalive=7s', SIXPIPE_MAXCONN='6', SIXPIPE_BACKLOG='6')
        for option, value, origin in (('maxconn', '7', 'command line'), ('backlog', '6', 'SIXPIPE_BACKLOG'),
                                      ('maxpipes', '5', f'{path}:3'), ('pipe-size', '1MiB', 'default'),
                                      ('timeout-idle', '5s', f'{path}:4'), ('keepalive', '7s', 'command line')):
            self.assertEqual(re.findall(f'^{option} = (.*?) +# (.*)$', text, re.M), [(value, origin)])

    def test_a_flag_of_the_file_is_turned_off(self):
        path = self.write('access-log = yes\n' + FORWARD + 'check-backends = yes\n')
        text = self.dump('--config', path, '--access-log=no', '--check-backends=off')
        self.assertEqual(dict(re.findall('^(access-log|check-backends) = (.*?) +# command line$', text, re.M)),
                         {'access-log': 'no', 'check-backends': 'off'})

    def test_dump_is_read_again(self):
        path = self.write('trust = 10.0.0.0/8\n' + FORWARD + 'accept-proxy = yes\ntrust = 192.0.2.0/24\n'
                          'backend = 127.0.0.1:10 send-proxy=v2\nproxy-tlv = 0xE0=a;b# c\n')
        first = self.dump('--config', path, '--trust', '::/0', '--listen', '[::1]:0', '--backend', '127.0.0.1:1',
                          SIXPIPE_ACCESS_LOG='1')
        again = self.dump('--config', self.write(first, 'again'))
        plain = [re.sub('  +# .*', '', text) for text in (first, again)]
        self.assertEqual(*plain)
        self.assertEqual(re.findall('^trust = (.*)$', plain[0], re.M),
                         ['10.0.0.0/8', '192.0.2.0/24', '::/0', '10.0.0.0/8', '::/0'])
        self.assertEqual(re.findall(r'^\[.*\]$', plain[0], re.M), ['[forward web]', '[forward 1]'])

    def test_dump_of_a_command_line(self):
        text = self.dump('[::1]:0', '127.0.0.1:9')
        self.assertIn('\n[forward 1]\n', text)
        self.assertEqual(self.run_sixpipe('--check', '--config', self.write(text)).returncode, 0)

    def test_dump_of_a_value_that_no_file_can_hold(self):
        done = self.run_sixpipe('--dump-config', '--user', 'a #b', '[::1]:0', '127.0.0.1:9')
        self.assertEqual((done.returncode, done.stdout), (1, ''), done)
        self.assertIn("--user 'a #b': cannot be written to a file", done.stderr)

    def test_by_environment(self):
        done = self.run_sixpipe('--check', env=environment(SIXPIPE_CONFIG=self.write(FORWARD)))
        self.assertEqual((done.returncode, done.stdout), (0, 'configuration OK\n'), done)

    def test_help_works_whatever_the_file_is(self):
        done = self.run_sixpipe('--config', '/nonexistent', '--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))


class Host(FileCase):
    """What the host lacks: exit code 1, with file and line of each option, and one error for all forwards that share
    a mistake."""
    per_engine = False

    def told(self, text, *args):
        path = self.write(text)
        done = self.run_sixpipe('--config', path, *args)
        self.assertEqual((done.returncode, done.stdout), (1, ''), done)
        lines = [line.removeprefix('sixpipe: ') for line in done.stderr.splitlines() if line.startswith('sixpipe: ')]
        return path, lines

    def test_every_lack_is_printed(self):
        rules = self.write('::1/129\n::1\n\nfoo\n10.1.2.3/8\n', 'rules')
        text = ('user = no-such-user-here\ncongestion = no-such\nbind-device = no-such-if\nallow-file = /nonexist\n'
                f'deny-file = /nonexist2\nadmin = /nonexist/admin\nallow-file = {rules}\n' + FORWARD
                + 'source = 192.0.2.9\n[forward mail]\nlisten = [::1]:0\nbackend = 127.0.0.1:9\n')
        of_check = ('1: user ', '2: congestion ', '3: bind-device ', '4: allow-file ', '5: deny-file ')
        for args, places in ((('--check',), of_check), ((), (*of_check, '6: admin ', '11: source '))):
            path, lines = self.told(text, *args)
            for place in places:
                self.assertEqual(len([line for line in lines if line.startswith(f'{path}:{place}')]), 1, (place, lines))
            of_rules = [line for line in lines if line.endswith(f' (given by {path}:7: allow-file)')]
            self.assertEqual([line.split(' ')[0] for line in of_rules], [f'{rules}:{n}:' for n in (1, 4, 5)])
            self.assertEqual(len(lines), len(places) + 3, lines)

    def test_a_rule_file_that_is_not_a_list(self):
        rules = self.write('no list\n' * 1000, 'rules')
        lines = self.told(f'congestion = no-such\nallow-file = {rules}\n' + FORWARD)[1]
        self.assertEqual((len(lines), lines[-1]), (101, '901 more like these'))
        self.assertTrue(lines[99].startswith(f'{rules}:99: '), lines[99])

    def test_addresses_that_cannot_be_bound(self):
        text = ''.join(f'[forward {number}]\nlisten = 192.0.2.9:{number}\nbackend = 127.0.0.1:9\n'
                       for number in (2001, 2002))
        path, lines = self.told(text)
        for line, (number, at) in zip(lines, ((2001, 2), (2002, 5)), strict=True):
            self.assertTrue(line.startswith(f'cannot listen on 192.0.2.9:{number}: '), line)
            self.assertTrue(line.endswith(f' (given by {path}:{at}: listen)'), line)
        path, lines = self.told('metrics = 192.0.2.9:2003\n' + FORWARD)
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].endswith(f' (given by {path}:1: metrics)'), lines)

    def test_names_without_an_address(self):
        path, lines = self.told('resolve-at-start = require\nresolve-timeout = 50ms\ndns-server = 127.0.0.1:1\n'
                                + FORWARD + 'backend = a.example:1\nbackend = b.example:1\n')
        self.assertEqual([line.split(',')[0].split(': the name')[0] for line in lines],
                         [f"{path}:{n}: backend '{name}.example:1'" for n, name in ((7, 'a'), (8, 'b'))])


if __name__ == '__main__':
    unittest.main()
