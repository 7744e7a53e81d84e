"""L{pacarchive.access.issuers}: which tokens are believed, what they give, and what is said of those that are not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.task import Clock

from access.minting import HERE, NOW, STRANGER, URL, done, encoded, jwks, scitoken, secret, sign, unsigned, wlcg
from pacarchive.access.identity import BadCredentials, How, Identity
from pacarchive.access.issuers import ANY_AUDIENCE, LONGEST, TAKEN_NAMES, Issuers
from pacarchive.access.keysets import parse_key_set
from pacarchive.access.rights import EVERYTHING, IdRanges, Right, parse_id_ranges
from pacarchive.access.settings import IssuerSettings, Profile
from pacarchive.errors import BackendUnavailable

if TYPE_CHECKING:
    from joserfc.jwk import Key

    from pacarchive.access.keys import KeyStore

GENERAL = "The credentials are not valid."
ANY = ANY_AUDIENCE[Profile.WLCG]


class Known:
    """A key store that has the keys of the one issuer, and counts how often it is asked for others."""

    def __init__(self, *kids: str) -> None:
        self.keys = parse_key_set(jwks(*kids)).keys
        self.asked: list[tuple[str, str]] = []

    def find(self, name: str, kid: str) -> Key | None:
        assert name == "wlcg"
        return self.keys.get(kid)

    async def ask(self, name: str, kid: str) -> Key | None:
        self.asked.append((name, kid))
        return None


def issuers(store: Known | None = None, **settings: Any) -> Issuers:
    """One that is called wlcg; the clock stands at C{NOW}."""
    clock = Clock()
    clock.advance(NOW)
    one = IssuerSettings(url=URL, **settings)
    keys = cast("KeyStore", store or Known())
    return Issuers(clock, {"wlcg": one}, [HERE, "https://balanced.example.org:8443"], keys)


def identity(token: str, **settings: Any) -> Identity:
    """Whom a token is believed to be of."""
    return done(issuers(**settings).identify(token))


def refused(token: str, **settings: Any) -> tuple[str, str]:
    """What its caller is told of a token that is not believed, and what the log is."""
    with pytest.raises(BadCredentials) as raised:
        identity(token, **settings)
    told, detail = str(raised.value), raised.value.detail
    for part in token.split("."):
        assert len(part) < 20 or (part not in told and part not in detail), "no part of the token itself is said"
    return told, detail


def may(who: Identity, right: Right, file_id: int = 12) -> bool:
    """Whether a token gives a right for a file."""
    return any(right in each.rights and (each.ids is None or file_id in each.ids) for each in who.grants)


def rights(who: Identity, file_id: int = 12) -> set[str]:
    """The names of all that it gives."""
    return {str(each.name).lower() for each in Right if may(who, each, file_id)}


# who it is


def test_a_token_says_who_its_holder_is() -> None:
    """By the name of the section and the subject; its groups are others than those of another issuer."""
    who = identity(sign(wlcg(scope=None, wlcg__groups=["/wlcg", "/wlcg/prod"])))
    assert who.name == "wlcg:5b2a"
    assert who.how is How.ISSUER
    assert who.labels == {"wlcg:5b2a", "sub:wlcg:5b2a", "issuer:wlcg", "group:wlcg:/wlcg", "group:wlcg:/wlcg/prod"}
    assert who.expires == NOW + 3600
    assert who.profile == "wlcg"
    assert who.grants == ()


@pytest.mark.parametrize(
    ("algorithm", "kid"),
    [("RS256", "rsa"), ("RS384", "rsa"), ("RS512", "rsa"), ("PS256", "rsa"), ("ES256", "ec"), ("ES384", "ec384"),
     ("Ed25519", "ed")],
)  # fmt: skip
def test_signatures_with_public_keys(algorithm: str, kid: str) -> None:
    """Those that the profile asks for, RS256 and ES256, and stronger ones."""
    assert identity(sign(wlcg(), algorithm, kid)).name == "wlcg:5b2a"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_the_former_name_of_an_algorithm() -> None:
    """EdDSA; RFC 9864 calls it Ed25519."""
    assert identity(sign(wlcg(), "EdDSA", "ed")).name == "wlcg:5b2a"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_types(kind: str) -> None:
    """An access token may say that it is one."""
    assert identity(sign(wlcg(), typ=kind)).name == "wlcg:5b2a"


def test_no_type_and_what_is_not_known() -> None:
    """The type may be missing; header fields and claims that are not known say nothing."""
    assert identity(sign(wlcg(acr="x", eduperson_assurance=["y"]), typ=None, new="z")).name == "wlcg:5b2a"


def test_known_keys_need_no_waiting() -> None:
    """A token whose key is there is verified at once, and the issuer not asked."""
    store = Known()
    work = issuers(store).identify(sign(wlcg()))
    with pytest.raises(StopIteration):
        work.send(None)
    assert not store.asked


# what is not proven is not answered in detail


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "three parts"),
        ("pac_not-a-token-of-an-issuer", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("a.b.c", "not JSON in base64"),
        ("\xe4.b.c", "not JSON in base64"),
        ("\ud800.b.c", "not JSON in base64"),
        (unsigned({"alg": "RS256"}, b"\xff\xff"), "not JSON in base64"),
        (unsigned(b"[" * 5000, b"[" * 5000), "not JSON in base64"),
        (unsigned(["alg"], {"iss": URL}), "not JSON objects"),
        (unsigned("alg", {"iss": URL}), "not JSON objects"),
        (unsigned({"alg": "RS256"}, [URL]), "not JSON objects"),
        ("a" * (LONGEST + 1), "16,385 characters"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, {}), "issuer is none"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, {"iss": [URL]}), "wrong type (list)"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, {"iss": URL + "/"}), f"issuer is {URL}/"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, {"iss": URL.upper()}), "none of the settings'"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, {"iss": "https://evil\n.example"}), "https://evil\\n.example"),
        (unsigned({"kid": "rsa"}, wlcg()), "signed with none"),
        (unsigned({"alg": "none", "kid": "rsa"}, wlcg(), b""), "signed with none"),
        (unsigned({"alg": "None", "kid": "rsa"}, wlcg(), b""), "signed with None"),
        (unsigned({"alg": ["RS256"], "kid": "rsa"}, wlcg()), "wrong type (list)"),
        (unsigned({"alg": "HS256", "kid": "rsa"}, wlcg()), "signed with HS256"),
        (unsigned({"alg": "RS256"}, wlcg()), "does not name its key"),
        (unsigned({"alg": "RS256", "kid": ""}, wlcg()), "does not name its key"),
        (unsigned({"alg": "RS256", "kid": 1}, wlcg()), "does not name its key"),
        (unsigned({"alg": "RS256", "kid": "rsa", "typ": "JWE"}, wlcg()), "of the type JWE"),
        (unsigned({"alg": "RS256", "kid": "rsa", "typ": None}, wlcg()), "of the type none"),
        (unsigned({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}, wlcg()), "crit"),
        (unsigned({"alg": "RS256", "kid": "rsa", "crit": 5}, wlcg()), "crit"),
        (unsigned({"alg": "RS256", "kid": "rsa", "b64": False}, wlcg()), "crit"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, wlcg()), "bad_signature"),
        (unsigned({"alg": "RS256", "kid": "rsa"}, wlcg(), b""), "bad_signature"),
        (unsigned({"alg": "ES256", "kid": "ec"}, wlcg(), bytes(64)), "bad_signature"),
        (unsigned({"alg": "ES256", "kid": "ec"}, wlcg(), b"\xff" * 64), "bad_signature"),
        (unsigned({"alg": "RS256", "kid": "rsa", "jku": 5}, wlcg()), "invalid_header_value"),
        (unsigned({"alg": "RS256", "kid": "ec"}, wlcg()), "invalid_key_type"),
        (unsigned({"alg": "ES384", "kid": "ec"}, wlcg()), "not one of the issuer"),
    ],
)  # fmt: skip
def test_what_anybody_could_have_written(token: str, words: str) -> None:
    """The caller learns nothing from it; the log has the reason."""
    told, detail = refused(token)
    assert told == GENERAL
    assert words in detail
    assert detail.isprintable()


def test_headers_nested_to_the_limit() -> None:
    """However deep that is, and whoever has to read it again: it is refused, and no more."""
    for depth in range(800, 1000):
        nested = f'{{"alg": "RS256", "kid": "rsa", "x": {"[" * depth}{"]" * depth}}}'.encode()
        refused(unsigned(nested, wlcg()))


def test_a_signature_of_another() -> None:
    """Whatever it says of its key."""
    told, detail = refused(sign(wlcg(), key=STRANGER))
    assert (told, "bad_signature" in detail) == (GENERAL, True)


def test_a_changed_token() -> None:
    """One that was signed, and has other claims now."""
    header, _, signature = sign(wlcg()).split(".")
    told, _ = refused(f"{header}.{encoded(json.dumps(wlcg(scope='storage.modify:/')).encode())}.{signature}")
    assert told == GENERAL


def test_a_key_that_both_have_verifies_nothing() -> None:
    """Neither one of its own nor the public key, which everyone has, taken for it."""
    assert refused(sign(wlcg(), "HS256", key=secret()))[0] == GENERAL


def test_the_key_in_a_token_is_not_taken() -> None:
    """Nor one from an address that it names."""
    token = sign(wlcg(), key=STRANGER, jwk=STRANGER.as_dict(private=False), jku="https://evil.example/jwks")
    assert refused(token)[0] == GENERAL


def test_an_unknown_key_is_asked_for() -> None:
    """And the token refused where the issuer does not have it either."""
    store = Known("ec")
    with pytest.raises(BadCredentials) as raised:
        done(issuers(store).identify(sign(wlcg())))
    assert store.asked == [("wlcg", "rsa")]
    assert str(raised.value) == GENERAL
    assert "the key rsa" in raised.value.detail


def test_nothing_is_asked_for_what_is_refused_anyway() -> None:
    """Of an issuer that nobody named here, no key is fetched."""
    store = Known("ec")
    for token in (sign(wlcg(iss="https://evil.example")), unsigned({"alg": "HS256", "kid": "new"}, wlcg())):
        with pytest.raises(BadCredentials):
            done(issuers(store).identify(token))
    assert not store.asked


def test_no_keys_at_all() -> None:
    """That is no fault of the caller's."""

    class Down(Known):
        async def ask(self, name: str, kid: str) -> Key | None:
            raise BackendUnavailable("down")

    with pytest.raises(BackendUnavailable):
        done(issuers(Down("ec")).identify(sign(wlcg())))


