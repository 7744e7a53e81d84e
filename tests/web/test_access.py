"""Who may do what: the matrix of all routes, rights and kinds of principal, made from the router."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from doubles import JOB, InstantPool, job_status
from support import DATA, Answer, Server, serving
from test_offline import Tapes

from pacarchive.access import tokens
from pacarchive.access.gate import Gate
from pacarchive.access.identity import BadCredentials, How, Identity
from pacarchive.access.policy import Policy
from pacarchive.access.rights import EVERYTHING, NOTHING, IdRanges, Right, parse_id_ranges, with_implied
from pacarchive.access.settings import AllowSettings, callers
from pacarchive.access.tokens import Token
from pacarchive.backends.local.archive import LocalArchive
from pacarchive.backends.local.tree import FileTree
from pacarchive.model import Locality, Overwrite
from pacarchive.recall.settings import RecallSettings
from pacarchive.web.application import ROUTER
from pacarchive.web.routing import Open, Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.internet.task import Clock

TOKEN = tokens.make_token()
AT_HOME, ELSEWHERE = "10.1.0.9", "192.0.2.1"
HERE = "127.0.0.1"

KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "anonymous": ("anonymous", ELSEWHERE, ()),
    "network": ("net:10.1.0.0/16", AT_HOME, ()),
    "token": ("token:robot", ELSEWHERE, (f"Authorization: Bearer {TOKEN}",)),
    "issuer": ("group:wlcg:/wlcg/prod", ELSEWHERE, ("Authorization: bearer  a.good.one",)),
    "password": ("user:ada", ELSEWHERE, ("Authorization: Basic " + b64encode(b"ada:love:lace").decode(),)),
    "proxy": ("user:ada", HERE, ("X-Remote-User: ada",)),
    "known": ("known", ELSEWHERE, (f"Authorization: Bearer {TOKEN}",)),
}
"""For each kind of principal what a rule calls it, where it connects from, and what it presents."""

BODIES = {
    ("PUT", "/5"): (DATA, ()),
    ("PATCH", "/1"): (b'{"path": "/x"}', ("Content-Type: application/json",)),
    ("POST", "/jobs"): (b'{"files": [1, "3-4"]}', ("Content-Type: application/json",)),
    ("POST", "/api/v1/stage"): (b'{"files": [{"path": "/1"}]}', ()),
    ("POST", "/api/v1/archiveinfo"): (b'{"paths": ["/1"]}', ()),
}


FORM = (
    b"token=" + b"a" * 32,
    ("Content-Type: application/x-www-form-urlencoded", f"Cookie: pacarchive-form={'a' * 32}"),
)
"""What each form of the console has: it is one of its own."""


class FakeIssuers:
    """Knows one token."""

    async def identify(self, token: str) -> Identity:
        """Whose it is."""
        if token != "a.good.one":
            raise BadCredentials("its signature is wrong")
        return Identity("wlcg:5b", How.ISSUER, frozenset({"sub:wlcg:5b", "group:wlcg:/wlcg/prod"}), profile="wlcg")


class FakePasswords:
    """Knows one user."""

    async def identify(self, user: str, password: str, client: str) -> Identity:
        """Who it is."""
        if (user, password) != ("ada", "love:lace"):
            raise BadCredentials("the password of ada is another")
        return Identity("user:ada", How.PASSWORD, frozenset({"user:ada"}))


def governed(clock: Clock, anonymous: Right = NOTHING, *rules: AllowSettings, carried: Right = NOTHING) -> Gate:
    """A gate that takes everything, and has some rules."""
    policy = Policy(anonymous, {str(number): rule for number, rule in enumerate(rules)})
    gate = Gate(clock, policy, FakeIssuers(), FakePasswords(), proxy_user="X-Remote-User")
    gate.use_tokens({tokens.digest_of(TOKEN): Token("robot", tokens.digest_of(TOKEN), carried)})
    return gate


def rule(who: str, may: Right, ids: str = "all") -> AllowSettings:
    """A rule for one label."""
    return AllowSettings(who=callers(who), may=may, ids=parse_id_ranges(ids))


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Makes servers with rules, with a file of each id below five, and one job."""
    running: list[Any] = []

    def make(
        *rules: AllowSettings,
        anonymous: Right = NOTHING,
        carried: Right = NOTHING,
        furnished: bool = True,
        **more: Any,
    ) -> Server:
        def gate(clock: Clock) -> Gate:
            return governed(clock, anonymous, *rules, carried=carried)

        server = Server(gate=gate, **more)
        running.append(serving(server))
        running[-1].__enter__()
        if furnished:
            furnish(server)
        return server

    yield make
    for each in running:
        each.__exit__(None, None, None)


