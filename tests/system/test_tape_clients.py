"""
The grid's tape clients as they are: Debian's gfal2, its commands and its library, and xrdhttp, over HTTP and over TLS.

C{gfal-bringonline}, C{gfal-archivepoll} and C{gfal-evict} exit 0 whatever happens; what they print is what counts.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from xrdhttp.tape import TapeClient

from system.harness import HOST, PATIENCE, content, until
from system.wlcg import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from system.harness import Service
    from system.hpss import Site

DATA = content("tape", 30_000)

READY, QUEUED = "READY", "QUEUED"

HURRY = 1000.0
"""How much faster than ours the time of HPSS goes: a recall takes it minutes."""

_LINE = re.compile(r"^(\S+) (?:(READY|QUEUED)|=> FAILED: (.*))$", re.MULTILINE)

_LIBRARY = """
import gfal2, json, sys
context = gfal2.creat_context()
context.set_opt_boolean("HTTP PLUGIN", "INSECURE", True)
def words(results):
    return [None if each is None else str(each) for each in results]
call, *arguments = json.loads(sys.argv[1])
if call == "bring_online":
    results, token = context.bring_online(*arguments, True)
    print(json.dumps([words(results), token]))
else:
    print(json.dumps(words(getattr(context, call)(*arguments))))
