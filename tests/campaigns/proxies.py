"""Debian's proxies before one server, each with what it does by default as far as it can be left there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port
from system.harness import HOST, PATIENCE, until

NGINX = """
daemon off; master_process off; pid {place}/pid; error_log {place}/log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s; client_max_body_size 0; client_body_timeout 2s;
    client_header_timeout 2s; keepalive_requests 100000;
    upstream archive {{ server 127.0.0.1:{to}; keepalive 16; keepalive_requests 100000; }}
    server {{
        listen 127.0.0.1:{at};
        location / {{
            proxy_pass http://archive; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off; proxy_next_upstream off;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    option http-keep-alive
    http-reuse always
    retries 0
    timeout connect 5s
    timeout client 2s
    timeout server 10s
    timeout http-request 2s
    timeout http-keep-alive 2s
listen archive
    bind 127.0.0.1:{at}
    server archive 127.0.0.1:{to}
"""
VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{to}"; .first_byte_timeout = 10s; }}
"""
APACHE = """
ServerName localhost
Listen 127.0.0.1:{at}
PidFile {place}/pid
ErrorLog {place}/log
DefaultRuntimeDir {place}
{modules}
User #{user}
Group #{group}
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
RequestReadTimeout header=2 body=2
KeepAliveTimeout 2
MaxKeepAliveRequests 0
ProxyPreserveHost On
ProxyTimeout 10
ProxyPass / http://127.0.0.1:{to}/ enablereuse=on keepalive=on retry=0
<Location />
    Require all granted
</Location>
"""
APACHE_MODULES = ("mpm_event", "authz_core", "reqtimeout", "proxy", "proxy_http")
SQUID = """
http_port 127.0.0.1:{at} accel defaultsite=localhost vhost
cache_peer 127.0.0.1 parent {to} 0 no-query originserver login=PASSTHRU name=archive
cache_peer_access archive allow all
never_direct allow all
http_access allow all
cache deny all
access_log none
cache_log {place}/log
coredump_dir {place}
pid_filename none
pinger_enable off
netdb_filename none
visible_hostname localhost
shutdown_lifetime 0 seconds
request_timeout 2 seconds
read_timeout 10 seconds
client_idle_pconn_timeout 2 seconds
"""

Command = Callable[[Path, int, int], list[str]]
"""From a directory of its own, the port to listen at, and the server's, to what is to be run."""


def _write(place: Path, text: str, at: int, to: int, **more: object) -> str:
    path = place / "settings"
    path.write_text(text.format(place=place, at=at, to=to, **more))
    return str(path)


def _nginx(place: Path, at: int, to: int) -> list[str]:
    return ["nginx", "-p", str(place), "-e", f"{place}/log", "-c", _write(place, NGINX, at, to)]


def _haproxy(place: Path, at: int, to: int) -> list[str]:
    return ["haproxy", "-db", "-q", "-f", _write(place, HAPROXY, at, to)]


def _varnish(place: Path, at: int, to: int) -> list[str]:
    settings = _write(place, VARNISH, at, to)
    timeouts = ("-p", "timeout_idle=2", "-p", "idle_send_timeout=5", "-p", "thread_pool_min=20")
    return ["varnishd", "-F", "-j", "none", "-n", f"{place}/work", "-a", f"127.0.0.1:{at}", "-f", settings,
            "-s", "malloc,16m", *timeouts]  # fmt: skip


def _apache(place: Path, at: int, to: int) -> list[str]:
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in APACHE_MODULES)
    settings = _write(place, APACHE, at, to, modules=modules, user=_servant().pw_uid, group=_servant().pw_gid)
    return ["apache2", "-d", str(place), "-f", settings, "-DFOREGROUND"]


def _squid(place: Path, at: int, to: int) -> list[str]:
    return ["squid", "-N", "-f", _write(place, SQUID, at, to)]


PROXIES: dict[str, Command] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "varnish": _varnish,
    "apache": _apache,
    "squid": _squid,
}


def _servant() -> pwd.struct_passwd:
    """Whom a proxy that does not want to be root becomes."""
    return pwd.getpwuid(os.getuid()) if os.getuid() else pwd.getpwnam("proxy")


@contextmanager
def proxy(name: str, to: int, command: Command | None = None) -> Iterator[int]:
    """
    Run a proxy before a port of this machine.

    @param command: How it is run, where that is not as L{PROXIES} has it.
    @return: The port that it listens at.
    """
    with tempfile.TemporaryDirectory(prefix=f"pacarchive-{name}-") as directory:
        place, at = Path(directory), free_port()
        if not os.getuid():  # those who do not want to be root must get at what is theirs
            os.chown(place, _servant().pw_uid, _servant().pw_gid)
        words = (command or PROXIES[name])(place, at, to)
        program = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, f"{words[0]} is needed: tools/test installs it"
        with open(place / "said", "wb") as said:
            process = subprocess.Popen([program, *words[1:]], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       cwd=place, start_new_session=True)  # fmt: skip
        try:
            until(lambda: _listens(process, place, at), f"{name} listens")
            yield at
        finally:
            _end(process)


def _listens(process: subprocess.Popen[bytes], place: Path, port: int) -> bool:
    said = [path.read_text(errors="replace") for path in (place / "said", place / "log") if path.exists()]
    assert process.poll() is None, f"it has ended: {''.join(said)}"
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a proxy and all that it started."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