def furnish(server: Server) -> None:
    """Have what there is, and nothing called yet."""
    for file_id in range(1, 5):
        server.archive.place(file_id, DATA)
    server.recalls.place(job_status(JOB))
    server.archive.calls.clear()
    server.recalls.calls.clear()


def target_of(url: str) -> str:
    """A URL that a pattern matches."""
    return re.sub(r"<file_id:file_id>", "1", url).replace("<job>", JOB)


def ask(server: Server, kind: str, method: str, url: str, *fields: str) -> Answer:
    """Send a request as one of L{KINDS}."""
    _, host, presented = KINDS[kind]
    target = target_of(url)
    if method == "PUT" and server.archive.data(1) is not None:
        target = "/5"  # one that is free
    body, more = BODIES.get((method, target.rstrip("/") or "/"), (b"" if method in ("POST", "PATCH") else None, ()))
    if method == "POST" and target.startswith("/console/"):
        body, more = FORM
    if target.startswith("/console/live"):
        method = "HEAD"  # else it does not end
    client = server.connect(host)
    answer = client.ask(method, target, *presented, *more, *fields, body=body)
    client.hang_up()
    return answer


def is_refused(answer: Answer) -> bool:
    """Whether it was for want of a right."""
    return answer.status in (401, 403)


ROUTES = sorted((method, url, needs) for (method, url), needs in ROUTER.needs.items() if isinstance(needs, Right))
OPEN = sorted((method, url) for (method, url), needs in ROUTER.needs.items() if needs is Open.TO_ALL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [NOTHING, *Right], ids=str)
def test_the_matrix(make_server: Callable[..., Server], kind: str, right: Right) -> None:
    """With one right alone, those routes are reached that need it or what it implies, and no other does anything."""
    server = make_server(rule(KINDS[kind][0], right))
    for method, url, needs in ROUTES:
        furnish(server)
        answer = ask(server, kind, method, url)
        allowed = needs in with_implied(right)
        # This backend moves nothing, and says so with 403, too.
        assert is_refused(answer) is not (allowed and server.archive.calls != ["move"]), (method, url, answer.status)
        if not allowed:
            assert not server.archive.calls
            assert not server.recalls.calls
            assert answer.status == (401 if kind in ("anonymous", "network") else 403)


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_for_other_ids_is_none(make_server: Callable[..., Server], kind: str) -> None:
    """A rule for id 2 opens nothing that names id 1."""
    server = make_server(rule(KINDS[kind][0], EVERYTHING & ~Right.ADMIN, "2, 6-9"))
    for method, url, needs in ROUTES:
        furnish(server)
        answer = ask(server, kind, method, url)
        names_one = (
            needs is Right.ADMIN
            or "<file_id" in url
            or (method, url.rstrip("/")) in (("POST", "/jobs"), ("POST", "/api/v1/stage"))
        )
        assert is_refused(answer) is names_one, (method, url, answer.status)
        # A list looks up those that are left, and has no other.
        assert (b'"1"' not in answer.body) if url == "/files" else server.archive.calls in ([], ["health"])
        if names_one:
            assert not server.recalls.calls


