"""C{pacarchive check} against servers and networks that are broken, and archives that go away: it must find that."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import attrs
import forks
import pytest

from pacarchive.cli.check.ids import FIRST_ID
from system.checking import SMALL, Ran, check, command, environment, ids
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, Service
from system.liar import Forward, Liar, Lie, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave nothing in it."""
    started = Service(tmp_path_factory.mktemp("archive"), settings="[server]\noverwrite = allow\n")
    yield started
    started.stop()
    started.assert_clean()


def when(method: str, changed: Callable[[Request, Forward], Reply], *, having: str = "", path: str = "") -> Lie:
    """
    A lie about one kind of request.

    @param having: The field that such a request has.
    @param path: How its path begins.
    """

    def lie(request: Request, forward: Forward) -> Reply:
        if request.method == method and (not having or having in request.fields) and request.path.startswith(path):
            return changed(request, forward)
        return forward(request)

    return lie


def answered(change: Callable[[Reply], Reply]) -> Callable[[Request, Forward], Reply]:
    """The right answer, changed."""
    return lambda request, forward: change(forward(request))


def ignoring(*names: str) -> Callable[[Request, Forward], Reply]:
    """The answer to a request without some fields."""
    return lambda request, forward: forward(request.without(*names))


def not_stored(request: Request, _: Forward) -> Reply:
    """An acknowledgement for nothing."""
    document = {"message": "File added to archive", "total_bytes": len(request.body)}
    return Reply(201, {"content-type": "application/json"}, json.dumps(document).encode())


def cut_short(request: Request, forward: Forward) -> Reply:
    """What came of a body is taken for all of it."""
    return forward(request)


def shifted(request: Request, forward: Forward) -> Reply:
    """A part that is not the one that was asked for."""
    answer = forward(request)
    return attrs.evolve(answer, body=answer.body[1:] + b"x") if answer.status == 206 else answer


def longer(request: Request, forward: Forward) -> Reply:
    """The end of C{byte_range} counts as included."""
    found = re.fullmatch(r"(.*byte_range=[0-9]+-)([0-9]+)", request.path)
    return forward(attrs.evolve(request, path=f"{found[1]}{int(found[2]) + 1}") if found else request)


def compressed(request: Request, forward: Forward) -> Reply:
    """A file is compressed on the way."""
    answer = forward(request)
    if answer.status != 200 or "gzip" not in request.fields.get("accept-encoding", ""):
        return answer
    return attrs.evolve(answer.having(content_encoding="gzip"), body=gzip.compress(answer.body))


def integers(request: Request, forward: Forward) -> Reply:
    """A path is read as Python reads numbers."""
    try:
        return forward(attrs.evolve(request, path=f"/{int(request.path[1:])}"))
    except ValueError:
        return forward(request)


def spliced(request: Request, forward: Forward) -> Reply:
    """Half of a file is another's."""
    answer = forward(request)
    half = len(answer.body) // 2
    return attrs.evolve(answer, body=answer.body[:half] + answer.body[: len(answer.body) - half])


def always_another(request: Request, forward: Forward) -> Reply:
    """The place of a file changes whenever somebody looks."""
    return forward(request).having(x_pacifica_ctime=f"{time.monotonic()}")


def never_there(request: Request, forward: Forward) -> Reply:
    """A file stays on tape."""
    return forward(request).having(x_pacifica_file_storage_media="tape")


def never_came(answer: Reply) -> Reply:
    """A job has ended, and its files have failed."""
    return attrs.evolve(answer, body=answer.body.replace(b'"state": "completed"', b'"state": "failed"'))


