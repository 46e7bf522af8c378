# SPDX-License-Identifier: MIT
"""The image in use: engines under seccomp profiles, beside another container, without rights, as PID 1."""

import concurrent.futures
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import tempfile
import unittest

import yaml

import containers
import harness
import peers
from containers import BUSYBOX_IMAGE, HARDENED, IO_URING_PROFILE, PAGE, ROOT, SIXPIPE_IMAGE

IMAGE_LIMIT_BYTES = 15_000_000
IO_URING = {'io_uring_setup', 'io_uring_enter', 'io_uring_register'}
DEFAULT_PROFILE = '/usr/share/containers/seccomp.json'
KUBELET_PROFILE = ROOT / 'deploy' / 'kubernetes' / 'sixpipe.json'
FORWARD = '[forward {name}]\nlisten = [::1]:{port}\nbackend = 127.0.0.1:8080\n'


def seccomp(path):
    return ('--security-opt', f'seccomp={path}')


class Image(containers.Case):

    def inspect(self):
        return json.loads(self.podman('image', 'inspect', SIXPIPE_IMAGE))[0]

    def test_size(self):
        self.assertLess(self.inspect()['Size'], IMAGE_LIMIT_BYTES)

    def test_labels(self):
        labels = self.inspect()['Labels']
        version = self.podman('run', '--rm', '--network', 'none', SIXPIPE_IMAGE, '--version').split()[1]
        self.assertEqual(labels['org.opencontainers.image.title'], 'sixpipe')
        self.assertEqual(labels['org.opencontainers.image.version'], version)
        self.assertIn('IPv6', labels['org.opencontainers.image.description'])
        self.assertEqual(labels['org.opencontainers.image.licenses'], 'MIT')
        created = labels.get('org.opencontainers.image.created')
        self.assertTrue(created is None or self.inspect()['Created'].startswith(created.rstrip('Z')), created)
        self.assertEqual([name for name, value in labels.items() if not value], [])

    def test_tags(self):
        version = self.inspect()['Labels']['org.opencontainers.image.version']
        self.assertLessEqual({f'{SIXPIPE_IMAGE}:{version}', f'{SIXPIPE_IMAGE}:latest'}, set(self.inspect()['RepoTags']))

    def test_healthcheck(self):
        self.assertEqual(self.inspect()['Healthcheck']['Test'],
                         ['CMD', '/sixpipe', 'healthcheck', '--optional'])

    def test_reproducible(self):
        """A second build of the same binary at the same time gives the same layer. Podman writes a random number into
        the rest of an image in Docker's format. A named tag is the only one."""
        tag = 'localhost/again:one'
        self.addCleanup(self.podman, 'rmi', '--force', tag)
        builds = []
        for _ in range(2):
            self.podman.run('env', 'SOURCE_DATE_EPOCH=1700000000', ROOT / 'scripts' / 'image', tag)
            builds.append(json.loads(self.podman('image', 'inspect', tag))[0])
        for key in ('RootFS', 'Created', 'Labels'):
            self.assertEqual(*[build[key] for build in builds], key)
        self.assertEqual(builds[0]['RepoTags'], [tag])
        self.assertEqual(builds[0]['Labels']['org.opencontainers.image.created'], '2023-11-14T22:13:20Z')

    def test_user_is_a_number_and_not_root(self):
        user, _, group = self.inspect()['User'].partition(':')
        self.assertGreater(int(user), 0)
        self.assertGreater(int(group), 0)

    def test_entrypoint_takes_arguments(self):
        config = self.inspect()['Config']
        self.assertEqual(config['Entrypoint'], ['/sixpipe'])
        self.assertNotIn('Cmd', config)

    def test_holds_the_program_and_its_libraries_only(self):
        container = self.podman('create', '--network', 'none', SIXPIPE_IMAGE).strip()
        self.addCleanup(self.podman, 'rm', container)
        archive = self.podman.directory / 'image.tar'
        self.podman('export', '--output', archive, container)
        with tarfile.open(archive) as members:
            files = {member.name for member in members if member.isfile() and member.size}
        linked = subprocess.run(['ldd', ROOT / 'build' / 'src' / 'sixpipe'], capture_output=True, text=True, check=True)
        wanted = {word[1:] for word in linked.stdout.split() if word.startswith('/')}
        self.assertEqual(files, wanted | {'sixpipe'})


