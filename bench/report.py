# SPDX-License-Identifier: MIT
"""The results as Markdown."""

import statistics

import congestion
import scenarios
from results import FLOORS, OURS, median

NOT_SHOWN = """\
- Loopback carries segments of up to 64 KiB and has no wire, no interrupts and no second machine;
  the `mtu` scenario has small segments, but no network card either.
- Client, forwarder and backend share the CPUs. Where a scenario asks for as much as goes,
  throughput and latency tell how the three got along; CPU per unit is the forwarder's alone.
- Who pays for TCP's work is a matter of luck: on loopback a sender does the receiver's part, and
  an acknowledgement makes the receiver do the sender's. So a forwarder's own CPU varies more than
  the sum with both ends, in which nothing hides; the row without a forwarder is what to take off.
- A shared or virtual machine gives different figures from hour to hour. Peers run in turn within
  each round, so compare within one table, and look at the spread.
- Clients and backends use reno, and BBR in the scenarios whose names end in `-bbr`. BBR paces with
  timers. On loopback the kernel may run the ends' timers while the forwarder runs, and counts them
  as its CPU. The line below each bulk table names what a forwarder's own sockets use. `--on-host`
  uses the host's congestion control instead.
- Nothing here says how a forwarder behaves with lossy or slow clients.
"""


FLOOR_MARK = """\
† The floor is no product. It is a minimal forwarder without features, for reference: see its entry
under 'Programs'.
"""


def number(value, digits):
    return f"{value:,.{digits}f}"