"""


@attrs.frozen
class Endpoint:
    """
    A service as clients name it.

    @ivar url: Its URL, without a slash at the end.
    @ivar directory: For files that a client reads.
    """

    service: Service
    url: str
    directory: Path

    def urls(self, *file_ids: object) -> list[str]:
        """The URLs of files."""
        return [f"{self.url}/{file_id}" for file_id in file_ids]

    def gfal(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of gfal2-util."""
        assert shutil.which(f"gfal-{command}"), "gfal2-util-scripts is needed: its commands are the clients under test"
        return subprocess.run(
            [f"gfal-{command}", "-D", "HTTP PLUGIN:INSECURE=true", *arguments],
            env={**os.environ, "GFAL_PYTHONBIN": PYTHON},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )

    def poll(self, command: str, *file_ids: object, patience: int = 40, options: tuple[str, ...] = ()) -> list[str]:
        """
        Run a command that polls.

        @param patience: For how long it is to poll, in seconds.
        @return: What it says last of each file, in order: C{READY}, C{QUEUED}, or why it failed.
        """
        urls = self.urls(*file_ids)
        (self.directory / "list").write_text("\n".join(urls) + "\n")
        done = self.gfal(command, "--polling-timeout", str(patience), *options, "--from-file", "list")
        last = {url: state or f"failed: {reason}" for url, state, reason in _LINE.findall(done.stdout)}
        assert last.keys() == set(urls), done.stdout + done.stderr
        return [last[url] for url in urls]

    def locality(self, file_id: object) -> str:
        """What C{gfal-xattr} says of where a file is, or why it cannot."""
        done = self.gfal("xattr", *self.urls(file_id), "user.status")
        assert bool(done.returncode) == bool(done.stderr.strip()), done
        return (done.stdout or done.stderr).strip()

    def evict(self, file_id: object, *token: str) -> str:
        """Run C{gfal-evict}.  @return: What it complains about."""
        done = self.gfal("evict", *self.urls(file_id), *token)
        return (done.stdout + done.stderr).strip()

    def library(self, call: str, *arguments: object) -> Any:
        """Call gfal2's library.  @return: Its result, errors as text."""
        done = subprocess.run(
            [PYTHON, "-c", _LIBRARY, json.dumps([call, *arguments])],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def xrdhttp(self) -> TapeClient:
        """xrdhttp's client."""
        return TapeClient(self._send)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], expect: tuple[int, ...]
    ) -> _Reply:
        connection = (
            http.client.HTTPSConnection(HOST, self.service.port, timeout=PATIENCE, context=_trusting())
            if self.url.startswith("https:")
            else http.client.HTTPConnection(HOST, self.service.port, timeout=PATIENCE)
        )
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            reply = _Reply(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()
        if reply.status not in expect:
            raise Unexpected(reply)
        return reply

    def pins(self) -> list[int]:
        """The files that are to stay on disk."""
        return [int(pin["file"]) for pin in json.loads(self.service.ask("GET", "/pins").body)["pins"]]


@attrs.frozen
class _Reply:
    """What L{TapeClient} reads of an answer."""

    status: int
    body: bytes
    fields: Mapping[str, str]

    def header(self, name: str) -> str:
        """The value of a header field."""
        return self.fields.get(name, "")


class Unexpected(Exception):
    """An answer that xrdhttp does not take for a success."""


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(directory: Path) -> Path:
    """A certificate that nobody vouches for, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    path = directory / "pair.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TestOnDisk:
    """An archive whose files are all on disk."""

    @pytest.fixture(params=["http", "https"])
    def endpoint(self, request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path) -> Endpoint:
        """A service with the files 1 to 3, of which 3 is empty."""
        settings = "[server]\nsite_name = Example\n"
        if request.param == "https":
            pair = _certificate(tmp_path)
            tls = f"ssl:0:interface={HOST}:privateKey={pair}:certKey={pair}"
            service = serve("--endpoint", tls, port=None, settings=settings)
        else:
            service = serve(settings=settings)
        for file_id, data in ((1, DATA), (2, DATA), (3, b"")):
            (service.prefix / str(file_id)).write_bytes(data)
        return Endpoint(service, f"{request.param}://{HOST}:{service.port}", tmp_path)

    def test_bringonline(self, endpoint: Endpoint) -> None:
        """What is there is ready; what is not fails by itself, and says why.  Slashes count once."""
        said = endpoint.poll("bringonline", 1, "/2", 3, 404, "not/a/file")
        assert said[:3] == [READY] * 3
        assert said[3].startswith("failed: [Tape REST API] ")
        assert said[4] == "failed: [Tape REST API] There is no such file."
        metadata = json.dumps({"Example": {"activity": "x"}, "elsewhere": {}})
        assert endpoint.poll("bringonline", 1, 2, options=("--staging-metadata", metadata)) == [READY] * 2

    def test_archivepoll(self, endpoint: Endpoint) -> None:
        """Nothing here is on tape, and an archive without tape does not say that it is."""
        said = endpoint.poll("archivepoll", 1, 404, 3, patience=1)
        assert (said[0], said[2]) == (QUEUED, QUEUED)
        assert said[1].startswith("failed: [Tape REST API] ")

    def test_xattr(self, endpoint: Endpoint) -> None:
        """Where a file is, and where the API."""
        assert endpoint.locality(1) == "ONLINE"
        assert endpoint.locality(3) == "ONLINE"
        assert "[Tape REST API]" in endpoint.locality(404)
        said = endpoint.gfal("xattr", *endpoint.urls(1)).stdout
        assert f"taperestapi.uri = {endpoint.url}/api/v1" in said
        assert "taperestapi.sitename = Example" in said
        assert "taperestapi.version = v1" in said

    def test_evict(self, endpoint: Endpoint) -> None:
        """With the token of a request, and without one; a token that there never was is an error."""
        results, token = endpoint.library("bring_online", endpoint.urls(1, 2), 3600, 3600)
        assert len(results) == 2
        until(lambda: endpoint.library("bring_online_poll", endpoint.urls(1, 2), token) == [None] * 2, "they are there")
        assert endpoint.evict(1) == ""
        assert endpoint.evict(1, token) == ""
        assert endpoint.library("release", endpoint.urls(1, 2), token) == [None] * 2
        assert "Expected 200 status code (received 404)" in endpoint.evict(1, "0" * 32)

    def test_abort(self, endpoint: Endpoint) -> None:
        """What has ended stays as it is; a path of another request is refused."""
        _, token = endpoint.library("bring_online", endpoint.urls(1), 3600, 3600)
        until(lambda: endpoint.library("bring_online_poll", endpoint.urls(1), token) == [None], "it is there")
        assert endpoint.library("abort_bring_online", endpoint.urls(1), token) == [None]
        (error,) = endpoint.library("abort_bring_online", endpoint.urls(2), token)
        assert error
        assert endpoint.library("bring_online_poll", endpoint.urls(1), token) == [None]

    def test_xrdhttp(self, endpoint: Endpoint) -> None:
        """Each of its calls."""
        client = endpoint.xrdhttp()
        found = client.discover()
        assert (found.uri, found.version, found.sitename) == (f"{endpoint.url}/api/v1", "v1", "Example")
        job = client.stage(["/1", "/3", "/404", "/none"], lifetime="PT1H")
        until(lambda: "completedAt" in client.request_status(job), "all has ended")
        states = {each.path: each for each in client.status(job)}
        assert {path: each.state for path, each in states.items()} == {
            "/1": "COMPLETED", "/3": "COMPLETED", "/404": "FAILED", "/none": "FAILED",
        }  # fmt: skip
        assert states["/1"].online
        assert states["/404"].error
        assert [each.state for each in client.status(job, ["/3", "/1"])] == ["COMPLETED"] * 2
        client.cancel_files(job, ["/1", "/none"])
        client.release(job, ["/1"])
        for call in (client.cancel_files, client.release):
            with pytest.raises(Unexpected) as caught:
                call(job, ["/1", "/2"])
            assert caught.value.args[0].status == 400
        assert [(each.path, each.state, bool(each.error)) for each in client.archive_info(["/1", "/404"])] == [
            ("/1", "DISK", False), ("/404", "", True),
        ]  # fmt: skip
        client.cancel(job)
        with pytest.raises(Unexpected) as caught:
            client.status(job)
        reply = caught.value.args[0]
        assert (reply.status, reply.header("Content-Type")) == (404, "application/problem+json")
        assert json.loads(reply.body)["title"] == "Not Found"


class TestOnTape:
    """HPSS, with files on tape."""

    @pytest.fixture
    def endpoint(self, request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Endpoint:
        """
        A service with the files 1 to 3 on tape, 4 on disk and tape, and 5 on disk; HPSS does nothing yet.  The
        parameter is settings of the section C{[recall]}.
        """
        from system.hpss import path_of  # only now: it builds the simulator

        service = site.start(recall=getattr(request, "param", {}))
        site.archive.clock.freeze()
        for file_id in range(1, 6):
            site.put(file_id, DATA)
        for file_id in (1, 2, 3):
            site.send_to_tape(file_id)
        site.archive.migrate(path_of(4))
        return Endpoint(service, f"http://{HOST}:{service.port}", tmp_path)

    def test_the_whole_cycle(self, endpoint: Endpoint, site: Site) -> None:
        """Staged, told where it is at each step, read, and let go."""
        assert [endpoint.locality(file_id) for file_id in (1, 4, 5)] == ["NEARLINE", "ONLINE_AND_NEARLINE", "ONLINE"]
        said = endpoint.poll("archivepoll", 1, 4, 5, 404, patience=1)
        assert said[:3] == [READY, READY, QUEUED]
        assert said[3].startswith("failed: ")
        site.archive.clock.set_scale(HURRY)
        said = endpoint.poll("bringonline", 1, 2, 4, 404)
        assert said[:3] == [READY] * 3
        assert said[3].startswith("failed: [Tape REST API] ")
        assert endpoint.locality(1) == "ONLINE_AND_NEARLINE"
        answer = endpoint.service.ask("GET", 2)
        assert (answer.status, answer.body == DATA) == (200, True)
        assert endpoint.evict(1) == ""
        assert 1 in endpoint.pins(), "to name no request is to end no pin"

    def test_the_library(self, endpoint: Endpoint, site: Site) -> None:
        """Its token stands for the request, whose pins end by it, file by file."""
        urls = endpoint.urls(1, 2)
        results, token = endpoint.library("bring_online", urls, 3600, 3600)
        assert len(results) == 2
        assert None not in endpoint.library("bring_online_poll", urls, token)
        site.archive.clock.set_scale(HURRY)
        until(lambda: endpoint.library("bring_online_poll", urls, token) == [None] * 2, "they are there", 60)
        assert endpoint.pins() == [1, 2]
        assert endpoint.evict(1, token) == ""
        assert endpoint.pins() == [2]
        assert endpoint.library("release", urls, token) == [None] * 2
        assert endpoint.pins() == []

    @pytest.mark.parametrize(
        ("endpoint", "asked_for", "locality"),
        [({"batch_delay": 4}, 0, "NEARLINE"), ({}, 2, "ONLINE_AND_NEARLINE")],
        indirect=["endpoint"],
        ids=["waiting", "asked for"],
    )
    def test_abort(self, endpoint: Endpoint, site: Site, asked_for: int, locality: str) -> None:
        """What was given up in time does not come; what HPSS was asked for does, and is not pinned; the other is."""
        urls = endpoint.urls(1, 2)
        _, token = endpoint.library("bring_online", urls, 3600, 3600)
        until(lambda: len(site.archive.requests()) >= asked_for, "HPSS is asked")
        assert endpoint.library("abort_bring_online", urls[:1], token) == [None]
        assert len(site.archive.requests()) == asked_for
        site.archive.clock.set_scale(HURRY)

        def settled() -> list[str | None] | None:
            found: list[str | None] = endpoint.library("bring_online_poll", urls, token)
            return found if found[1] is None and "CANCELLED" in str(found[0]) else None

        until(settled, "one has come and one was given up", 60)
        assert endpoint.locality(1) == locality
        assert endpoint.pins() == [2]

    def test_xrdhttp(self, endpoint: Endpoint, site: Site) -> None:
        """A request is staged, pinned as long as it asked for, and forgotten as a whole."""
        client = endpoint.xrdhttp()
        assert [each.state for each in client.archive_info(["/1", "/4", "/5"])] == ["TAPE", "DISK_AND_TAPE", "DISK"]
        job = client.stage(["/3", "/4"], lifetime="P1D")
        document = client.request_status(job)
        assert "completedAt" not in document
        assert document["startedAt"] >= document["createdAt"] > time.time() - PATIENCE
        site.archive.clock.set_scale(HURRY)
        until(lambda: all(client.status(job)), "they are on disk", 60)
        document = until(lambda: _completed(client, job), "the request is complete")
        assert document["completedAt"] >= document["startedAt"]
        for each in document["files"]:
            assert each["finishedAt"] <= document["completedAt"]
        assert endpoint.pins() == [3, 4]
        client.cancel(job)
        assert endpoint.pins() == []
        with pytest.raises(Unexpected):
            client.status(job)


def _completed(client: TapeClient, job: str) -> dict[str, Any] | None:
    document: dict[str, Any] = client.request_status(job)
    return document if "completedAt" in document else None
