"""C{pacarchive check} as operators run it: against every kind of archive, and against servers that are broken."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from test_listening import certificate

from pacarchive.cli.check.catalogue import CHECKS
from pacarchive.cli.check.ids import FIRST_ID, block
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.session import SPARE
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, PATIENCE, Service, content, until
from system.liar import Forward, Liar, Lie, Reply, Request
from system.pages import MANUAL, Shell
from system.test_migration import directory, installed, precede

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from system import hpss, sideband
    from system.test_migration import Precede

# The fixtures of others that are used here.
__all__ = ["certificate", "directory", "installed", "precede"]

# What is downloaded and installed once counts for whichever test is the first.
pytestmark = pytest.mark.timeout(600)

MANY = 12
SMALL = ("--large-file-size", "3MiB", "--many", str(MANY))
MODES = ["none", "pacifica"]


@attrs.frozen
class Ran:
    """
    A run of the command that has ended.

    @ivar outcomes: By the name of each check.
    @ivar end: What it told at the end.
    """

    code: int
    events: list[dict[str, Any]]
    errors: str

    @property
    def outcomes(self) -> dict[str, str]:
        return {event["name"]: event["outcome"] for event in self.events if event["event"] == "check"}

    @property
    def end(self) -> dict[str, Any]:
        return self.events[-1]

    def having(self, outcome: str) -> set[str]:
        """The checks that ended so."""
        return {name for name, each in self.outcomes.items() if each == outcome}

    def assert_passed(self) -> None:
        """All that means anything here has passed, and nothing is left."""
        bad = [event for event in self.events if event.get("outcome") not in (None, "passed", "not applicable")]
        assert not bad, bad
        assert self.having("not applicable") <= {"move"}, self.events
        assert (self.code, self.end["event"], self.end["left"]) == (0, "end", []), self.errors


def command(*arguments: str) -> list[str]:
    """How the command is run."""
    return [sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())", "check", *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's own, without what the command would take from it."""
    names = ("ARCHIVE_URL", "PACARCHIVE_URL", "LARGE_FILE_SIZE", "MANY_FILES_TEST_COUNT", "PACARCHIVE_TOKEN",
             "PACARCHIVE_CA")  # fmt: skip
    return {**{name: value for name, value in os.environ.items() if name not in names}, **more}


def check(port: int, *options: str) -> Ran:
    """Run the command against a server."""
    ran = subprocess.run(
        command(f"http://{HOST}:{port}", *SMALL, "--json", *options),
        capture_output=True, text=True, check=False, env=environment(), timeout=10 * PATIENCE,
    )  # fmt: skip
    return Ran(ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr)


def ids(many: int = MANY) -> list[int]:
    """The ids that a run uses."""
    return block(FIRST_ID, many + SPARE)


# archives that are in order


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("overwrite", ["allow", "identical", "deny"])
def test_a_posix_archive_passes(serve: Callable[..., Service], tmp_path: Path, mode: str, overwrite: str) -> None:
    """In both modes, and whatever it does with an id that is taken; and it is left as it was."""
    service = serve(settings=f"[server]\ncompatibility = {mode}\noverwrite = {overwrite}\n", workers=2)
    service.ask("PUT", 5, b"somebody's")
    (service.prefix / "incoming").write_bytes(b"to be moved")
    ran = check(service.port, "--move-from", str(service.prefix / "incoming"))
    ran.assert_passed()
    assert ran.having("not applicable") == set()
    assert list(ran.outcomes) == [each.name for each in CHECKS]
    assert ran.events[0]["compatibility"] == mode
    assert {"allow": "replaces", "identical": "unless it has the same bytes", "deny": "refused"}[overwrite] in ran.end[
        "overwrite"
    ]
    assert list(service.visible()) == ["5"]
    assert service.temporaries() == []
    assert service.jobs() == []


@pytest.mark.parametrize("mode", MODES)
def test_an_hpss_archive_passes(site: hpss.Site, mode: str) -> None:
    """On a simulated HPSS; nothing is left there."""
    service = site.start(server={"compatibility": mode})
    check(service.port).assert_passed()
    assert site.files() == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_sideband_archive_passes(sam: sideband.Site, mode: str) -> None:
    """On a mount of SAM's with its database; nothing is left there."""
    service = sam.start(server={"compatibility": mode})
    check(service.port).assert_passed()
    assert service.visible() == {}


