"""C{pacarchive admin token} and C{pacarchive admin access}."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pacarchive.access import tokens
from pacarchive.access.tokens import digest_of, make_token
from pacarchive.cli import main
from pacarchive.cli.admin.tokens import end_of

NOW = 1795367928.0
COMMAND = str(Path(sys.executable).with_name("pacarchive"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A settings file, with a file of tokens that is not there yet."""
    (tmp_path / "archive").mkdir()
    path = tmp_path / "site.ini"
    path.write_text(
        f"[server]\nprefix = {tmp_path}/archive\n[auth]\ntokens = {tmp_path}/tokens\nanonymous = stat\n"
        "[allow robots]\nwho = token:robot\nmay = stage\nids = 1-5\n[allow home]\nwho = net:10.0.0.0/8\nmay = read\n"
    )
    return path


def run(site: Path, *words: str) -> int:
    """Run C{pacarchive admin} with the settings."""
    return main(["admin", *words, "-c", str(site)])


def test_the_life_of_a_token(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made, listed, revoked; it is shown once, and kept nowhere."""
    assert run(site, "token", "create", "robot", "--may", "read create", "--ids", "1-9", "--expires", "90d") == 0
    token, words = capsys.readouterr()
    assert words.startswith("robot may read stat create for ids 1-9, until ")
    assert run(site, "token", "create", "robot", "--may", "stage") == 0
    second, words = capsys.readouterr()
    assert "for ever; robot has 1 other token beside it" in words
    text = (site.parent / "tokens").read_text()
    assert token.strip() not in text
    assert digest_of(token.strip()) in text
    assert run(site, "token", "list") == 0
    first_line, second_line = capsys.readouterr().out.splitlines()
    assert first_line.startswith(f"robot  {digest_of(token.strip())[:12]}  read stat create, ids 1-9, until ")
    assert second_line == f"robot  {digest_of(second.strip())[:12]}  stat stage poll, never ends"
    assert run(site, "token", "list", "--json") == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["rights"] for document in documents] == [["read", "stat", "create"], ["stat", "stage", "poll"]]
    assert run(site, "token", "revoke", "robot", "--digest", digest_of(token.strip())[:8]) == 0
    assert [each.digest for each in tokens.load(site.parent / "tokens").values()] == [digest_of(second.strip())]
    assert run(site, "token", "revoke", "robot") == 0
    assert run(site, "token", "revoke", "robot") == 1
    assert "has no such token of robot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("a b", "--may", "read"), "'a b' is not a name"),
        (("robot", "--may", "write"), "'write' is no right"),
        (("robot", "--may", "read", "--ids", "3-1"), "'3-1' ends before it begins"),
        (("robot", "--may", "read", "--expires", "soon"), "'soon' is neither a time nor how long"),
        (("robot", "--may", "read", "--expires", "2001-01-01"), "2001-01-01 is over"),
        (("robot", "--may", "read", "--expires", "0d"), "'0d' is neither a time nor how long"),
        (("robot", "--may", "none"), "a token that allows nothing is of no use"),
    ],
)
def test_a_token_that_cannot_be_made(
    site: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    """Nothing is, and nothing is written."""
    assert run(site, "token", "create", *words) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""
    assert not (site.parent / "tokens").exists()


def test_a_file_that_is_not_well_formed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is left alone, and its line named."""
    (site.parent / "tokens").write_text("robot\n")
    for words in (("create", "a", "--may", "read"), ("list",), ("revoke", "robot")):
        assert run(site, "token", *words) == 2
        assert "tokens: line 1: a line is NAME" in capsys.readouterr().err
    assert (site.parent / "tokens").read_text() == "robot\n"


def test_no_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the settings name none, another can be."""
    site.write_text(f"[server]\nprefix = {site.parent}/archive\n")
    assert run(site, "token", "list") == 2
    assert "[auth] tokens: names no file for them" in capsys.readouterr().err
    path = str(site.parent / "others")
    assert run(site, "token", "create", "robot", "--may", "all", "--file", path) == 0
    assert run(site, "token", "list", "--file", path) == 0


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("12h", NOW + 43200), ("90d", NOW + 90 * 86400), ("2w", NOW + 14 * 86400), ("1y", NOW + 365 * 86400),
        ("2027-01-31", 1801353600.0), ("2027-01-31T12:00:00+02:00", 1801389600.0),
    ],
)  # fmt: skip
def test_ends(text: str, end: float) -> None:
    """How long, or until when; a date without a zone is UTC's."""
    assert end_of(text, NOW) == end


def explained(site: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[str]]:
    """By which rules somebody has which rights; only those that there are."""
    assert run(site, "access", "explain", "--json", *words) == 0
    rights: dict[str, list[str]] = json.loads(capsys.readouterr().out)["rights"]
    return {right: rules for right, rules in rights.items() if rules}


def test_explain(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By address, and by what a rule would call somebody."""
    everyone = ["[auth] anonymous"]
    assert explained(site, capsys) == {"stat": everyone}
    home = {"read": ["[allow home]"], "stat": [*everyone, "[allow home]"]}
    assert explained(site, capsys, "--address", "10.0.0.7") == home
    for number, staged in (("5", True), ("6", False)):
        found = explained(site, capsys, "--who", "token:robot", "--id", number)
        assert found.get("stage") == (["[allow robots]"] if staged else None)
    assert run(site, "access", "explain", "--who", "token:robot", "--id", "5") == 0
    text = capsys.readouterr().out
    assert text.startswith("token:robot (recognised by: none), for file 5:\n  read    no\n  stat    yes, by [auth]")
    assert run(site, "access", "explain", "--id", "05") == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--who", "nonsense"), "'nonsense' is nobody"),
        (("--who", "net:10.0.0.0/8"), "--address says where"),
        (("--address", "nonsense"), "'nonsense' does not appear to be an IPv4 or IPv6 address"),
        (("--token-file", "/nonexistent"), "/nonexistent: No such file or directory"),
    ],
)
def test_what_cannot_be_explained(
    site: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    """A mistake is not taken for somebody without rights."""
    assert run(site, "access", "explain", *words) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.server
def test_explain_a_token(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is looked at as the server would; a wrong one is refused with the reason that the server would log."""
    run(site, "token", "create", "robot", "--may", "read")
    good = capsys.readouterr().out
    command = [COMMAND, "admin", "access", "explain", "-c", str(site), "--token-file", "-"]
    for token, code, words in (
        (good, 0, "  read    yes, by the line of robot in the file of tokens\n"),
        (make_token(), 1, "the server would answer 401: a static token that is not, or no longer, in the file"),
    ):
        done = subprocess.run(command, input=token, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert words in done.stdout + done.stderr
        assert token.strip() not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["9999y", "9999-12-31T23:59:59-12:00"])
def test_an_end_that_cannot_be_written(text: str) -> None:
    """It is said of what was asked for, and not of the file."""
    with pytest.raises(ValueError, match="is too far away"):
        end_of(text, NOW)