def cell(summary, key):
    metric = scenarios.METRICS[key]
    if key not in summary:
        return ""
    values = summary[key]
    text = number(values["median"], metric.digits)
    least, most = (number(values[end], metric.digits) for end in ("min", "max"))
    return text if least == most else f"{text} ({least}–{most})"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |",
             "| --- |" + " ---: |" * (len(header) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def times_ours(entry, ours, key):
    if not ours or key not in entry["summary"] or not ours.get(key, {}).get("median"):
        return ""
    return number(entry["summary"][key]["median"] / ours[key]["median"], 2)


def scenario_section(name, result):
    scenario = scenarios.by_name(name)
    lines = [f"## {scenario.title} (`{name}`)\n"]
    if "skipped" in result:
        return "\n".join(lines + [f"Skipped: {result['skipped']}.\n"])
    if scenario.note:
        lines.append(scenario.note + "\n")
    entries = result["peers"]
    keys = [key for key in scenario.metrics
            if any(key in entry["summary"] for entry in entries.values())]
    ours = entries.get(OURS, {}).get("summary")
    first = keys[0] if keys else ""
    compare = bool(ours) and first in ours and first not in ("connections", "share_flows")
    header = ["forwarder"]
    for key in keys:
        metric = scenarios.METRICS[key]
        header.append(metric.title + (f", {metric.unit}" if metric.unit else ""))
        if key == first and compare:
            header.append("times sixpipe's")
    rows, remarks = [], []
    for peer, entry in entries.items():
        title = entry["title"]
        if entry.get("left_out"):
            remarks.append(f"{title}: not run, {entry['left_out']}.")
            continue
        for failure in sorted(set(entry["failures"])):
            count = entry["failures"].count(failure)
            remarks.append(f"{title}: {count} of {count_runs(entry)} rounds failed: {failure}.")
        if not entry["summary"]:
            continue
        row = [f"**{title}**" if peer.startswith(OURS) else title]
        for key in keys:
            row.append(cell(entry["summary"], key))
            if key == first and compare:
                row.append(times_ours(entry, ours, key))
        rows.append(row)
    if rows:
        lines.append(table(header, rows))
    lines += [remark + "\n" for remark in remarks]
    lines.append(congestion.line(entries))
    return "\n".join(line for line in lines if line)


GLANCE = (
    ("bulk-8-both", "cpu_ms_per_gb", "bulk, ms of CPU per GB"),
    ("bulk-8-up-bbr", "cpu_ms_per_gb", "bulk with BBR at the ends, ms of CPU per GB"),
    ("small-64", "cpu_us_per_request", "request, µs of CPU"),
    ("crc-64", "cpu_us_per_connection", "connection, µs of CPU"),
    ("mixed-paced", "p99_us", "p99 beside bulk, µs"),
    ("idle-9000", "own_bytes_per_connection", "idle connection, bytes of own memory"),
)


GLANCE_COLUMNS = 5  # with fewer figures there is no overview


def glance(results):
    """The few figures that most readers want, medians only. Empty if most figures are missing."""
    columns = [column for column in GLANCE
               if results["scenarios"].get(column[0], {}).get("peers")]
    if len(columns) < GLANCE_COLUMNS:
        return ""
    rows = []
    for name, peer in results["peers"].items():
        row = []
        for scenario, key, _ in columns:
            value = median(results, scenario, name, key)
            row.append("" if value is None else number(value, scenarios.METRICS[key].digits))
        if sum(map(bool, row)) > 2 or name in FLOORS:
            rows.append([f"**{peer['title']}**" if name == OURS else peer["title"], *row])
    header = ["forwarder", *(f"{title} (`{scenario}`)" for scenario, _, title in columns)]
    return "## At a glance\n\n" + table(header, rows)


def disturbance(results):
    """How much CPU other programs than the bench used."""
    shares = [figures.get("others_percent", 0) for result in results["scenarios"].values()
              for entry in result.get("peers", {}).values() for figures in entry["rounds"]]
    if not shares:
        return "nothing"
    return (f"{statistics.median(shares):.0f} % of a CPU in the median run, "
            f"{max(shares):.0f} % in the worst")


def count_runs(entry):
    return len(entry["rounds"]) + len(entry["failures"])


def targets_table(rows, titles):
    """The targets as text cells. The bench also prints them at its end."""
    header = ["scenario", "figure", "forwarder", "against", "ours", "theirs", "ratio", "target", "met"]
    body = []
    for row in rows:
        metric = scenarios.METRICS[row["metric"]] if row["metric"] in scenarios.METRICS else None
        digits = metric.digits if metric else 1
        unit = f" {metric.unit}" if metric and metric.unit else ""
        title = metric.title if metric else "flows over a worker's share"
        bound = "at least" if row["at_least"] else "at most"
        if row["against"]:
            against = titles.get(row["peer"], row["peer"])
            if row["against"] != row["peer"]:
                against = f"{row['against']}: {against}"
            ratio = number(row["value"], 2)
            if row["least"] is not None and row["least"] != row["most"]:
                ratio += f" ({number(row['least'], 2)}–{number(row['most'], 2)})"
            theirs, target = number(row["theirs"], digits) + unit, f"{bound} {row['target']:.2f}"
        else:
            against, theirs, ratio = "", "", ""
            target = f"{bound} {number(row['target'], max(digits, 0))}{unit}"
        ours = titles.get(row["row"], row["row"])
        figure = number(row["ours"], digits) + unit
        body.append([row["scenario"], title, ours, against, figure, theirs, ratio, target,
                     "yes" if row["met"] else "**no**"])
    return header, body


def conditions(results):
    machine, run = results["machine"], results["run"]
    changed = " with changes not committed" if results["commit"]["changed"] else ""
    where = "virtual machine, " if machine["virtual"] else ""
    lines = [
        f"- {results['date']}, commit `{results['commit']['commit'][:12]}`{changed}",
        f"- Linux {machine['kernel']}, {where}{machine['cpus']} CPUs ({machine['cpu_model']}), "
        f"load average {machine['load_average_at_start']:.1f} at the start",
        f"- Made with `{run['command']}`: rounds: {rounds_text(run)}, of {run['seconds']:.1f} s "
        f"per run, forwarders in turn within each; {run['took_seconds'] / 60:.1f} minutes in all",
        f"- CPU is the forwarder's, children and kernel workers included, as counted by: "
        f"{run['cpu_accounting']}",
        f"- Kernel memory by: {run['memory_accounting']}",
        f"- On {run['place']}; the host's default is "
        f"{machine['sysctl']['net.ipv4.tcp_congestion_control']}",
        f"- Other programs on this machine used {disturbance(results)}",
        "- Each cell is the median of the rounds, with least and most in parentheses; 1 GB is "
        "10⁹ bytes, up and down together",
    ]
    if run["left_out"]:
        lines.append(f"- **{run['left_out']} runs were left out for lack of time**")
    return "\n".join(lines) + "\n"


def rounds_text(run):
    """The number of rounds, and the scenarios with another number."""
    others = [f"`{name}`: {count}" for name, count in run["rounds_of"].items()
              if count != run["rounds"]]
    return f"{run['rounds']} ({', '.join(others)})" if others else str(run["rounds"])


def markdown(results):
    titles = {name: peer["title"] for name, peer in results["peers"].items()}
    parts = ["# Benchmark results\n", conditions(results)]
    if results["run"]["rounds"] < 5:
        parts.append("**Fewer than five rounds: good for a look, not for a claim.**\n")
    if results["run"]["partial"]:
        parts.append(f"**A partial run: {'; '.join(results['run']['partial'])}.**\n")
    if results["targets"]:
        parts.append("## Targets\n")
        parts.append("Ratios are our median over the other program's median; in parentheses the "
                     "least and most ratio within one round. Where the target is a fixed "
                     "limit, the figure is from the worst round.\n")
        parts.append(table(*targets_table(results["targets"], titles)))
    parts.append(glance(results))
    if any(not results["peers"].get(name, {"missing": True}).get("missing") for name in FLOORS):
        parts.append(FLOOR_MARK)
    for name, result in results["scenarios"].items():
        parts.append(scenario_section(name, result))
    parts.append("## What these figures do not show\n")
    parts.append(NOT_SHOWN)
    parts.append("## Programs\n")
    for name, peer in results["peers"].items():
        if peer.get("missing"):
            parts.append(f"**{peer['title']}** (`{name}`): {peer['missing']}\n")
            continue
        version = f" {peer['version']}" if peer["version"] else ""
        notes = f": {peer['notes']}" if peer["notes"] else ""
        parts.append(f"**{peer['title']}**{version} (`{name}`){notes}\n")
        if peer["command"]:
            parts.append(f"    {peer['command']}\n")
        for file_name, text in peer["files"].items():
            body = "\n".join("    " + line for line in text.rstrip().splitlines())
            parts.append(f"`{file_name}`:\n\n{body}\n")
    return "\n".join(part for part in parts if part)
