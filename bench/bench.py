#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures sixpipe and its peers, one after the other, and writes the results."""

import argparse
import contextlib
import datetime
import json
import resource
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import congestion
import namespaces
import plots
import report
import results as outcome
import scenarios
from accounting import Accounting, Machine
from peers import all_peers, cpu_count, sixpipe_variant
from runner import RunFailed, Runner

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PARTIAL_RESULTS = ROOT / "build" / "bench" / "results"
FULL_SECONDS, QUICK_SECONDS = 35 * 60, 3 * 60
ROUNDS = 7
# A complete run may lack these: they need more CPUs than most machines have.
OPTIONAL_SCENARIOS = ("scaling",)
DESCRIPTORS = 20000
RUN_SECONDS_RANGE = (0.3, 2.0)
# Reserved for the end: reports, plots, and a run that takes longer than expected.
RESERVE = 0.06


@dataclass
class Step:
    round: int
    scenario: scenarios.Scenario
    peer: object
    workers: int
    column: str  # the peer's name in the results, with the workers if the scenario varies them


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures sixpipe and its peers. A complete run, without options, takes up to "
                    "35 minutes and writes bench/results/. A partial run writes "
                    "build/bench/results/ instead and says why it is partial: a scenario or an "
                    "option was given, a program is missing, a scenario cannot run here, or the "
                    "time was too short.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--list", action="store_true", help="list scenarios and peers, and end")
    parser.add_argument("--quick", action="store_true", help="one short round, within 3 minutes")
    parser.add_argument("--rounds", type=int,
                        help=f"of every scenario; default: {ROUNDS}, and "
                             f"{scenarios.MIXED_ROUNDS} of mixed and mixed-paced")
    parser.add_argument("--peers", help="comma-separated; default: all that are installed")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=COMMAND",
                        help="a row for another sixpipe: options, or a program and options")
    parser.add_argument("--seconds", type=float, help="of each run; default: what time allows")
    parser.add_argument("--on-host", action="store_true",
                        help="on the host's loopback, with its congestion control, instead of in "
                             "a network namespace of the bench's own; without the -bbr "
                             "scenarios")
    parser.add_argument("--accounting", choices=("auto", "cgroup", "processes"), default="auto",
                        help="how the kernel counts a forwarder's CPU")
    parser.add_argument("--output", type=Path,
                        help="directory for the results; default: bench/results after a complete "
                             "run, build/bench/results after a partial one")
    parser.add_argument("--sixpipe", type=Path, default=ROOT / "build" / "src" / "sixpipe")
    parser.add_argument("--load", type=Path, default=ROOT / "build" / "bench" / "load")
    parser.add_argument("--floor", type=Path, default=ROOT / "build" / "bench" / "floor")
    arguments = parser.parse_args()
    defaults = parser.parse_args([])
    arguments.partial = any(value != getattr(defaults, name)
                            for name, value in vars(arguments).items() if name != "output")
    return arguments


def choose(names, known, what):
    for name in names:
        if name not in known:
            raise SystemExit(f"bench: no {what} '{name}'; there are: {', '.join(known)}")


def why_skipped(scenario, private):
    if cpu_count() < scenario.least_cpus:
        return f"needs {scenario.least_cpus} CPUs, this machine has {cpu_count()}"
    if scenario.place == "chain":
        return namespaces.missing()
    if scenario.congestion != scenarios.RENO:
        if not private:
            return (f"needs a network namespace with {scenario.congestion}; on the host the ends "
                    "use the host's congestion control")
        return namespaces.why_not(scenario.congestion)
    return None


def worker_counts():
    counts, count = [], 1
    while count < cpu_count():
        counts.append(count)
        count *= 2
    return [*counts, cpu_count()]