@pytest.mark.parametrize(("method", "url"), OPEN)
@pytest.mark.parametrize("fields", [(), ("Authorization: Bearer nonsense",)])
def test_what_everyone_may(make_server: Callable[..., Server], method: str, url: str, fields: tuple[str, ...]) -> None:
    """What is open needs nobody's name, and looks at none."""
    server = make_server()
    client = server.connect(ELSEWHERE)
    body, more = FORM if method == "POST" else (None, ())
    assert client.ask(method, target_of(url), *fields, *more, body=body).status in (200, 204, 303, 401)
    assert server.application.gate.failures == 0


def test_what_is_open() -> None:
    """It tells no more than that the server is there, and what it could do."""
    beside = {(method, url) for method, url in OPEN if method != "OPTIONS"}
    discovery = "/.well-known/wlcg-tape-rest-api"
    root = {("GET", "/"), ("HEAD", "/"), ("GET", "/health"), ("GET", "/openapi.json")}
    assets = {("GET", f"/console/console.{kind}") for kind in ("css", "js")} | {("GET", "/console/icon.svg")}
    signing = {("POST", "/console/session"), ("POST", "/console/session/end")}
    assert beside == root | assets | signing | {("GET", discovery), ("GET", f"{discovery}/")}


def test_a_route_without_a_right() -> None:
    """It cannot be declared."""
    with pytest.raises(TypeError, match="needs"):
        Router().answers("GET", "/new")  # type: ignore[call-arg]


@pytest.mark.parametrize("target", ["/nothing", "/01", "/jobs/1/2/3", "/1?authz=Bearer%20secret"])
def test_what_is_not_there(make_server: Callable[..., Server], target: str) -> None:
    """Whoever is nobody is not told what there is."""
    server = make_server(rule("token:robot", Right.STAT))
    for method in ("GET", "BREW"):
        answer = server.connect(ELSEWHERE).ask(method, target)
        assert answer.status == 401
    known = server.connect(ELSEWHERE).ask("GET", "/nothing", *KINDS["token"][2])
    assert known.status == 404
    assert not any("secret" in words for words in server.words())


# The answers


def challenge(answer: Answer) -> str:
    """C{WWW-Authenticate}."""
    return answer.field("WWW-Authenticate") or ""


def test_nothing_presented(make_server: Callable[..., Server]) -> None:
    """401 says what can be presented, and nothing of errors."""
    answer = ask(make_server(), "anonymous", "GET", "/1")
    assert (answer.status, challenge(answer)) == (
        401, 'Bearer realm="pacarchive", Basic realm="pacarchive", charset="UTF-8"',
    )  # fmt: skip
    assert answer.error["message"] == "The request has no credentials, and this server requires them."


@pytest.mark.parametrize("compatibility", ["none", "pacifica"])
def test_something_wrong_presented(make_server: Callable[..., Server], compatibility: str) -> None:
    """It is no secret from the log why; but it is from whoever presents it."""
    server = make_server(rule("anonymous", EVERYTHING), compatibility=compatibility)
    for given, words in {
        "Bearer forged": "its signature is wrong",
        "Basic " + b64encode(b"ada:guess").decode(): "the password of ada is another",
        "Basic %%%": "user and password that are not well formed",
        "Basic \xff": "user and password that are not well formed",
        "ada:lovelace": "credentials of no kind that is known, which are not taken here",
        f"Bearer\t{TOKEN[:-1]}!": "a static token that is damaged: its check characters are wrong",
        "Digest username=ada": "credentials of the kind 'digest', which are not taken here",
        "": "credentials of no kind that is known, which are not taken here",
        f"Bearer {TOKEN[:-1]}!": "a static token that is damaged: its check characters are wrong",
        f"Bearer {tokens.make_token()}": "a static token that is not, or no longer, in the file",
    }.items():
        answer = server.connect(ELSEWHERE).ask("GET", "/1", f"Authorization: {given}")
        assert answer.status == 401, given
        assert 'error="invalid_token", error_description="The credentials are not valid."' in challenge(answer)
        assert answer.error["message"] == "The credentials are not valid."
        assert f"GET /1: {words} [" in server.words()[-1]  # what follows is what the request is called
    assert not server.archive.calls


