# SPDX-License-Identifier: MIT
"""Which congestion control the sockets of a run use, by ss(8).

A forwarder sets the congestion control of its own sockets. A forwarder may set it on one side only:
the bench looks at both sides, and at the ends.
"""

import subprocess

from accounting import read_text

CLIENT_SIDE, BACKEND_SIDE, ENDS = "client_side", "backend_side", "ends"
AVAILABLE = "/proc/sys/net/ipv4/tcp_available_congestion_control"


def sample(place, listen, backend):
    """{side: name} of the sockets now open, several names joined by '/'.

    `listen` is the forwarder's address, None without a forwarder. Empty if ss is missing.
    """
    found = {}
    for enter in dict.fromkeys((place.client, place.forwarder, place.backend)):
        for local, peer, name in sockets(enter, listen or backend, backend):
            side = side_of(local, peer, listen, backend)
            if side is not None:
                found.setdefault(side, set()).add(name)
    return {side: "/".join(sorted(names)) for side, names in sorted(found.items())}


def side_of(local, peer, listen, backend):
    if local == listen:
        return CLIENT_SIDE
    if peer == backend and listen is not None:
        return BACKEND_SIDE
    if peer in (listen, backend) or local == backend:
        return ENDS
    return None


def sockets(enter, *addresses):
    """Yields (local address, peer address, congestion control) of connections at these ports."""
    ports = {address.rpartition(":")[2] for address in addresses}
    only = " or ".join(f"sport = :{port} or dport = :{port}" for port in sorted(ports))
    try:
        run = subprocess.run([*enter, "ss", "-tinHO", "state", "established", f"( {only} )"],
                             capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    known = set(read_text(AVAILABLE).split())
    for line in run.stdout.splitlines():
        # Two queues and two addresses come first; flags stand before the name.
        words = line.split()
        for name in known.intersection(words[4:]):
            yield words[2], words[3], name


def over_rounds(rounds):
    """{side: name} of all rounds of one forwarder in one scenario."""
    found = {}
    for figures in rounds:
        for side, names in figures.get("congestion", {}).items():
            found.setdefault(side, set()).update(names.split("/"))
    return {side: "/".join(sorted(names)) for side, names in found.items()}


def sides_differ(used):
    return CLIENT_SIDE in used and used[CLIENT_SIDE] != used.get(BACKEND_SIDE)


def both_sides(used):
    return f"{used[CLIENT_SIDE]} / {used.get(BACKEND_SIDE, 'unknown')}"


def line(entries):
    """A scenario's congestion controls as one line of Markdown, or '' if there are none."""
    ends, rows = set(), {}
    for name, entry in entries.items():
        used = entry.get("congestion", {})
        if ENDS in used:
            ends.update(used[ENDS].split("/"))
        if CLIENT_SIDE in used:
            fault = " **(the sides differ)**" if sides_differ(used) else ""
            rows.setdefault(both_sides(used), []).append(f"`{name}`{fault}")
    if not ends:
        return ""
    parts = [f"{text}: {', '.join(names)}" for text, names in rows.items()]
    return (f"Congestion control: {', '.join(sorted(ends))} at the ends. Of the forwarders, client "
            f"side / backend side: {'; '.join(parts) or 'not seen'}.\n")


def warnings(results):
    """A line for each forwarder whose two sides differ."""
    for scenario, result in results["scenarios"].items():
        for name, entry in result.get("peers", {}).items():
            used = entry.get("congestion", {})
            if sides_differ(used):
                yield (f"{name} in {scenario}: the congestion controls of its client side and its "
                       f"backend side differ: {both_sides(used)}")
