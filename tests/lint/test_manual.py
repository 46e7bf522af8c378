# SPDX-License-Identifier: MIT
"""The manual pages are well formed, have every option, and their files can be read. SIXPIPE is the program."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

MANUAL = pathlib.Path(__file__).resolve().parents[2] / 'man'
# these work on the command line only
NOT_IN_A_FILE = {'check', 'config', 'dump-config', 'help', 'version'}


def run(*arguments):
    return subprocess.run([os.environ['SIXPIPE'], *arguments], capture_output=True, text=True, check=False)


def unescape(text):
    return text.replace('\\-', '-').replace('\\e', '\\')


def examples(page):
    """The files that a page shows."""
    blocks = re.findall(r'^\.EX\n(.*?)^\.EE$', (MANUAL / page).read_text(), re.MULTILINE | re.DOTALL)
    return [unescape(block) for block in blocks if re.search(r'^[a-z-\\]+ = ', block, re.MULTILINE)]


class Manual(unittest.TestCase):
    def test_form(self):
        if not shutil.which('mandoc'):
            self.skipTest('mandoc is not installed')
        for page in sorted(MANUAL.glob('*.[1-8]')):
            with self.subTest(page=page.name):
                done = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', page], capture_output=True, text=True, check=False)
                self.assertEqual((done.stdout, done.returncode), ('', 0))

    def test_every_option(self):
        options = set(re.findall(r'^  --([a-z0-9-]+)', run('--help', 'all').stdout, re.MULTILINE))
        of_file = re.findall(r'^\.BI "(.*) = " ', unescape((MANUAL / 'sixpipe.conf.5').read_text()), re.MULTILINE)
        self.assertEqual(sorted(of_file), sorted(options - NOT_IN_A_FILE))

    def test_files(self):
        for page in ('sixpipe.8', 'sixpipe.conf.5'):
            self.assertTrue(examples(page))
            for example in examples(page):
                # the global part alone needs a forward; a part of a section needs the rest
                forward = [] if '[forward' in example else ['[::1]:2000', '127.0.0.1:80']
                if re.match('backend', example):
                    example = '[forward web]\nlisten = [::]:80\n' + example
                    forward = []
                with self.subTest(example=example), tempfile.NamedTemporaryFile('w') as file:
                    file.write(example)
                    file.flush()
                    done = run('--dump-config', '--config', file.name, *forward)
                    self.assertEqual((done.stderr, done.returncode), ('', 0))


if __name__ == '__main__':
    unittest.main()
