# SPDX-License-Identifier: MIT
"""The results as SVG, drawn by gnuplot."""

import math
import shutil
import subprocess
from dataclasses import dataclass

from results import NO_FORWARDER, summary_of

# sixpipe stands out; each peer keeps its colour in every plot.
COLOURS = {
    "sixpipe": "#0b57a4", "sixpipe-epoll": "#7fb0e0",
    "haproxy": "#e07b39", "haproxy-64k": "#efb08a",
    "haproxy-copy": "#f5d3bf", "nginx": "#3c9d5d", "socket-proxyd": "#8a63b8",
    "socat": "#b8433c", "socat-tuned": "#dd9a95", "6tunnel": "#9c8552", "direct": "#9aa0a6",
    "floor": "#4d5156", "floor-copy": "#4d5156",
}


@dataclass(frozen=True)
class Plot:
    name: str
    title: str
    unit: str
    bars: tuple   # (scenario, metric, label)
    log: bool = False
    direct: bool = False


def per_scenario(metric, *names):
    return tuple((name, metric, name) for name in names)


PLOTS = (
    Plot("bulk-cpu", "CPU per GB forwarded (less is better)", "ms of CPU per GB",
         per_scenario("cpu_ms_per_gb", "bulk-1-up", "bulk-1-both", "bulk-8-up", "bulk-8-both")),
    Plot("bulk-cpu-bbr", "CPU per GB forwarded, BBR at the ends (less is better)",
         "ms of CPU per GB", per_scenario("cpu_ms_per_gb", "bulk-1-up-bbr", "bulk-1-down-bbr",
                                          "bulk-1-both-bbr", "bulk-8-up-bbr", "bulk-8-down-bbr",
                                          "bulk-8-both-bbr")),
    Plot("bulk-throughput", "Bulk throughput (more is better)", "Gbit/s",
         per_scenario("gbit_per_s", "bulk-1-up", "bulk-1-both", "bulk-8-up", "bulk-8-both",
                      "mtu"), direct=True),
    Plot("small-cpu", "CPU per small exchange (less is better)", "µs of CPU, logarithmic",
         (("small-64", "cpu_us_per_request", "request, 64 connections"),
          ("small-512", "cpu_us_per_request", "request, 512 connections"),
          ("crc-64", "cpu_us_per_connection", "connect-request-close")), log=True),
    Plot("latency", "99th percentile of a small exchange (less is better)",
         "µs, logarithmic", (("small-64", "p99_us", "64 connections"),
                             ("small-512", "p99_us", "512 connections"),
                             ("mixed-paced", "p99_us", "beside paced bulk"),
                             ("mixed", "p99_us", "beside full bulk")),
         log=True, direct=True),
    Plot("idle-memory", "Memory per idle connection (less is better)", "bytes, logarithmic",
         (("idle-9000", "own_bytes_per_connection", "process"),
          ("idle-9000", "kernel_bytes_per_connection", "kernel")), log=True),
)

GAP = 2  # between two groups of bars, in widths of a bar

SCRIPT = """\
set terminal svg size 960,440 font 'Helvetica,13' background '#ffffff'
set encoding utf8
set output '{output}'
set title '{title}' font ',15'
set style data histograms
set style histogram errorbars gap {gap} lw 1
set style fill solid 1.0 border rgb '#3c4043'
set boxwidth 0.9
set border 3 lc rgb '#5f6368'
set tics nomirror scale 0.5
set grid ytics lc rgb '#e3e5e8' lw 1 lt 1
set ylabel '{unit}'
set key outside right top Left reverse samplen 1.2 spacing 1.25 noenhanced
set xtics noenhanced scale 0
set format y '%.0f'
set xrange [-0.55:{right}]
{scale}
$data << EOD
{data}
EOD
$labels << EOD
{labels}
EOD
plot {series}, \\
     $labels using 1:2:3 with labels rotate by 90 left offset 0,0.5 font ',9' \\
     tc rgb '#3c4043' notitle
"""


def draw_all(results, directory):
    """Draws the plots that have data. Returns the files' names, or None without gnuplot."""
    if shutil.which("gnuplot") is None:
        return None
    drawn = []
    for plot in PLOTS:
        script = script_of(plot, results, directory / f"{plot.name}.svg")
        if script:
            subprocess.run(["gnuplot"], input=script, text=True, check=True)
            drawn.append(f"{plot.name}.svg")
    return drawn


def script_of(plot, results, output):
    bars = [bar for bar in plot.bars if any(
        summary_of(results, bar[0], peer, bar[1]) for peer in results["peers"])]
    peers = [peer for peer in results["peers"] if (plot.direct or peer != NO_FORWARDER) and any(
        summary_of(results, scenario, peer, metric) for scenario, metric, _ in bars)]
    if not bars or not peers:
        return None
    lines, labels = [], []
    for group, (scenario, metric, label) in enumerate(bars):
        fields = [f'"{label}"']
        for index, peer in enumerate(peers):
            values = summary_of(results, scenario, peer, metric)
            if values is None or (plot.log and values["median"] <= 0):
                fields += ["NaN", "NaN", "NaN"]
                continue
            fields += [f"{values[key]:.6g}" for key in ("median", "min", "max")]
            middle = group + (index - (len(peers) - 1) / 2) / (len(peers) + GAP)
            labels.append(f"{middle:.4f} {values['max']:.6g} {short(values['median'])}")
        lines.append(" ".join(fields))
    series = []
    for index, peer in enumerate(peers):
        column = 2 + 3 * index
        title = results["peers"][peer]["title"]
        groups = ":xtic(1)" if index == 0 else ""
        series.append(f"$data using {column}:{column + 1}:{column + 2}{groups} title '{title}' "
                      f"lc rgb '{COLOURS.get(peer, '#777777')}'")
    shown = [values for scenario, metric, _ in bars for peer in peers
             if (values := summary_of(results, scenario, peer, metric))]
    tallest = max(values["max"] for values in shown)
    scale = f"set yrange [0:{tallest * 1.15:.6g}]"
    if plot.log:
        lowest = min(values["min"] for values in shown if values["median"] > 0)
        bottom = 10 ** math.floor(math.log10(max(lowest, 1)))
        scale = f"set logscale y; set yrange [{bottom}:{tallest * 4:.6g}]"
    return SCRIPT.format(output=output, title=plot.title, unit=plot.unit, scale=scale, gap=GAP,
                         right=len(bars) - 0.45, data="\n".join(lines), labels="\n".join(labels),
                         series=", \\\n     ".join(series))


def short(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
