"""Ceph's object gateway, with all that it stands on, in processes of their own: an old and forgiving store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ports import HOST, free_port

from backends.s3.servers import ACCESS_KEY, SECRET_KEY, ObjectServer

_CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = [v2:{host}:{v2},v1:{host}:{v1}]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
public_addr = {host}
cluster_addr = {host}
ms_bind_ipv6 = false
ms_bind_port_min = {first}
ms_bind_port_max = {last}
keyring = {place}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_pool_default_pg_autoscale_mode = off
mon_data = {place}/mon
mgr_data = {place}/mgr
osd_data = {place}/osd$id
run_dir = {place}/run
admin_socket = {place}/run/$name.asok
pid_file = {place}/run/$name.pid
log_file = {place}/logs/$name.log
crash_dir = {place}/logs
[mon]
mon_cluster_log_file = {place}/logs/cluster.log
mon_data_avail_crit = 1
mon_data_avail_warn = 1
mgr_initial_modules =
[osd]
osd_objectstore = memstore
memstore_device_bytes = 6442450944
osd_memory_target = 1073741824
osd_max_object_name_len = 2048
[client.rgw]
rgw_frontends = beast endpoint={host}:{port}
rgw_data = {place}/rgw
"""

_KEYS = {
    "mon.": ["mon", "allow *"],
    "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *", "mds", "allow *"],
    "mgr.x": ["mon", "allow profile mgr", "osd", "allow *"],
    "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"],
    "client.rgw": ["mon", "allow rwx", "osd", "allow rwx"],
}

_PATIENCE = 120.0


class Ceph(ObjectServer):
    """A cluster of one monitor, one manager, one store in memory and one gateway (Debian: CONTRIBUTING.md)."""

    def _start(self) -> None:
        place = self.directory
        for name in ("mon", "mgr", "osd0", "run", "logs", "rgw"):
            (place / name).mkdir()
        fsid, first = str(uuid4()), free_port()
        v2, v1 = free_port(), free_port()
        text = _CONFIGURATION.format(
            fsid=fsid, host=HOST, v2=v2, v1=v1, first=first, last=first + 40, port=self.port, place=place
        )
        (place / "ceph.conf").write_text(text)
        keyring, monmap, osd = str(place / "keyring"), str(place / "monmap"), str(uuid4())
        for number, (name, rights) in enumerate(_KEYS.items()):
            pairs = zip(rights[::2], rights[1::2], strict=True)
            caps = [word for right in pairs for word in ("--cap", *right)]
            self._run("ceph-authtool", *(["-C"] if not number else []), keyring, "-n", name, "--gen-key", *caps)
        at = f"[v2:{HOST}:{v2},v1:{HOST}:{v1}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", at, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self._run("ceph-mon", "-i", "a")
        self._run("ceph-mgr", "-i", "x")
        self._run("ceph", "config", "set", "mon", "auth_allow_insecure_global_id_reclaim", "false")
        self._run("ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._run("ceph-osd", "-i", "0")
        self._until(lambda: '"num_up_osds":1' in self._run("ceph", "osd", "stat", "-f", "json"))
        self._run("radosgw", "-n", "client.rgw")
        keys = [f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"]
        self._run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
        self._until(self._stores)

    def _until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, f"Ceph does not start: see {self.directory}/logs"
            time.sleep(0.2)

    def _run(self, program: str, *words: str) -> str:
        found = shutil.which(program)
        assert found is not None, f"{program} is not installed: see CONTRIBUTING.md"
        command = [found, *words]
        if program not in ("ceph-authtool", "monmaptool"):
            command[1:1] = ["-c", str(self.directory / "ceph.conf")]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        assert done.returncode == 0, (program, done.stderr)
        return done.stdout

    def _stop(self) -> None:
        for each in (self.directory / "run").glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                pid = int(each.read_text())
                os.kill(pid, signal.SIGKILL)  # nothing of it is needed any more
                while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                    time.sleep(0.05)