# what a known caller is told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wlcg__ver": None}, "The token has no version of the WLCG profile (wlcg.ver)."),
        ({"wlcg__ver": 1.0}, "The token has no version of the WLCG profile (wlcg.ver)."),
        ({"wlcg__ver": "1"}, "The token has no version of the WLCG profile (wlcg.ver)."),
        ({"wlcg__ver": "2.0"}, "The token is of version 2.0 of the WLCG profile; this server knows version 1."),
        ({"wlcg__ver": "0.9"}, "The token is of version 0.9 of the WLCG profile; this server knows version 1."),
        ({"exp": None}, "The token has no time for exp."),
        ({"exp": "tomorrow"}, "The token has no time for exp."),
        ({"exp": True}, "The token has no time for exp."),
        ({"exp": float("inf")}, "The token has no time for exp."),
        ({"exp": float("nan")}, "The token has no time for exp."),
        ({"exp": 10**400}, "The token has no time for exp."),
        ({"exp": NOW}, "The token expired at 2027-01-15T08:00:00Z."),
        ({"exp": NOW - 1}, "The token expired at 2027-01-15T07:59:59Z."),
        ({"nbf": NOW + 61}, "The token is not valid before 2027-01-15T08:01:01Z."),
        ({"nbf": "now"}, "The token has no time for nbf."),
        ({"iat": None}, "The token has no time for iat."),
        ({"jti": None}, "The token has no id (jti)."),
        ({"sub": None}, "The token has no subject (sub) of at most 255 characters of ASCII."),
        ({"sub": "s" * 256}, "The token has no subject (sub) of at most 255 characters of ASCII."),
        ({"sub": ""}, "The token has no subject (sub) of at most 255 characters of ASCII."),
        ({"sub": "\xe4"}, "The token has no subject (sub) of at most 255 characters of ASCII."),
        ({"sub": "a\nb"}, "The token has no subject (sub) of at most 255 characters of ASCII."),
        ({"aud": None}, "The token has no audience (aud)."),
        ({"aud": []}, "The token has no audience (aud)."),
        ({"aud": [HERE, 5]}, "The token has no audience (aud)."),
        ({"aud": {"a": HERE}}, "The token has no audience (aud)."),
        (
            {"aud": "https://other.example"},
            f"The token's audience is https://other.example; this server is {HERE}, https://balanced.example.org:8443.",
        ),
        (
            {"aud": ["x\n", "y"]},
            f"The token's audience is x\\n, y; this server is {HERE}, https://balanced.example.org:8443.",
        ),
        ({"aud": ANY}, "The token is for every server, and such tokens are not taken here."),
        ({"scope": ["storage.read:/"]}, "The token's scope is not text."),
        ({"wlcg__groups": "/wlcg"}, "The token's groups (wlcg.groups) are no list of names."),
        ({"wlcg__groups": [["/wlcg"]]}, "The token's groups (wlcg.groups) are no list of names."),
        (
            {"scope": "storage.read:/ storage.stage"},
            "The token's scope storage.stage names no path, as storage.stage:/ would.",
        ),
        (
            {"scope": "compute.read storage.read:12"},
            "The token's scope storage.read:12 has a path that does not begin with /.",
        ),
        (
            {"scope": "storage.read:/%31"},
            "The token's scope storage.read:/%31 has %, // or a segment of dots in its path.",
        ),
    ],
)  # fmt: skip
def test_reasons(changes: dict[str, Any], words: str) -> None:
    """Whose token was signed as it should be is told what is wrong with it, and the log is told whose it is."""
    told, detail = refused(sign(wlcg(**changes)))
    assert told == words
    assert detail.startswith(words[0].lower() + words[1:-1])
    assert "issuer wlcg" in detail


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.3", "1.99"])
def test_newer_versions_are_taken(version: str) -> None:
    """A minor one adds only what can be ignored."""
    assert rights(identity(sign(wlcg(wlcg__ver=version)))) == {"read", "stat"}


