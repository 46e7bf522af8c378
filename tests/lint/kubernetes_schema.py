# SPDX-License-Identifier: MIT
"""The parts of Kubernetes' API and of kustomizations that deploy/kubernetes/ uses, by hand from their reference:
the keys of each object.

A dict is an object with these keys; keys that end in '!' are required. A list with one schema is a list of such items.
Map is an object with any keys, OneOf a choice of words. Other schemas are functions that return True for a good value.
"""

import re


class Map:
    def __init__(self, value):
        self.value = value


class OneOf:
    def __init__(self, *words):
        self.words = words


def text(value):
    return isinstance(value, str) and value != ''


def flag(value):
    return isinstance(value, bool)


def number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def port_number(value):
    return number(value) and 0 < value < 65536


def port_name(value):
    return isinstance(value, str) and bool(re.fullmatch(r'(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?', value))


def port_reference(value):
    return port_number(value) or port_name(value)


def name(value):
    return isinstance(value, str) and bool(re.fullmatch(r'[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?', value))


def cpu(value):
    return isinstance(value, str) and bool(re.fullmatch(r'[1-9][0-9]*m?', value))


def memory(value):
    return isinstance(value, str) and bool(re.fullmatch(r'[1-9][0-9]*(Ki|Mi|Gi)', value))


LABELS = Map(text)
METADATA = {'name!': name, 'namespace': name, 'labels': LABELS, 'annotations': LABELS}
SELECTOR = {'matchLabels!': LABELS}

SECCOMP = {'type!': OneOf('RuntimeDefault', 'Localhost', 'Unconfined'), 'localhostProfile': text}
POD_SECURITY = {'runAsNonRoot': flag, 'runAsUser': number, 'runAsGroup': number, 'fsGroup': number,
                'seccompProfile': SECCOMP}
CONTAINER_SECURITY = {'runAsNonRoot': flag, 'runAsUser': number, 'runAsGroup': number, 'privileged': flag,
                      'allowPrivilegeEscalation': flag, 'readOnlyRootFilesystem': flag, 'seccompProfile': SECCOMP,
                      'capabilities': {'drop': [text], 'add': [text]}}
PROBE = {'httpGet!': {'host': text, 'path!': text, 'port!': port_reference, 'scheme': OneOf('HTTP', 'HTTPS')},
         'initialDelaySeconds': number, 'periodSeconds': number, 'timeoutSeconds': number, 'successThreshold': number,
         'failureThreshold': number}
QUANTITIES = {'cpu': cpu, 'memory': memory}
CONTAINER = {
    'name!': name, 'image!': text, 'imagePullPolicy': OneOf('Always', 'IfNotPresent', 'Never'), 'command': [text],
    'args': [text], 'env': [{'name!': text, 'value!': text}],
    'ports': [{'name!': port_name, 'containerPort!': port_number, 'protocol': OneOf('TCP', 'UDP')}],
    'startupProbe': PROBE, 'readinessProbe': PROBE, 'livenessProbe': PROBE,
    'lifecycle': {'preStop': {'sleep': {'seconds!': number}}},
    'resources!': {'requests': QUANTITIES, 'limits': QUANTITIES},
    'securityContext!': CONTAINER_SECURITY,
}
SIDECAR = {**CONTAINER, 'restartPolicy': OneOf('Always')}
POD = {
    'hostNetwork': flag, 'nodeSelector': LABELS, 'automountServiceAccountToken': flag, 'enableServiceLinks': flag,
    'terminationGracePeriodSeconds': number, 'securityContext': POD_SECURITY, 'initContainers': [SIDECAR],
    'containers!': [CONTAINER],
}
TEMPLATE = {'metadata!': {'labels!': LABELS}, 'spec!': POD}