def test_two_presented(make_server: Callable[..., Server]) -> None:
    """Of two, none is taken."""
    server = make_server(rule("token:robot", EVERYTHING))
    answer = server.connect(ELSEWHERE).ask("GET", "/1", *KINDS["token"][2] * 2)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ("GET", "storage.read:/1"), ("HEAD", "storage.read:/1"), ("PUT", "storage.create:/5"),
        ("DELETE", "storage.modify:/1"), ("POST", "storage.stage:/1"), ("PATCH", None),
    ],
)  # fmt: skip
def test_a_scope_that_is_missing(make_server: Callable[..., Server], method: str, scope: str | None) -> None:
    """403 names it, where a scope can give the right at all."""
    answer = ask(make_server(rule("sub:wlcg:5b", Right.ADMIN)), "issuer", method, "/<file_id:file_id>")
    assert answer.status == 403
    expected = f'Bearer realm="pacarchive", error="insufficient_scope", scope="{scope}"' if scope else ""
    assert challenge(answer) == expected


def test_who_may_do_nothing(make_server: Callable[..., Server]) -> None:
    """Is told so, and not that there are no credentials."""
    answer = ask(make_server(), "token", "GET", "/<file_id:file_id>")
    assert (answer.status, answer.error["message"]) == (403, "token:robot may do nothing here.")


def test_words_of_a_refusal(make_server: Callable[..., Server]) -> None:
    """Who is known reads which right is lacking, and whose."""
    answer = ask(make_server(rule("token:robot", Right.STAT)), "token", "GET", "/<file_id:file_id>")
    assert answer.error["message"] == "token:robot lacks the right 'read' for file 1."


def test_no_challenge_where_nothing_can_be_presented() -> None:
    """With rules by network alone there is nothing to be asked for: 403."""
    server = Server(gate=lambda clock: Gate(clock, Policy(NOTHING, {"": rule("net:10.0.0.0/8", Right.READ)})))
    with serving(server):
        answer = server.connect(ELSEWHERE).ask("GET", "/1")
        assert (answer.status, challenge(answer)) == (403, "")


# Adding, and never changing


@pytest.mark.parametrize("compatibility", ["none", "pacifica"])
def test_add_and_never_change(make_server: Callable[..., Server], compatibility: str) -> None:
    """A free id is stored, a taken one is not replaced: 403, and the file stays as it is."""
    given = {"compatibility": compatibility, "overwrite": Overwrite.ALLOW}
    server = make_server(rule("token:robot", Right.CREATE), **given)
    presented = KINDS["token"][2]
    assert server.connect(ELSEWHERE).ask("PUT", "/77", *presented, body=b"new").status == 201
    etag = server.connect(ELSEWHERE).ask("HEAD", "/77", *presented).field("ETag")
    answer = server.connect(ELSEWHERE).ask("PUT", "/77", *presented, f"If-Match: {etag}", body=b"newer")
    assert answer.status == 403
    answer = server.connect(ELSEWHERE).ask("PUT", "/77", *presented, body=b"newer")
    words = "token:robot lacks the right 'modify' for file 77. It is there already."
    assert (answer.status, answer.error["message"]) == (403, words)
    assert server.archive.data(77) == b"new"


def test_the_policy_for_all(make_server: Callable[..., Server]) -> None:
    """Where nobody may replace, that is the reason, also for those who may only add."""
    server = make_server(rule("token:robot", Right.CREATE), overwrite=Overwrite.DENY)
    answer = server.connect(ELSEWHERE).ask("PUT", "/1", *KINDS["token"][2], body=b"newer")
    assert answer.status == 409


def test_the_same_again(make_server: Callable[..., Server]) -> None:
    """With overwrite = identical, one who may only add may send the same once more: nothing changes by it."""
    server = make_server(rule("token:robot", Right.CREATE), overwrite=Overwrite.IDENTICAL)
    for body, status in ((DATA, 201), (b"other", 409)):
        assert server.connect(ELSEWHERE).ask("PUT", "/1", *KINDS["token"][2], body=body).status == status
    assert server.archive.data(1) == DATA