BROKEN: dict[str, tuple[Lie, str, set[str]]] = {
    "not stored": (
        when("PUT", not_stored), "text",
        {"text-status", "text-stage", "text-get", "text-delete"},
    ),
    "total_bytes": (
        when("PUT", answered(lambda answer: attrs.evolve(answer, body=answer.body.replace(b"2", b"3")))), "text",
        {"text-put"},
    ),
    "status of PUT": (
        when("PUT", answered(lambda answer: attrs.evolve(answer, status=200))), "binary-put", {"binary-put"},
    ),
    "X-Content-Length": (
        when("HEAD", answered(lambda answer: answer.having(x_content_length="7"))), "text", {"text-status"},
    ),
    "media": (
        when("HEAD", answered(lambda answer: answer.having(x_pacifica_file_storage_media="cd"))), "empty-status",
        {"empty-status"},
    ),
    "tape for ever": (when("HEAD", never_there), "text-stage", {"text-stage"}),
    "a byte less": (
        when("GET", answered(lambda answer: attrs.evolve(answer, body=answer.body[:-1])), path=f"/{FIRST_ID}"),
        "binary", {"binary-get"},
    ),
    "spliced": (when("GET", spliced, path=f"/{FIRST_ID}"), "large", {"large-get"}),
    "media type": (
        when("GET", answered(lambda answer: answer.having(content_type="text/plain"))), "text", {"text-get"},
    ),
    "not deleted": (when("DELETE", lambda *_: Reply(200)), "empty", {"empty-delete"}),
    "no time": (
        when("PUT", ignoring("last-modified")), "mtime*",
        {"mtime", "mtime-fraction", "mtime-old", "mtime-future", "mtime-wrong"},
    ),
    "If-None-Match ignored": (when("PUT", ignoring("if-none-match")), "put", {"put-if-none-match"}),
    "If-Match ignored by PUT": (when("PUT", ignoring("if-match")), "put", {"put-if-match"}),
    "If-Match ignored by DELETE": (when("DELETE", ignoring("if-match")), "delete-if-match", {"delete-if-match"}),
    "conditions ignored by GET": (
        when("GET", ignoring("if-match", "if-none-match", "if-unmodified-since", "if-modified-since")), "get",
        {"get-if-match", "get-if-changed"},
    ),
    "digests ignored": (
        when("PUT", ignoring("repr-digest", "content-digest", "content-md5", "digest")), "digest",
        {"digest-wrong", "digest-wrong-behind"},
    ),
    "wrong digests": (
        lambda request, forward: forward(request).having(repr_digest="sha-256=:AAAA:", digest="sha-256=AAAA"), "digest",
        {"digest-put", "digest-get", "digest-wrong-behind"},
    ),
    "another ETag with HEAD": (when("HEAD", answered(lambda answer: answer.having(etag='"x"'))), "etag", {"etag"}),
    "weak ETag": (lambda request, forward: forward(request).having(etag='W/"x"'), "etag", {"etag"}),
    "Range ignored": (when("GET", ignoring("range")), "range*", {"range", "range-beyond", "range-if", "range-large"}),
    "shifted": (when("GET", shifted), "range*", {"range", "range-if", "range-large"}),
    "If-Range ignored": (when("GET", ignoring("if-range")), "range*", {"range-if"}),
    "byte_range": (when("GET", longer), "byte-range", {"byte-range"}),
    "compressed": (when("GET", compressed), "compression", {"compression"}),
    "other spellings": (integers, "id", {"id-alias"}),
    "cut bodies": (cut_short, "cut*", {"cut", "cut-chunks"}),
    "readable in two ways": (cut_short, "malformed", {"malformed"}),
    "a mix": (when("GET", spliced, path=f"/{FIRST_ID}"), "rewrite-whole", {"rewrite-whole"}),
    "acknowledged, not replaced": (
        lambda request, forward: (
            not_stored(request, forward) if request.method == "PUT" and "if-none-match" not in request.fields
            else forward(request)
        ),
        "rewrite", {"rewrite-other"},
    ),
    "HEAD changes something": (when("HEAD", always_another), "head-quiet", {"head-quiet"}),
    "no jobs": (when("POST", lambda *_: Reply(500), path="/jobs"), "stage-job", {"stage-job"}),
    "files that did not come": (when("GET", answered(never_came), path="/jobs"), "stage-job", {"stage-job"}),
    "ill": (
        when("GET", lambda *_: Reply(503, {}, b'{"ready": false, "message": "full"}'), path="/health"), "health",
        {"health"},
    ),
    "tracebacks": (
        when("GET", answered(lambda answer: attrs.evolve(answer, body=answer.body.replace(b"Can't", b"Traceback")))),
        "error-words", {"error-words"},
    ),
    "no PROPFIND": (when("PROPFIND", lambda *_: Reply(405)), "propfind", {"propfind"}),
    "not archived": (when("POST", lambda *_: Reply(404), path="/api"), "archiveinfo", {"archiveinfo"}),
    "many, one lost": (
        when("PUT", not_stored, path=f"/{ids()[6]}"), "many", {"many-status", "many-stage", "many-get", "many-delete"},
    ),
}  # fmt: skip
"""What is wrong, the checks that are run, and those of them that fail for it."""


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(archive: Service, name: str) -> None:
    """By the checks that are about it; they say what was expected, what came, and why it matters."""
    lie, only, failing = BROKEN[name]
    with Liar(archive.port, lie) as liar:
        ran = check(liar.port, "--only", only, "--stage-timeout", "1")
    assert ran.having("failed") == failing, ran.events
    assert ran.code == 1
    for event in ran.events:
        if event.get("outcome") == "failed":
            assert all(event[key] for key in ("expected", "came", "why"))
    if archive.visible():
        check(archive.port, "--clean-up")
    assert archive.visible() == {}