def plan(chosen, peers, rounds):
    """All runs: within each scenario the peers in turn, and each round begins with another peer.

    `rounds` holds each scenario's number of rounds. A scenario with more rounds than the others runs
    several times in a row, so that its rounds spread over the whole time.
    """
    steps = []
    turns = min(rounds.values(), default=0)
    for turn in range(turns):
        for scenario in chosen:
            count = rounds[scenario.name]
            for number in range(turn * count // turns, (turn + 1) * count // turns):
                steps += round_of(scenario, peers, number)
    return steps


def round_of(scenario, peers, number):
    able = [peer for peer in peers if runs_in(scenario, peer)
            and scenario.name not in peer.left_out]
    shift = number % max(1, len(able))
    steps = []
    for peer in able[shift:] + able[:shift]:
        if scenario.scaling:
            steps += [Step(number, scenario, peer, workers, f"{peer.name}, {workers}")
                      for workers in worker_counts()]
        else:
            steps.append(Step(number, scenario, peer, scenario.workers or cpu_count(), peer.name))
    return steps


def rounds_of(scenario, arguments):
    if arguments.rounds or arguments.quick:
        return arguments.rounds or 1
    return scenario.rounds or ROUNDS


def runs_in(scenario, peer):
    if (scenario.idle or scenario.footprint) and peer.name == outcome.NO_FORWARDER:
        return False
    if scenario.peers is not None and peer.name not in scenario.peers and not peer.is_ours:
        return False
    return peer.runs_in(scenario.name)


class Clock:
    """How long the rest takes: each kind of run takes as long as its last run, or as expected."""

    def __init__(self, steps, limit_seconds, run_seconds):
        self._begin = time.monotonic()
        self._limit = limit_seconds
        usable = limit_seconds * (1 - RESERVE)
        overhead = sum(step.scenario.overhead for step in steps)
        fitting = (usable - overhead) / max(1, len(steps))
        least, most = RUN_SECONDS_RANGE
        self.run_seconds = run_seconds or max(least, min(most, fitting))
        self._taken = {}

    def elapsed(self):
        return time.monotonic() - self._begin

    def expected(self, step):
        return self._taken.get((step.scenario.name, step.column),
                               self.run_seconds + step.scenario.overhead)

    def left(self, steps):
        return sum(self.expected(step) for step in steps)

    def took(self, step, seconds):
        self._taken[step.scenario.name, step.column] = seconds

    def has_time_for(self, step):
        return self.elapsed() + self.expected(step) < self._limit


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def place_of(scenario, private):
    if scenario.place == "chain":
        return namespaces.Chain(scenario.congestion)
    if private:
        return namespaces.PrivateLoopback(scenario.congestion)
    return contextlib.nullcontext(namespaces.LOOPBACK)


def describe_place(private):
    if private:
        return (f"a network namespace, congestion control {scenarios.RENO}, in the -bbr scenarios "
                f"{scenarios.BBR}")
    return "the host's loopback"


def measure(steps, runner, clock, collected, private):
    """Runs all steps. Returns how many steps were left out because the time was over."""
    for index, step in enumerate(steps):
        if not clock.has_time_for(step):
            return len(steps) - index
        head = (f"[{index + 1:3}/{len(steps)}  {minutes(clock.elapsed())}, "
                f"{minutes(clock.left(steps[index:]))} left]  round {step.round + 1}  "
                f"{step.scenario.name:15} {step.column:14}")
        if sys.stdout.isatty():
            print(head, end="\r", flush=True)
        entry = collected[step.scenario.name]["peers"][step.column]
        began = time.monotonic()
        try:
            with place_of(step.scenario, private) as place:
                figures = runner.run(step.scenario, step.peer, clock.run_seconds, step.workers,
                                     place)
            entry["rounds"].append({"round": step.round, **outcome.finish(figures)})
            tail = outcome.describe(figures, step.scenario)
        except RunFailed as failure:
            entry["failures"].append(str(failure))
            tail = f"FAILED: {failure}"
        clock.took(step, time.monotonic() - began)
        print(f"{head} {tail}", flush=True)
    return 0


def empty_results(chosen, skipped, peers, steps):
    collected = {}
    for scenario in chosen:
        if scenario.name in skipped:
            collected[scenario.name] = {"title": scenario.title, "skipped": skipped[scenario.name]}
            continue
        entries = {}
        for step in steps:
            if step.scenario is scenario and step.round == 0:
                title = step.peer.title
                if scenario.scaling:
                    title += f", {step.workers} worker" + ("s" if step.workers > 1 else "")
                entries[step.column] = {"title": title, "rounds": [], "failures": []}
        for peer in peers:
            if runs_in(scenario, peer) and scenario.name in peer.left_out:
                entries[peer.name] = {"title": peer.title, "rounds": [], "failures": [],
                                      "left_out": peer.left_out[scenario.name]}
        collected[scenario.name] = {"title": scenario.title, "load": " ".join(scenario.load),
                                    "peers": entries}
    return collected


def write_results(directory, results):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (directory / "latest.md").write_text(report.markdown(results), encoding="utf-8")
    if plots.draw_all(results, directory) is None:
        print("bench: no plots, for lack of gnuplot")


def print_targets(results):
    titles = {name: peer["title"] for name, peer in results["peers"].items()}
    header, rows = report.targets_table(results["targets"], titles)
    if not rows:
        return
    rows = [[text.replace("*", "") for text in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print()
    for row in [header, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    arguments = parse_arguments()
    variants = [sixpipe_variant(text, arguments.sixpipe) for text in arguments.variant]
    peers = all_peers(arguments.sixpipe, arguments.floor)
    if arguments.list:
        for scenario in scenarios.SCENARIOS:
            print(f"{scenario.name:16} {scenario.title}")
        print("\npeers: " + ", ".join(peer.name for peer in peers))
        return 0
    known = [scenario.name for scenario in scenarios.SCENARIOS]
    choose(arguments.scenarios, known, "scenario")
    if arguments.peers:
        wanted = arguments.peers.split(",")
        choose(wanted, [peer.name for peer in peers], "peer")
        peers = [peer for peer in peers if peer.name in wanted]
    peers = variants + peers
    if not arguments.load.exists():
        raise SystemExit(f"bench: {arguments.load} is not built; use scripts/bench")
    chosen = [scenario for scenario in scenarios.SCENARIOS
              if scenario.name in arguments.scenarios
              or not arguments.scenarios and (scenario.in_quick or not arguments.quick)]
    return run(arguments, chosen, peers)


def why_partial(arguments, missing, skipped):
    """Why this run is not complete, as far as is known before the run; empty if it is complete."""
    reasons = ["a scenario or an option was given"] if arguments.partial else []
    reasons += [f"without {name}: {reason}" for name, reason in missing.items()]
    reasons += [f"without {name}: {reason}" for name, reason in skipped.items()
                if name not in OPTIONAL_SCENARIOS]
    return reasons


def output_of(arguments, reasons):
    return arguments.output or (PARTIAL_RESULTS if reasons else RESULTS)


def kind_of(reasons):
    return f"partial run ({'; '.join(reasons)})" if reasons else "complete run"


def command_of(arguments):
    """The command that measures the same again, on any machine."""
    words = ["scripts/bench"]
    words += ["--quick"] if arguments.quick else []
    words += ["--on-host"] if arguments.on_host else []
    for name in ("rounds", "peers", "seconds"):
        value = getattr(arguments, name)
        words += [f"--{name}", str(value)] if value else []
    words += [f"--variant {shlex.quote(text)}" for text in arguments.variant]
    return " ".join(words + arguments.scenarios)


def run(arguments, chosen, peers):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    private = not arguments.on_host and namespaces.missing() is None
    missing = {peer.name: reason for peer in peers if (reason := peer.find(private))}
    present = [peer for peer in peers if peer.name not in missing]
    skipped = {scenario.name: reason for scenario in chosen
               if (reason := why_skipped(scenario, private))}
    for name, reason in (missing | skipped).items():
        print(f"bench: without {name}: {reason}")
    measured = [scenario for scenario in chosen if scenario.name not in skipped]
    rounds = {scenario.name: rounds_of(scenario, arguments) for scenario in measured}
    steps = plan(measured, present, rounds)
    accounting = Accounting(arguments.accounting)
    reasons = why_partial(arguments, missing, skipped)
    clock = Clock(steps, QUICK_SECONDS if arguments.quick else FULL_SECONDS, arguments.seconds)
    results = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": outcome.commit_facts(),
        "machine": outcome.machine_facts(),
        "run": {"command": command_of(arguments), "rounds": min(rounds.values(), default=0),
                "rounds_of": rounds, "seconds": clock.run_seconds, "partial": reasons,
                "place": describe_place(private),
                "cpu_accounting": accounting.describe(),
                "memory_accounting": accounting.describe_memory()},
        "peers": {peer.name: {"title": peer.title, "missing": missing[peer.name]}
                  if peer.name in missing else
                  {"title": peer.title, "version": peer.version(), "ours": peer.is_ours,
                   **peer.describe()}
                  for peer in peers},
        "scenarios": empty_results(chosen, skipped, present, steps),
    }
    print(f"bench: {len(steps)} runs of {clock.run_seconds:.1f} s, about "
          f"{minutes(clock.left(steps))} in all; CPU by {accounting.describe()}")
    print(f"bench: {kind_of(reasons)}, results go to {output_of(arguments, reasons)}")
    runner = Runner(accounting, Machine(), arguments.load, threads=max(1, cpu_count() // 4))
    left_out = measure(steps, runner, clock, results["scenarios"], private)
    results["run"]["left_out"] = left_out
    if left_out:
        reasons.append(f"{left_out} runs were left out for lack of time")
    output = output_of(arguments, reasons)
    results["run"]["took_seconds"] = round(clock.elapsed())
    conclude(results, output)
    print(f"\nbench: {len(steps) - left_out} runs in {minutes(clock.elapsed())}; "
          f"{kind_of(reasons)}, results in {output}")
    return 0


def conclude(results, directory):
    """Computes the medians and compares them with the targets; writes and prints both."""
    for result in results["scenarios"].values():
        for entry in result.get("peers", {}).values():
            entry["summary"] = outcome.summarise(entry["rounds"])
            entry["congestion"] = congestion.over_rounds(entry["rounds"])
    results["targets"] = outcome.target_rows(results)
    write_results(directory, results)
    print_targets(results)
    for text in congestion.warnings(results):
        print(f"bench: {text}")


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop(_signal, _frame):
    """Ends the bench. A second signal does not prevent the clean-up."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for ending in ENDING:
        signal.signal(ending, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nbench: interrupted, nothing written", file=sys.stderr)
        sys.exit(130)