KINDS = {
    ('apps/v1', 'Deployment'): {
        'apiVersion!': text, 'kind!': text, 'metadata!': METADATA,
        'spec!': {'replicas': number, 'selector!': SELECTOR, 'template!': TEMPLATE},
    },
    ('apps/v1', 'DaemonSet'): {
        'apiVersion!': text, 'kind!': text, 'metadata!': METADATA,
        'spec!': {'selector!': SELECTOR, 'template!': TEMPLATE,
                  'updateStrategy': {'type!': OneOf('RollingUpdate', 'OnDelete'),
                                     'rollingUpdate': {'maxUnavailable': number, 'maxSurge': number}}},
    },
    ('v1', 'Namespace'): {'apiVersion!': text, 'kind!': text, 'metadata!': METADATA},
    ('kustomize.config.k8s.io/v1beta1', 'Kustomization'): {
        'apiVersion!': text, 'kind!': text, 'resources!': [text],
        'images': [{'name!': text, 'newName!': text, 'newTag!': text}], 'patches': [{'path!': text}],
    },
    ('v1', 'Service'): {
        'apiVersion!': text, 'kind!': text, 'metadata!': METADATA,
        'spec!': {'type': OneOf('ClusterIP', 'NodePort', 'LoadBalancer'), 'selector!': LABELS,
                  'externalTrafficPolicy': OneOf('Local', 'Cluster'),
                  'ipFamilyPolicy': OneOf('SingleStack', 'PreferDualStack', 'RequireDualStack'),
                  'ipFamilies': [OneOf('IPv4', 'IPv6')],
                  'ports!': [{'name!': port_name, 'port!': port_number, 'targetPort!': port_reference,
                              'protocol': OneOf('TCP', 'UDP')}]},
    },
    ('networking.k8s.io/v1', 'NetworkPolicy'): {
        'apiVersion!': text, 'kind!': text, 'metadata!': METADATA,
        'spec!': {'podSelector!': {'matchLabels': LABELS}, 'policyTypes': [OneOf('Ingress', 'Egress')],
                  'ingress': [{'from': [{'namespaceSelector': SELECTOR, 'podSelector': SELECTOR}],
                               'ports': [{'protocol': OneOf('TCP', 'UDP'), 'port!': port_reference}]}]},
    },
}


def problems(value, schema, where=''):
    """The mistakes in value, one line each."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return [f'{where}: not an object']
        allowed = {key.rstrip('!'): part for key, part in schema.items()}
        found = [f'{where}.{key}: no such key' for key in value if key not in allowed]
        found += [f'{where}.{key[:-1]}: missing' for key in schema if key.endswith('!') and key[:-1] not in value]
        return found + [line for key in value if key in allowed
                        for line in problems(value[key], allowed[key], f'{where}.{key}')]
    if isinstance(schema, list):
        if not isinstance(value, list) or not value:
            return [f'{where}: not a list, or an empty one']
        return [line for index, item in enumerate(value) for line in problems(item, schema[0], f'{where}[{index}]')]
    if isinstance(schema, Map):
        if not isinstance(value, dict) or not value:
            return [f'{where}: not a map, or an empty one']
        return [line for key in value for line in problems(value[key], schema.value, f'{where}.{key}')]
    if isinstance(schema, OneOf):
        return [] if value in schema.words else [f'{where}: {value!r} is none of {schema.words}']
    return [] if schema(value) else [f'{where}: {value!r} is not a good {schema.__name__}']


def object_problems(item):
    """The mistakes in a whole object, by its kind."""
    if not isinstance(item, dict):
        return ['not an object']
    kind = (item.get('apiVersion'), item.get('kind'))
    return problems(item, KINDS[kind], item['kind']) if kind in KINDS else [f'{kind}: not a kind that is known here']


def restricted_problems(pod, host_network=False):
    """What Pod Security level 'restricted' forbids in a pod. host_network=True allows the host's network. Two more rules:
    the root filesystem is read-only, and the pod gets no API token."""
    found = []

    def demand(good, what):
        if not good:
            found.append(what)

    shared = pod.get('securityContext', {})
    demand(not pod.get('hostNetwork') or host_network, 'hostNetwork')
    demand(pod.get('automountServiceAccountToken') is False, 'automountServiceAccountToken is not false')
    for container in pod.get('initContainers', []) + pod['containers']:
        own = container['securityContext']
        merged = {**shared, **own}
        for good, what in (
                (merged.get('runAsNonRoot') is True, 'runAsNonRoot is not true'),
                (merged.get('runAsUser') != 0, 'runAsUser is 0'),
                (own.get('allowPrivilegeEscalation') is False, 'allowPrivilegeEscalation is not false'),
                (own.get('readOnlyRootFilesystem') is True, 'readOnlyRootFilesystem is not true'),
                (not own.get('privileged'), 'privileged'),
                (own.get('capabilities', {}).get('drop') == ['ALL'], 'capabilities are not dropped'),
                (not set(own.get('capabilities', {}).get('add', [])) - {'NET_BIND_SERVICE'}, 'capabilities are added'),
                (seccomp_is_good(merged.get('seccompProfile', {})), 'no seccompProfile')):
            demand(good, f'{container["name"]}: {what}')
    return found


def seccomp_is_good(profile):
    if profile.get('type') == 'Localhost':
        return bool(re.fullmatch(r'[^/].*', profile.get('localhostProfile', '')))
    return profile == {'type': 'RuntimeDefault'}
