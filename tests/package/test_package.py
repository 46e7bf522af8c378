# SPDX-License-Identifier: MIT
"""The package on a running machine: an upgrade keeps the configuration and restarts what runs.

The package is installed a second time, which is an upgrade for dpkg and the package's scripts.
"""

import shutil
import unittest

import machine

PACKAGE = '/var/tmp/sixpipe.deb'


def configuration(port):
    return f'[forward web]\nlisten = [::1]:{port}\nbackend = 127.0.0.1:8080\n'


class Upgrade(machine.Case):

    def setUp(self):
        super().setUp()
        if self.machine.package.is_dir():
            self.skipTest('there is no package, but a folder')
        shutil.copy(self.machine.package, self.machine.path(PACKAGE))
        self.one, self.two = self.unit('sixpipe@one.service'), self.unit('sixpipe@two.service')
        for name, port in (('sixpipe', 80), ('one', 81), ('two', 82)):
            self.configure(configuration(port), name)

    def upgrade(self):
        self.machine('dpkg', '--install', PACKAGE)

    def test_what_runs_restarts(self):
        for unit in (self.service, self.one):
            unit.systemctl('start')
        before = [unit.show('InvocationID') for unit in (self.service, self.one)]
        self.upgrade()
        for unit, invocation in zip((self.service, self.one), before):
            with self.subTest(unit=unit.name):
                self.assertEqual(unit.show('ActiveState'), 'active')
                self.assertNotEqual(unit.show('InvocationID'), invocation)
        self.assertEqual(self.two.show('ActiveState'), 'inactive')
        self.assertEqual(self.machine.path('/etc/sixpipe/sixpipe.conf').read_text(), configuration(80))

    def test_nothing_starts_without_a_configuration(self):
        self.machine.path('/etc/sixpipe/sixpipe.conf').unlink()
        self.upgrade()
        self.assertEqual(self.service.show('ActiveState'), 'inactive')

    def test_the_socket_stays(self):
        socket = self.unit('sixpipe.socket')
        self.configure(configuration(80).replace('[::1]:80', 'systemd:web'))
        socket.systemctl('start')
        self.service.systemctl('start')
        before, process = socket.show('InvocationID'), self.service.pid()
        self.upgrade()
        self.assertNotEqual(self.service.pid(), process)
        self.assertEqual((socket.show('ActiveState'), socket.show('InvocationID')), ('active', before))
        backend = self.backend_inside()
        self.assert_passes(*self.pair(backend))


if __name__ == '__main__':
    unittest.main()
