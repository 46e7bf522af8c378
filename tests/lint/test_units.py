# SPDX-License-Identifier: MIT
"""deploy/systemd/: systemd accepts the units, and rates them as docs/security.md says. SIXPIPE names the binary."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / 'deploy' / 'systemd'
SIXPIPE = pathlib.Path(os.environ.get('SIXPIPE', '/usr/sbin/sixpipe'))
# what deploy/meson.build puts into the template of both
SERVICES = {'sixpipe.service': {'name': 'sixpipe', 'instance': ''}, 'sixpipe@.service': {'name': '%i', 'instance': ' (%i)'}}
WORST_RATING = 2.0


def fill(name):
    """The text of a unit with the paths of the build."""
    values = {'sbindir': str(SIXPIPE.parent), 'sysconfdir': '/etc', **SERVICES[name]}
    return re.sub('@([a-z]+)@', lambda match: values[match[1]], (DIRECTORY / 'sixpipe.service.in').read_text())


class Units(unittest.TestCase):

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in SERVICES:
            (self.folder / name).write_text(fill(name))
        shutil.copy(DIRECTORY / 'sixpipe.socket', self.folder)
        (self.folder / 'sixpipe@one.service').symlink_to('sixpipe@.service')

    def analyze(self, *args):
        if not shutil.which('systemd-analyze'):
            self.skipTest('systemd-analyze is not installed')
        return subprocess.run(['systemd-analyze', *args], capture_output=True, text=True, check=False, cwd=self.folder,
                              timeout=60)

    def test_the_services_differ_in_the_name_of_the_file_alone(self):
        one, many = (fill(name) for name in SERVICES)
        self.assertEqual(one.replace('sixpipe/sixpipe.conf', 'sixpipe/%i.conf').replace('services\n', 'services (%i)\n', 1), many)

    def test_systemd_accepts_them(self):
        for name in ('sixpipe.service', 'sixpipe@one.service', 'sixpipe.socket'):
            with self.subTest(name=name):
                done = self.analyze('verify', '--man=no', '--recursive-errors=no', f'./{name}')
                ours = [line for line in done.stderr.splitlines() if 'sixpipe' in line]
                self.assertEqual((done.returncode, ours), (0, []), done.stderr)

    def test_the_rating_that_the_documents_name(self):
        for name in ('sixpipe.service', 'sixpipe@one.service'):
            with self.subTest(name=name):
                done = self.analyze('security', '--offline=yes', '--no-pager', f'./{name}')
                rating = re.search(r'exposure level for \S+: ([0-9.]+) (\w+)', done.stdout)
                self.assertIsNotNone(rating, done.stdout + done.stderr)
                self.assertLess(float(rating[1]), WORST_RATING)
                version = subprocess.run(['systemd-analyze', '--version'], capture_output=True, text=True, check=True).stdout
                if version.startswith('systemd 252 '):  # other versions count other settings
                    documented = re.search(r'rates the unit ([0-9.]+) of 10, "(\w+)"', (ROOT / 'docs' / 'security.md').read_text())
                    self.assertEqual(documented.groups(), rating.groups())


if __name__ == '__main__':
    unittest.main()
