# SPDX-License-Identifier: MIT
"""A control group for one test, of version 1 or 2: the version that has the controller on this host."""

import os
import pathlib
import unittest

ROOT = pathlib.Path('/sys/fs/cgroup')

# controller: its files of version 1 and of version 2
FILES = {
    'cpu': ('cpu.cfs_quota_us', 'cpu.max'),
    'memory': ('memory.limit_in_bytes', 'memory.max'),
}


class Cgroup:
    """with Cgroup('cpu', '150000') as group: Popen(..., **group.popen). SkipTest if no group can be made."""

    def __init__(self, controller, limit):
        self.files = FILES[controller]
        self.limit = limit
        self.parents = [ROOT / controller, ROOT]
        self.controller = controller

    def __enter__(self):
        for parent in self.parents:
            path = parent / f'sixpipe-test-{os.getpid()}'
            try:
                if parent == ROOT and self.controller not in (ROOT / 'cgroup.subtree_control').read_text().split():
                    continue
                path.mkdir()
            except OSError:
                continue
            self.path = path
            for name in self.files:
                if (path / name).exists():
                    (path / name).write_text(self.limit)
                    self.popen = {'preexec_fn': self.join}
                    return self
            path.rmdir()
        raise unittest.SkipTest(f'no control group with the {self.controller} controller can be made here')

    def __exit__(self, *_):
        self.path.rmdir()

    def join(self):
        (self.path / 'cgroup.procs').write_text('0')