def test_before_the_body(make_server: Callable[..., Server]) -> None:
    """Who may not store is told before the body is sent, whether or not the file is there."""
    server = make_server(rule("token:robot", Right.READ))
    for file_id in (1, 99):
        for presented, status in ((KINDS["token"][2], 403), ((), 401), (("Authorization: Bearer x",), 401)):
            client = server.connect(ELSEWHERE)
            fields = [f"PUT /{file_id} HTTP/1.1", "Host: archive", "Content-Length: 999999", "Expect: 100-continue"]
            client.send("\r\n".join([*fields, *presented, "", ""]).encode())
            server.finish_work()
            (answer,) = client.answers("PUT")
            assert answer.status == status
            client.hang_up()
    assert not server.archive.calls


# Files on tape


def test_an_offline_file_is_staged_only_with_the_right(make_server: Callable[..., Server]) -> None:
    """GET of a file on tape asks for it only for those who may stage."""
    for may, status in ((Right.READ, 403), (Right.READ | Right.STAGE, 503)):
        server = make_server(rule("token:robot", may), backend=Tapes)
        server.archive.place(1, DATA, locality=Locality.TAPE)
        answer = ask(server, "token", "GET", "/<file_id:file_id>")
        assert answer.status == status
        assert bool(server.recalls.called("want")) is (status == 503)
    assert server.recalls.called("want") == [[1, "token:robot"]]


# Jobs


def test_a_job_is_its_owners(make_server: Callable[..., Server]) -> None:
    """To others it is not there, but to operators."""
    mine = attrs.evolve(job_status(JOB).summary, owner="token:robot")
    for kind, may, status in (
        ("token", Right.STAGE, 200),
        ("password", Right.STAGE, 404),
        ("password", Right.STAGE | Right.ADMIN, 200),
    ):
        for method, url in (("GET", "/jobs/<job>"), ("GET", "/jobs/<job>/files"), ("GET", "/api/v1/stage/<job>")):
            server = make_server(rule("known", may))
            server.recalls.place(job_status(JOB, owner="token:robot"))
            assert ask(server, kind, method, url).status == status
        for method, url in (
            ("POST", "/jobs/<job>/cancel"), ("POST", "/jobs/<job>/release"), ("DELETE", "/jobs/<job>"),
            ("DELETE", "/api/v1/stage/<job>"), *([("GET", "/jobs/<job>/events")] if status == 404 else []),
        ):  # fmt: skip
            server = make_server(rule("known", may))
            server.recalls.place(job_status(JOB, owner=mine.owner))
            assert ask(server, kind, method, url).status == status
            effects = {"cancel", "release", "delete", "follow"} & {name for name, *_ in server.recalls.calls}
            assert bool(effects) is (status == 200), url


def test_lists_have_ones_own(make_server: Callable[..., Server]) -> None:
    """Who is no operator gets the own jobs and pins, and no one else's by asking for them."""
    server = make_server(rule("known", Right.STAGE))
    for what in ("jobs", "pins"):
        for query, status in (("", 200), ("?owner=token:robot", 200), ("?owner=user:ada", 403)):
            answer = server.connect(ELSEWHERE).ask("GET", f"/{what}{query}", *KINDS["token"][2])
            assert answer.status == status
        assert all("token:robot" in call for call in map(str, server.recalls.called(what)))
    server = make_server(rule("known", Right.STAGE | Right.ADMIN))
    assert server.connect(ELSEWHERE).ask("GET", "/jobs?owner=user:ada", *KINDS["token"][2]).status == 200


def test_pins_of_others_stay(make_server: Callable[..., Server]) -> None:
    """Who is no operator ends the own pins of a file."""
    server = make_server(rule("known", Right.STAGE))
    assert server.connect(ELSEWHERE).ask("DELETE", "/pins/1", *KINDS["token"][2]).status == 200
    assert server.recalls.called("unpin") == [[1, "token:robot"]]


