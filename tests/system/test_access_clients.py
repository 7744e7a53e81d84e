"""
The clients of a site of the WLCG as they are, over TLS and with tokens of a real issuer: curl, gfal2, davix, rclone.

Each says in its own words that it was refused; of what is refused, nothing has happened.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from system.harness import content, until
from system.wlcg import Place, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from system.harness import Service
    from system.hpss import Site
    from system.issuer import Issuer

pytestmark = pytest.mark.timeout(600)  # the issuer is installed once, which counts for whichever test is the first

DATA, OTHER = content("token", 300_000), content("another", 200_000)

Done = subprocess.CompletedProcess[str]


@attrs.frozen
class Tool:
    """
    A client.

    @ivar read: Makes a command that copies a file of the archive to C{copy}, from the site, the token and the URL.
    @ivar store: The same for one that stores C{data}.
    @ivar remove: The same for one that deletes.
    @ivar words: What it says where it is refused, by status.
    @ivar more: Variables that it wants, from the token.
    """

    read: Callable[[Place, str | None, str], list[str]]
    store: Callable[[Place, str | None, str], list[str]]
    remove: Callable[[Place, str | None, str], list[str]]
    words: Mapping[int, str]
    more: Callable[[Place, str | None], dict[str, str]] = lambda place, token: {}


def _curl(place: Place, token: str | None, url: str, *arguments: str) -> list[str]:
    given = [] if token is None else ["--oauth2-bearer", token]
    command = ["curl", "-q", "-sS", "--fail", "--cacert", str(place.authority), *given]
    return [*command, *arguments, url]


def _davix(what: str) -> Callable[..., list[str]]:
    def command(place: Place, token: str | None, *arguments: str) -> list[str]:
        given = [] if token is None else ["-H", f"Authorization: Bearer {token}"]
        return [f"davix-{what}", "--capath", str(place.authorities), *given, *arguments]

    return command


def _rclone(what: str, *arguments: str) -> list[str]:
    return ["rclone", what, "--retries", "1", "--low-level-retries", "1", *arguments]


def _on_rclone(url: str) -> str:
    return f":webdav:{url.rpartition('/')[2]}"


def _of_rclone(place: Place, token: str | None) -> dict[str, str]:
    # As --webdav-bearer-token and so on, but that nobody else on the machine sees it.
    own = {"RCLONE_CONFIG": "/dev/null", "RCLONE_WEBDAV_URL": place.url, "RCLONE_CA_CERT": str(place.authority)}
    return own if token is None else {**own, "RCLONE_WEBDAV_BEARER_TOKEN": token}


def _of_gfal(place: Place, token: str | None) -> dict[str, str]:
    return {} if token is None else {"BEARER_TOKEN": token}


TOOLS = {
    "curl": Tool(
        lambda place, token, url: _curl(place, token, url, "-o", "copy"),
        lambda place, token, url: _curl(place, token, url, "-T", "data"),
        lambda place, token, url: _curl(place, token, url, "-X", "DELETE"),
        {each: f"curl: (22) The requested URL returned error: {each}" for each in (401, 403)},
    ),
    "gfal2": Tool(
        lambda place, token, url: ["gfal-copy", url, f"file://{place.directory}/copy"],
        lambda place, token, url: ["gfal-copy", f"file://{place.directory}/data", url],
        lambda place, token, url: ["gfal-rm", url],
        {401: "HTTP 401 : Authentication Error", 403: "HTTP 403 : Permission refused"},
        _of_gfal,
    ),
    "davix": Tool(
        lambda place, token, url: _davix("get")(place, token, url, "copy"),
        lambda place, token, url: _davix("put")(place, token, "data", url),
        lambda place, token, url: _davix("rm")(place, token, url),
        {401: "HTTP 401 : Authentication Error", 403: "HTTP 403 : Permission refused"},
    ),
    "rclone": Tool(
        lambda place, token, url: _rclone("copyto", _on_rclone(url), "copy"),
        lambda place, token, url: _rclone("copyto", "data", _on_rclone(url)),
        lambda place, token, url: _rclone("deletefile", _on_rclone(url)),
        {401: "The request has no credentials, and this server requires them.", 403: "wlcg:robot lacks the right"},
        _of_rclone,
    ),
}  # fmt: skip


@attrs.frozen
class User:
    """
    Somebody who uses a client at a site.

    @ivar tool: The client.
    """

    place: Place
    tool: Tool

    def read(self, file_id: int, scope: str | None) -> Done:
        """Copy a file from the archive, if that can be done with a token of this scope; C{None} for no token."""
        (self.place.directory / "copy").unlink(missing_ok=True)
        return self._run(self.tool.read, file_id, scope)

    def store(self, file_id: int, scope: str | None) -> Done:
        """Store C{OTHER}."""
        (self.place.directory / "data").write_bytes(OTHER)
        return self._run(self.tool.store, file_id, scope)

    def remove(self, file_id: int, scope: str | None) -> Done:
        """Delete a file."""
        return self._run(self.tool.remove, file_id, scope)

    def _run(self, command: Callable[[Place, str | None, str], list[str]], file_id: int, scope: str | None) -> Done:
        token = None if scope is None else self.place.token(scope)
        arguments = command(self.place, token, f"{self.place.url}/{file_id}")
        return self.place.run(*arguments, more=self.tool.more(self.place, token))

    def copied(self) -> bytes:
        """What was read; nothing where there is no copy."""
        path = self.place.directory / "copy"
        return path.read_bytes() if path.exists() else b""

    def stored(self) -> dict[str, bytes]:
        """What is in the archive."""
        return {name: path.read_bytes() for name, path in self.place.service.visible().items()}

    def assert_refused(self, done: Done, status: int) -> None:
        """It says so, and the archive is as it was."""
        assert done.returncode, done
        assert self.tool.words[status] in done.stderr, done
        assert self.stored() == {"12": DATA, "120": DATA, "123": DATA}
        assert self.copied() == b""


@pytest.fixture
def place(issuer: Issuer, tmp_path: Path, serve: Callable[..., Service]) -> Place:
    """An archive on disk with the files 12, 120 and 123."""
    place = settle(issuer, tmp_path, serve)
    for file_id in (12, 120, 123):
        (place.service.prefix / str(file_id)).write_bytes(DATA)
    return place


@pytest.fixture(params=TOOLS)
def user(request: pytest.FixtureRequest, place: Place) -> User:
    """Somebody who uses one of the clients."""
    return User(place, TOOLS[request.param])


def test_enough(user: User) -> None:
    """With a token whose scope suffices, a file is read, one is stored, and one is deleted."""
    done = user.read(12, "storage.read:/")
    assert (done.returncode, user.copied() == DATA) == (0, True), done
    assert user.read(12, "storage.read:/12").returncode == 0
    assert user.copied() == DATA
    done = user.store(20, "storage.create:/")
    assert (done.returncode, user.stored()["20"] == OTHER) == (0, True), done
    done = user.remove(123, "storage.modify:/")
    assert (done.returncode, set(user.stored())) == (0, {"12", "120", "20"}), done
    user.place.assert_no_secret()


def test_not_enough(user: User) -> None:
    """
    What the scope does not have is refused, and has not happened; that is in the audit file.  The path of a scope is
    that of one file, and no beginning of others.
    """
    for file_id in (120, 123):
        user.assert_refused(user.read(file_id, "storage.read:/12"), 403)
        user.assert_refused(user.store(10 * file_id, "storage.create:/12 storage.modify:/12 storage.read:/"), 403)
        user.assert_refused(user.remove(file_id, "storage.modify:/12 storage.read:/"), 403)
    user.assert_refused(user.read(12, "storage.create:/"), 403)
    user.assert_refused(user.read(404, "storage.create:/12"), 403)
    user.assert_refused(user.store(20, "storage.read:/ storage.stage:/"), 403)
    user.assert_refused(user.remove(12, "storage.create:/ storage.read:/"), 403)
    wanted = {("PUT", "/20", 403), ("DELETE", "/12", 403)}
    until(lambda: wanted <= set(user.place.refusals()), "all are in the audit file")  # nobody waits for those lines
    assert {status for _, _, status in user.place.refusals()} == {403}
    user.place.assert_no_secret()


def test_no_token(user: User) -> None:
    """The same without a token: 401."""
    user.assert_refused(user.read(12, None), 401)
    user.assert_refused(user.store(20, None), 401)
    user.assert_refused(user.remove(12, None), 401)
    refused = until(user.place.refusals, "it is in the audit file")
    assert {status for _, _, status in refused} == {401}


def test_another_audience(user: User) -> None:
    """Nor does a token help that is meant for another server."""
    token = user.place.token("storage.read:/", aud="https://other.example.org")
    arguments = user.tool.read(user.place, token, f"{user.place.url}/12")
    done = user.place.run(*arguments, more=user.tool.more(user.place, token))
    assert done.returncode, done
    assert "401" in done.stderr, done
    assert user.copied() == b""


def test_what_curl_is_told(place: Place) -> None:
    """Which scope is missing; and, without a token, what can be presented."""
    token = place.token("storage.read:/12")
    said = place.run(*_curl(place, token, f"{place.url}/123", "--no-fail", "-D", "-")).stdout
    assert said.startswith("HTTP/1.1 403 Forbidden")
    assert 'www-authenticate: bearer realm="pacarchive", error="insufficient_scope", scope="storage.read:/123"' in (
        said.lower()
    )
    assert "wlcg:robot lacks the right 'read' for file 123." in said
    said = place.run(*_curl(place, None, f"{place.url}/123", "--no-fail", "-D", "-")).stdout
    assert said.startswith("HTTP/1.1 401 Unauthorized")
    assert 'www-authenticate: bearer realm="pacarchive"\n' in said.lower()
    untrusted = place.run("curl", "-q", "-sS", f"{place.url}/12")
    assert untrusted.returncode == 60, "nobody else vouches for this server"


def test_gfal(place: Place) -> None:
    """What else its commands do: C{-f} deletes before it writes, and so needs C{modify}; without, nothing is lost."""
    reading, adding, changing = (place.token(f"storage.{each}:/") for each in ("read", "create", "modify"))
    told = place.gfal("stat", f"{place.url}/12", token=adding)
    assert f"Size: {len(DATA)}\t" in told.stdout, told
    (place.directory / "data").write_bytes(OTHER)
    copying = (f"file://{place.directory}/data", f"{place.url}/12")
    told = place.gfal("copy", "-f", *copying, token=adding)
    assert told.returncode == 1
    assert "- DESTINATION OVERWRITE DavPosix::unlink  HTTP 403 : Permission refused" in told.stderr
    assert place.gfal("copy", *copying, token=adding).returncode == 17
    assert (place.service.prefix / "12").read_bytes() == DATA
    assert place.gfal("copy", "-f", *copying, token=changing).returncode == 0
    assert (place.service.prefix / "12").read_bytes() == OTHER
    told = place.gfal("bringonline", "--polling-timeout", "1", f"{place.url}/12", token=reading)
    assert "FAILED: [Tape REST API] Stage call failed: HTTP 403 : Permission refused" in told.stdout
    untrusted = place.run("gfal-stat", f"{place.url}/12", more={"BEARER_TOKEN": reading, "X509_CERT_DIR": "/nowhere"})
    assert untrusted.returncode, "nobody else vouches for this server"


def test_recalls(issuer: Issuer, tmp_path: Path, site: Site) -> None:
    """
    What is on tape comes to disk for those with C{storage.stage}: none of the others' requests, nor a GET of theirs,
    makes HPSS do anything.  A request is its maker's, and others cannot end it.
    """

    def start(*options: str, settings: str, environment: dict[str, str], **more: Any) -> Service:
        server, section, beside = settings.partition("[issuer")
        _, _, public_url = server.partition("[server]\npublic_url = ")  # the site has a section of that name itself
        own = {"public_url": public_url.strip()}
        return site.start(*options, server=own, beside=section + beside, variables=environment, **more)

    place = settle(issuer, tmp_path, start)
    site.archive.clock.freeze()
    for file_id in (1, 2):
        site.put(file_id, DATA)
        site.send_to_tape(file_id)
    reading, staging, other = (
        place.token("storage.read:/"), place.token("storage.stage:/1"),
        place.token("openid", sub="production", wlcg__groups=["/wlcg/prod"]),
    )  # fmt: skip

    def bring(file_id: int, token: str | None, patience: int = 1) -> str:
        url = f"{place.url}/{file_id}"
        return place.gfal("bringonline", "--polling-timeout", str(patience), url, token=token).stdout

    failed = "=> FAILED: [Tape REST API] Stage call failed: HTTP"
    assert f"{failed} 401 : Authentication Error" in bring(1, None)
    assert f"{failed} 403 : Permission refused" in bring(1, reading)
    assert f"{failed} 403 : Permission refused" in bring(2, staging)
    copying = (f"{place.url}/1", f"file://{place.directory}/copy")
    told = place.gfal("copy", *copying, token=reading)
    assert "403" in told.stderr, told
    assert site.archive.requests() == []
    assert place.gfal("xattr", f"{place.url}/1", "user.status", token=staging).stdout == "NEARLINE\n"

    site.archive.clock.set_scale(1000)
    assert f"{place.url}/1 READY" in bring(1, staging, 40)
    assert f"{place.url}/2 READY" in bring(2, other, 40)
    assert place.gfal("xattr", f"{place.url}/1", "user.status", token=staging).stdout == "ONLINE_AND_NEARLINE\n"
    told = place.gfal("copy", "-f", *copying, token=reading)
    assert (told.returncode, (place.directory / "copy").read_bytes() == DATA) == (0, True), told
    jobs = {each["principal"]: each["job"] for each in place.lines() if "job" in each}
    assert jobs.keys() == {"wlcg:robot", "wlcg:production"}
    for token, expected in ((staging, 404), (reading, 403), (other, 200)):
        url = f"{place.url}/api/v1/stage/{jobs['wlcg:production']}"
        assert place.run(*_curl(place, token, url, "--no-fail", "-o", "-", "-w", "%{stderr}%{http_code}")).stderr == (
            str(expected)
        )
    assert "Expected 200 status code (received 404)" in _evicted(place, 2, jobs["wlcg:production"], staging)
    assert _evicted(place, 2, jobs["wlcg:production"], other) == ""
    place.assert_no_secret()


def _evicted(place: Place, file_id: int, job: str, token: str) -> str:
    done = place.gfal("evict", f"{place.url}/{file_id}", job, token=token)
    return (done.stdout + done.stderr).strip()
