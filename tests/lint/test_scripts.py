# SPDX-License-Identifier: MIT
"""What scripts/ and the test runner print: little after success, the whole reason after a failure."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUCH = ''.join(f'Unpacking package-{number} ...\n' for number in range(400))
FAILING_TEST = '''
import unittest
class Fails(unittest.TestCase):
    def test_it(self):
        self.assertEqual('six', 'seven\\x1b')
    def test_another(self):
        pass
'''


class ScriptsCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_it(self, *command, **variables):
        return subprocess.run([str(word) for word in command], env={**os.environ, **variables}, capture_output=True,
                              text=True, check=False, cwd=self.folder)


class Install(ScriptsCase):
    """scripts/install, with scripts instead of apt-get and the programs that it needs."""

    def install(self, apt_code):
        programs = {'dpkg-query': 'exit 1', 'sudo': 'exec "$@"',
                    'apt-get': f'case $1 in install) printf "%s" "$MUCH"; exit {apt_code} ;; esac'}
        for name, text in programs.items():
            program = self.folder / name
            program.write_text(f'#!/bin/sh\n{text}\n')
            program.chmod(0o755)
        return self.run_it(ROOT / 'scripts/install', 'some', 'more', PATH=f'{self.folder}:{os.environ["PATH"]}',
                           MUCH=MUCH)

    def test_success_is_one_line(self):
        done = self.install(0)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', 'installing: some more\n'))

    def test_failure_shows_everything(self):
        done = self.install(100)
        self.assertEqual(done.returncode, 1)
        self.assertIn(MUCH, done.stderr)
        self.assertTrue(done.stderr.endswith('could not install: some more; its reason is above\n'), done.stderr[-200:])


class Runner(ScriptsCase):
    """tests/integration/run.py: meson shows its stderr, and only if a test failed."""

    def test_a_failure_has_name_and_reason(self):
        (self.folder / 'failing.py').write_text(FAILING_TEST)
        done = self.run_it(sys.executable, ROOT / 'tests/integration/run.py', 'failing', PYTHONPATH=str(self.folder))
        self.assertEqual(done.returncode, 1)
        self.assertIn('not ok 2 - failing.Fails.test_it\n', done.stdout)
        self.assertTrue(done.stderr.startswith('failing.Fails.test_it failed:\n'), done.stderr)
        self.assertIn("AssertionError: 'six' != 'seven\\x1b'", done.stderr)
        self.assertNotIn('\x1b', done.stderr)
        self.assertNotIn('test_another', done.stderr)


class Summary(ScriptsCase):
    """tests/summarise.py, with the files that meson 1.0 wrote for four programs: two report their tests, two only exit."""

    REPORT = '''<testsuites><testsuite name="sixpipe.sixpipe:unit / late"><testcase name="1 a"/></testsuite>
        <testsuite name="sixpipe.sixpipe:unit / mixed"><testcase name="1 good"/><testcase name="2 bad"><failure/></testcase>
        <testcase name="3 not here"><skipped/></testcase><system-out/></testsuite>
        <testsuite name="sixpipe"><testcase name="x"/><testcase name="y"/></testsuite></testsuites>'''
    RESULTS = {'unit / late': 'TIMEOUT', 'unit / mixed': 'ERROR', 'lint / slow': 'TIMEOUT', 'lint / fine': 'OK'}

    def test_a_program_out_of_time_is_a_failure(self):
        logs = self.folder / 'meson-logs'
        logs.mkdir()
        (logs / 'testlog.junit.xml').write_text(self.REPORT)
        (logs / 'testlog.json').write_text(''.join(
            json.dumps({'name': f'sixpipe:{name}', 'result': result}) + '\n' for name, result in self.RESULTS.items()))
        done = self.run_it(sys.executable, ROOT / 'tests/summarise.py', 1, self.folder)
        self.assertEqual((done.returncode, done.stderr), (1, ''))
        self.assertEqual(done.stdout.replace(f' ({self.folder})', '').splitlines(), [
            'failed: sixpipe:unit / late TIMEOUT', 'failed: sixpipe:unit / mixed 2 bad',
            'skipped: sixpipe:unit / mixed 3 not here', 'failed: sixpipe:lint / slow TIMEOUT',
            '3 passed, 3 failed, 1 skipped'])


class Layers(ScriptsCase):
    """scripts/check-layers, in a copy of src/ into which each row plants one violation."""

    ROWS = (  # the file, the line that is added to it, and the complaint
        ('base/addr.c', '#include "command/doctor.h"', 'base/addr.c (layer 0) includes command/doctor'),
        ('main.c', '#include "config/config_field.h"', 'main.c includes config/config_field.h, which is internal to config/'),
        ('main.c', '#include "config/config_new.h"', 'main.c includes config/config_new.h, which is internal to config/'),
        ('main.c', '#include <cap-ng.h>', "main.c has '<cap-ng.h>'; only control/privs.c may have it"),
        ('main.c', '#include <ares.h>', "main.c has '<ares.h>'; only control/lookup.c may have it"),
        ('main.c', '#include <microhttpd.h>', "main.c has '<microhttpd.h>'; only control/http.c may have it"),
        ('main.c', '#include <ini.h>', "main.c has '<ini.h>'; only config/config_file.c may have it"),
        ('main.c', '#include <liburing.h>', "main.c has '<liburing.h>'; only os/engine_uring.c may have it"),
        ('main.c', '#include <sys/epoll.h>', "main.c has '<sys/epoll.h>'; only os/engine_epoll.c may have it"),
        ('relay/pump.c', '\tclose(fd);', 'relay/pump.c closes a descriptor; only session_close.c may'),
        ('new/new.c', '', 'new/new is in no layer'),
        ('base/long.c', '\n' * 500, 'src/base/long.c has 501 lines; 500 is the limit'),
    )

    def test_each_violation_is_found(self):
        for folder in ('scripts', 'tests', 'bench'):
            (self.folder / folder).mkdir()
        script = shutil.copy(ROOT / 'scripts/check-layers', self.folder / 'scripts')
        shutil.copytree(ROOT / 'src', self.folder / 'src')
        done = self.run_it(script)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for name, line, complaint in self.ROWS:
            with self.subTest(name=name, line=line):
                path = self.folder / 'src' / name
                before = path.read_text() if path.exists() else None
                path.parent.mkdir(exist_ok=True)
                path.write_text(f'{before or ""}{line}\n')
                done = self.run_it(script)
                path.unlink()
                if before is not None:
                    path.write_text(before)
                self.assertEqual((done.returncode, done.stderr), (1, f'check-layers: {complaint}\n'))


class Fuzz(ScriptsCase):

    def test_wrong_words(self):
        for words, says in ((('0',), "'0' is no number of seconds"), (('5s',), "'5s' is no number of seconds"),
                            (('5', 'no-such'), "'no-such' is no harness; give one of: addr ")):
            with self.subTest(words=words):
                done = self.run_it(ROOT / 'scripts/fuzz', *words)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                self.assertIn(says, done.stderr)


if __name__ == '__main__':
    unittest.main()