@pytest.mark.parametrize(
    "audience", [HERE, [HERE], ["https://other.example", HERE], "https://balanced.example.org:8443"]
)
def test_audiences(audience: Any) -> None:
    """One of this server's names, alone or among others."""
    assert may(identity(sign(wlcg(aud=audience))), Right.READ)


@pytest.mark.parametrize("audience", [HERE + "/", HERE.upper(), HERE + ":443", "archive.example.org", ""])
def test_audiences_are_compared_as_they_are(audience: str) -> None:
    """Nothing is made alike."""
    assert refused(sign(wlcg(aud=audience)))[0].startswith("The token's audience is")


def test_tokens_for_every_server() -> None:
    """Where the settings take them; together with this server's name everywhere."""
    assert may(identity(sign(wlcg(aud=ANY)), accept_any_audience=True), Right.READ)
    assert may(identity(sign(wlcg(aud=[ANY, HERE]))), Right.READ)
    assert refused(sign(wlcg(aud="ANY")), accept_any_audience=True)[0].startswith("The token's audience is ANY")


def test_clocks_may_differ_before_and_not_after() -> None:
    """A token may come a minute too early, and never too late."""
    assert identity(sign(wlcg(nbf=NOW + 60, exp=NOW + 0.5))).expires == NOW + 0.5


