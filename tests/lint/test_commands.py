# SPDX-License-Identifier: MIT
"""sixpipe accepts each command line and each configuration file that the documents show. SIXPIPE names the binary.

A command line stands in an indented block or between backquotes. It is parsed with --dump-config, which binds nothing
and asks nothing of this host. A file that --config names is replaced by a small one."""

import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [page for pattern in ('*.md', 'docs/*.md', 'examples/*.md', 'deploy/*/*.md') for page in ROOT.glob(pattern)]
SIXPIPE = os.environ.get('SIXPIPE', '')
OPERATORS = set('();<>|&')
# these ask a running process
COMMANDS = {'healthcheck', 'who', 'ban', 'unban', 'bans', 'stats', 'sessions', 'backends', 'backend', 'kill', 'drain',
            'log-level', 'reload', 'upgrade'}
# stands for a file that a command names: a forward that no command has
FILE = '[forward shown]\nlisten = [::1]:65535\nbackend = 127.0.0.1:65535\n'
# lines of a configuration file, one after the other
FILE_LINES = r'(?:^(?:\[[^]]+\]|[a-z][a-z0-9-]* = .*|[#;].*|)\n)+'


def blocks_of(text):
    """The indented blocks of a page, without their indentation."""
    for block in re.findall(r'(?:^ {4}.*\n|^\n(?= {4}))+', text, re.MULTILINE):
        yield re.sub(r'^ {4}', '', block, flags=re.MULTILINE).strip('\n') + '\n'


def commands_in(text):
    """Pairs (environment, arguments) of each sixpipe command that can be pasted: no placeholders, no synopsis."""
    for line in text.replace('\\\n', ' ').splitlines():
        line = re.sub(r'^[$#] ', '', line)
        if 'sixpipe' not in line or re.search(r'\.\.\.|\[-|\[OPT|\b(LISTEN|WHO|FILE|ADDR|ADDRESS|TIME|NAME)\b|<\(', line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a log line, or a sentence with one quote
            continue
        yield from commands_among(words)


def commands_among(words):
    command = []
    for word in [*words, ';']:
        if set(word) - OPERATORS:
            command.append(word)
            continue
        environment = {}
        while command and (command[0] == 'sudo' or re.match(r'\w+=', command[0])):
            name, found, value = command.pop(0).partition('=')
            if found:
                environment[name] = value
        if command and re.fullmatch(r'(\S*/)?sixpipe|scripts/run', command[0]):
            yield environment, command[1:]
        command = []


def run(arguments, environment=None):
    return subprocess.run([SIXPIPE, *arguments], env=environment or {}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=10, check=False)


class Commands(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file = pathlib.Path(directory.name) / 'shown.conf'

    def accepted(self, environment, arguments, text=FILE):
        self.file.write_text(text)
        arguments = [str(self.file) if before == '--config' else word
                     for before, word in zip(['', *arguments], arguments)]
        if arguments and arguments[0] in COMMANDS:
            admin = ['--admin', str(self.file)] if arguments[0] != 'healthcheck' and '--admin' not in arguments else []
            done = run([*arguments, *admin], environment)
            self.assertIn(done.returncode, (0, 1), done.stderr)  # 1: no process answers; 2: bad usage
            return
        if arguments and arguments[0] == 'doctor':
            arguments = [word for word in arguments[1:] if word != '--json']
            if not arguments:
                return
        done = run([*arguments, '--dump-config'], environment)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_command_lines(self):
        count = 0
        for page in PAGES:
            text = page.read_text()
            spans = re.findall(r'`(sixpipe [^`]*)`', text)
            for environment, arguments in commands_in('\n'.join([*blocks_of(text), *spans])):
                if len(arguments) > 1 or environment:  # a word alone is a name, not a command to paste
                    count += 1
                    with self.subTest(page=page.name, command=' '.join(arguments)):
                        self.accepted(environment, arguments)
        self.assertGreater(count, 50)

    def test_files(self):
        count = 0
        for page in PAGES:
            for block in blocks_of(page.read_text()):
                for text in re.findall(FILE_LINES, block, re.MULTILINE):
                    if re.search(r'^\[forward [\w.-]+\]$', text, re.MULTILINE) and '...' not in block:
                        count += 1
                        with self.subTest(page=page.name, file=text):
                            self.accepted({}, ['--config', 'shown'], text)
        self.assertGreater(count, 2)

    def test_rows_of_moving(self):
        """Each row of docs/moving.md: sixpipe takes what stands in the column sixpipe."""
        count = 0
        text = (ROOT / 'docs' / 'moving.md').read_text()
        for table in re.findall(r'(?m)^\| \w[\w-]* \| sixpipe \| note \|\n\|.*\n((?:\|.*\n)+)', text):
            for row in table.splitlines():
                spans = re.findall(r'`([^`]+)`', row.split(' | ')[1])
                spans = [span for span in spans if not span.startswith(('sixpipe ', 'systemctl '))]
                for text in files_of(spans):
                    count += 1
                    with self.subTest(row=row):
                        self.accepted({}, ['--config', 'row'], text)
                words = [word for span in spans if not is_for_file(span) for word in shlex.split(span)]
                if words:
                    count += 1
                    with self.subTest(row=row):
                        # the row says where to listen, or where to forward to, or neither
                        for before, after in ROLES:
                            done = run([*before, *words, *after, '--dump-config'])
                            if done.returncode == 0:
                                break
                        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(count, 80)


# what stands before and after the words of a row
ROLES = (([], ['[::]:2001', '198.51.100.1:80']), ([], ['198.51.100.1:80']), ([], []), (['[::]:2001'], []))

PARAMETER = r'(weight|maxconn)=\d+|backup|down'


def is_for_file(span):
    return re.match(r'[a-z-]+ = ', span) or re.fullmatch(PARAMETER, span)


def files_of(spans):
    """The file that has the spans of a row: options, addresses, words behind a backend's address."""
    lines = [span for span in spans if re.match(r'[a-z-]+ = ', span)]
    words = [span for span in spans if re.fullmatch(PARAMETER, span)]
    if not lines and not words:
        return
    options = [line for line in lines if not re.match('(listen|backend) = ', line)]
    listens = [line for line in lines if line.startswith('listen')] or ['listen = [::]:2001']
    backends = [line for line in lines if line.startswith('backend')] or ['backend = 198.51.100.1:80']
    backends += [f'backend = 198.51.100.2:80 {word}' for word in words]
    for listen in listens:
        yield '\n'.join([*options, '[forward row]', listen, *backends, ''])


if __name__ == '__main__':
    unittest.main()
