# SPDX-License-Identifier: MIT
"""deploy/: one version everywhere; compose files and the quadlet have known keys, few rights, and variables that
sixpipe takes.

SIXPIPE names the binary.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import unittest

try:
    import yaml
except ImportError:
    sys.exit(77)  # tells meson that the test is skipped

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'deploy' / 'container'
SIXPIPE = os.environ.get('SIXPIPE', '')
COMPOSE = shutil.which('docker-compose')
COMPOSE_FILES = ('compose.yaml', 'compose-edge.yaml')
SERVICE_KEYS = {'image', 'command', 'networks', 'network_mode', 'ports', 'depends_on', 'environment', 'read_only',
                'cap_drop', 'security_opt', 'restart', 'stop_grace_period', 'ulimits'}
# podman-systemd.unit(5) of Podman 4.4, the first with quadlets, as far as sixpipe.container could use them
QUADLET_KEYS = {'Image', 'ContainerName', 'Network', 'Environment', 'EnvironmentFile', 'DropCapability',
                'NoNewPrivileges', 'ReadOnly', 'SeccompProfile', 'PodmanArgs', 'Notify', 'Exec', 'Volume', 'User',
                'PublishPort'}
UNIT_KEYS = {'Unit': {'Description', 'Documentation', 'Wants', 'After', 'Requires'},
             'Service': {'Restart', 'RestartSec', 'TimeoutStopSec', 'TimeoutStartSec'}, 'Install': {'WantedBy'}}
DRAIN_TIMEOUT_S = 30  # the default


def check(variables):
    """`sixpipe --check` with these variables alone."""
    return subprocess.run([SIXPIPE, '--check'], env=variables, capture_output=True, text=True, check=False)


def quadlet():
    """[(section, key, value)]"""
    section, rows = None, []
    for line in (FOLDER / 'sixpipe.container').read_text(encoding='utf-8').splitlines():
        if line.startswith('['):
            section = line.strip('[]')
        elif line and not line.startswith('#'):
            key, _, value = line.partition('=')
            rows.append((section, key, value))
    return rows


def of_container(key):
    return [value for section, name, value in quadlet() if (section, name) == ('Container', key)]


class Versions(unittest.TestCase):

    def test_every_image_has_the_version(self):
        version = re.search(r"version: '([^']+)'", (ROOT / 'meson.build').read_text(encoding='utf-8'))[1]
        found = {}
        for path in (ROOT / 'deploy').glob('**/*'):
            if path.suffix in ('.yaml', '.container'):
                tags = re.findall(r'(?:sixpipe:|newTag: )(\d\S*)', path.read_text(encoding='utf-8'))
                found.update({f'{path.name} {number}': tag for number, tag in enumerate(tags)})
        self.assertGreater(len(found), 5)
        self.assertEqual({place: tag for place, tag in found.items() if tag != version}, {})


class Compose(unittest.TestCase):

    def services(self):
        for name in COMPOSE_FILES:
            yield name, yaml.safe_load((FOLDER / name).read_text(encoding='utf-8'))['services']

    def test_every_key_is_known(self):
        for name, services in self.services():
            for service in services.values():
                self.assertEqual(set(service) - SERVICE_KEYS, set(), name)

    def test_rights(self):
        for name, services in self.services():
            with self.subTest(name):
                sixpipe = services['sixpipe']
                self.assertEqual((sixpipe['read_only'], sixpipe['cap_drop'], sixpipe['security_opt']),
                                 (True, ['ALL'], ['no-new-privileges']))

    def test_the_drain_fits(self):
        for name, services in self.services():
            self.assertGreater(int(services['sixpipe']['stop_grace_period'].rstrip('s')), DRAIN_TIMEOUT_S, name)

    def test_the_healthcheck_has_an_address(self):
        for name, services in self.services():
            self.assertIn('SIXPIPE_METRICS', services['sixpipe']['environment'], name)

    def test_sidecar_shares_the_network_of_the_program(self):
        services = dict(self.services())['compose.yaml']
        self.assertEqual(services['sixpipe']['network_mode'], 'service:app')
        published = services['app']['ports'][0].rpartition(':')[2]
        self.assertEqual(services['sixpipe']['environment']['SIXPIPE_LISTEN'], f'[::]:{published}')
        self.assertIn(services['sixpipe']['environment']['SIXPIPE_BACKEND'], services['app']['command'])

    @unittest.skipUnless(SIXPIPE, 'SIXPIPE names no binary')
    def test_sixpipe_takes_the_environment(self):
        for name, services in self.services():
            done = check(services['sixpipe']['environment'])
            self.assertEqual(done.returncode, 0, f'{name}: {done.stderr}')

    @unittest.skipUnless(COMPOSE, 'docker-compose is not installed')
    def test_docker_compose_takes_the_file(self):
        for name in COMPOSE_FILES:
            done = subprocess.run([COMPOSE, '--file', FOLDER / name, 'config', '--quiet'], capture_output=True,
                                  text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ''), name)


class Quadlet(unittest.TestCase):

    def test_every_key_is_known(self):
        known = {'Container': QUADLET_KEYS, **UNIT_KEYS}
        self.assertEqual([row for row in quadlet() if row[1] not in known.get(row[0], ())], [])

    def test_rights(self):
        for key, value in (('DropCapability', 'all'), ('NoNewPrivileges', 'true'), ('ReadOnly', 'true')):
            self.assertEqual(of_container(key), [value])

    def test_the_drain_fits(self):
        stop_s = next(int(value) for _, key, value in quadlet() if key == 'TimeoutStopSec')
        self.assertGreater(stop_s, DRAIN_TIMEOUT_S)

    @unittest.skipUnless(SIXPIPE, 'SIXPIPE names no binary')
    def test_sixpipe_takes_the_environment(self):
        words = [word for value in of_container('Environment') for word in shlex.split(value)]
        done = check(dict(word.split('=', 1) for word in words))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('SIXPIPE_METRICS', ' '.join(words))


if __name__ == '__main__':
    unittest.main()