# scopes and groups


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("storage.read:/", {"read", "stat"}),
        ("storage.create:/", {"create", "stat"}),
        ("storage.modify:/", {"create", "modify", "stat"}),
        ("storage.stage:/", {"stage", "poll", "stat"}),
        ("storage.poll:/", {"poll"}),
        ("storage.read:/ storage.stage:/", {"read", "stage", "poll", "stat"}),
        ("openid offline_access wlcg.groups storage.read:/", {"read", "stat"}),
        ("compute.read compute.modify", set()),
        ("Storage.read:/", set()),
        ("read:/ write:/", set()),
        ("storage.admin:/ storage.import:/", set()),
        ("", set()),
    ],
)
def test_scopes(scope: str, expected: set[str]) -> None:
    """What each gives: to stage does not include to read, to modify includes to create."""
    assert rights(identity(sign(wlcg(scope=scope)))) == expected


@pytest.mark.parametrize("scope", ["storage.read:/9999", "compute.create", "compute.anything", "storage.other:/"])
def test_a_capability_has_groups_ignored(scope: str) -> None:
    """Whatever it is for."""
    who = identity(sign(wlcg(scope=f"openid {scope}", wlcg__groups=["/wlcg"])))
    assert who.labels == {"wlcg:5b2a", "sub:wlcg:5b2a", "issuer:wlcg"}


