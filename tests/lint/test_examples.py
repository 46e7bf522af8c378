# SPDX-License-Identifier: MIT
"""examples/*.conf: sixpipe accepts each file, and the file that --dump-config prints. SIXPIPE names the binary."""

import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / 'examples'
SIXPIPE = os.environ.get('SIXPIPE', '')
NAMES = ('edge.conf', 'sidecar.conf', 'simple.conf')


def run(*arguments, text=None):
    return subprocess.run([SIXPIPE, *arguments], input=text, env={}, capture_output=True, text=True, check=False)


class Examples(unittest.TestCase):
    def test_the_list_of_examples_is_complete(self):
        self.assertEqual(tuple(sorted(path.name for path in DIRECTORY.glob('*.conf'))), NAMES)

    def test_accepted(self):
        for name in NAMES:
            with self.subTest(name=name):
                # the user that the file names comes with the package
                done = run('--check', '--user', str(os.geteuid()), '--config', DIRECTORY / name)
                self.assertEqual((done.returncode, done.stdout), (0, 'configuration OK\n'), done.stderr)

    def test_dumped(self):
        for name in NAMES:
            with self.subTest(name=name):
                first = run('--dump-config', '--config', DIRECTORY / name)
                self.assertEqual(first.returncode, 0, first.stderr)
                again = run('--dump-config', '--config', '/dev/stdin', text=first.stdout)
                self.assertEqual(again.returncode, 0, again.stderr)
                plain = [re.sub('  +# .*', '', done.stdout) for done in (first, again)]
                self.assertEqual(*plain)


    def test_the_sidecar_equals_the_kubernetes_sidecar(self):
        """File and arguments of the pod give the same options, except for names of forwards and comments."""
        arguments = re.findall(r'^ +- (--\S+)$', (ROOT / 'deploy' / 'kubernetes' / 'sidecar' / 'deployment.yaml').read_text(), re.MULTILINE)
        self.assertGreater(len(arguments), 5)
        dumps = [run('--dump-config', *given) for given in (arguments, ('--config', DIRECTORY / 'sidecar.conf'))]
        self.assertEqual([done.returncode for done in dumps], [0, 0], [done.stderr for done in dumps])
        self.assertEqual(*[re.sub('  +# .*', '', re.sub(r'\[forward .*\]', '[forward]', done.stdout)) for done in dumps])


    def test_no_example_uses_node_exporters_port(self):
        paths = [ROOT / 'README.md', *DIRECTORY.glob('*'), *(ROOT / 'deploy').glob('**/*'), *(ROOT / 'docs').glob('*.md')]
        self.assertEqual([str(path) for path in paths if path.is_file() and ':9100' in path.read_text()], [])


if __name__ == '__main__':
    unittest.main()