class Profiles(containers.Case):

    def test_podmans_default_gives_epoll(self):
        box, backend = self.forwarder()
        self.assertEqual(box.wait_event('ready')['engine'], 'epoll')
        self.check_forwards(box, backend)

    def test_own_profile_gives_io_uring(self):
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        self.assertEqual(box.wait_event('ready')['engine'], 'io_uring')
        self.check_forwards(box, backend)

    def test_profile_for_a_kubelet_gives_io_uring(self):
        box, backend = self.forwarder(options=(*seccomp(KUBELET_PROFILE), *HARDENED))
        self.assertEqual(box.wait_event('ready')['engine'], 'io_uring')
        self.check_forwards(box, backend)

    def test_named_engine_fails_loudly(self):
        box = self.sixpipe('--engine', 'io_uring', '[::1]:2000', '127.0.0.1:8080')
        self.assertEqual(box.wait_exit(), 1)
        self.assertIn('io_uring', box.lines()[-1])

    def test_committed_profiles_are_what_the_script_makes(self):
        self.podman.run(ROOT / 'scripts' / 'seccomp-profile', '--check')

    def test_own_profile_is_the_default_and_three_calls(self):
        with open(DEFAULT_PROFILE, encoding='utf-8') as default, open(IO_URING_PROFILE, encoding='utf-8') as own:
            default, own = json.load(default), json.load(own)
        rule = own['syscalls'].pop()
        self.assertEqual(own, default)
        self.assertEqual((set(rule['names']), rule['action']), (IO_URING, 'SCMP_ACT_ALLOW'))

    def test_profile_for_a_kubelet_allows_nothing_more(self):
        """The default allows each of its calls too, without a capability. The profile has no conditions."""
        def allowed(profile):
            return {(name, json.dumps(rule.get('args') or [])) for rule in profile['syscalls']
                    if rule['action'] == 'SCMP_ACT_ALLOW' and not rule.get('includes', {}).get('caps')
                    for name in rule['names']}
        with open(DEFAULT_PROFILE, encoding='utf-8') as default, open(KUBELET_PROFILE, encoding='utf-8') as own:
            default, own = json.load(default), json.load(own)
        self.assertEqual({name for name, _ in allowed(own) - allowed(default)}, IO_URING)
        self.assertEqual((own['defaultAction'], own['defaultErrnoRet']), ('SCMP_ACT_ERRNO', default['defaultErrnoRet']))
        for rule in own['syscalls']:
            self.assertLessEqual(set(rule), {'names', 'action', 'errnoRet', 'args'})


class Rights(containers.Case):

    def test_all_hardening_at_once(self):
        box, backend = self.forwarder(options=(*seccomp(IO_URING_PROFILE), *HARDENED))
        self.check_forwards(box, backend)
        statuses = box.statuses()
        self.assertEqual(len(statuses), 2, 'PID 1 and the process that serves')
        for status in statuses:
            self.assertEqual(status['Uid'].split(), ['65532'] * 4)
            self.assertEqual(status['Gid'].split(), ['65532'] * 4)
            for capabilities in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
                self.assertEqual(int(status[capabilities], 16), 0, capabilities)
            self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))


class Sidecar(containers.Case):

    def test_ipv4_only_program_answers_ipv6(self):
        app = self.container(BUSYBOX_IMAGE, 'httpd', '-f', '-p', '127.0.0.1:8080', '-h', '/www',
                             options=('--network', 'none'))
        with self.assertRaises(ConnectionRefusedError):
            self.connect(('::1', 8080), netns=app)
        box = self.sixpipe('--access-log', '[::]:2000', '127.0.0.1:8080', network=f'container:{app.id}',
                           options=(*seccomp(IO_URING_PROFILE), *HARDENED))
        box.wait_event('ready')
        client = self.connect(('::1', 2000), netns=app)
        client.sendall(b'GET /index.html HTTP/1.0\r\n\r\n')
        answer, end = client.recv_to_end()
        self.assertTrue(answer.startswith(b'HTTP/1.') and answer.endswith(PAGE.encode()), answer)
        self.assertEqual(end, peers.EOF)
        client.close()
        self.assertEqual(box.wait_event('close')['reason'], 'done')

    def test_many_of_one_user_share_the_budget_of_pipes(self):
        """A user has 16384 pages on the whole host, in all containers: two containers with the default do not fit."""
        options = (*seccomp(IO_URING_PROFILE), *HARDENED)
        for _ in range(8):
            small = self.sixpipe('--maxpipes', '2', '--pipe-size', '256KiB', '[::1]:2000', '127.0.0.1:8080',
                                 options=options)
            small.wait_event('ready')
            self.assertEqual(small.events('pipes_short'), [])
        greedy = self.sixpipe('[::1]:2000', '127.0.0.1:8080', options=options)
        greedy.wait_event('ready')
        self.assertEqual(len(greedy.events('pipes_short')), 1)

    def test_manifests(self):
        """The arguments, the user and the probe of each manifest."""
        for name, user in (('sidecar/deployment.yaml', 65532), ('edge/daemonset.yaml', 65533)):
            with self.subTest(name):
                with open(KUBELET_PROFILE.parent / name, encoding='utf-8') as file:
                    pod = yaml.safe_load(file)['spec']['template']['spec']
                spec = (pod.get('initContainers') or pod['containers'])[0]
                self.assertEqual(spec['securityContext']['runAsUser'], user)
                box = self.sixpipe(*spec['args'], options=(*seccomp(KUBELET_PROFILE), *HARDENED, '--user', user))
                box.wait_event('ready')
                self.assertEqual(box.events('pipes_short'), [])
                metrics = next(arg for arg in spec['args'] if arg.startswith('--metrics=')).partition('=')[2]
                endpoint = peers.parse_endpoint(metrics.replace('[::]', '[::1]'))
                for path, wanted in (('/ready', b'200'), ('/live', b'200')):
                    client = self.connect(endpoint, netns=box)
                    client.sendall(f'GET {path} HTTP/1.0\r\n\r\n'.encode())
                    self.assertEqual(client.recv_to_end()[0].split()[1], wanted)


