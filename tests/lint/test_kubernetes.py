# SPDX-License-Identifier: MIT
"""deploy/kubernetes/: known keys, Pod Security, matching names and ports, options that exist.

SIXPIPE names the binary.
"""

import copy
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

try:
    import yaml
except ImportError:
    sys.exit(77)  # tells meson that the test is skipped

import kubernetes_schema as schema

DIRECTORY = pathlib.Path(__file__).resolve().parents[2] / 'deploy' / 'kubernetes'
SIXPIPE = os.environ.get('SIXPIPE', '')
KUBECTL = shutil.which('kubectl')
PATCHES = {'sidecar/io-uring.yaml': 'sidecar/deployment.yaml', 'edge/io-uring.yaml': 'edge/daemonset.yaml'}
FOLDERS = ('sidecar', 'edge')


class Loader(yaml.SafeLoader):
    """A loader that refuses a key given twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f'a key twice, line {node.start_mark.line + 1}: {keys}')
        return super().construct_mapping(node, deep)


def load(name):
    with open(DIRECTORY / name, encoding='utf-8') as file:
        return list(yaml.load_all(file, Loader))


def objects():
    """Every object with its file's name, including patched objects."""
    for path in sorted(DIRECTORY.glob('*/*.yaml')):
        name = str(path.relative_to(DIRECTORY))
        if name in PATCHES:
            yield name, merge(load(PATCHES[name])[0], load(name)[0])
        elif path.name != 'kustomization.yaml':
            for item in load(name):
                yield name, item


