# SPDX-License-Identifier: MIT
"""The image as its users run it: its healthcheck, several forwards by environment, the compose files."""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

import yaml

import containers
import harness
from containers import BUSYBOX_IMAGE, HARDENED, PAGE, ROOT, SIXPIPE_IMAGE

FOLDER = ROOT / 'deploy' / 'container'


def environment(**variables):
    return tuple(word for name, value in variables.items() for word in ('--env', f'{name}={value}'))


class Healthcheck(containers.Case):
    """`podman healthcheck run` does once what podman's timer does again and again."""

    def check(self, box):
        """Returns whether the healthcheck was good, and the last line it printed."""
        try:
            self.podman('healthcheck', 'run', box.id)
            good = True
        except containers.Refused:
            good = False
        return good, box.inspect()['State']['Health']['Log'][-1]['Output'].strip()

    def test_ready_then_draining(self):
        box, backend = self.forwarder(options=environment(SIXPIPE_METRICS='127.0.0.1:9006'))
        self.assertEqual(self.check(box), (True, 'ready'))
        self.assertEqual(box.inspect()['State']['Health']['Status'], 'healthy')
        self.pair(box, backend)
        box.signal('TERM')
        box.wait_event('draining')
        good, _ = self.check(box)
        self.assertFalse(good)

    def test_without_metrics_the_container_counts_as_healthy(self):
        box, _ = self.forwarder()
        good, line = self.check(box)
        self.assertTrue(good)
        self.assertIn('SIXPIPE_METRICS is not set', line)

    def test_nothing_listens(self):
        """The healthcheck asks what the variable says, whatever the arguments say."""
        box, _ = self.forwarder('--metrics', '127.0.0.1:9007', options=environment(SIXPIPE_METRICS='127.0.0.1:9006'))
        self.assertFalse(self.check(box)[0])


class Environment(containers.Case):

    def test_several_forwards(self):
        options = environment(SIXPIPE_FORWARD_1_LISTEN='[::1]:2001', SIXPIPE_FORWARD_1_BACKEND='127.0.0.1:8081',
                              SIXPIPE_FORWARD_2_LISTEN='[::1]:2002', SIXPIPE_FORWARD_2_BACKEND='127.0.0.1:8082')
        box = self.sixpipe(options=options)
        self.assertEqual(box.wait_event('ready').all('listen'), ['[::1]:2001', '[::1]:2002'])
        for number in (1, 2):
            backend = self.backend(netns=box, port=8080 + number)
            client = self.connect(('::1', 2000 + number), netns=box)
            server = backend.accept()
            client.sendall(b'through')
            self.assertEqual(server.recv_exact(7), b'through')


class Systemd(containers.Case):
    """`Notify=true` of a quadlet is --sdnotify=container."""

    def test_tells_systemd_that_it_is_ready(self):
        path = self.podman.directory / 'notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(harness.PATIENCE_S)
            name = self.podman.run('env', f'NOTIFY_SOCKET={path}', 'podman', 'run', '--detach', '--sdnotify=container',
                                   '--network', 'none', *HARDENED, SIXPIPE_IMAGE, '[::1]:2000', '127.0.0.1:8080')
            self.enterContext(containers.Container(self.podman, name=name.strip()))
            said = ''
            while 'READY=1' not in said:
                said += manager.recv(4096).decode()


@unittest.skipUnless(shutil.which('docker-compose'), 'docker-compose is not installed')
class Compose(containers.Case):
    """compose.yaml under docker-compose, which talks to podman. There is no network here but loopback."""

    @contextlib.contextmanager
    def service(self):
        """The socket of a podman that serves Docker's API."""
        path = self.podman.directory / 'podman.sock'
        with subprocess.Popen(['podman', 'system', 'service', '--time', '0', f'unix://{path}'],
                              env=self.podman.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            try:
                harness.wait_until(path.exists, what='the socket of podman')
                yield f'unix://{path}'
            finally:
                process.terminate()

    def test_program_answers_ipv6(self):
        config = yaml.safe_load((FOLDER / 'compose.yaml').read_text())
        app, sixpipe = config['services']['app'], config['services']['sixpipe']
        app.update(image=BUSYBOX_IMAGE, network_mode='none', command='httpd -f -p 127.0.0.1:8080 -h /www')
        sixpipe.update(image=SIXPIPE_IMAGE)
        for key in ('networks', 'ports'):
            del app[key]
        del config['networks']
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.podman.directory))
        # docker-compose 1.29 wants a version, which newer ones ignore
        (folder / 'compose.yaml').write_text(yaml.safe_dump({'version': '3.8', **config}))
        with self.service() as address:
            compose = ('docker-compose', '--host', address, '--project-name', 'web', '--file', folder / 'compose.yaml')
            self.addCleanup(self.podman, 'rm', '--all', '--force', '--time', '0')
            self.podman.run(*compose, 'up', '--detach')
            box = containers.Container(self.podman, name='web_sixpipe_1')
            self.enterContext(box)
            self.addCleanup(self.close_peers)
            box.wait_event('ready')
            client = self.connect(('::1', 2000), netns=box)
            client.sendall(b'GET /index.html HTTP/1.0\r\n\r\n')
            answer, _ = client.recv_to_end()
            self.assertTrue(answer.endswith(PAGE.encode()), answer)
            self.podman('healthcheck', 'run', box.id)
            for status in box.statuses():
                self.assertEqual((status['NoNewPrivs'], int(status['CapBnd'], 16), status['Uid'].split()[0]),
                                 ('1', 0, '65532'))
            self.assertTrue(box.inspect()['HostConfig']['ReadonlyRootfs'])


if __name__ == '__main__':
    unittest.main()
