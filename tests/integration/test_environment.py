# SPDX-License-Identifier: MIT
"""Configuration by environment: the real program with SIXPIPE_ variables."""

import pathlib
import subprocess
import tempfile
import unittest

from harness import SIXPIPE, Case, environment

GOOD = ('[::1]:0', '127.0.0.1:9')
FORWARD = {'SIXPIPE_LISTEN': '[::1]:0', 'SIXPIPE_BACKEND': '127.0.0.1:9'}
KUBERNETES = {
    'SIXPIPE_SERVICE_HOST': '10.96.0.7', 'SIXPIPE_SERVICE_PORT': '2000', 'SIXPIPE_SERVICE_PORT_RELAY': '2000',
    'SIXPIPE_PORT': 'tcp://10.96.0.7:2000', 'SIXPIPE_PORT_2000_TCP': 'tcp://10.96.0.7:2000',
    'SIXPIPE_PORT_2000_TCP_PROTO': 'tcp', 'SIXPIPE_PORT_2000_TCP_PORT': '2000',
    'SIXPIPE_PORT_2000_TCP_ADDR': '10.96.0.7',
}

# (variable, value, words that the message must hold beside the variable)
BAD = (
    ('SIXPIPE_MAXCONN', 'x', ("'x'", 'not a number')),
    ('SIXPIPE_ACCESS_LOG', 'maybe', ("'maybe'", 'yes')),
    ('SIXPIPE_MAXCON', '7', ('SIXPIPE_MAXCONN?',)),
    ('SIXPIPE_BAKCEND', '127.0.0.1:9', ('SIXPIPE_BACKEND?',)),
    ('SIXPIPE_FORWARD_1_BAKCEND', '127.0.0.1:9', ('SIXPIPE_FORWARD_1_BACKEND?',)),
    ('SIXPIPE_FORWARD_2_LISTEN', '[::1]:0', ('has no backend', 'SIXPIPE_FORWARD_2_BACKEND')),
    ('SIXPIPE_FORWARD_WEB_LISTEN', '[::1]:0', ('forward number', 'SIXPIPE_FORWARD_1_NAME')),
    ('SIXPIPE_FORWARD_1_LISTEN', '[::1]:0', ('SIXPIPE_LISTEN is set too',)),
)


class Environment(Case):
    per_engine = False

    def check(self, *args, **variables):
        return self.run_sixpipe('--check', *args, env=environment(**variables))

    def test_serves_without_arguments(self):
        backend = self.echo_server()
        variables = {'SIXPIPE_LISTEN': '[::1]:0', 'SIXPIPE_BACKEND': backend.address, 'SIXPIPE_WORKERS': '1',
                     'SIXPIPE_MAXCONN': '77', 'SIXPIPE_LOG_FORMAT': 'json', **KUBERNETES}
        with self.sixpipe(access_log=False, engine='auto',
                          popen={'env': environment(SIXPIPE_ACCESS_LOG='on', **variables)}) as proxy:
            limits = proxy.wait_event('limits')
            self.assertEqual((limits['maxconn'], limits['workers']), (77, 1))
            client = self.connect(proxy.endpoint)
            client.sendall(b'ping')
            self.assertEqual(client.recv_exact(4), b'ping')
            client.close()
            proxy.close_of(client)

    def test_several_backends_take_turns(self):
        backends = [self.backend(), self.backend()]
        addresses = ' '.join(backend.address for backend in backends)
        variables = environment(SIXPIPE_LISTEN='[::1]:0', SIXPIPE_BACKEND=addresses)
        with self.sixpipe(engine='auto', popen={'env': variables}) as proxy:
            for backend in (*backends, *backends):
                self.pair(proxy, backend)

    def test_several_forwards(self):
        """Each forward has its own backend, its own options and its own name in the metrics."""
        first, second = self.backend(), self.backend()
        variables = environment(SIXPIPE_LISTEN='[::1]:0', SIXPIPE_BACKEND=first.address,
                                SIXPIPE_FORWARD_12_LISTEN='[::1]:0', SIXPIPE_FORWARD_12_BACKEND=second.address,
                                SIXPIPE_FORWARD_12_SEND_PROXY='v1', SIXPIPE_FORWARD_12_NAME='mail',
                                SIXPIPE_METRICS='[::1]:0')
        with self.sixpipe(engine='auto', popen={'env': variables}) as proxy:
            self.assertEqual(len(proxy.endpoints), 2)
            for endpoint, backend, greeting in zip(proxy.endpoints, (first, second), (b'', b'PROXY TCP6 ::1 ::1 ')):
                client = self.connect(endpoint)
                server = backend.accept()
                client.finish_sending()
                received, _ = server.recv_to_end()
                self.assertEqual(received[:len(greeting)], greeting)
                self.assertEqual(bool(received), bool(greeting))
                server.close()
            samples = self.samples(proxy)
            for name, backend in (('1', first), ('mail', second)):
                begin, part = f'sixpipe_backend_connects_total{{forward="{name}",', f'backend="{backend.address}"'
                self.assertEqual([value for series, value in samples.items()
                                  if series.startswith(begin) and part in series], [1])

    def test_file_of_shared_settings(self):
        """The forwards of the environment are used beside a file without forwards, and not beside its forwards."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        shared, whole = (pathlib.Path(directory.name) / name for name in ('shared.conf', 'whole.conf'))
        shared.write_text('backlog = 7\n')
        whole.write_text('[forward web]\nlisten = [::1]:2\nbackend = 127.0.0.1:9\n')
        variables = {'SIXPIPE_FORWARD_4_LISTEN': '[::1]:4', 'SIXPIPE_FORWARD_4_BACKEND': '127.0.0.1:9'}
        for file, listeners in ((shared, ['[::1]:4']), (whole, ['[::1]:2'])):
            done = self.run_sixpipe('--dump-config', env=environment(SIXPIPE_CONFIG=str(file), **variables))
            rows = [line.split() for line in done.stdout.splitlines()]
            self.assertEqual([row[2] for row in rows if row[:1] == ['listen']], listeners, done)

    def test_command_line_goes_before(self):
        variables = {**FORWARD, 'SIXPIPE_LISTEN': '[2001:db8::dead]:1', 'SIXPIPE_MAXCONN': '7'}
        with self.sixpipe(*GOOD, '--maxconn', '8', engine='auto', popen={'env': environment(**variables)}) as proxy:
            self.assertEqual(proxy.ready.all('listen'), [f'[::1]:{proxy.endpoint[1]}'])
            self.assertEqual(proxy.wait_event('limits').int('maxconn'), 8)

    def test_bad_variables(self):
        for variable, value, words in BAD:
            with self.subTest(variable=variable):
                done = self.check(**{**FORWARD, variable: value})
                self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, '', 1), done)
                self.assertTrue(done.stderr.startswith(f'sixpipe: {variable}'), done.stderr)
                for word in ('; ', *words):
                    self.assertIn(word, done.stderr)

    def test_help_works_whatever_is_set(self):
        done = self.run_sixpipe('--help', env=environment(SIXPIPE_NONSENSE='1'))
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('SIXPIPE_MAXCONN', done.stdout)

    def test_no_environment_at_all(self):
        done = subprocess.run([SIXPIPE, '--check', *GOOD], env={}, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done)


if __name__ == '__main__':
    unittest.main()
