# SPDX-License-Identifier: MIT
"""The completions of bash, zsh and fish, in the real shells. COMPLETIONS is the folder with the three files that the build
makes, SIXPIPE the program."""

import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
import unittest

COMPLETIONS = pathlib.Path(os.environ['COMPLETIONS'])
LIMIT_S = 60
ENVIRONMENT = {'PATH': os.environ['PATH'], 'TERM': 'dumb', 'HOME': '/nonexistent', 'LC_ALL': 'C.UTF-8', 'COLUMNS': '200',
               'LINES': '200'}

# what stands before the cursor; words that the shell offers; words that it must not offer
ROWS = [
    ('sixpipe --eng', ['--engine'], []),
    ('sixpipe --engine ', ['auto', 'io_uring', 'epoll'], ['--engine', 'doctor']),
    ('sixpipe --engine=i', ['io_uring'], ['epoll']),
    ('sixpipe --listen "[::]:80" --timeout-co', ['--timeout-connect'], []),
    ("sixpipe --backend '192.0.2.1:80 ", ['weight', 'maxconn', 'send-proxy', 'backup'], ['--engine']),
    ("sixpipe '[::]:80' '192.0.2.1:80 weight=3 send-proxy=", ['v1', 'v2'], ['backup']),
    ("sixpipe --check-send 'GET ", [], ['weight']),
    ('sixpipe --source ', ['none', 'pseudo', 'loopback', 'embedded'], []),
    ('sixpipe --config meson', ['meson.build'], []),
    ('sixpipe --bind-device l', ['lo'], []),
    ('sixpipe --user roo', ['root'], []),
    ('sixpipe --help time', ['timeouts'], []),
    ('sixpipe ', ['doctor', 'who', 'ban', 'unban', 'bans', 'healthcheck'], []),
    ('sixpipe ban --f', ['--for'], ['--freebind']),
    ('sixpipe ban --admin meson', ['meson.build'], []),
    ('sixpipe doctor --', ['--json', '--engine'], []),
    ('sixpipe healthcheck --', ['--live', '--metrics'], ['--engine', '--json']),
]


def options():
    """All options, as --help prints them."""
    text = subprocess.run([os.environ['SIXPIPE'], '--help', 'all'], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r'^  (--[a-z0-9-]+)', text, re.MULTILINE))


def find(shell):
    path = shutil.which(shell)
    if not path:
        raise unittest.SkipTest(f'{shell} is not installed')
    return path


class Terminal:
    """An interactive shell on a terminal."""

    def __init__(self, argv, setup):
        self.seen = b''
        self.count = 0
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(pathlib.Path(__file__).parent)
            os.execve(argv[0], argv, ENVIRONMENT)
        self.run(setup + """; sixpipe() { printf '%s\\n' "$@"; }""")

    def until(self, text):
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            ready = select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]
            if not ready:
                raise AssertionError(f'no {text!r} in {self.seen!r}')
            self.seen += os.read(self.fd, 4096)
        before, _, self.seen = self.seen.partition(text)
        return before.decode()

    def run(self, command):
        """Runs a line; the prompt's text never stands in what is typed."""
        self.count += 1
        os.write(self.fd, b'%s; echo EN""D%d\n' % (command.encode(), self.count))
        self.until(b'END%d' % self.count)

    def complete(self, line):
        """What the shell prints for TAB after the line: a list, or the whole of the only word that fits."""
        quote = "'" if line.count("'") % 2 else ''
        os.write(self.fd, line.encode() + b'\t' + quote.encode())
        # the line is run: sixpipe is a function that prints what a single candidate has made of the line
        self.count += 1
        os.write(self.fd, b'\necho EN""D%d\n' % self.count)
        return self.until(b'END%d' % self.count)

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


class OnTerminal:
    """The rows, for a shell whose completion can only be seen on its terminal."""

    @classmethod
    def setUpClass(cls):
        cls.shell = Terminal(*cls.start())
        cls.addClassCleanup(cls.shell.close)

    def offered(self, line):
        return set(re.findall(r'[-\w.]+', self.shell.complete(line)))

    def test_rows(self):
        for line, wanted, refused in ROWS:
            with self.subTest(line=line):
                offered = self.offered(line)
                self.assertLessEqual(set(wanted), offered)
                self.assertFalse({word for word in refused if word not in line} & offered, offered)

    def test_every_option(self):
        self.assertLessEqual(options(), self.offered('sixpipe --'))


class Bash(OnTerminal, unittest.TestCase):
    @staticmethod
    def start():
        # bash-completion reads the file in a function, too
        file = COMPLETIONS / 'sixpipe'
        return ([find('bash'), '--norc', '--noprofile', '-i'],
                "bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'; bind 'set page-completions off'; "
                f"bind 'set completion-query-items 0'; bind 'set bell-style none'; load() {{ source '{file}'; }}; load")


class Zsh(OnTerminal, unittest.TestCase):
    @staticmethod
    def start():
        # compinit reads every function of zsh, which takes seconds: -C -D reads none, and writes no dump
        return ([find('zsh'), '-f', '-i'],
                "unset zle_bracketed_paste; unsetopt prompt_sp prompt_cr beep list_beep; LISTMAX=0; "
                f"fpath=('{COMPLETIONS}' $fpath); autoload -Uz compinit $^fpath/_*(N:t); compinit -C -D; "
                "zle -C complete-word .complete-word _main_complete; bindkey '^I' complete-word; bindkey '^U' kill-whole-line; "
                "compdef _sixpipe sixpipe")


class Fish(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fish = find('fish')

    def offered(self, line):
        file = COMPLETIONS / 'sixpipe.fish'
        done = subprocess.run([self.fish, '--no-config', '-c', f"source '{file}'; complete -C {shlex.quote(line)}"],
                              cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=True, timeout=LIMIT_S)
        return {word for offer in done.stdout.splitlines() for word in re.findall(r'[-\w.]+', offer.split('\t')[0])}

    def test_rows(self):
        for line, wanted, refused in ROWS:
            with self.subTest(line=line):
                offered = self.offered(line)
                self.assertLessEqual(set(wanted), offered)
                self.assertFalse(set(refused) & offered, offered)

    def test_every_option(self):
        self.assertLessEqual(options(), self.offered('sixpipe --'))


if __name__ == '__main__':
    unittest.main()
