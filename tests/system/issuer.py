"""A real issuer of tokens: npm's oauth2-mock-server, over https with a certificate of an authority of its own."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

from access.authority import Authority
from ports import free_port

PACKAGE = "oauth2-mock-server@7.2.1"  # the last one for the Node.js of Debian 12
HERE = "https://archive.example.org"

_SCRIPT = Path(__file__).with_suffix(".js")


class Issuer:
    """
    The issuer, as a process.

    @ivar url: What its tokens have in C{iss}.
    @ivar authority: Who signs its certificate.
    """

    def __init__(self, modules: Path, directory: Path) -> None:
        self._modules = modules
        self._port = free_port()
        self.url = f"https://localhost:{self._port}"
        self.authority = Authority(directory)
        self._pair = self.authority.server("localhost")
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, with keys that are new, and wait until it answers."""
        self._process = subprocess.Popen(
            ["node", _SCRIPT, *self._pair, str(self._port)],
            env={**os.environ, "NODE_PATH": str(self._modules)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert self._line() == "READY"
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; from now on nobody answers there."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def add_key(self, algorithm: str, kid: str) -> None:
        """Have one more key, with which the next token but those of the others is signed."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{algorithm} {kid}\n")
        self._process.stdin.flush()
        assert self._line() == kid

    def token(self, scope: str = "", **claims: Any) -> str:
        """
        Ask it for a token, as a robot does (client credentials); it takes its keys in turn.

        @param claims: C{None} leaves one out; C{__} in its name stands for a dot.
        """
        now = int(time.time())
        claims = {
            "wlcg.ver": "1.0", "sub": "robot", "aud": HERE, "jti": uuid4().hex, "exp": now + 3600, "scope": scope,
            **{name.replace("__", "."): value for name, value in claims.items()},
        }  # fmt: skip
        form = {"grant_type": "client_credentials", "client_id": "robot", "scope": scope, "claims": json.dumps(claims)}
        context = ssl.create_default_context(cafile=self.authority.path)
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{self.url}/token", data, timeout=30, context=context) as answer:
            token: str = json.load(answer)["access_token"]
        return token

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")
