"""Object stores in processes of their own, on this machine alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from ports import HOST, free_port

ACCESS_KEY, SECRET_KEY = "AKIDTEST", "secretsecret"
BUCKET = "archive"

SLOW_LANE = os.environ.get("PACARCHIVE_TEST_S3") == "ceph"
"""Whether Ceph takes the place of the stores that are always there."""

_PATIENCE = 120.0
_PROGRAMS = Path(sys.executable).parent


class ObjectServer:
    """
    An object store.

    @ivar endpoint: Its URL.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://{HOST}:{self.port}"
        self.directory = Path(mkdtemp(prefix="pa-s3-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """The command that runs it, and what it finds in its environment."""
        raise NotImplementedError

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request by other means than those under test."""
        request = AWSRequest(method=method, url=f"{self.endpoint}{path}", data=body, headers=headers)
        S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(request)
        session = URLLib3Session(timeout=10)
        try:
            answer = session.send(request.prepare())
            return answer.status_code, answer.content
        finally:
            session.close()

    def _start(self) -> None:
        command, environment = self.command()
        deadline = time.monotonic() + _PATIENCE
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while not self._stores():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.directory / "log").read_text(errors="replace")[-5000:])
            time.sleep(0.2)

    def _stores(self) -> bool:
        """Whether it can store something yet: some accept connections long before."""
        try:
            made = self.ask("PUT", f"/{BUCKET}")[0] in (200, 409)
            return made and self.ask("PUT", f"/{BUCKET}/first", b"words")[0] == 200
        except Exception:  # noqa: BLE001  (whatever botocore makes of a server that is not up)
            return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # nothing of it is needed any more
            self._process.wait(_PATIENCE)


class SeaweedFS(ObjectServer):
    """A distributed store, all of it in one process."""

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {
            "name": "tests",
            "credentials": credentials,
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        ports = {name: free_port() for name in (*names, "s3.port.grpc")}
        return [
            str(_PROGRAMS / "weed"),
            "server",
            f"-dir={self.directory}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-filer",
            "-s3",
            f"-s3.port={self.port}",
            f"-s3.config={self.directory / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.minFreeSpace=1",
            "-volume.max=200",
            "-master.volumeSizeLimitMB=256",
            *(f"-{name}={port}" for name, port in ports.items()),
        ], {}


class Ministack(ObjectServer):
    """What imitates the services of a cloud, in memory."""

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        environment = {"BIND_HOST": HOST, "GATEWAY_PORT": str(self.port), "MINISTACK_HOST": HOST, "SERVICES": "s3"}
        environment |= {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}  # they listen at ports that cannot be shared
        return [str(_PROGRAMS / "ministack")], environment


class Rclone(ObjectServer):
    """What serves a directory, and ignores all conditions without a word."""

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        (self.directory / "data").mkdir()
        key = f"--auth-key={ACCESS_KEY},{SECRET_KEY}"
        words = ["serve", "s3", str(self.directory / "data"), f"--addr={HOST}:{self.port}", key]
        return [str(_PROGRAMS / "rclone"), *words, "--config=/dev/null"], {}


STORES: Mapping[str, type[ObjectServer]] = {"seaweedfs": SeaweedFS, "ministack": Ministack}
"""Those that an archive can be in."""