def test_where_files_are_that_are_not_ones_own(make_server: Callable[..., Server]) -> None:
    """The answer has an error for each, and nothing of it; the others are told."""
    server = make_server(rule("token:robot", Right.POLL, "2-9"))
    body = b'{"paths": ["/1", "/2", "/99", "/x"]}'
    answer = server.connect(ELSEWHERE).ask("POST", "/api/v1/archiveinfo", *KINDS["token"][2], body=body)
    assert json.loads(answer.body) == [
        {"path": "/1", "error": "The caller lacks the right 'poll' for this file."},
        {"path": "/2", "locality": "DISK"},
        {"path": "/99", "error": "The caller lacks the right 'poll' for this file."},
        {"path": "/x", "error": "There is no such file."},
    ]
    assert server.archive.calls == ["status"]


def test_one_file_of_many(make_server: Callable[..., Server]) -> None:
    """A job with one file too many is refused whole, however long the list."""
    server = make_server(rule("token:robot", Right.STAGE, "0-9998"))
    for last, status in ((9998, 201), (9999, 403)):
        body = f'{{"files": ["0-{last}"]}}'.encode()
        fields = (*KINDS["token"][2], "Content-Type: application/json")
        answer = server.connect(ELSEWHERE).ask("POST", "/jobs", *fields, body=body)
        assert answer.status == status
    assert answer.error["message"].startswith("token:robot lacks the right 'stage' for file 9999.")
    assert len(server.recalls.called("submit")) == 1


def test_an_operator_of_some_files(make_server: Callable[..., Server]) -> None:
    """May end everyone's pins of these, and sees no jobs of others, which may have any."""
    server = make_server(rule("known", Right.STAGE), rule("token:robot", Right.ADMIN, "1-10"))
    for file_id, owner in ((5, None), (50, "token:robot")):
        assert server.connect(ELSEWHERE).ask("DELETE", f"/pins/{file_id}", *KINDS["token"][2]).status == 200
        assert server.recalls.called("unpin")[-1] == ([file_id] if owner is None else [file_id, owner])
    assert ask(server, "token", "GET", "/jobs/<job>").status == 404


def test_an_owner_that_a_field_names(make_server: Callable[..., Server]) -> None:
    """It is no principal's name, whatever the field says."""
    server = make_server(anonymous=Right.STAGE, recall=RecallSettings(owner_header="X-Owner"))
    for given, owner in (("ada", "ada"), ("token:robot", ELSEWHERE), ("::1", ELSEWHERE)):
        assert server.connect(ELSEWHERE).ask("DELETE", "/pins/1", f"X-Owner: {given}").status == 200
        assert server.recalls.called("unpin")[-1] == [1, owner]


def test_owners_with_long_names(make_server: Callable[..., Server]) -> None:
    """Two that begin alike are two."""
    server = make_server(rule("known", Right.STAGE))
    owners = []
    for end in "ab":
        name = "n" * 300 + end
        assert server.connect(HERE).ask("DELETE", "/pins/1", f"X-Remote-User: {name}").status == 200
        owners.append(server.recalls.called("unpin")[-1][1])
    assert owners[0] != owners[1]
    assert [len(owner) for owner in owners] == [200, 200]


# Taking over what lies in the archive


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("archive/5", 403),
        ("archive/../archive/5", 403),
        ("incoming/link", 403),
        ("incoming/links/5", 403),
        ("incoming/file", 200),
        ("incoming/missing", 404),
    ],
)
@pytest.mark.parametrize("compatibility", ["none", "pacifica"])
def test_importing_from_the_archive(
    make_server: Callable[..., Server], tmp_path: Path, compatibility: str, source: str, status: int
) -> None:
    """Would take a file away from its id, and needs the right to do so with all of them, whatever links there are."""
    prefix, incoming = tmp_path / "archive", tmp_path / "incoming"
    for directory in (prefix, incoming):
        directory.mkdir()
    (incoming / "file").write_bytes(DATA)
    (incoming / "link").symlink_to(prefix / "5")
    (incoming / "links").symlink_to("../archive")

    def backend(clock: Clock) -> Any:
        return LocalArchive(FileTree(prefix, str, [tmp_path]), InstantPool(), clock)

    def move(server: Server, *fields: str) -> Answer:
        body = json.dumps({"path": f"{tmp_path}/{source}"}).encode()
        return server.connect(ELSEWHERE).ask("PATCH", "/900", *fields, "Content-Type: application/json", body=body)

    field = KINDS["token"][2]
    server = make_server(
        rule("token:robot", Right.IMPORT | Right.CREATE), backend=backend, compatibility=compatibility, furnished=False
    )
    assert server.connect(ELSEWHERE).ask("PUT", "/5", *field, body=DATA).status == 201
    if status == 404 and compatibility == "pacifica":
        status = 500
    answer = move(server, *field)
    assert answer.status == status
    if status == 403:
        words = "token:robot lacks the right 'modify'. The source lies in the archive, and may be anybody's file."
        assert answer.error["message"] == words
        assert (prefix / "5").exists()
        server.application.gate._policy = Policy(EVERYTHING, {})
        assert move(server).status == 200
        assert not (prefix / "5").exists()