def test_a_layout_of_directories_passes(serve: Callable[..., Service]) -> None:
    """The ids are such that few directories are made, which stay."""
    service = serve(settings="[posix]\nuse_id2filename = true\n")
    check(service.port, "--many", "150").assert_passed()
    assert service.visible() == {}
    made = [path for path in service.prefix.rglob("*") if path.is_dir() and ".pacarchive" not in path.parts]
    assert len(made) < 12


def test_the_predecessor_fails_just_what_is_known(precede: Precede) -> None:
    """With --expect, that is a success; without it, those are failures."""
    with precede("") as predecessor:
        predecessor.ask("PUT", 5, b"somebody's")
        ran = check(predecessor.port, "--expect", "predecessor")
        assert ran.having("expected failure") == set(EXPECTED), ran.events
        assert ran.having("failed") == ran.having("unexpected pass") == set(), ran.events
        assert (ran.code, ran.end["left"]) == (0, []), ran.errors
        assert os.listdir(predecessor.prefix) == ["5"]
        ran = check(predecessor.port)
        assert (ran.code, ran.having("failed")) == (1, set(EXPECTED))
        assert os.listdir(predecessor.prefix) == ["5"]


def test_more_than_is_known_to_work_is_told(serve: Callable[..., Service]) -> None:
    """What is expected to fail and does not is no failure, and is told."""
    ran = check(serve().port, "--expect", "predecessor", "--only", "range*", "--only", "text-get")
    assert ran.code == 0
    assert ran.having("unexpected pass") == {"range", "range-beyond", "range-if", "range-large"}
    assert ran.having("passed") == {"range-odd", "text-get"}


# safety


@pytest.mark.parametrize("number", [0, 40, MANY + SPARE - 1])
def test_an_id_that_is_taken_is_left_alone(serve: Callable[..., Service], number: int) -> None:
    """The check does not begin, and says what to do; other ids can be used beside it."""
    service = serve()
    taken = ids()[number]
    data = content("somebody's", 5000)
    assert service.ask("PUT", taken, data).status == 201
    before = service.ask("HEAD", taken).fields["x-pacifica-ctime"]
    for options in ([], ["--expect", "predecessor"]):
        ran = check(service.port, *options)
        assert (ran.code, ran.events) == (2, [])
        assert f"Id {taken} is taken" in ran.errors
    ran = check(service.port, "--clean-up")
    assert (ran.code, ran.end["removed"], ran.end["foreign"]) == (0, [], [str(taken)])
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == data
    found = re.search(r"--first-id (\d+)", check(service.port).errors)
    assert found is not None
    check(service.port, "--first-id", found[1]).assert_passed()
    assert list(service.visible()) == [str(taken)]
    assert service.ask("HEAD", taken).fields["x-pacifica-ctime"] == before


