"""A site of the WLCG: a server that speaks TLS and believes an issuer, and the clients that are used there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import attrs
from ports import free_port

from system.harness import HOST, PATIENCE
from system.pages import MANUAL, recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from system.harness import Service
    from system.issuer import Issuer

PYTHON = "/usr/bin/python3"
"""The interpreter that Debian's gfal2 belongs to."""


@attrs.frozen
class Place:
    """
    What a site gives its clients.

    @ivar url: That of the server.
    @ivar issuer: Who issues tokens for it; the server's certificate is signed by the same authority.
    @ivar authorities: A directory of authorities, as grid clients want it.
    @ivar directory: Where the clients run, and have their files.
    @ivar audit: The audit file.
    """

    service: Service
    url: str
    issuer: Issuer
    authorities: Path
    directory: Path
    audit: Path

    @property
    def authority(self) -> Path:
        """The certificate of the authority that the server's is signed by."""
        return self.issuer.authority.path

    def token(self, scope: str, **claims: Any) -> str:
        """A token for this site, as L{Issuer.token}."""
        return self.issuer.token(scope, **{"aud": self.url, **claims})

    def run(self, *command: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """
        Run a client.

        @param more: Variables, beside those that all have.
        """
        assert shutil.which(command[0]), f"{command[0]} is needed: tools/test installs it"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BEARER_TOKEN", "X509_"))}
        return subprocess.run(
            command,
            env={**own, "X509_CERT_DIR": str(self.authorities), "GFAL_PYTHONBIN": PYTHON, **(more or {})},
            cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * PATIENCE,
            check=False,
        )  # fmt: skip

    def gfal(self, command: str, *arguments: str, token: str | None) -> subprocess.CompletedProcess[str]:
        """Run a command of gfal2-util."""
        more = {} if token is None else {"BEARER_TOKEN": token}
        return self.run(f"gfal-{command}", *arguments, more=more)

    def refusals(self) -> list[tuple[str, str, int]]:
        """What the audit file has of those who were refused: method, path and status."""
        return [(each["what"], each["path"], each["status"]) for each in self.lines() if each["result"] == "refused"]

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the audit file, as far as they are whole."""
        return [json.loads(line) for line in self.audit.read_text().rpartition("\n")[0].splitlines()]

    def assert_no_secret(self) -> None:
        """No token is in the log, or in the audit file."""
        for text in (self.service.log, self.audit.read_text()):
            assert "eyJ" not in text


def settle(issuer: Issuer, directory: Path, start: Callable[..., Service]) -> Place:
    """
    Have a server that believes an issuer, as the manual says how.

    @param directory: A scratch directory.
    @param start: Starts it, with the options and arguments of L{Service} but for the settings.
    """
    key, certificate = issuer.authority.server("localhost")
    authorities, clients, state = (directory / each for each in ("authorities", "clients", "state"))
    for each in (authorities, clients, state):
        each.mkdir()
    shutil.copy(issuer.authority.path, authorities)
    subprocess.run(["openssl", "rehash", authorities], check=True, timeout=PATIENCE)
    port = free_port()
    url = f"https://localhost:{port}"
    here = {
        "https://archive.example.org": url,
        "url = https://wlcg.cloud.cnaf.infn.it/": f"url = {issuer.url}\nca = {issuer.authority.path}",
    }
    service = start(
        *("--endpoint", f"ssl:{port}:interface={HOST}:privateKey={key}:certKey={certificate}"),
        port=None, environment={"STATE_DIRECTORY": str(state)},
        settings=recipe(MANUAL / "access.md", "A site of the WLCG", "ini", here)
        + f"[audit]\nfile = {directory}/audit\n",
    )  # fmt: skip
    assert service.port == port
    return Place(service, url, issuer, authorities, clients, directory / "audit")