# A trusted proxy


@pytest.mark.parametrize(("host", "status"), [(HERE, 200), ("::1", 200), (ELSEWHERE, 401)])
def test_a_proxys_word(make_server: Callable[..., Server], host: str, status: int) -> None:
    """It counts from this machine alone."""
    server = make_server(rule("user:ada", Right.READ))
    assert server.connect(host).ask("GET", "/1", "X-Remote-User: ada").status == status


def test_a_proxy_that_adds_its_field(make_server: Callable[..., Server]) -> None:
    """What a client had put there stands before it, and does not count."""
    server = make_server(rule("user:ada", Right.READ))
    answer = server.connect(HERE).ask("GET", "/1", "X-Remote-User: ada", "X-Remote-User: eve")
    assert answer.status == 403


def test_rights_that_a_token_carries(make_server: Callable[..., Server]) -> None:
    """The file of tokens gives them, beside the rules."""
    server = make_server(carried=Right.READ)
    assert ask(server, "token", "GET", "/<file_id:file_id>").status == 200
    assert ask(server, "token", "DELETE", "/<file_id:file_id>").status == 403


def test_too_many_failures(make_server: Callable[..., Server]) -> None:
    """An address that guesses is slowed down; others, and what is remembered from there, are not."""
    server = make_server(rule("token:robot", Right.READ))
    good = KINDS["token"][2]
    assert server.connect(ELSEWHERE).ask("GET", "/1", *good).status == 200
    statuses = [
        server.connect(ELSEWHERE).ask("GET", "/1", f"Authorization: Bearer guess{number}").status
        for number in range(30)
    ]
    assert statuses == [401] * 20 + [429] * 10
    refused = server.connect(ELSEWHERE).ask("GET", "/1", "Authorization: Bearer another")
    assert int(refused.field("Retry-After") or 0) > 0
    assert server.connect(ELSEWHERE).ask("GET", "/1", *good).status == 200
    assert server.connect("192.0.2.2").ask("GET", "/1", "Authorization: Bearer another").status == 401
    server.clock.advance(int(refused.field("Retry-After") or 0))
    assert server.connect(ELSEWHERE).ask("GET", "/1", "Authorization: Bearer another").status == 401


def test_ids_of_a_rule() -> None:
    """Ranges are joined, and end where they end."""
    assert rule("anonymous", Right.READ, "3, 1-2 9").ids == IdRanges(((1, 3), (9, 9)))


@pytest.mark.parametrize(
    ("method", "url"), [key for key, needs in ROUTER.needs.items() if needs is Right.ADMIN and "<file_id" not in key[1]]
)
def test_an_operator_is_one_of_all_files(make_server: Callable[..., Server], method: str, url: str) -> None:
    """What is about no single file is about those of others, too: a route need not say so."""
    server = make_server(rule("token:robot", Right.ADMIN, "1-4"))
    answer = server.connect(ELSEWHERE).ask(method, url, f"Authorization: Bearer {TOKEN}", body=b"")
    assert answer.status == 403
    assert b"This is for operators." in answer.body
    assert not server.recalls.operations.calls
