# SPDX-License-Identifier: MIT
"""One run: a backend, a forwarder, a client, and the kernel's counters."""

import json
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import congestion
import takeover
from accounting import Group, read_text, seconds_of
from namespaces import LOOPBACK
from peers import SPARE_DESCRIPTORS, Setup, descriptor_limit

START_SECONDS = 10
READY_SECONDS = 65     # the client gives up at 60
DRAIN_SECONDS = 25     # the client gives up at 20
IDLE_SETTLE_SECONDS = 1.5  # by then every change of a young session has happened
LISTEN_STATE = "0A"


class RunFailed(Exception):
    """This run has no result; the text says why."""


class Child:
    """A child process whose lines are read with a time limit."""

    def __init__(self, command, log=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            start_new_session=True)
        self._buffer = b""

    def line(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise RunFailed("the load generator says nothing")
            data = self.process.stdout.read1(65536)
            if not data:
                raise RunFailed("the load generator has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def tell(self):
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def end_input(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.end_input()
        self.process.stdout.close()


class Ports:
    """Listening ports below the ephemeral range, as services have. Each is used once: TIME_WAIT."""

    def __init__(self):
        self._next = 11000

    def take(self):
        while True:
            port, self._next = self._next, self._next + 1
            if self._next > 30000:
                self._next = 11000
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind(("::1", port))
                    return port
                except OSError:
                    continue


def is_listening(pid, port):
    """Whether anything listens on a TCP port, in the network namespace of process pid."""
    for line in read_text(f"/proc/{pid}/net/tcp6").splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN_STATE and int(fields[1].rpartition(":")[2], 16) == port:
            return True
    return False


class Forwarder:
    """A running peer, in an accounting group of its own."""

    def __init__(self, accounting, peer, setup, place, with_memory):
        self.peer = peer
        self.setup = setup
        self.group: Group = accounting.group(with_memory)
        self.process = None
        self._log_path = setup.directory / "log"
        command = peer.command(setup)
        began = time.monotonic()
        try:
            with open(self._log_path, "wb") as log:
                self.process = subprocess.Popen(
                    self.group.wrap([*place.forwarder, *command]), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True)
            self.group.session = self.process.pid
            self._wait_until_listening(setup.listen_port)
            self.start_seconds = time.monotonic() - began
        except BaseException:
            self.stop()
            raise

    def _wait_until_listening(self, port):
        end = time.monotonic() + START_SECONDS
        while not is_listening(self.process.pid, port):
            if self.process.poll() is not None:
                raise RunFailed(f"ended at start: {self.last_words()}")
            if time.monotonic() > end:
                raise RunFailed("does not listen")
            time.sleep(0.001)

    def last_words(self):
        lines = read_text(self._log_path).strip().splitlines()
        return lines[-1][:200] if lines else "no message"

    def log(self):
        return read_text(self._log_path)

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        self.group.kill()
        if self.process is not None:
            self.process.wait()
        self.group.remove()


class Runner:
    def __init__(self, accounting, machine, load_path, threads):
        self._accounting = accounting
        self._machine = machine
        self._load = str(load_path)
        self._threads = threads
        self._ports = Ports()

    def run(self, scenario, peer, seconds, workers, place=LOOPBACK):
        """Runs one scenario through one peer. Returns its figures or raises RunFailed."""
        directory = Path(tempfile.mkdtemp(prefix="sixpipe-bench-"))
        children = []
        forwarder = None
        try:
            backend = Child([*place.backend, self._load, "backend", "--listen",
                             f"{place.backend_host}:{self._ports.take()}", "--threads", str(self._threads),
                             *(a for a in scenario.load if a == "--background-bulk")])
            children.append(backend)
            address = backend.line(START_SECONDS).removeprefix("listening ")
            if peer.name != "direct":
                setup = Setup(place.listen_host, self._ports.take(), place.backend_host,
                              int(address.rpartition(":")[2]), directory, workers,
                              "info" if scenario.takeover else "warn")
                forwarder = Forwarder(self._accounting, peer, setup, place, scenario.idle > 0)
                address = setup.listen
            return self._measure(scenario, peer, seconds, workers, place, address, backend,
                                 forwarder, children)
        except RunFailed as failure:
            if forwarder and not forwarder.is_alive():
                raise RunFailed(f"{failure}; it died: {forwarder.last_words()}") from failure
            raise
        finally:
            for child in children[::-1]:
                child.kill()
            if forwarder:
                forwarder.stop()
            shutil.rmtree(directory, ignore_errors=True)

    def _client(self, place, peer, address, arguments, children):
        client = Child([*place.client, self._load, "client", "--connect", address, "--sync",
                        "--threads", str(self._threads), "--ramp", str(peer.ramp), *arguments])
        children.append(client)
        return client

    def _measure(self, scenario, peer, seconds, workers, place, address, backend, forwarder,
                 children):
        figures = {}
        if scenario.footprint:
            time.sleep(IDLE_SETTLE_SECONDS)
            return {"start_ms": forwarder.start_seconds * 1e3,
                    "rest_kib": forwarder.group.resident_bytes() / 1024}
        arguments = list(scenario.load)
        opened = 0
        if scenario.idle:
            # What a forwarder sets up at its first few connections is not counted per connection.
            opened += self._warm_up(place, peer, address, children)
            connections = min(scenario.idle, peer.idle_limit,
                              (descriptor_limit() - SPARE_DESCRIPTORS) // 2)
            arguments += ["--idle", str(connections)]
            memory = memory_of(forwarder.group)
        if scenario.takeover:
            return self._measure_takeovers(place, peer, address, backend, forwarder, children,
                                           opened, connections)
        watched = forwarder.group.watched_sockets() if scenario.workers and forwarder else {}
        arguments += ["--seconds", str(seconds)]
        client = self._client(place, peer, address, arguments, children)
        client.line(READY_SECONDS)
        if scenario.idle:
            time.sleep(IDLE_SETTLE_SECONDS)
            figures.update(memory_growth(memory, memory_of(forwarder.group), connections))
        if scenario.workers and forwarder:
            figures.update(worker_shares(scenario, workers, watched,
                                         forwarder.group.watched_sockets()))
        segments = place.segments_received()
        before = self._snapshot(forwarder, client, backend)
        client.tell()
        client.line(seconds + DRAIN_SECONDS)
        after = self._snapshot(forwarder, client, backend)
        segments = place.segments_received() - segments
        if scenario.is_bulk:
            # All connections are still open; the counting is over.
            figures["congestion"] = congestion_of(place, forwarder, address)
        client.tell()
        result = json.loads(client.line(START_SECONDS))
        client.process.wait()
        backend.end_input()
        totals = json.loads(backend.line(START_SECONDS))
        verify(result, totals, opened)
        if not scenario.idle and not result["requests"] and not result["flows"]:
            raise RunFailed("nothing was measured")
        figures.update(figure_out(scenario, result,
                                  {name: after[name] - before[name] for name in before}))
        if segments > 0 and figures.get("bytes"):
            figures["segment_bytes"] = figures["bytes"] / segments
        return figures

    def _measure_takeovers(self, place, peer, address, backend, forwarder, children, opened,
                           connections):
        """Reloads the forwarder while `connections` are idle."""
        def start(*arguments):
            client = self._client(place, peer, address, [*arguments, "--seconds", "0"], children)
            client.line(READY_SECONDS)
            client.tell()
            client.line(START_SECONDS)
            return client

        def stop(client):
            client.tell()
            client.line(DRAIN_SECONDS)
            client.tell()
            result = json.loads(client.line(START_SECONDS))
            client.process.wait()
            return result

        idle = start("--idle", str(connections))
        try:
            measured = takeover.measure(forwarder, start, stop)
        except takeover.TakeoverFailed as failure:
            raise RunFailed(str(failure)) from failure
        results = [*measured.results, stop(idle)]
        backend.end_input()
        totals = json.loads(backend.line(START_SECONDS))
        whole = {key: sum(result[key] for result in results)
                 for key in results[0] if isinstance(results[0][key], (int, float))}
        whole["first_error"] = " ".join(result["first_error"] for result in results).strip()
        verify(whole, totals, opened)
        return {"connections": connections, **measured.figures}

    def _snapshot(self, forwarder, client, backend):
        """CPU seconds so far, by process."""
        seconds = self._machine.snapshot()
        seconds["generator"] = seconds_of(client.process.pid) + seconds_of(backend.process.pid)
        if forwarder:
            seconds["forwarder"] = forwarder.group.cpu_seconds()
        return seconds

    def _warm_up(self, place, peer, address, children):
        client = self._client(place, peer, address, ["--idle", "8", "--seconds", "0.01"], children)
        for _ in range(2):
            client.line(READY_SECONDS)
            client.tell()
        opened = json.loads(client.line(START_SECONDS))["opened"]
        time.sleep(0.2)
        return opened


def congestion_of(place, forwarder, address):
    """The sockets' congestion control. The ends must use that of their namespace."""
    listen, backend = None, address
    if forwarder:
        listen, backend = forwarder.setup.listen, forwarder.setup.backend
    used = congestion.sample(place, listen, backend)
    if place.congestion and used and used.get(congestion.ENDS) != place.congestion:
        raise RunFailed(f"the ends use congestion control {used.get(congestion.ENDS)}, "
                        f"not {place.congestion}")
    return used


def memory_of(group):
    return {"own": group.own_bytes(), "kernel": group.kernel_bytes(), "pipes": group.pipe_count()}


def memory_growth(before, after, connections):
    return {
        "connections": connections,
        "own_bytes_per_connection": (after["own"] - before["own"]) / connections,
        "kernel_bytes_per_connection": (after["kernel"] - before["kernel"]) / connections,
        "own_kib": after["own"] / 1024,
        "pipes": after["pipes"] - before["pipes"],
    }


def worker_shares(scenario, workers, before, after):
    """How the flows spread over the workers: each has its own epoll or io_uring."""
    flows = int(scenario.load[scenario.load.index("--bulk") + 1])
    watched = sorted((after[engine] - before.get(engine, 0) for engine in after), reverse=True)
    total = sum(watched)
    if total <= 0:
        return {}
    carried = [round(flows * count / total, 2) for count in watched[:workers]]
    return {"share_flows": flows / workers, "busiest_flows": carried[0], "worker_flows": carried}


def verify(result, totals, opened):
    """Both ends must have the same counts, and no errors."""
    for side in (result, totals):
        if side["errors"]:
            raise RunFailed(f"{side['errors']} errors, the first: {side['first_error']}")
    checks = (
        ("bytes up", result["up_bytes"], totals["received_bytes"]),
        ("bytes down", result["down_bytes"], totals["sent_bytes"]),
        ("requests", result["exchanges"] + opened, totals["requests"]),
        ("connections", result["opened"] + opened, totals["accepted"]),
        ("closed connections", totals["accepted"], totals["closed"]),
        ("flows", result["flows"], totals["flows"]),
    )
    for what, sent, arrived in checks:
        if sent != arrived:
            raise RunFailed(f"{what}: {sent} at one end, {arrived} at the other")


def figure_out(scenario, result, used):
    """A run's figures, from the client's counts and the CPU time of each process."""
    seconds = result["seconds"] or 1e-9
    transferred = result["up_bytes"] + result["down_bytes"]
    total = used["generator"] + used.get("forwarder", 0.0) + used["ksoftirqd"]
    figures = {f"{name}_seconds": value for name, value in used.items()}
    figures.update(seconds=seconds, bytes=transferred, requests=result["requests"],
                   others_percent=max(0.0, 100 * (used["busy"] - total) / seconds))
    # The unit of the work, and the unit of CPU time for each.
    counts = (("gb", transferred / 1e9, 1e3, "ms"), ("request", result["requests"], 1e6, "us"),
              ("connection", result["connections"], 1e6, "us"))
    for name, count, scale, unit in counts:
        if count:
            figures[f"total_{unit}_per_{name}"] = total * scale / count
        if count and "forwarder" in used:
            figures[f"cpu_{unit}_per_{name}"] = used["forwarder"] * scale / count
    if "forwarder" in used:
        figures["cpu_percent"] = 100 * used["forwarder"] / seconds
        if scenario.idle:
            figures["idle_cpu_percent"] = figures["cpu_percent"]
    if transferred:
        figures["gbit_per_s"] = transferred * 8 / 1e9 / seconds
    if result["connections"]:
        figures["connections_per_s"] = result["connections"] / seconds
    if result["requests"]:
        figures["requests_per_s"] = result["requests"] / seconds
        for name in ("p50", "p99", "p99.9", "max"):
            figures[f"{name}_us"] = result["latency_us"][name]
    return figures
