# SPDX-License-Identifier: MIT
"""Reloads a running sixpipe: how long its connections pause, and what a takeover costs."""

import re
import signal
import time
from dataclasses import dataclass

from accounting import read_text, seconds_of

BUSY = ("--small", "8", "--interval-us", "2000")
BUSY_SECONDS = 0.1   # of requests before a reload, and after it
BUSY_RELOADS = 6     # beside requests, for the pauses
QUIET_RELOADS = 3    # without requests, for the CPU time
RELOAD_SECONDS = 20  # more than --takeover-timeout
LOG_EVENT = re.compile(r"event=(takeover_done|takeover_failed)\b.*")
LOG_PAUSE = re.compile(r" pause_us=(\d+)")


class TakeoverFailed(Exception):
    """sixpipe did not reload."""


@dataclass
class Measured:
    figures: dict
    results: list  # of the clients that sent requests


def children_of(pid):
    return [int(child) for child in read_text(f"/proc/{pid}/task/{pid}/children").split()]


def events(forwarder):
    return [match[0] for match in LOG_EVENT.finditer(forwarder.log())]


def wait(condition, what):
    end = time.monotonic() + RELOAD_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TakeoverFailed(f"{what} did not come")
        time.sleep(0.001)


@dataclass
class Reload:
    """One reload, from the signal to the end of the old process."""
    pause_ms: float    # by the log: no connection was served
    seconds: float     # until the new process serves
    cpu_seconds: float
    new_cpu_seconds: float


def reload(forwarder):
    main = forwarder.process.pid
    old, before = children_of(main), len(events(forwarder))
    cpu, began = forwarder.group.cpu_seconds(), time.monotonic()
    forwarder.process.send_signal(signal.SIGHUP)
    wait(lambda: len(events(forwarder)) > before, "event=takeover_done")
    seconds = time.monotonic() - began
    line = events(forwarder)[before]
    if "takeover_done" not in line:
        raise TakeoverFailed(line)
    wait(lambda: len(children_of(main)) == 1, "the end of the old process")
    new, = children_of(main)
    if new in old:
        raise TakeoverFailed("the old process serves still")
    return Reload(int(LOG_PAUSE.search(line)[1]) / 1e3, seconds,
                  forwarder.group.cpu_seconds() - cpu, seconds_of(new))


def at(values, share):
    """The value below which this share of the values is."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def mean(values):
    return sum(values) / len(values)


def measure(forwarder, start, stop):
    """start(*arguments) starts a client, which sends requests until stop() gives its result."""
    quiet = [reload(forwarder) for _ in range(QUIET_RELOADS)]
    busy, results = [], []
    for _ in range(BUSY_RELOADS):
        client = start(*BUSY)
        time.sleep(BUSY_SECONDS)
        busy.append(reload(forwarder))
        time.sleep(BUSY_SECONDS)
        results.append(stop(client))
    pauses_ms = [result["latency_us"]["max"] / 1e3 for result in results]
    return Measured({
        "pause_p50_ms": at(pauses_ms, 0.5),
        "pause_p99_ms": at(pauses_ms, 0.99),
        "pause_max_ms": max(pauses_ms),
        "pause_log_max_ms": max(each.pause_ms for each in busy),
        "takeover_ms": mean([each.seconds for each in busy]) * 1e3,
        "takeover_cpu_ms": mean([each.cpu_seconds for each in quiet]) * 1e3,
        "takeover_new_cpu_ms": mean([each.new_cpu_seconds for each in quiet]) * 1e3,
    }, results)