def test_an_id_that_is_taken_meanwhile_is_left_alone(serve: Callable[..., Service]) -> None:
    """Who puts something there while the check runs finds it there afterwards."""
    service = serve()
    taken = ids()[60]
    with subprocess.Popen(
        command(f"http://{HOST}:{service.port}", *SMALL, "--json"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        assert service.ask("PUT", taken, b"somebody's").status == 201
        *_, end = [json.loads(line) for line in process.stdout]
    assert end["left"] == []
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == b"somebody's"


def test_an_id_that_is_taken_between_look_and_put_is_left_alone(serve: Callable[..., Service]) -> None:
    """Nothing is replaced or removed of which the check did not see that it was taken: not even an empty file."""
    service = serve()
    files = {file_id: content(file_id, 300 * (number % 2)) for number, file_id in enumerate(ids()[:70])}
    for file_id, data in files.items():
        assert service.ask("PUT", file_id, data).status == 201
    before = {file_id: service.ask("HEAD", file_id).fields["x-pacifica-ctime"] for file_id in files}

    put = set()

    def lie(request: Request, forward: Forward) -> Reply:
        if request.method == "PUT":
            put.add(request.path)
        return Reply(404) if request.method == "HEAD" and request.path not in put else forward(request)

    with Liar(service.port, lie) as liar:
        ran = check(liar.port)
    assert ran.code == 1
    assert len(put) > 20
    assert {each["reason"] for each in ran.end["left"]} <= {"what is there now is not what was put"}
    assert {file_id: service.ask("HEAD", file_id).fields.get("x-pacifica-ctime") for file_id in files} == before
    assert {file_id: service.ask("GET", file_id).body for file_id in files} == files


@pytest.mark.parametrize("tags", [True, False], ids=["with entity tags", "without"])
def test_a_file_that_somebody_replaces_meanwhile_is_left_alone(serve: Callable[..., Service], tags: bool) -> None:
    """What is there at the end is not what the check has put: that is told, and it stays."""
    service = serve()
    taken = ids()[0]
    begun, replaced = threading.Event(), threading.Event()

    def lie(request: Request, forward: Forward) -> Reply:
        if request.method == "PUT" and len(request.body) > 1 << 20:
            begun.set()
            assert replaced.wait(PATIENCE)
        answer = forward(request)
        return answer if tags else attrs.evolve(answer, fields={**answer.fields, "etag": ""})

    with Liar(service.port, lie) as liar, ThreadPoolExecutor(1) as pool:
        running = pool.submit(check, liar.port, "--only", "text-put", "--only", "large-put")
        assert begun.wait(PATIENCE)
        assert service.ask("PUT", taken, b"somebody's").status == 201
        replaced.set()
        ran = running.result()
    assert (ran.code, [each["id"] for each in ran.end["left"]]) == (1, [str(taken)])
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == b"somebody's"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["binary-get", "large-put", "many-put", "rewrite-whole", "client"])
def test_breaking_it_off_leaves_nothing(serve: Callable[..., Service], number: signal.Signals, at: str) -> None:
    """Ctrl-C in the middle of a check: it is cleaned up, and said."""
    service = serve()
    process = subprocess.Popen(
        command(f"http://{HOST}:{service.port}", "--large-file-size", "1GiB", "--many", "800", "--json",
                "--only", "text-put", "--only", at, "--only", "large-get"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1].get("name") == at:
                process.send_signal(number)
                break
        events += [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    assert (events[-1]["event"], events[-1]["interrupted"], events[-1]["left"]) == ("end", True, [])
    assert events[-2].get("name") == at, "nothing was begun after that"
    assert service.visible() == {}
    until(lambda: not service.temporaries(), "nothing is half there")


def test_what_a_kill_leaves_is_known_again(serve: Callable[..., Service]) -> None:
    """After kill -9 the next check says what the matter is, and --clean-up removes test files and nothing else."""
    service = serve()
    assert service.ask("PUT", 5, b"somebody's").status == 201
    process = subprocess.Popen(
        command(f"http://{HOST}:{service.port}", *SMALL, "--keep", "--json"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("name") == "stage-job":
                process.kill()
    left = set(service.visible()) - {"5"}
    assert len(left) > MANY
    ran = check(service.port)
    assert ran.code == 2
    assert "--clean-up" in ran.errors
    assert set(service.visible()) == {"5", *left}
    ran = check(service.port, "--clean-up")
    assert (ran.code, set(ran.end["removed"]), ran.end["foreign"]) == (0, left, [])
    assert list(service.visible()) == ["5"]


def test_files_can_be_kept(serve: Callable[..., Service]) -> None:
    """With --keep they stay until --clean-up; also the empty one, by its time."""
    service = serve()
    ran = check(service.port, "--keep", "--only", "*-put")
    assert ran.code == 0
    assert set(ran.end["kept"]) == set(service.visible())
    assert len(service.visible()) >= MANY + 4
    assert check(service.port, "--clean-up").code == 0
    assert service.visible() == {}


def test_what_cannot_be_removed_is_told(serve: Callable[..., Service]) -> None:
    """Where a proxy lets no DELETE through: every id, and what to type."""
    service = serve()

    def lie(request: Request, forward: Forward) -> Reply:
        return Reply(405) if request.method == "DELETE" else forward(request)

    with Liar(service.port, lie) as liar:
        ran = subprocess.run(
            command(f"http://{HOST}:{liar.port}", *SMALL, "--only", "binary-get"),
            capture_output=True, text=True, check=False, env=environment(),
        )  # fmt: skip
    (left,) = service.visible()
    assert ran.returncode == 1
    assert f"{left}: DELETE was answered with 405" in ran.stdout
    assert f"pacarchive admin delete {left}" in ran.stdout
    assert f"pacifica-archiveinterface-cmd delete {left}" in ran.stdout


# servers that are broken: the checks must find it


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


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all lies."""
    started = Service(tmp_path_factory.mktemp("archive"), settings="[server]\noverwrite = allow\n")
    yield started
    started.stop()
    started.assert_clean()


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
    process = subprocess.Popen(
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
    ran = Ran(process.returncode, events, "")
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


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_and_a_token(serve: Callable[..., Service], tmp_path: Path, certificate: str, trusted: bool) -> None:
    """With --ca and --token-file; without the authority, no byte is sent."""
    (tmp_path / "token").write_text("abc.def\n")
    service = serve("--endpoint", f"ssl:0:privateKey={certificate}:certKey={certificate}:interface={HOST}", port=None)
    ran = subprocess.run(
        command(f"https://localhost:{service.port}", *SMALL, "--json", "--token-file", str(tmp_path / "token"),
                *(["--ca", certificate] if trusted else [])),
        capture_output=True, text=True, check=False, env=environment(), timeout=10 * PATIENCE,
    )  # fmt: skip
    found = Ran(ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr)
    if trusted:
        found.assert_passed()
    else:
        assert (found.code, found.events) == (3, [])
        assert "certificate" in found.errors
    assert "abc.def" not in ran.stdout + ran.stderr
    assert service.visible() == {}


# the command


def test_nobody_listens() -> None:
    """Exit code 3."""
    ran = check(1)
    assert (ran.code, ran.events) == (3, [])
    assert "cannot be reached: connection refused" in ran.errors


def test_variables(archive: Service) -> None:
    """Those of the predecessor's manual count where the command line says nothing."""
    variables = {
        "ARCHIVE_URL": f"http://{HOST}:{archive.port}/", "LARGE_FILE_SIZE": "1048577", "MANY_FILES_TEST_COUNT": "7",
    }  # fmt: skip
    ran = subprocess.run(
        command("--only", "large-get", "--only", "many-put"), capture_output=True, text=True, check=True,
        env=environment(**variables),
    )  # fmt: skip
    assert re.search(r"^passed +many-put +7 files, ", ran.stdout, re.MULTILINE)
    assert archive.visible() == {}


def test_the_manual(archive: Service, tmp_path: Path) -> None:
    """The page's command, and what it says that it prints."""
    (tmp_path / "pacarchive").write_text(f'#!/bin/sh\nexec {shlex.join(command())[: -len(" check")]} "$@"\n')
    (tmp_path / "pacarchive").chmod(0o755)
    here = {"127.0.0.1:8080": f"{HOST}:{archive.port}"}
    with Shell(tmp_path, here, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}) as shell:
        assert shell.show(MANUAL / "check.md") == 1


def test_a_person_sees_it(archive: Service) -> None:
    """On a terminal of 80 columns: what is going on while it does, and then a table, speeds and the sum."""
    import pyte

    screen = pyte.HistoryScreen(80, 100, history=1000)
    stream = pyte.ByteStream(screen)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 80, 0, 0))
    seen = set()
    with subprocess.Popen(
        command(f"http://{HOST}:{archive.port}", "--large-file-size", "256MiB", "--many", "300",
                "--only", "large", "--only", "many", "--only", "etag"),
        stdout=follower, stderr=follower, stdin=follower, env=environment(TERM="xterm-256color", COLUMNS="80"),
    ) as process:  # fmt: skip
        os.close(follower)
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            stream.feed(data)
            seen |= {line.split()[0] for line in screen.display if "sending" in line}
    os.close(leader)
    assert process.returncode == 0
    lines = [line.rstrip() for line in screen.display]
    text = "\n".join(lines)
    assert {"large-put", "many-put"} & seen, seen
    assert re.search(r"^check +outcome +s", text, re.MULTILINE)
    assert re.search(r"^etag +passed +\d+\.\d", text, re.MULTILINE)
    assert re.search(r"^put, one large file: +\d+ MiB/s$", text, re.MULTILINE)
    assert re.search(r"^put, many small files: +\d+ files/s$", text, re.MULTILINE)
    assert "11 passed" in text
    assert "sending" not in text, "nothing is left of the display"
    assert "━" not in text
    assert archive.visible() == {}