def merge(base, patch):
    """A strategic merge, as far as these patches need it: lists of named objects are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list):
        patches = {item['name']: item for item in patch}
        if set(patches) - {item['name'] for item in base}:
            raise AssertionError(f'{set(patches)} patches what is not there')
        return [merge(item, patches.get(item['name'], {})) for item in base]
    return patch


def workloads():
    return [(name, item) for name, item in objects() if item['kind'] in ('Deployment', 'DaemonSet')]


def of_kind(kind):
    return [item for _, item in objects() if item['kind'] == kind]


def pod_of(item):
    return item['spec']['template']['spec']


def containers_of(item):
    return pod_of(item).get('initContainers', []) + pod_of(item)['containers']


def sixpipe_of(item):
    return next(container for container in containers_of(item) if container['name'] == 'sixpipe')


def options_of(item):
    """[(name, value)] from the args of the container that runs sixpipe."""
    return [tuple(arg.removeprefix('--').partition('=')[::2]) for arg in sixpipe_of(item)['args']]


def named(options, name):
    return [value for key, value in options if key == name]


def seconds(text):
    number, unit = re.fullmatch(r'(\d+)(s|m)', text).groups()
    return int(number) * {'s': 1, 'm': 60}[unit]


def ports_of(item):
    return {port['name']: port['containerPort'] for container in containers_of(item)
            for port in container.get('ports', [])}


def selected(labels, namespace):
    """The workload whose pods a selector selects."""
    found = [item for name, item in workloads() if name not in PATCHES
             and item['metadata'].get('namespace') == namespace
             and labels.items() <= item['spec']['template']['metadata']['labels'].items()]
    if len(found) != 1:
        raise AssertionError(f'{labels} in {namespace} selects {len(found)} workloads')
    return found[0]


class Structure(unittest.TestCase):

    def test_every_key_is_known(self):
        for name, item in objects():
            with self.subTest(name):
                self.assertEqual(schema.object_problems(item), [])

    def test_all_parts_are_there(self):
        self.assertEqual(sorted((item['apiVersion'], item['kind']) for name, item in objects() if name not in PATCHES),
                         [('apps/v1', 'DaemonSet'), ('apps/v1', 'Deployment'),
                          ('networking.k8s.io/v1', 'NetworkPolicy'), ('v1', 'Namespace'), ('v1', 'Service'),
                          ('v1', 'Service')])

    def test_patches_are_of_their_object(self):
        """kustomize finds the object by these keys."""
        for patch, base in PATCHES.items():
            with self.subTest(patch):
                patch, base = load(patch)[0], load(base)[0]
                for key in ('apiVersion', 'kind'):
                    self.assertEqual(patch[key], base[key])
                self.assertLessEqual(patch['metadata'].items(), base['metadata'].items())

    def test_selectors_match_labels(self):
        for name, item in workloads():
            with self.subTest(name):
                labels = item['spec']['template']['metadata']['labels']
                self.assertLessEqual(item['spec']['selector']['matchLabels'].items(), labels.items())
        for item in of_kind('Service'):
            selected(item['spec']['selector'], item['metadata'].get('namespace'))
        for item in of_kind('NetworkPolicy'):
            selected(item['spec']['podSelector']['matchLabels'], item['metadata'].get('namespace'))

    def test_names_are_unique(self):
        for name, item in workloads():
            with self.subTest(name):
                names = [container['name'] for container in containers_of(item)]
                ports = [port[key] for container in containers_of(item) for port in container.get('ports', [])
                         for key in ('name', 'containerPort')]
                self.assertEqual(len(names), len(set(names)))
                self.assertEqual(len(ports), len(set(ports)))


class Kustomization(unittest.TestCase):
    """Each folder can be applied as it is, by kubectl apply -k."""

    def test_every_key_is_known(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                self.assertEqual(schema.object_problems(load(f'{folder}/kustomization.yaml')[0]), [])

    def test_every_file_is_named_once(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                files = {path.name for path in (DIRECTORY / folder).glob('*.yaml')} - {'kustomization.yaml'}
                named_files = load(f'{folder}/kustomization.yaml')[0]['resources']
                self.assertEqual(len(named_files), len(set(named_files)))
                # the patch is there for those who want it
                self.assertEqual(files - set(named_files), {'io-uring.yaml'})
                self.assertEqual(set(named_files) - files, set())
                self.assertIn('#   - path: io-uring.yaml\n',
                              (DIRECTORY / folder / 'kustomization.yaml').read_text(encoding='utf-8'))

    def test_images_are_those_of_the_manifests(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                manifest = next(item for name, item in workloads() if name.startswith(folder))
                for image in load(f'{folder}/kustomization.yaml')[0]['images']:
                    self.assertEqual(image['newName'], image['name'])
                    self.assertEqual(f'{image["name"]}:{image["newTag"]}', sixpipe_of(manifest)['image'])

    def test_objects_are_of_one_namespace(self):
        spaces = {folder: {item['metadata'].get('namespace') for name, item in objects()
                           if name.startswith(folder) and item['kind'] != 'Namespace'} for folder in FOLDERS}
        made = [item['metadata']['name'] for item in of_kind('Namespace')]
        self.assertEqual(spaces, {'sidecar': {None}, 'edge': set(made)})

    @unittest.skipUnless(KUBECTL, 'kubectl is not installed')
    def test_kubectl_builds_it(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                done = subprocess.run([KUBECTL, 'kustomize', DIRECTORY / folder], capture_output=True, text=True,
                                      check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                wanted = [item for name, item in objects() if name.startswith(folder) and name not in PATCHES]
                built = list(yaml.safe_load_all(done.stdout))
                for item in wanted:
                    self.assertIn(item, built)
                self.assertEqual(len(built), len(wanted))


class Security(unittest.TestCase):

    def test_restricted(self):
        for name, item in workloads():
            with self.subTest(name):
                edge = item['kind'] == 'DaemonSet'
                self.assertEqual(schema.restricted_problems(pod_of(item), host_network=edge), [])
                self.assertEqual(pod_of(item).get('hostNetwork', False), edge)

    def test_default_and_io_uring(self):
        for name, item in workloads():
            with self.subTest(name):
                profile = {'type': 'RuntimeDefault'}
                if name in PATCHES:
                    profile = {'type': 'Localhost', 'localhostProfile': 'sixpipe.json'}
                    self.assertTrue((DIRECTORY / profile['localhostProfile']).exists())
                self.assertEqual(sixpipe_of(item)['securityContext']['seccompProfile'], profile)

    def test_edge_metrics_are_on_loopback(self):
        for name, item in workloads():
            if pod_of(item).get('hostNetwork'):
                self.assertEqual([value.rpartition(':')[0] for value in named(options_of(item), 'metrics')],
                                 ['127.0.0.1'], name)

    def test_users_differ(self):
        """Pipes are counted per user and node."""
        users = {name: sixpipe_of(item)['securityContext']['runAsUser'] for name, item in workloads()}
        self.assertNotEqual(users['sidecar/deployment.yaml'], users['edge/daemonset.yaml'])


class Agreement(unittest.TestCase):

    def test_ports_of_args(self):
        for name, item in workloads():
            with self.subTest(name):
                options, ports = options_of(item), ports_of(item)
                self.assertEqual({int(value.rpartition(':')[2]) for value in named(options, 'listen')}, {ports['web']})
                self.assertEqual([int(value.rpartition(':')[2]) for value in named(options, 'metrics')],
                                 [ports['metrics']])

    def test_probes(self):
        for name, item in workloads():
            container = sixpipe_of(item)
            for kind in ('startupProbe', 'readinessProbe'):
                with self.subTest(f'{name} {kind}'):
                    get = container[kind]['httpGet']
                    self.assertEqual(get['path'], '/ready')
                    self.assertEqual(get['port'], 'metrics')
                    host = named(options_of(item), 'metrics')[0].rpartition(':')[0]
                    self.assertEqual(get.get('host'), None if host in ('[::]', '0.0.0.0') else host)

    def test_services(self):
        for item in of_kind('Service'):
            workload = selected(item['spec']['selector'], item['metadata'].get('namespace'))
            families = {'IPv6' if value.startswith('[') else 'IPv4' for value in named(options_of(workload), 'listen')}
            self.assertEqual(item['spec']['ipFamilies'][0], 'IPv6')
            self.assertEqual(families, {'IPv6'} if item['spec']['ipFamilyPolicy'] == 'SingleStack'
                             else {'IPv6', 'IPv4'})
            for port in item['spec']['ports']:
                self.assertIn(port['targetPort'], ports_of(workload))

    def test_network_policy(self):
        for item in of_kind('NetworkPolicy'):
            workload = selected(item['spec']['podSelector']['matchLabels'], item['metadata'].get('namespace'))
            self.assertFalse(pod_of(workload).get('hostNetwork'), 'network policies do not apply to the host network')
            rules = [(rule.get('from'), port['port']) for rule in item['spec']['ingress'] for port in rule['ports']]
            self.assertEqual({port for _, port in rules}, set(ports_of(workload)))
            for source, port in rules:
                self.assertEqual(source is None, port == 'web', 'only the forwarded port is open to all')

    def test_drain_fits_the_grace_period(self):
        for name, item in workloads():
            with self.subTest(name):
                options = dict(options_of(item))
                drain_s = seconds(options.get('drain-delay', '0s')) + seconds(options['drain-timeout'])
                self.assertGreater(pod_of(item)['terminationGracePeriodSeconds'], drain_s)

    def test_resources(self):
        for name, item in workloads():
            with self.subTest(name):
                resources, options = sixpipe_of(item)['resources'], dict(options_of(item))
                for key in ('requests', 'limits'):
                    self.assertEqual(set(resources[key]), {'cpu', 'memory'})
                self.assertEqual(resources['limits']['cpu'], options['workers'], 'a worker uses a CPU at most')
                # sixpipe's and the kernel's memory: for an idle session, and for a session with minimal buffers
                for key, session_bytes in (('requests', 5900), ('limits', 32 << 10)):
                    floor = (16 << 20) + int(options['maxconn']) * session_bytes
                    self.assertGreater(bytes_of(resources[key]['memory']), floor, key)

    def test_service_links_are_off(self):
        for name, item in workloads():
            self.assertIs(pod_of(item)['enableServiceLinks'], False, name)


def bytes_of(quantity):
    number, unit = re.fullmatch(r'(\d+)(Ki|Mi|Gi)', quantity).groups()
    return int(number) << {'Ki': 10, 'Mi': 20, 'Gi': 30}[unit]


@unittest.skipUnless(SIXPIPE, 'SIXPIPE names no binary')
class Options(unittest.TestCase):

    def test_every_option_exists(self):
        help_text = subprocess.run([SIXPIPE, '--help', 'all'], capture_output=True, text=True, check=True).stdout
        known = set(re.findall(r'^ +--([a-z-]+)', help_text, re.MULTILINE))
        for name, item in workloads():
            with self.subTest(name):
                self.assertEqual({key for key, _ in options_of(item)} - known, set())

    def test_sixpipe_takes_the_args(self):
        for name, item in workloads():
            with self.subTest(name):
                done = subprocess.run([SIXPIPE, '--check', *sixpipe_of(item)['args']], capture_output=True, text=True,
                                      check=False, env={'PATH': os.environ['PATH']})
                self.assertEqual(done.returncode, 0, done.stderr)


class Checker(unittest.TestCase):
    """Tests the checks themselves: each mistake is found."""

    def mistakes(self, change):
        item = copy.deepcopy(load('sidecar/deployment.yaml')[0])
        change(item, pod_of(item), pod_of(item)['initContainers'][0])
        return schema.object_problems(item) + schema.restricted_problems(pod_of(item))

    def test_nothing_wrong(self):
        self.assertEqual(self.mistakes(lambda item, pod, sidecar: None), [])

    def test_mistakes(self):
        def rename(holder, key, wrong):
            holder[wrong] = holder.pop(key)
        changes = (
            lambda item, pod, sidecar: rename(sidecar, 'readinessProbe', 'readinesProbe'),
            lambda item, pod, sidecar: rename(sidecar['startupProbe'], 'httpGet', 'httpget'),
            lambda item, pod, sidecar: rename(sidecar['securityContext'], 'capabilities', 'capability'),
            lambda item, pod, sidecar: rename(pod, 'securityContext', 'securitycontext'),
            lambda item, pod, sidecar: item.update(apiVersion='apps/v1beta1'),
            lambda item, pod, sidecar: item['spec'].pop('selector'),
            lambda item, pod, sidecar: sidecar.update(restartPolicy='OnFailure'),
            lambda item, pod, sidecar: sidecar['ports'][0].update(containerPort='2000'),
            lambda item, pod, sidecar: sidecar['ports'][0].update(name='a-name-too-long-for-a-port'),
            lambda item, pod, sidecar: sidecar['resources']['limits'].update(memory='128MB'),
            lambda item, pod, sidecar: sidecar['args'].append(2000),
            lambda item, pod, sidecar: sidecar['securityContext'].update(readOnlyRootFilesystem=False),
            lambda item, pod, sidecar: sidecar['securityContext'].update(runAsUser=0),
            lambda item, pod, sidecar: sidecar['securityContext'].update(seccompProfile={'type': 'Unconfined'}),
            lambda item, pod, sidecar: sidecar['securityContext'].update(privileged=True),
            lambda item, pod, sidecar: sidecar['securityContext'].update(allowPrivilegeEscalation=True),
            lambda item, pod, sidecar: sidecar['securityContext']['capabilities'].update(add=['NET_ADMIN']),
            lambda item, pod, sidecar: pod.update(hostNetwork=True),
            lambda item, pod, sidecar: pod.update(volumes=[{'name': 'root', 'hostPath': {'path': '/'}}]),
            lambda item, pod, sidecar: pod['securityContext'].pop('runAsNonRoot'),
        )
        for number, change in enumerate(changes):
            with self.subTest(number):
                self.assertNotEqual(self.mistakes(change), [])

    def test_a_key_twice(self):
        with self.assertRaises(yaml.YAMLError):
            yaml.load('{a: 1, a: 2}', Loader)


if __name__ == '__main__':
    unittest.main()
