# SPDX-License-Identifier: MIT
"""`meson install` installs all files, and the paths in them are those of the prefix. BUILD is the build directory."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

FILES = [
    '{sbindir}/sixpipe',
    '{mandir}/man8/sixpipe.8',
    '{mandir}/man5/sixpipe.conf.5',
    '{datadir}/bash-completion/completions/sixpipe',
    '{datadir}/zsh/{zsh_completions}/_sixpipe',
    '{datadir}/fish/vendor_completions.d/sixpipe.fish',
    '{prefix}/lib/systemd/system/sixpipe.service',
    '{prefix}/lib/systemd/system/sixpipe.socket',
    '{prefix}/lib/systemd/system/sixpipe@.service',
    '{prefix}/lib/systemd/system-preset/80-sixpipe.preset',
    '{prefix}/lib/sysusers.d/sixpipe.conf',
    '{prefix}/lib/tmpfiles.d/sixpipe.conf',
    '{sysconfdir}/logrotate.d/sixpipe',
]


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.destination = pathlib.Path(temporary.name)
        subprocess.run(['meson', 'install', '-C', os.environ['BUILD'], '--no-rebuild', '--quiet', '--destdir', temporary.name],
                       check=True, capture_output=True)
        shown = subprocess.run(['meson', 'introspect', '--buildoptions', os.environ['BUILD']],
                               check=True, capture_output=True, text=True).stdout
        options = {option['name']: option['value'] for option in json.loads(shown)}
        prefix = pathlib.Path(options['prefix'])
        cls.paths = {name: str(prefix / options[name]) for name in ('sbindir', 'mandir', 'sysconfdir', 'datadir')}
        cls.paths['prefix'] = str(prefix)
        cls.paths['zsh_completions'] = options['zsh_completions']

    def installed(self):
        return {'/' + str(path.relative_to(self.destination)) for path in self.destination.rglob('*') if path.is_file()}

    def test_files(self):
        examples = self.paths['datadir'] + '/doc/sixpipe/examples/'
        expected = {name.format(**self.paths) for name in FILES}
        self.assertEqual({path for path in self.installed() if not path.startswith(examples)}, expected)
        self.assertIn(examples + 'simple.conf', self.installed())

    def test_directory_of_the_configuration(self):
        directory = self.destination / self.paths['sysconfdir'].lstrip('/') / 'sixpipe'
        self.assertEqual(list(directory.iterdir()), [], 'a configuration that is installed would be started')

    def test_paths_in_units(self):
        folder = self.destination / self.paths['prefix'].lstrip('/') / 'lib/systemd/system'
        for unit, configuration in (('sixpipe.service', 'sixpipe.conf'), ('sixpipe@.service', '%i.conf')):
            with self.subTest(unit=unit):
                text = (folder / unit).read_text()
                self.assertNotRegex(text, r'@\w+@')
                self.assertEqual(set(re.findall(r'^Exec(?:Start|StartPre)=(\S+)', text, re.MULTILINE)),
                                 {self.paths['sbindir'] + '/sixpipe'})
                self.assertEqual(set(re.findall(r'\S+\.conf$', text.split('[Service]')[1], re.MULTILINE)),
                                 {self.paths['sysconfdir'] + '/sixpipe/' + configuration})


if __name__ == '__main__':
    unittest.main()