def test_groups_without_a_capability() -> None:
    """They count; a child does not stand for its parent, and what is no group for none."""
    who = identity(sign(wlcg(scope="openid profile", wlcg__groups=["/wlcg/prod", "wlcg", "/a b", "/\xe4", ""])))
    assert {each for each in who.labels if each.startswith("group:")} == {"group:wlcg:/wlcg/prod"}


def test_one_id() -> None:
    """And no other one that begins with the same digits."""
    who = identity(sign(wlcg(scope="storage.read:/12 storage.read:/7 storage.poll:/")))
    assert [each for each in range(200) if may(who, Right.READ, each)] == [7, 12]
    assert may(who, Right.POLL, 123)


def test_an_issuer_is_believed_so_far() -> None:
    """No further than the settings say, in what and for which ids."""
    limits = {"may": "read stage", "ids": "10-19, 100"}
    who = identity(sign(wlcg(scope="storage.read:/ storage.modify:/ storage.stage:/12 storage.stage:/99")), **limits)
    assert [each for each in range(200) if may(who, Right.READ, each)] == [*range(10, 20), 100]
    assert [each for each in range(200) if may(who, Right.STAGE, each)] == [12]
    assert not may(who, Right.CREATE, 12)
    assert not may(who, Right.MODIFY, 12)


def test_no_token_has_what_is_the_sites() -> None:
    """Not even where the settings give everything."""
    scope = "storage.read:/ storage.modify:/ storage.stage:/ storage.poll:/ storage.create:/"
    who = identity(sign(wlcg(scope=scope)), may=EVERYTHING)
    assert rights(who) == {"read", "stat", "create", "modify", "stage", "poll"}
    assert [each.ids for each in who.grants] == [None]


def test_many_ids_are_one_grant() -> None:
    """A token may name hundreds of files; each request looks at its grants."""
    who = identity(sign(wlcg(scope=" ".join(f"storage.read:/{each}" for each in range(100, 300)))))
    (only,) = who.grants
    assert only.ids == IdRanges(((100, 299),)) == parse_id_ranges("100-299")


# SciTokens


