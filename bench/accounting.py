# SPDX-License-Identifier: MIT
"""What a forwarder has used, by the kernel's counters: CPU, memory, descriptors.

CPU time is read from a control group, if the bench may make one. The group counts every process,
thread and io_uring worker of the forwarder, ended ones too. Otherwise CPU time is the sum over all
processes of the forwarder's session, and over the children that these processes have waited for.
"""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
OP_POLL_ADD = 6  # of enum io_uring_op

# Enters the groups named before "--", then becomes the command after it.
ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'


def read_text(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def read_fields(path):
    """Lines of 'name value' or 'name: value kB' as a dictionary of numbers."""
    fields = {}
    for line in read_text(path).splitlines():
        match = re.match(r"(\S+?):?\s+(\d+)(\s+kB)?$", line)
        if match:
            fields[match[1]] = int(match[2]) * (1024 if match[3] else 1)
    return fields


def own_cgroup_paths():
    """The cgroup of this process in each hierarchy: {'': '/v2', 'cpuacct': '/v1', ...}."""
    paths = {}
    for line in read_text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def cgroup_candidates(controller):
    """Directories in which a group with `controller` may be made, best first.

    The empty name stands for the unified hierarchy (v2).
    """
    own = own_cgroup_paths().get(controller, "/")
    for line in read_text("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        dash = fields.index("-")
        kind, options = fields[dash + 1], fields[dash + 3].split(",")
        if controller == "" and kind != "cgroup2":
            continue
        if controller != "" and (kind != "cgroup" or controller not in options):
            continue
        root, mount = fields[3], fields[4]
        if own.startswith(root):
            yield os.path.normpath(mount + "/" + own[len(root.rstrip("/")):])
        yield mount


def can_make_group(parent, file_name):
    """Whether a group made in `parent` has `file_name` and accepts processes."""
    probe = Path(parent) / f"sixpipe-bench-{os.getpid()}-probe"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return (probe / file_name).exists() and os.access(probe / "cgroup.procs", os.W_OK)
    finally:
        probe.rmdir()


class Accounting:
    """How forwarders are counted on this machine."""

    def __init__(self, method="auto"):
        self.cpu_parent, self.memory_parent = None, None
        self.cpu_file, self.memory_file = "", ""
        if method != "processes":
            self._find_groups()
        if method == "cgroup" and self.cpu_parent is None:
            raise SystemExit("bench: no control group can be made here")
        self._number = 0

    def _find_groups(self):
        kinds = (("cpuacct", "cpuacct.usage", "cpu"), ("", "cpu.stat", "cpu"),
                 ("memory", "memory.kmem.usage_in_bytes", "memory"), ("", "memory.stat", "memory"))
        for controller, file_name, use in kinds:
            for parent in cgroup_candidates(controller):
                if getattr(self, f"{use}_parent") is None and can_make_group(parent, file_name):
                    setattr(self, f"{use}_parent", parent)
                    setattr(self, f"{use}_file", file_name)

    def describe(self):
        if self.cpu_parent is None:
            return "process session, own time and that of children waited for"
        return f"control group, {self.cpu_file}"

    def describe_memory(self):
        if self.memory_parent is None:
            return ("growth of the whole machine's Slab, KernelStack and PageTables, with the "
                    "generator's sockets in it")
        return f"control group, {self.memory_file}"

    def group(self, with_memory=False):
        self._number += 1
        return Group(self, f"sixpipe-bench-{os.getpid()}-{self._number}", with_memory)


class Group:
    """The processes of one forwarder."""

    def __init__(self, accounting, name, with_memory):
        self._accounting = accounting
        self._cpu_path = self._make(accounting.cpu_parent, name)
        # Accounting of memory costs time: only for runs that measure memory.
        self._memory_path = self._make(accounting.memory_parent, name) if with_memory else None
        self.session = None

    @staticmethod
    def _make(parent, name):
        if parent is None:
            return None
        path = Path(parent) / name
        path.mkdir(exist_ok=True)
        return path

    def _paths(self):
        paths = [path for path in (self._cpu_path, self._memory_path) if path]
        return list(dict.fromkeys(paths))

    def wrap(self, command):
        """The command that runs `command` inside the group. Start it in a session of its own."""
        return ["sh", "-c", ENTER, "sh", *map(str, self._paths()), "--", *command]

    def pids(self):
        if self._cpu_path:
            return [int(pid) for pid in read_text(self._cpu_path / "cgroup.procs").split()]
        return [pid for pid, fields in all_processes()
                if int(fields[3]) == self.session and fields[0] != "Z"]

    def cpu_seconds(self):
        if self._cpu_path is None:
            return sum(process_seconds(pid, fields) for pid, fields in all_processes()
                       if int(fields[3]) == self.session)
        if self._accounting.cpu_file == "cpuacct.usage":
            return int(read_text(self._cpu_path / "cpuacct.usage")) / 1e9
        return read_fields(self._cpu_path / "cpu.stat")["usage_usec"] / 1e6

    def kernel_bytes(self):
        """Kernel memory charged to the forwarder, or used on the whole machine."""
        if self._memory_path is None:
            fields = read_fields("/proc/meminfo")
            return sum(fields.get(name, 0) for name in ("Slab", "KernelStack", "PageTables"))
        if self._accounting.memory_file == "memory.stat":
            fields = read_fields(self._memory_path / "memory.stat")
            names = ("slab", "kernel_stack", "pagetables", "percpu", "sock")
            return sum(fields.get(name, 0) for name in names)
        return sum(int(read_text(self._memory_path / name) or 0) for name in
                   ("memory.kmem.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes"))

    def own_bytes(self):
        """Memory of the processes, with each shared page counted once."""
        total = 0
        for pid in self.pids():
            fields = read_fields(f"/proc/{pid}/smaps_rollup")
            if "Pss_Anon" in fields:
                total += fields["Pss_Anon"] + fields.get("Pss_Shmem", 0)
            else:
                total += fields.get("Anonymous", 0)
        return total

    def resident_bytes(self):
        """Resident memory, including libraries. A shared page is counted for each process."""
        return sum(read_fields(f"/proc/{pid}/smaps_rollup").get("Rss", 0) for pid in self.pids())

    def _descriptors(self):
        """Yields (pid, number, what it is) for every open descriptor."""
        for pid in self.pids():
            try:
                names = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                continue
            for name in names:
                with contextlib.suppress(OSError):
                    yield pid, name, os.readlink(f"/proc/{pid}/fd/{name}")

    def pipe_count(self):
        return sum(kind.startswith("pipe:") for _, _, kind in self._descriptors()) // 2

    def watched_sockets(self):
        """How many descriptors each epoll, and polls each io_uring, watches: {(pid, fd): count}."""
        marks = {"anon_inode:[eventpoll]": "tfd:", "anon_inode:[io_uring]": f"op={OP_POLL_ADD},"}
        watched = {}
        for pid, name, kind in self._descriptors():
            if kind in marks:
                lines = read_text(f"/proc/{pid}/fdinfo/{name}").splitlines()
                watched[pid, name] = sum(line.strip().startswith(marks[kind]) for line in lines)
        return watched

    def kill(self):
        """Ends the forwarder: SIGTERM, and after a second SIGKILL."""
        for attempt in range(200):
            pids = self.pids()
            if not pids:
                return
            if attempt == 0 or attempt >= 50:
                for pid in pids:
                    try:
                        os.kill(pid, signal.SIGTERM if attempt == 0 else signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            time.sleep(0.02)

    def remove(self):
        for path in self._paths():
            for _ in range(100):
                try:
                    path.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)


def live_thread_seconds(pid):
    """CPU seconds of a process's live threads."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0.0
    return sum(schedstat_seconds(f"/proc/{pid}/task/{task}") for task in tasks)


def schedstat_seconds(directory):
    fields = read_text(f"{directory}/schedstat").split()
    return int(fields[0]) / 1e9 if fields else 0.0


def seconds_of(pid):
    """CPU seconds of one process so far."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return process_seconds(pid, fields) if fields else 0.0


def process_seconds(pid, fields):
    """CPU seconds of a process, including ended threads and children that it has waited for.

    The process's time is known in ticks, the time of its live threads in nanoseconds. For processes
    that have each used less than a tick, only the threads' time tells anything.
    """
    own = (int(fields[11]) + int(fields[12])) * TICK_SECONDS
    children = (int(fields[13]) + int(fields[14])) * TICK_SECONDS
    return max(own, live_thread_seconds(pid)) + children


def all_processes():
    """Yields (pid, fields of /proc/PID/stat from the state on)."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            text = read_text(f"/proc/{name}/stat")
            if text:
                yield int(name), text.rpartition(")")[2].split()


class Machine:
    """CPU time of the whole machine, to show what a forwarder's own figure leaves out."""

    def __init__(self):
        self._softirq_pids = [pid for pid, _ in all_processes()
                              if read_text(f"/proc/{pid}/comm").startswith("ksoftirqd/")]

    def snapshot(self):
        fields = [int(value) for value in read_text("/proc/stat").split("\n", 1)[0].split()[1:]]
        user, nice, system, _, _, irq, softirq, steal = fields[:8]
        softirqd = sum(schedstat_seconds(f"/proc/{pid}") for pid in self._softirq_pids)
        return {
            "busy": (user + nice + system + irq + softirq) * TICK_SECONDS,
            "steal": steal * TICK_SECONDS,
            "ksoftirqd": softirqd,
        }