class Pid1(containers.Case):

    def exit_of(self, box, backend, ending):
        """Returns the exit code after `ending` has begun a drain, in which an open session ends cleanly."""
        client, server = self.pair(box, backend)
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
            stopping = thread.submit(ending)
            box.wait_event('draining')
            for source, target in ((client, server), (server, client)):
                source.sendall(b'while draining')
                self.assertEqual(target.recv_exact(14), b'while draining')
                source.finish_sending()
                self.assertEqual(target.recv_to_end(), (b'', peers.EOF))
            stopping.result()
        code = box.wait_exit()
        self.assertEqual(box.wait_event('close')['reason'], 'done')
        return code

    def test_term_drains(self):
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        self.assertEqual(self.exit_of(box, backend, lambda: box.signal('TERM')), 0)

    def test_podman_stop_drains(self):
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        self.assertEqual(self.exit_of(box, backend, lambda: self.podman('stop', '--time', '30', box.id)), 0)

    def test_second_term_stops(self):
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        client, server = self.pair(box, backend)
        box.signal('TERM')
        box.wait_event('draining')
        self.assertTrue(client.is_silent())
        box.signal('TERM')
        self.assertEqual(box.wait_exit(), 0)
        self.assertEqual((client.recv_to_end(), server.recv_to_end()), ((b'', peers.RESET),) * 2)

    def test_a_death_by_a_signal(self):
        box, _ = self.forwarder(options=seccomp(IO_URING_PROFILE))
        os.kill(box.children()[0], signal.SIGKILL)
        self.assertEqual(box.wait_exit(), 128 + signal.SIGKILL)

    def test_other_signals_are_harmless(self):
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        client, server = self.pair(box, backend)
        for name in ('PIPE', 'CHLD'):
            box.signal(name)
        client.sendall(b'still there')
        self.assertEqual(server.recv_exact(11), b'still there')

    def test_takes_over(self):
        """A reload with a changed file, and an upgrade: sessions live on, PID 1 stays, and still does all of its work."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        (folder / 'sixpipe.conf').write_text(FORWARD.format(name='web', port=2000))
        box = self.sixpipe('--config', '/etc/sixpipe/sixpipe.conf', options=(
            *HARDENED, *seccomp(IO_URING_PROFILE), '--env', 'SIXPIPE_METRICS=127.0.0.1:9006', '--volume', f'{folder}:/etc/sixpipe:ro'))
        box.wait_event('ready')
        backend = self.backend(netns=box, port=8080)
        client, server = self.pair(box, backend)
        with (folder / 'sixpipe.conf').open('a') as file:
            file.write(FORWARD.format(name='more', port=2001))
        for count, (name, kind) in enumerate((('HUP', 'reload'), ('USR2', 'upgrade')), start=1):
            before = box.children()
            box.signal(name)
            harness.wait_until(lambda: len(box.events('takeover_done')) == count, what=f'the {kind}')
            self.assertEqual(box.events('takeover_done')[-1]['kind'], kind)
            # the old process has ended, and is no zombie
            harness.wait_until(lambda: len(box.children()) == 1, what='one process that serves')
            self.assertNotEqual(box.children(), before)
            client.sendall(b'still there')
            self.assertEqual(server.recv_exact(11), b'still there')
            self.podman('healthcheck', 'run', box.id)
        self.connect(('::1', 2001), netns=box)
        backend.accept()
        self.check_reaping(box)
        os.kill(box.children()[0], signal.SIGKILL)
        self.assertEqual(box.wait_exit(), 128 + signal.SIGKILL)

    def test_reaps_orphans(self):
        """A process whose parent has ended becomes a child of PID 1. When the child ends, it must not stay a zombie."""
        box, backend = self.forwarder(options=seccomp(IO_URING_PROFILE))
        self.check_reaping(box)
        self.check_forwards(box, backend)

    def check_reaping(self, box):
        shell = ('--pid', f'container:{box.id}', '--network', 'none', '--rm')
        self.podman('run', '--detach', *shell, BUSYBOX_IMAGE, 'sh', '-c',
                    '(/bin/busybox sleep 1 &); exec /bin/busybox sleep 0.2')
        harness.wait_until(lambda: len(box.children()) > 1, what='an orphan')
        harness.wait_until(lambda: len(box.children()) == 1, what='reaping')


if __name__ == '__main__':
    unittest.main()
