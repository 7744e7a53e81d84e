"""Sections that have a name of their own, and what the settings say of access."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pacarchive.access.rights import EVERYTHING, NOTHING, Right, parse_id_ranges, parse_rights
from pacarchive.access.service import anonymous_rights, audiences_of, check, is_said
from pacarchive.access.settings import AllowSettings, AuthSettings, IssuerSettings, Profile
from pacarchive.settings.explaining import describe
from pacarchive.settings.reading import ConfigError, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pacarchive.settings.sections import Settings

FULL = """
[auth]
anonymous = stat
tokens = /etc/pacarchive/tokens
audience = https://a.example https://b.example
proxy_user = X-Remote-User
[issuer wlcg]
url = https://wlcg.example/
accept_any_audience = yes
may = read create
ids = 1-5, 9
[issuer sci]
url = https://sci.example
profile = scitokens
[allow robots]
who = token:robot cert:dns:robot.example.org user:alice
may = read create
ids = 1000000-1999999
[allow others]
who = group:wlcg:/wlcg/prod   net:10.1.0.7
    cert:CN=My Robot,O=A Lab anonymous
may = all
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Reads the text of a file."""
    monkeypatch.setattr("pacarchive.settings.reading.MACHINE_FILE", "/nonexistent/pacarchive.ini")
    monkeypatch.chdir(tmp_path)

    def read(text: str) -> Settings:
        path = tmp_path / "site.ini"
        path.write_text(text)
        return load(str(path), {}, {})

    return read


def test_sections_with_names(read: Callable[[str], Settings]) -> None:
    """Each is there under its name."""
    settings = read(FULL)
    rules = settings.all_of(AllowSettings)
    assert list(rules) == ["robots", "others"]
    assert rules["robots"].who == ("token:robot", "cert:dns:robot.example.org", "user:alice")
    assert (rules["robots"].may, str(rules["robots"].ids)) == (parse_rights("read create"), "1000000-1999999")
    assert rules["others"].who == (
        "group:wlcg:/wlcg/prod", "net:10.1.0.7/32", "cert:CN=My Robot,O=A Lab", "anonymous",
    )  # fmt: skip
    issuers = settings.all_of(IssuerSettings)
    assert {name: each.profile for name, each in issuers.items()} == {"wlcg": Profile.WLCG, "sci": Profile.SCITOKENS}
    assert issuers["wlcg"].ids == parse_id_ranges("1-5 9")
    assert issuers["sci"].may == parse_rights("read create modify stage poll")
    auth = settings.of(AuthSettings)
    assert (auth.anonymous, auth.audience) == (Right.STAT, ("https://a.example", "https://b.example"))


def test_a_description_loads_back(read: Callable[[str], Settings]) -> None:
    """Sections with names, too."""
    settings = read(FULL)
    again = read(describe(settings))
    assert (again.sections, again.named) == (settings.sections, settings.named)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[allow]\nwho = anonymous\nmay = all", "[allow]: a section of this kind has a name"),
        ("[allow a b]\nwho = anonymous\nmay = all", "[allow a b]: a section of this kind has a name"),
        ("[alow a]\nwho = anonymous", "[alow a]: unknown section; did you mean allow?"),
        ("[allow a]", "[allow a] who: must be set"),
        ("[allow a]\nwho = anonymous", "[allow a] may: must be set"),
        ("[allow a]\nwho = bob\nmay = all", "[allow a] who: 'bob' is nobody"),
        ("[allow a]\nwho = user:bob alice\nmay = all", "[allow a] who: 'user:bob alice' is nobody"),
        ("[allow a]\nwho = net:10.1\nmay = all", "[allow a] who: '10.1' is not a valid network"),
        ("[allow a]\nwho = group:/wlcg\nmay = all", "lacks the issuer; write group:ISSUER:/wlcg"),
        ("[allow a]\nwho = anonymous\nmay = write", "[allow a] may: 'write' is no right"),
        ("[allow a]\nwho = anonymous\nmay = all\nids = 3-1", "[allow a] ids: '3-1' ends before it begins"),
        ("[allow a]\nwho = anonymous\nmay = all\nwhen = x", "[allow a] when: unknown key"),
        ("[issuer a]\nurl = http://a", "[issuer a] url: 'http://a' is not the https URL of an issuer"),
        ("[auth]\ntokens = tokens", "[auth] tokens: 'tokens' is not an absolute path"),
        ("[auth]\nproxy_user = a b", "[auth] proxy_user: 'a b' is not the name of a header field"),
    ],
)
def test_what_is_wrong(read: Callable[[str], Settings], text: str, words: str) -> None:
    """One line, with section and key."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said", "rights"),
    [
        ("", False, EVERYTHING),
        ("[auth]\nrealm = here", False, EVERYTHING),
        ("[auth]\nanonymous = none", True, NOTHING),
        ("[auth]\nanonymous = all", True, EVERYTHING),
        ("[auth]\ntokens = /t", True, NOTHING),
        ("[auth]\nhtpasswd = /t", True, NOTHING),
        ("[auth]\nproxy_user = X", True, NOTHING),
        ("[allow a]\nwho = net:10.0.0.0/8\nmay = all", True, NOTHING),
        ("[issuer a]\nurl = https://a", True, NOTHING),
    ],
)
def test_what_everyone_may(read: Callable[[str], Settings], text: str, said: bool, rights: Right) -> None:
    """Everything where nothing is said; as soon as anything is, no more than that."""
    settings = read(text)
    assert (is_said(settings), anonymous_rights(settings)) == (said, rights)


def test_what_issuers_call_it(read: Callable[[str], Settings]) -> None:
    """As the settings say, else as clients do."""
    assert audiences_of(read("[server]\npublic_url = https://a.example/")) == ("https://a.example",)
    assert audiences_of(read("[server]\npublic_url = https://a.example\n[auth]\naudience = https://b")) == (
        "https://b",
    )
    assert audiences_of(read("")) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[allow a]\nwho = group:wlcg:/prod\nmay = read",
            "[allow a] who: 'group:wlcg:/prod': there is no [issuer wlcg]",
        ),
        ("[issuer a]\nurl = https://a", "[auth] audience: must be set, here or by [server] public_url"),
        ("[auth]\nproxy_user = Authorization", "[auth] proxy_user: 'Authorization' is what clients send"),
    ],
)
def test_what_could_never_work(read: Callable[[str], Settings], text: str, words: str) -> None:
    """It is found before the start."""
    with pytest.raises(ConfigError) as caught:
        check(read(text))
    assert words in str(caught.value)
