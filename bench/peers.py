"""Other servers to measure beside ours: how each is found or installed, and started, with settings as sane as ours."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from server import HOST, Program, ServerError, greet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parent.parent

PREDECESSOR = ("pacifica-archiveinterface==0.4.2", "uwsgi==2.0.31")

_NGINX = """daemon off;
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid pid;
user {user} {group};
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path archive/.unfinished;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {host}:{port} backlog=4096;
        root archive;
        location = / {{ return 200 "up"; }}
        location / {{ dav_methods PUT DELETE; }}
    }}
}}
"""

_CHERRYPY = """[/]
request.dispatch: cherrypy.dispatch.MethodDispatcher()
tools.response_headers.on: True
tools.response_headers.headers: [('Content-Type', 'application/json')]
"""


class PeerError(Exception):
    """It cannot be had here, and why."""


@attrs.frozen
class Peer:
    """
    A server that ours is compared with.

    @ivar doc: What it is, and with which settings.
    @ivar phases: Those that say something of it; in the others it is known to fail, or nothing is asked of it.
    @ivar find: Finds its program, or installs it; raises L{PeerError}.
    @ivar version: The arguments that have the program print its version.
    @ivar command: What starts it, from program, port and number of workers, in a folder with a folder C{archive}.
    @ivar files: What it needs in that folder, by name, from the same.
    @ivar environment: Variables, from the number of workers.
    @ivar syncs: As of L{Program}; likewise C{closes}.
    """

    doc: str
    phases: tuple[str, ...]
    find: Callable[[], Path]
    version: tuple[str, ...]
    command: Callable[[Path, int, int], list[str | Path]]
    files: Callable[[int, int], Mapping[str, str]] = lambda _port, _workers: {}
    environment: Callable[[int], Mapping[str, str]] = lambda _workers: {}
    syncs: bool = False
    closes: bool = False

    def start(self, program: Path, folder: Path, workers: int) -> Program:
        """
        Start it on a free port.

        @param folder: An empty one, for all that it has.
        @raise ServerError: It ended, or did not answer in time.
        """
        (folder / "archive").mkdir()
        port = _free_port()
        for name, text in self.files(port, workers).items():
            (folder / name).write_text(text)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "RCLONE_"))}
        environment = {**kept, "HOME": str(folder), **self.environment(workers)}
        server = Program(folder, self.command(program, port, workers), environment)
        server.port, server.syncs, server.closes = port, self.syncs, self.closes
        server.wait_until(lambda: _answers(port))
        return server

    def describe(self, program: Path) -> str:
        """What it is, with the version of the program."""
        done = subprocess.run([program, *self.version], capture_output=True, text=True, check=False)
        found = re.search(r"\d+(\.\d+)+\S*", done.stdout + done.stderr)
        return f"{found[0] if found else 'an unknown version'}, {self.doc}"


def parse_peers(text: str) -> list[str]:
    """
    The names of peers, with commas between them.

    @raise ValueError: One is unknown, or none is there.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in PEERS]:
        raise ValueError(f"no such peer: {', '.join(unknown)}; known are {', '.join(PEERS)}")
    if not names:
        raise ValueError(f"no peer is named; known are {', '.join(PEERS)}")
    return names


def cache() -> Path:
    """Where environments are kept from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pacarchive-bench"


def make_environment(name: str, *wanted: str) -> Path:
    """
    Make a virtual environment in the cache, if it is not there.

    @param wanted: What pip is to install, and options for that.
    @return: The folder of its programs.
    @raise PeerError: That fails.
    """
    place = cache() / f"{name}-{sys.implementation.cache_tag}"
    done = place / "done"
    if not done.exists():
        print(f"bench: installing {' '.join(wanted)} into {place}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        options = ("install", "-q", "--disable-pip-version-check")
        for command in ([sys.executable, "-m", "venv", str(place)], [str(place / "bin" / "pip"), *options, *wanted]):
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise PeerError(f"{' '.join(command)} fails: {_last_line(run.stderr)}")
        done.touch()
    return place / "bin"


def _find_nginx() -> Path:
    return _find("nginx", "need_idle", "nginx-light")


def _find_rclone() -> Path:
    return _find("rclone", "need", "rclone")


def _find_uwsgi() -> Path:
    # No cached wheel: uwsgi is compiled, and is to belong to this Python.
    return make_environment("predecessor", "--no-cache-dir", *PREDECESSOR) / "uwsgi"


def _find(program: str, function: str, package: str) -> Path:
    """A program of the system, which tools/environment.sh installs where it is missing."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    if (found := shutil.which(program, path=places)) is None:
        script = f". tools/environment.sh; {function} {package}"
        run = subprocess.run(["sh", "-euc", script, "tools/bench"], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if run.returncode or (found := shutil.which(program, path=places)) is None:
            raise PeerError(f"there is no {program}, and Debian's {package} cannot be installed")
    return Path(found)


def _nginx_files(port: int, workers: int) -> Mapping[str, str]:
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    text = _NGINX.format(host=HOST, port=port, workers=workers, user=user, group=group, descriptors=16384)
    return {"nginx.conf": text}


def _start_nginx(program: Path, _port: int, _workers: int) -> list[str | Path]:
    return [program, "-p", ".", "-e", "stderr", "-c", "nginx.conf"]


def _start_rclone(program: Path, port: int, _workers: int) -> list[str | Path]:
    address = ("--addr", f"{HOST}:{port}", "--config", "rclone.conf", "--cache-dir", "cache")
    return [program, "serve", "webdav", "archive", *address]


def _start_uwsgi(program: Path, port: int, workers: int) -> list[str | Path]:
    options = ("--master", "--die-on-term", "-p", str(workers), "--virtualenv", str(program.parent.parent))
    return [program, "--http-socket", f"{HOST}:{port}", *options, "--module", "pacifica.archiveinterface.wsgi"]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        return int(listening.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(ServerError):
        greet(port)
        return True
    return False


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]


_SMALL = ("start", "put", "get", "head")

PEERS = {
    "nginx": Peer(
        doc="its dav module, sendfile, no access log",
        phases=(*_SMALL, "one", "four", "under", "idle", "slow"),
        find=_find_nginx,
        version=("-v",),
        command=_start_nginx,
        files=_nginx_files,
    ),
    "rclone": Peer(
        doc="serve webdav, as many processors as we have workers",
        phases=_SMALL,
        find=_find_rclone,
        version=("version",),
        command=_start_rclone,
        environment=lambda workers: {"GOMAXPROCS": str(workers)},
    ),
    "pai-uwsgi": Peer(
        doc=f"{PREDECESSOR[0].replace('==', ' ')} under uwsgi, as many processes as we have workers",
        phases=_SMALL,
        find=_find_uwsgi,
        version=("--version",),
        command=_start_uwsgi,
        files=lambda _port, _workers: {"cherrypy.ini": _CHERRYPY},
        environment=lambda _workers: {
            "PAI_BACKEND_TYPE": "posix",
            "PAI_PREFIX": "archive",
            "ARCHIVEINTERFACE_CPCONFIG": "cherrypy.ini",
        },
        closes=True,
    ),
}
"""By name."""
