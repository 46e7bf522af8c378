# SPDX-License-Identifier: MIT
"""What is measured: one row per scenario."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    unit: str
    digits: int = 0


METRICS = {metric.key: metric for metric in (
    Metric("cpu_ms_per_gb", "CPU per GB", "ms"),
    Metric("gbit_per_s", "throughput", "Gbit/s", 2),
    Metric("total_ms_per_gb", "CPU per GB with both ends", "ms"),
    Metric("cpu_us_per_request", "CPU per request", "µs", 1),
    Metric("total_us_per_request", "CPU per request with both ends", "µs", 1),
    Metric("requests_per_s", "requests per second", ""),
    Metric("cpu_us_per_connection", "CPU per connection", "µs"),
    Metric("total_us_per_connection", "CPU per connection with both ends", "µs"),
    Metric("connections_per_s", "connections per second", ""),
    Metric("p50_us", "p50", "µs"),
    Metric("p99_us", "p99", "µs"),
    Metric("p99.9_us", "p99.9", "µs"),
    Metric("max_us", "max", "µs"),
    Metric("connections", "connections", ""),
    Metric("own_bytes_per_connection", "own memory per connection", "bytes"),
    Metric("kernel_bytes_per_connection", "kernel memory per connection", "bytes"),
    Metric("own_kib", "own memory in all", "KiB"),
    Metric("pipes", "pipes held", ""),
    Metric("idle_cpu_percent", "CPU while idle", "%", 2),
    Metric("cpu_percent", "CPU", "%"),
    Metric("start_ms", "start", "ms", 1),
    Metric("rest_kib", "resident memory", "KiB"),
    Metric("pause_p50_ms", "pause p50", "ms", 1),
    Metric("pause_p99_ms", "pause p99", "ms", 1),
    Metric("pause_max_ms", "pause max", "ms", 1),
    Metric("pause_log_max_ms", "pause max by its log", "ms", 1),
    Metric("takeover_ms", "reload", "ms"),
    Metric("takeover_cpu_ms", "CPU of both processes", "ms"),
    Metric("takeover_new_cpu_ms", "CPU of the new process", "ms"),
    Metric("segment_bytes", "bytes per segment", "", 0),
    Metric("busiest_flows", "flows of the busiest worker", "", 1),
    Metric("share_flows", "flows per worker", ""),
)}

BULK = ("cpu_ms_per_gb", "gbit_per_s", "total_ms_per_gb")
LATENCY = ("p50_us", "p99_us", "p99.9_us", "max_us")
SMALL = ("cpu_us_per_request", "requests_per_s", *LATENCY, "total_us_per_request")
MIXED = (*LATENCY, "gbit_per_s", "requests_per_s", "cpu_percent")
ALL = None
WORKER_PEERS = ("sixpipe", "haproxy", "nginx")
# Scenarios that only add a comparison run only these forwarders, which keeps a full run short.
MAIN_PEERS = ("sixpipe", "sixpipe-epoll", "haproxy", "nginx", "socket-proxyd", "floor", "direct")

# The congestion control of both ends, unless a scenario says otherwise. Linux's default is cubic. A
# namespace may not use cubic if the host does not allow cubic to all users. reno differs from cubic
# only where packets are lost.
RENO, BBR = "reno", "bbr"

# The small connections of the mixed scenarios: 64, each with a request every 10 ms.
BESIDE_BULK = ("--small", "64", "--interval-us", "10000", "--background-bulk")


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    metrics: tuple
    load: tuple                 # arguments of `load client`
    peers: tuple | None = ALL
    overhead: float = 0.55      # seconds of a run besides the measurement
    workers: int = 0            # 0: as many as CPUs
    idle: int = 0               # idle connections, at most
    scaling: bool = False       # one run per worker count
    footprint: bool = False     # only starts the forwarder and measures it at rest
    place: str = "loopback"     # or "chain": see namespaces.py
    congestion: str = RENO      # congestion control of the namespaces that the ends run in
    rounds: int = 0             # rounds of a full run; 0: the usual number
    in_quick: bool = True       # part of a --quick run
    least_cpus: int = 1
    paced_bytes_per_s: int = 0  # the bulk rate that every forwarder gets
    takeover: bool = False      # reloads the forwarder: see takeover.py
    note: str = ""

    @property
    def is_bulk(self):
        """Only bulk flows, unlimited or paced."""
        return "--bulk" in self.load and "--small" not in self.load


# Enough workers to show an uneven spread, on any machine.
MANY_WORKERS = 8
FLOWS_PER_WORKER = 4
PACED_FLOW = 5_000_000
MIXED_FLOW = 25_000_000
# A 99th percentile beside bulk varies more than any other figure.
MIXED_ROUNDS = 15

DIRECTIONS = {"up": "client to backend", "down": "backend to client", "both": "both ways at once"}


def bulk(flows, direction, congestion=RENO):
    """Unlimited bulk. The same scenarios with BBR at the ends are named NAME-bbr."""
    title = f"Bulk, {flows} flow{'s' if flows > 1 else ''}, {DIRECTIONS[direction]}"
    name = f"bulk-{flows}-{direction}"
    main = congestion == RENO and direction != "down"
    if congestion == BBR:
        name, title = f"{name}-bbr", f"{title}, BBR at the ends"
    return Scenario(name, title, BULK, ("--bulk", str(flows), "--direction", direction),
                    peers=ALL if main else MAIN_PEERS, congestion=congestion,
                    in_quick=main or name == "bulk-8-up-bbr")


BULK_SCENARIOS = tuple(bulk(flows, direction, congestion) for congestion in (RENO, BBR)
                       for flows in (1, 8) for direction in DIRECTIONS)

SCENARIOS = (
    *BULK_SCENARIOS,
    Scenario("small-64", "Request/response, 64 bytes, 64 connections", SMALL, ("--small", "64")),
    Scenario("small-512", "Request/response, 64 bytes, 512 connections", SMALL,
             ("--small", "512"), overhead=0.9),
    Scenario("crc-64", "Connect-request-close, 64 at a time",
             ("cpu_us_per_connection", "connections_per_s", *LATENCY,
              "total_us_per_connection"), ("--connects", "64"),
             note="On the host's own loopback, fast forwarders run out of fresh ports and "
                  "connect(2) then searches for one."),
    Scenario("idle-9000", "Idle connections, after one request each",
             ("connections", "own_bytes_per_connection", "kernel_bytes_per_connection", "own_kib",
              "pipes", "idle_cpu_percent"), (), overhead=4.3, idle=9000,
             note="Figures per connection are growth from 8 connections to all. Where descriptors "
                  "or processes do not reach for 9,000, fewer are opened."),
    Scenario("mixed", "64 small connections beside 8 unlimited bulk flows", MIXED,
             ("--bulk", "8", "--direction", "both", *BESIDE_BULK), rounds=MIXED_ROUNDS,
             note="Latencies are those of 6,400 small requests a second, sent at fixed times. The "
                  "generator's bulk threads yield to everything else, so that the small ones "
                  "wait for the forwarder. A forwarder that carries less bulk has it easier: "
                  "compare `mixed-paced`."),
    Scenario("mixed-paced", "64 small connections beside 8 bulk flows of 25 MB/s each way", MIXED,
             ("--bulk", "8", "--direction", "both", "--rate", str(MIXED_FLOW), *BESIDE_BULK),
             overhead=0.8, rounds=MIXED_ROUNDS, paced_bytes_per_s=2 * 8 * MIXED_FLOW,
             note="The same bulk for every forwarder, 3.2 Gbit/s in all; the same small requests "
                  "as in `mixed`."),
    Scenario("mtu", "Bulk, 8 flows up, MTU-sized segments", (*BULK, "segment_bytes"),
             ("--bulk", "8"), overhead=1.0, place="chain",
             note="Three network namespaces, veth, MTU 1500, segmentation and receive offloads "
                  "off: loopback's 64 KiB segments flatter splice."),
    Scenario("footprint", "At rest, with 2 workers", ("start_ms", "rest_kib"), (), overhead=0.6,
             workers=2, footprint=True,
             note="From the start of the process to its listening socket; resident memory, "
                  "libraries included, of all its processes."),
    Scenario("takeover", "Reload with idle connections, beside requests",
             ("connections", "pause_p50_ms", "pause_p99_ms", "pause_max_ms", "pause_log_max_ms",
              "takeover_ms", "takeover_cpu_ms", "takeover_new_cpu_ms"), (), peers=(),
             overhead=12.0, idle=9000, takeover=True, in_quick=False,
             note="The new process takes all connections over. A pause is the longest answer of a "
                  "small request in one reload: 8 connections send one every 2 ms, at fixed "
                  "times. CPU is that of reloads without requests, from the signal to the end of "
                  "the old process. Other forwarders have no row: their old process keeps its "
                  "connections."),
    Scenario("workers", f"How {MANY_WORKERS} workers share {MANY_WORKERS * FLOWS_PER_WORKER} "
             "equal flows", ("share_flows", "busiest_flows", "cpu_ms_per_gb"),
             ("--bulk", str(MANY_WORKERS * FLOWS_PER_WORKER), "--rate", str(PACED_FLOW)),
             peers=WORKER_PEERS, overhead=0.9, workers=MANY_WORKERS,
             paced_bytes_per_s=MANY_WORKERS * FLOWS_PER_WORKER * PACED_FLOW,
             note="A worker's flows are counted from outside, as the sockets that its epoll or "
                  "io_uring watches."),
    Scenario("scaling", "Bulk, 8 flows up, by number of workers", BULK, ("--bulk", "8"),
             peers=WORKER_PEERS, scaling=True, least_cpus=4),
)


def by_name(name):
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    return None
