# SPDX-License-Identifier: MIT
"""The forwarders: sixpipe and its peers, each configured as an expert would.

All run in the foreground as children of the bench, with the bench's user. Their files are in a
directory of the run's own.
"""

import os
import pwd
import re
import resource
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# Descriptors for everything but connections.
SPARE_DESCRIPTORS = 800


@dataclass
class Setup:
    """Addresses for a forwarder to listen on and to forward to, and the resources that it has."""
    listen_host: str
    listen_port: int
    backend_host: str
    backend_port: int
    directory: Path
    workers: int
    log_level: str = "warn"

    @property
    def listen(self):
        return f"[{self.listen_host}]:{self.listen_port}"

    @property
    def backend(self):
        return f"{self.backend_host}:{self.backend_port}"

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def write_many(self, name, lines):
        """Writes a file that is too long for the results."""
        return self.write(name, "".join(f"{line}\n" for line in lines))


@dataclass
class Peer:
    name: str
    title: str
    programs: tuple
    version_command: tuple = ()
    version_pattern: str = r"(\d[\w.+~-]*)"
    idle_limit: int = 9000  # the number of connections that its descriptors, or processes, allow
    takes_workers: bool = False
    ramp: int = 64  # connections opened at a time before the measurement; its backlog holds them
    notes: str = ""
    only: tuple = ()  # beginnings of scenarios' names; empty: all scenarios
    left_out: dict = field(default_factory=dict)  # scenario: why the peer does not run it
    is_ours: bool = False
    needs_namespace: bool = False
    binaries: dict = field(default_factory=dict)

    def find(self, private):
        """Why the peer cannot run here, in a namespace or on the host's loopback; or None."""
        if self.needs_namespace and not private:
            return "needs a network namespace, for its route"
        for program in self.programs:
            path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if path is None:
                return f"{program} is not installed"
            self.binaries[os.path.basename(program)] = path
        return None

    def version(self):
        if not self.version_command:
            return ""
        command = [self.binaries.get(self.version_command[0], self.version_command[0]),
                   *self.version_command[1:]]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        match = re.search(self.version_pattern, run.stdout + run.stderr)
        return match[1] if match else "unknown"

    def runs_in(self, scenario_name):
        return not self.only or scenario_name.startswith(self.only)

    def command(self, setup):
        raise NotImplementedError

    def describe(self):
        """The command line and configuration as text, for the results."""
        setup = Record("::1", 2000, "127.0.0.1", 8080, Path("DIRECTORY"), cpu_count())
        command = self.command(setup)
        command[:1] = map(os.path.basename, command[:1])
        return {"command": " ".join(map(quote, command)), "files": setup.files,
                "notes": self.notes}


class Record(Setup):
    """A setup that keeps the files in memory instead of writing them."""

    @property
    def files(self):
        return self.__dict__.setdefault("_files", {})

    def write(self, name, text):
        self.files[name] = text
        return str(self.directory / name)

    def write_many(self, name, lines):
        first, second, *others = lines
        return self.write(name, f"{first}\n{second}\n... {len(others)} more lines\n")


def quote(word):
    return f"'{word}'" if re.search(r"[\s\[\]*?$;&|<>()]", word) else word


def cpu_count():
    return len(os.sched_getaffinity(0))


def descriptor_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Direct(Peer):
    """No forwarder: the cost and the speed of the load generator itself."""

    def command(self, setup):
        return []


@dataclass
class Floor(Peer):
    """bench/floor.c, for reference."""
    mode: str = "splice"

    def command(self, setup):
        binary = self.binaries.get(os.path.basename(self.programs[0]), "floor")
        return [binary, self.mode, setup.listen, setup.backend, str(setup.workers)]


@dataclass
class Sixpipe(Peer):
    options: tuple = ()

    def command(self, setup):
        binary = self.binaries.get(os.path.basename(self.programs[0]), "sixpipe")
        return [binary, "--log-level", setup.log_level, "--workers", str(setup.workers), *self.options,
                setup.listen, setup.backend]


