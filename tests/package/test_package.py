# SPDX-License-Identifier: MIT
"""The package on a running machine: an upgrade keeps the configuration, and the connections of what runs.

The package of another version is the same package with another number.
"""

import os
import shutil
import unittest

import machine
from steady import Traffic

PACKAGE = '/var/tmp/sixpipe.deb'
REPACK = f"""set -e
rm -rf /var/tmp/sixpipe
dpkg-deb --raw-extract {PACKAGE} /var/tmp/sixpipe
sed -i "s/^Version: .*/Version: $0/" /var/tmp/sixpipe/DEBIAN/control
dpkg-deb -Znone --build /var/tmp/sixpipe "/var/tmp/sixpipe-$0.deb"
rm -rf /var/tmp/sixpipe
"""
BEFORE_TAKEOVERS, LATER = '0.2.0-1', '0.99.0-1'


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

    def install(self, version=None):
        """The package, or the same package with another version."""
        if version:
            self.machine('sh', '-c', REPACK, version)
        self.machine('dpkg', '--install', f'/var/tmp/sixpipe-{version}.deb' if version else PACKAGE)

    def test_what_runs_goes_on(self):
        """Under the same main process. Its child is the program that is now on disk."""
        self.addCleanup(self.install)
        running = [Traffic(self, self.service, 80), Traffic(self, self.one, 81)]
        before = [(unit.show('InvocationID'), unit.pid()) for unit in (self.service, self.one)]
        self.install(LATER)
        for traffic, invocation in zip(running, before):
            with self.subTest(unit=traffic.unit.name):
                traffic.unit.wait_messages('event=takeover_done kind=upgrade', 1)
                traffic.finish()
                self.assertEqual((traffic.unit.show('InvocationID'), traffic.unit.pid()), invocation)
                programs = [os.readlink(f'/proc/{pid}/exe').endswith(' (deleted)')
                            for pid in (traffic.unit.outside_pid(), traffic.unit.outside_child())]
                self.assertEqual(programs, [True, False])
        self.assertEqual(self.two.show('ActiveState'), 'inactive')
        self.assertEqual(self.machine.path('/etc/sixpipe/two.conf').read_text(), configuration(82))

    def test_what_runs_restarts_after_a_version_without_takeovers(self):
        self.install(BEFORE_TAKEOVERS)
        for unit in (self.service, self.one):
            unit.systemctl('start')
        before = [unit.show('InvocationID') for unit in (self.service, self.one)]
        self.install()
        for unit, invocation in zip((self.service, self.one), before):
            with self.subTest(unit=unit.name):
                self.assertEqual(unit.show('ActiveState'), 'active')
                self.assertNotEqual(unit.show('InvocationID'), invocation)
        self.assertEqual(self.two.show('ActiveState'), 'inactive')

    def test_nothing_starts_without_a_configuration(self):
        self.machine.path('/etc/sixpipe/sixpipe.conf').unlink()
        self.install()
        self.assertEqual(self.service.show('ActiveState'), 'inactive')

    def test_the_socket_stays(self):
        socket = self.unit('sixpipe.socket')
        self.configure(configuration(80).replace('[::1]:80', 'systemd:web'))
        socket.systemctl('start')
        self.service.systemctl('start')
        before, process = socket.show('InvocationID'), self.service.outside_child()
        self.install()
        self.service.wait_messages('event=takeover_done', 1)
        self.assertNotEqual(self.service.outside_child(), process)
        self.assertEqual((socket.show('ActiveState'), socket.show('InvocationID')), ('active', before))
        backend = self.backend_inside()
        self.assert_passes(*self.pair(backend))


if __name__ == '__main__':
    unittest.main()