def test_an_honest_proxy_is_not_blamed(archive: Service) -> None:
    """The lies above are found, and not the proxy that tells them: without one all of these pass."""
    names = {name for _, _, failing in BROKEN.values() for name in failing} - {
        # It cannot pass on what these are about.
        "cut", "cut-chunks", "malformed", "digest-wrong-behind",
    }  # fmt: skip
    with Liar(archive.port, lambda request, forward: forward(request)) as liar:
        ran = check(liar.port, *(each for name in sorted(names) for each in ("--only", name)))
    ran.assert_passed()
    assert archive.visible() == {}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_flipped_byte_is_found(archive: Service, way: str) -> None:
    """In the middle of the large file, in either direction."""
    with FaultyProxy(archive.port, flips={way: {2_500_000}}) as proxy:
        ran = check(proxy.port, "--only", "large")
    assert ran.having("failed") == ({"large-put", "large-get"} if way == "up" else {"large-get"}), ran.events
    assert archive.visible() == {}


def test_connections_that_break_are_found(archive: Service) -> None:
    """A GET that ends early is no file."""
    with FaultyProxy(archive.port, cuts=1, cut_after=1_000_000) as proxy:
        ran = check(proxy.port, "--only", "binary")
    assert ran.having("failed") == {"binary-get"}, ran.events
    assert archive.visible() == {}


def test_an_archive_that_goes_away(serve: Callable[..., Service]) -> None:
    """The rest means nothing then, and what is left is told."""
    service = serve()
    process = forks.Popen(
        command(f"http://{HOST}:{service.port}", *SMALL, "--json"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1].get("name") == "binary-get":
                service.kill()
    ran = Ran(process.wait(), events, "")
    assert ran.code == 1
    assert ran.outcomes["text-get"] == "passed"
    assert ran.outcomes["large-get"] == "not applicable"
    assert {each["id"] for each in ran.end["left"]} >= set(service.visible())


def test_files_on_tape_are_waited_for(archive: Service) -> None:
    """A job, a GET that is told to come back, and a medium that becomes disk after some looks."""
    looks: dict[str, int] = {}

    def lie(request: Request, forward: Forward) -> Reply:
        answer = forward(request)
        if not re.fullmatch("/[0-9]+", request.path):
            return answer
        if request.method == "POST":
            document = {"message": "File is being staged", "file": request.path[1:], "job": "/jobs/1"}
            looks.setdefault(request.path, 0)
            return Reply(202, {"location": "/jobs/1"}, json.dumps(document).encode())
        offline = looks.get(request.path, -1) < 2
        if request.method == "HEAD" and answer.status == 204 and offline:
            if request.path in looks:
                looks[request.path] += 1
            return answer.having(x_pacifica_file_storage_media="tape")
        if request.method == "GET" and answer.status == 200 and offline:
            return Reply(503, {"retry-after": "5", "link": '</jobs/1>; rel="monitor"'})
        return answer

    with Liar(archive.port, lie) as liar:
        ran = check(liar.port, "--only", "text-stage", "--only", "binary-get")
    assert ran.having("passed") == {"text-stage", "binary-get"}, ran.events
    assert (ran.code, len(looks)) == (0, 2)
    assert archive.visible() == {}