class SixpipeRules(Sixpipe):
    """With a deny list that holds no client of the bench, so that all clients pass."""
    rules = 100_000

    def command(self, setup):
        path = setup.write_many("blocks", (f"{0x2000 + number // 65536:x}:{number % 65536:x}::/32"
                                           for number in range(self.rules)))
        binary, *rest = super().command(setup)
        return [binary, "--deny-file", path, *rest]


def sixpipe_variant(text, sixpipe_path):
    """A row for another build or other options of sixpipe, from NAME=[PROGRAM] [OPTION...]."""
    name, _, command = text.partition("=")
    words = shlex.split(command)
    if not re.fullmatch(r"[\w.+-]+", name) or not words:
        raise SystemExit(f"bench: --variant '{text}': write NAME=OPTIONS or NAME=PROGRAM OPTIONS")
    program = str(sixpipe_path) if words[0].startswith("-") else words.pop(0)
    return Sixpipe(name, f"sixpipe, {name}", (program,), (os.path.basename(program), "--version"),
                   takes_workers=True, options=tuple(words), is_ours=True, notes="a variant")


class Socat(Peer):
    def command(self, setup):
        return ["socat", f"TCP6-LISTEN:{setup.listen_port},bind=[{setup.listen_host}],fork",
                f"TCP4:{setup.backend}"]


class SocatTuned(Peer):
    def command(self, setup):
        return ["socat", "-b", "1048576",
                f"TCP6-LISTEN:{setup.listen_port},bind=[{setup.listen_host}],fork,nodelay,"
                "backlog=4096,reuseaddr",
                f"TCP4:{setup.backend},nodelay"]


HAPROXY_CONFIG = """\
global
    nbthread {workers}
    maxconn {maxconn}
    maxpipes {maxpipes}
{tuning}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{splice}
listen bench
    bind {listen} v6only backlog 4096 shards by-thread
    server backend {backend}
"""


class Haproxy(Peer):
    tuning = "    tune.pipesize 1048576\n"
    splice = "    option splice-request\n    option splice-response\n"

    def command(self, setup):
        maxpipes = 256
        config = setup.write("haproxy.cfg", HAPROXY_CONFIG.format(
            workers=setup.workers, listen=setup.listen, backend=setup.backend, maxpipes=maxpipes,
            maxconn=(descriptor_limit() - SPARE_DESCRIPTORS - 2 * maxpipes) // 2,
            tuning=self.tuning, splice=self.splice))
        return ["haproxy", "-q", "-db", "-f", config]


class HaproxySmallPipes(Haproxy):
    tuning = ""


class HaproxyCopy(Haproxy):
    tuning, splice = "", ""


NGINX_CONFIG = """\
load_module {modules}/ngx_stream_module.so;
daemon off;
user {user};
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes {workers};
worker_rlimit_nofile {limit};

events {{
    worker_connections {limit};
}}

stream {{
    upstream backend {{
        server {backend};
    }}
    server {{
        listen {listen} reuseport backlog=4096;
        proxy_pass backend;
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
        proxy_buffer_size {buffer};
        tcp_nodelay on;
    }}
}}
"""


class Nginx(Peer):
    modules = "/usr/lib/nginx/modules"

    def find(self, private):
        reason = super().find(private)
        if reason is None and not os.path.exists(f"{self.modules}/ngx_stream_module.so"):
            reason = "nginx has no stream module"
        return reason

    def command(self, setup):
        config = setup.write("nginx.conf", NGINX_CONFIG.format(
            modules=self.modules, user=pwd.getpwuid(os.geteuid()).pw_name,
            directory=setup.directory, workers=setup.workers, limit=descriptor_limit(),
            backend=setup.backend, listen=setup.listen, buffer="1m"))
        return ["nginx", "-p", str(setup.directory), "-e", "stderr", "-c", config]


class SocketProxyd(Peer):
    def command(self, setup):
        return ["systemd-socket-activate", "-l", setup.listen,
                "/lib/systemd/systemd-socket-proxyd", f"--connections-max={descriptor_limit()}",
                setup.backend]


