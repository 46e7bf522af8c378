# SPDX-License-Identifier: MIT
"""The network of a run: loopback, or network namespaces made for the run."""

import os
import shutil
import subprocess

MTU = 1500
CONGESTION_SYSCTL = "net/ipv4/tcp_congestion_control"
OFFLOADS = ("tso", "off", "gso", "off", "gro", "off")


class Loopback:
    """Everything on this host, over ::1 and 127.0.0.1."""
    client = forwarder = backend = ()
    listen_host, backend_host = "::1", "127.0.0.1"
    congestion = None  # the host's default

    def segments_received(self):
        return 0


LOOPBACK = Loopback()


def missing():
    """Why namespaces cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for program in ("ip", "ethtool"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    probe = f"sixpipe-bench-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "delete", probe], check=False)
    return None


def why_not(congestion):
    """Why a namespace that can be made cannot have this congestion control, or None."""
    probe = f"sixpipe-bench-{os.getpid()}-probe"
    run_quietly("ip", "netns", "add", probe)
    try:
        refused = subprocess.run(
            write_sysctl(("ip", "netns", "exec", probe), CONGESTION_SYSCTL, congestion),
            capture_output=True, check=False).returncode
    finally:
        run_quietly("ip", "netns", "delete", probe)
    if refused:
        return (f"a network namespace may not use {congestion}; run 'modprobe tcp_{congestion}' "
                f"and add {congestion} to net.ipv4.tcp_allowed_congestion_control")
    return None


def run_quietly(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_sysctl(enter, path, value):
    """The command that sets a sysctl in a namespace."""
    return (*enter, "sh", "-c", f"echo '{value}' >/proc/sys/{path}")


class Place:
    """Network namespaces, one per role. A context manager, which removes them at the end."""
    roles = ()

    def __init__(self, congestion):
        self.congestion = congestion
        self._names = {role: f"sixpipe-bench-{os.getpid()}-{role}" for role in self.roles}

    def __enter__(self):
        try:
            for role, name in self._names.items():
                run_quietly("ip", "netns", "add", name)
                self._ip(role, "link", "set", "lo", "up")
                self._sysctl(role, CONGESTION_SYSCTL, self.congestion)
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self._names.values():
            if os.path.exists(f"/run/netns/{name}"):
                subprocess.run(["ip", "netns", "delete", name], check=False)

    def _connect(self):
        """Makes the links between the namespaces."""

    def _enter(self, role):
        return ("ip", "netns", "exec", self._names[role])

    def _ip(self, role, *arguments):
        run_quietly("ip", "-n", self._names[role], *arguments)

    def _sysctl(self, role, path, value):
        run_quietly(*write_sysctl(self._enter(role), path, value))

    def segments_received(self):
        return 0


class PrivateLoopback(Place):
    """A loopback with more ports than the host's, whose ports last for two seconds of connects; with the
    route that --source pseudo needs, and with a congestion control of its own."""
    roles = ("all",)
    listen_host, backend_host = "::1", "127.0.0.1"

    def __init__(self, congestion):
        super().__init__(congestion)
        self.client = self.forwarder = self.backend = self._enter("all")

    def _connect(self):
        self._sysctl("all", "net/ipv4/ip_local_port_range", "2000 65535")
        self._ip("all", "route", "add", "local", "240.0.0.0/4", "dev", "lo")


class Chain(Place):
    """client --IPv6-- forwarder --IPv4-- backend, each link a veth pair without offloads."""
    roles = ("client", "forwarder", "backend")
    listen_host, backend_host = "fd00:6::1", "10.66.0.2"

    def __init__(self, congestion):
        super().__init__(congestion)
        self.client, self.forwarder, self.backend = map(self._enter, self.roles)

    def _connect(self):
        for role, other, link in (("client", "forwarder", "six"), ("forwarder", "backend", "four")):
            self._ip(role, "link", "add", link, "mtu", str(MTU), "type", "veth", "peer", link,
                     "mtu", str(MTU), "netns", self._names[other])
            for end in (role, other):
                run_quietly(*self._enter(end), "ethtool", "-K", link, *OFFLOADS)
        # A run without a forwarder uses the 10.67 addresses, from end to end.
        for role, link, address in (("client", "six", "fd00:6::2/64"),
                                    ("forwarder", "six", "fd00:6::1/64"),
                                    ("forwarder", "four", "10.66.0.1/24"),
                                    ("backend", "four", "10.66.0.2/24"),
                                    ("client", "six", "10.67.0.1/24"),
                                    ("forwarder", "six", "10.67.0.2/24")):
            flags = ("nodad",) if ":" in address else ()
            self._ip(role, "address", "add", address, "dev", link, *flags)
            self._ip(role, "link", "set", link, "up")
        self._sysctl("forwarder", "net/ipv4/ip_forward", "1")
        self._ip("client", "route", "add", "10.66.0.0/24", "via", "10.67.0.2")
        self._ip("backend", "route", "add", "10.67.0.0/24", "via", "10.66.0.1")

    def segments_received(self):
        """TCP segments that the forwarder's namespace has received."""
        run = subprocess.run([*self.forwarder, "cat", "/proc/net/snmp"], capture_output=True,
                             text=True, check=True)
        names, values = [line.split() for line in run.stdout.splitlines()
                         if line.startswith("Tcp:")]
        return int(values[names.index("InSegs")])