def believed(**changes: Any) -> Identity:
    """A SciToken of an issuer of those."""
    return identity(sign(scitoken(**changes)), profile=Profile.SCITOKENS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"read", "stat"}),
        ({"scope": "read:/ write:/"}, {"read", "stat", "create", "modify"}),
        ({"scope": "read:/12"}, {"read", "stat"}),
        ({"scope": "read:/123"}, set()),
        ({"scope": "queue execute"}, set()),
        ({"scope": "storage.read:/"}, set()),
        ({"scope": None, "scp": ["read:/", "write:/"]}, {"read", "stat", "create", "modify"}),
        ({"scope": None, "scp": ["read:/ write:/"]}, None),
        ({"scope": None, "scp": "read:/"}, {"read", "stat"}),
        ({"ver": "scitokens:2.0"}, {"read", "stat"}),
        ({"ver": None}, {"read", "stat"}),
    ],
)
def test_scitokens(changes: dict[str, Any], expected: set[str] | None) -> None:
    """Other words for the same; the first version has a list of scopes."""
    if expected is None:
        assert not believed(**changes).grants
    else:
        who = believed(**changes)
        assert rights(who) == expected
        assert who.profile == "scitokens"
        assert who.labels == {"wlcg:alice", "sub:wlcg:alice", "issuer:wlcg"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ver": "scitoken:3.0"}, "The token is of the version scitoken:3.0; this server knows scitoken:2.0."),
        ({"ver": 2}, "The token is of the version of the wrong type (int); this server knows scitoken:2.0."),
        ({"aud": None}, "The token has no audience (aud)."),
        ({"aud": None, "ver": None}, "The token is for every server, and such tokens are not taken here."),
        ({"aud": "ANY"}, "The token is for every server, and such tokens are not taken here."),
        ({"scope": "read"}, "The token's scope read names no path, as read:/ would."),
        ({"scope": "write:/../"}, "The token's scope write:/../ has %, // or a segment of dots in its path."),
        ({"scope": None, "scp": [5]}, "The token's scope is not text."),
        ({"exp": NOW - 5}, "The token expired at 2027-01-15T07:59:55Z."),
    ],
)  # fmt: skip
def test_scitokens_that_are_refused(changes: dict[str, Any], words: str) -> None:
    """In the same words."""
    assert refused(sign(scitoken(**changes)), profile=Profile.SCITOKENS)[0] == words


def test_scitokens_for_every_server() -> None:
    """ANY, or, in the first version, no audience at all."""
    options: dict[str, Any] = {"profile": Profile.SCITOKENS, "accept_any_audience": True}
    assert may(identity(sign(scitoken(aud="ANY")), **options), Right.READ)
    assert may(identity(sign(scitoken(aud=None, ver=None)), **options), Right.READ)


def test_each_issuer_has_its_profile() -> None:
    """A token of the other one is refused."""
    assert "wlcg.ver" in refused(sign(scitoken()))[0]


# names


@pytest.mark.parametrize("name", [*sorted(TAKEN_NAMES), "a:b", "a b", "", "\xe4"])
def test_names_of_others(name: str) -> None:
    """An issuer called user could make anybody of the password file."""
    with pytest.raises(ValueError, match="cannot have this name"):
        Issuers(Clock(), {name: IssuerSettings(url=URL)}, [HERE], Known())  # type: ignore[arg-type]


def test_two_issuers_of_one_url() -> None:
    """Nobody could say whose a token is."""
    both = {"a": IssuerSettings(url=URL), "b": IssuerSettings(url=URL)}
    with pytest.raises(ValueError, match=r"\[issuer a\] has the same URL"):
        Issuers(Clock(), both, [HERE], Known())  # type: ignore[arg-type]


def test_nothing_large_is_imported_without_a_token() -> None:
    """A server without issuers and passwords has none of it in its memory."""
    words = (
        "import sys; import pacarchive.access.issuers, pacarchive.access.keys, pacarchive.access.passwords; "
        "print([each for each in ('joserfc', 'cryptography', 'bcrypt', 'argon2', 'twisted.web.client', 'OpenSSL') "
        "if each in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout == "[]\n"