class SixTunnel(Peer):
    def command(self, setup):
        return ["6tunnel", "-d", "-6", "-4", "-l", setup.listen_host, str(setup.listen_port),
                setup.backend_host, str(setup.backend_port)]


SPLICES_BULK = ("bulk", "mtu")
PER_CONNECTION = ("crc",)
MANY_SMALL = ("small", "crc", "mixed")
NO_BACKLOG = {"crc-64": "its backlog of 5 drops connections: they take seconds; see the tuned row"}


FLOOR_LACKS = ("for reference, no product: no timeouts, limits, logs, checks, drain or fair "
               "turns, and resets are not passed on; bench/floor.c")


def all_peers(sixpipe_path, floor_path):
    haproxy = {"programs": ("haproxy",), "version_command": ("haproxy", "-v"),
               "takes_workers": True}
    socat = {"programs": ("socat",), "version_command": ("socat", "-V"),
             "version_pattern": r"version (\S+)", "idle_limit": 1000}
    activate = "systemd-socket-activate"
    return [
        Sixpipe("sixpipe", "sixpipe", (str(sixpipe_path),), ("sixpipe", "--version"),
                takes_workers=True, is_ours=True, notes="as it comes"),
        Sixpipe("sixpipe-epoll", "sixpipe, epoll engine", (str(sixpipe_path),),
                ("sixpipe", "--version"), takes_workers=True, is_ours=True,
                options=("--engine", "epoll"), notes="as in containers that forbid io_uring"),
        Sixpipe("sixpipe-source", "sixpipe, an address per client", (str(sixpipe_path),),
                ("sixpipe", "--version"), takes_workers=True, is_ours=True, only=PER_CONNECTION,
                options=("--source", "pseudo"), needs_namespace=True,
                notes="what --source costs a connection"),
        SixpipeRules("sixpipe-rules", "sixpipe, 100,000 rules", (str(sixpipe_path),),
                     ("sixpipe", "--version"), takes_workers=True, is_ours=True,
                     only=PER_CONNECTION, notes="what a long --deny-file costs a connection"),
        Haproxy("haproxy", "HAProxy", **haproxy,
                notes="splice both ways with pipes of 1 MiB, its best; a listener per thread"),
        HaproxySmallPipes("haproxy-64k", "HAProxy, 64 KiB pipes", **haproxy, only=SPLICES_BULK,
                          notes="splice both ways with pipes of the default size"),
        HaproxyCopy("haproxy-copy", "HAProxy, no splice", **haproxy, only=MANY_SMALL,
                    notes="without splice, its best for small exchanges"),
        Nginx("nginx", "nginx stream", ("nginx",), ("nginx", "-v"), r"nginx/(\S+)",
              takes_workers=True, notes="a listener per worker; a buffer of 1 MiB, its best"),
        SocketProxyd("socket-proxyd", "systemd-socket-proxyd",
                     (activate, "/lib/systemd/systemd-socket-proxyd"), (activate, "--version"),
                     r"systemd (\S+)", idle_limit=3000,
                     notes="one thread; two sockets and two pipes a connection"),
        Socat("socat", "socat", **socat, ramp=4, left_out=NO_BACKLOG,
              notes="the classic line; a process per connection"),
        SocatTuned("socat-tuned", "socat, tuned", **socat,
                   notes="nodelay, a backlog, a buffer of 1 MiB, its best"),
        SixTunnel("6tunnel", "6tunnel", ("6tunnel",),
                  ("dpkg-query", "-W", "-f=${Version}", "6tunnel"), idle_limit=1000,
                  notes="a process per connection"),
        Floor("floor", "floor†, splice", (str(floor_path),), only=SPLICES_BULK,
              takes_workers=True, notes=FLOOR_LACKS),
        Floor("floor-copy", "floor†, copy", (str(floor_path),), only=MANY_SMALL,
              takes_workers=True, mode="copy", notes=FLOOR_LACKS),
        Direct("direct", "no forwarder", (), notes="what the generator itself can do"),
    ]
