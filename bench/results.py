# SPDX-License-Identifier: MIT
"""From rounds to medians, and from medians to the targets that sixpipe must reach."""

import os
import platform
import statistics
import subprocess
from dataclasses import dataclass

import scenarios
from accounting import read_text

OURS = "sixpipe"
ENGINES = (OURS, "sixpipe-epoll")
NO_FORWARDER = "direct"
# For reference: bench/floor.c. These rows, and the row without a forwarder, are no peers.
FLOOR, FLOOR_COPY = "floor", "floor-copy"
FLOORS = (FLOOR, FLOOR_COPY)
NOT_PEERS = (NO_FORWARDER, *FLOORS)
BEST = "best peer"
BULK = tuple(scenario.name for scenario in scenarios.BULK_SCENARIOS)


@dataclass(frozen=True)
class Target:
    scenario: str
    metric: str
    against: str   # a row's name, BEST, or "": the limit is for the figure itself
    limit: float
    at_least: bool = False
    ours: str = OURS


LIMITS = (
    ("idle-9000", "own_bytes_per_connection", 512),
    ("idle-9000", "pipes", 0),
    ("idle-9000", "idle_cpu_percent", 0.05),
    # What busy connections may feel of a reload: the worst round.
    ("takeover", "pause_max_ms", 50),
    ("footprint", "start_ms", 50),
    ("footprint", "rest_kib", 8192),
    # At most so many flows more than an equal share.
    ("workers", "excess_flows", 1.0),
)


def targets_of(ours):
    """The targets of one of sixpipe's rows."""
    def at_most(scenario, metric, limit, *others):
        return [Target(scenario, metric, other, limit, ours=ours) for other in others]

    def at_least(scenario, metric, limit, *others):
        return [Target(scenario, metric, other, limit, True, ours) for other in others]

    found = []
    for scenario in BULK:
        found += at_most(scenario, "cpu_ms_per_gb", 1.10, FLOOR)
        found += at_most(scenario, "cpu_ms_per_gb", 0.95, "haproxy")
        found += at_least(scenario, "gbit_per_s", 0.95, FLOOR, BEST)
    found += at_most("mtu", "cpu_ms_per_gb", 1.05, FLOOR, BEST)
    for scenario, cpu in (("small-64", "cpu_us_per_request"), ("small-512", "cpu_us_per_request"),
                          ("crc-64", "cpu_us_per_connection")):
        found += at_most(scenario, cpu, 1.0, FLOOR_COPY, BEST)
        found += at_most(scenario, "p99_us", 1.0, FLOOR_COPY, BEST)
    found += at_most("mixed", "p99_us", 1.0, BEST) + at_most("mixed-paced", "p99_us", 1.0, BEST)
    for scenario, metric, limit in LIMITS:
        found += at_most(scenario, metric, limit, "")
    return found


TARGETS = tuple(target for ours in ENGINES for target in targets_of(ours))


def summarise(rounds):
    """Median, minimum and maximum of every figure that is a number in all rounds."""
    summary = {}
    for key in rounds[0] if rounds else ():
        values = [figures.get(key) for figures in rounds]
        if all(isinstance(value, (int, float)) for value in values):
            summary[key] = {"median": statistics.median(values), "min": min(values),
                            "max": max(values)}
    return summary


def summary_of(results, scenario, peer, metric):
    """Median, minimum and maximum of one figure, or None if it was not measured."""
    entry = results["scenarios"].get(scenario, {}).get("peers", {}).get(peer, {})
    return entry.get("summary", {}).get(metric)


def median(results, scenario, peer, metric):
    values = summary_of(results, scenario, peer, metric)
    return values["median"] if values else None


def best_peer(results, scenario, metric, at_least):
    found = {}
    for peer in results["scenarios"].get(scenario, {}).get("peers", {}):
        value = median(results, scenario, peer, metric)
        ours = results["peers"].get(peer, {}).get("ours")
        if not ours and peer not in NOT_PEERS and value is not None:
            found[peer] = value
    if not found:
        return None
    return (max if at_least else min)(found, key=found.get)


def ratio_range(results, scenario, ours, peer, metric):
    """Minimum and maximum of the ratio within a round."""
    peers = results["scenarios"][scenario]["peers"]
    theirs = {figures["round"]: figures[metric] for figures in peers[peer]["rounds"]}
    ratios = [figures[metric] / theirs[figures["round"]] for figures in peers[ours]["rounds"]
              if theirs.get(figures["round"])]
    return (min(ratios), max(ratios)) if ratios else (None, None)


def target_rows(results):
    """One row per target whose scenario and peers have been measured."""
    rows = []
    for target in TARGETS:
        ours = median(results, target.scenario, target.ours, target.metric)
        if ours is None:
            continue
        row = {"scenario": target.scenario, "metric": target.metric, "row": target.ours,
               "ours": ours, "target": target.limit, "at_least": target.at_least,
               "against": target.against}
        if not target.against:
            # A limit must hold in every round, not only in the median.
            most = summary_of(results, target.scenario, target.ours, target.metric)["max"]
            row.update(ours=most, value=most, met=most <= target.limit)
            rows.append(row)
            continue
        peer = target.against
        if peer == BEST:
            peer = best_peer(results, target.scenario, target.metric, target.at_least)
        theirs = median(results, target.scenario, peer, target.metric)
        if not theirs:
            continue
        ratio = ours / theirs
        least, most = ratio_range(results, target.scenario, target.ours, peer, target.metric)
        row.update(peer=peer, theirs=theirs, value=ratio, least=least, most=most,
                   met=ratio >= target.limit if target.at_least else ratio <= target.limit)
        rows.append(row)
    return rows


def finish(figures):
    """A run's figures with those computed from them, each with six digits."""
    if "busiest_flows" in figures:
        figures["excess_flows"] = figures["busiest_flows"] - figures["share_flows"]
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value
            for key, value in figures.items()}


def command_output(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10,
                             cwd=os.path.dirname(os.path.abspath(__file__)))
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def cpu_model():
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine_facts():
    sysctls = ("net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem", "net/ipv4/tcp_congestion_control",
               "net/ipv4/ip_local_port_range", "net/core/somaxconn", "fs/pipe-max-size",
               "fs/pipe-user-pages-soft")
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": cpu_model(),
        "virtual": "hypervisor" in read_text("/proc/cpuinfo"),
        "load_average_at_start": os.getloadavg()[0],
        "sysctl": {name.replace("/", "."): read_text(f"/proc/sys/{name}").strip()
                   for name in sysctls},
    }


def commit_facts():
    return {
        "commit": command_output("git", "rev-parse", "HEAD") or "none",
        "changed": bool(command_output("git", "status", "--porcelain", "--", "..",
                                       ":!results")),
    }


def describe(figures, scenario):
    """The first figures of a run, for the progress line."""
    parts = []
    for key in scenario.metrics:
        metric = scenarios.METRICS[key]
        if key in figures and len(parts) < 3:
            parts.append(f"{metric.title} {figures[key]:.{metric.digits}f} {metric.unit}".strip())
    return ", ".join(parts)
