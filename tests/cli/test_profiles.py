"""C{pacarchive config set}, C{unset} and C{list}, and the file that they keep."""

from __future__ import annotations

import io
import json
import os
import stat
from configparser import ConfigParser
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.cli import main
from pacarchive.cli.profiles import changing, path_of, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the profiles will be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pacarchive/profiles.ini"


def type_in(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Give text on standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_what_is_set_is_kept_for_its_owner_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the umask is; and a token is not shown again."""
    before = os.umask(0)
    try:
        type_in(monkeypatch, b" secret\r\n")
        assert main(["config", "set", "token", "-"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert main(["config", "set", "url", "archive.example.org:8080/"]) == 0
    assert main(["config", "set", "--profile", "b", "allow-plain-http", "yes"]) == 0
    assert os.listdir(file.parent) == ["profiles.ini"]
    assert dict(read(str(file))["default"]) == {"token": "secret", "url": "http://archive.example.org:8080/"}
    assert capsys.readouterr() == ("", "")
    assert main(["config", "list"]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        "[default]\ntoken = (set)\nurl = http://archive.example.org:8080/\n\n[b]\nallow-plain-http = yes\n\n"
    )
    assert main(["config", "list", "--json", "--profile", "default"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"default": {"token": "(set)", "url": "http://archive.example.org:8080/"}}


def test_a_profile_has_one_kind_of_credentials(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is set last replaces the others."""
    type_in(monkeypatch, b"secret")
    for words in (["token", "-"], ["user", "alice"], ["token-file", "~/t"]):
        assert main(["config", "set", *words]) == 0
    assert capsys.readouterr().err == "user replaces token\ntoken-file replaces user\n"
    assert dict(read(str(file))["default"]) == {"token-file": os.path.expanduser("~/t")}


def test_paths_mean_the_same_from_everywhere(file: Path, tmp_path: Path) -> None:
    """They are kept whole."""
    assert main(["config", "set", "ca", "ca.pem"]) == 0
    assert read(str(file))["default"]["ca"] == str(tmp_path / "ca.pem")


def test_what_is_there_is_removed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key, or all of a profile."""
    for profile in ("a", "b"):
        for key in ("url", "user"):
            assert main(["config", "set", key, "x", "--profile", profile]) == 0
    assert main(["config", "unset", "user", "--profile", "a"]) == 0
    assert main(["config", "unset", "--profile", "b"]) == 0
    assert {name: dict(read(str(file))[name]) for name in read(str(file)).sections()} == {"a": {"url": "http://x"}}
    assert main(["config", "unset", "user", "--profile", "a"]) == 2
    assert main(["config", "unset", "--profile", "b"]) == 2
    assert main(["config", "list", "--profile", "b"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["pacarchive: profile 'a' has no user", "pacarchive: there is no profile 'b'"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["token", "secret"], "a token is not given on the command line"),
        (["token", "-"], "what was read is not a bearer token"),
        (["url", "ftp://x"], "an archive's URL begins with http:// or https://"),
        (["url", "https://alice:secret@x"], "has no user or password in it"),
        (["user", "alice:secret"], "a user name must not contain a colon"),
        (["allow-plain-http", "true"], "allow-plain-http must be yes or no"),
        (["ca", ""], "the value of ca must be one line"),
        (["user", "a\nb"], "the value of user must be one line"),
        (["user", "x", "--profile", "a b"], "'a b' is not a valid name of a profile"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """It is one line, without secrets."""
    type_in(monkeypatch, b"a secret\n")
    assert main(["config", "set", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "secret" not in told
    assert told.count("\n") == 1
    assert not file.exists()


def test_a_key_that_there_is_not_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(SystemExit) as ended:
        main(["config", "set", "tokn", "x"])
    assert ended.value.code == 2
    assert "'token-file'" in capsys.readouterr().err


def test_a_change_that_fails_leaves_all_as_it_was(file: Path) -> None:
    """Also where it is a link, which stays one."""
    assert main(["config", "set", "user", "alice"]) == 0
    text = file.read_text()
    elsewhere = file.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to("elsewhere")
    with suppress(ZeroDivisionError), changing(str(file)) as profiles:
        profiles["default"]["user"] = "bob"
        raise ZeroDivisionError
    assert elsewhere.read_text() == text
    assert main(["config", "set", "user", "bob"]) == 0
    assert file.is_symlink()
    assert "bob" in elsewhere.read_text()
    assert sorted(os.listdir(file.parent)) == ["elsewhere", "profiles.ini"]


VALUES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)


@given(st.dictionaries(st.sampled_from(["url", "token", "ca", "cert", "key"]), VALUES))
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    """Whatever characters it has."""
    written = ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    written["a"] = values
    text = io.StringIO()
    written.write(text)
    found = ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    found.read_string(text.getvalue())
    assert dict(found["a"]) == values


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/home"}, "/x/pacarchive/profiles.ini"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/home"}, "/home/.config/pacarchive/profiles.ini"),
        ({"HOME": "/home"}, "/home/.config/pacarchive/profiles.ini"),
    ],
)
def test_the_file_is_where_such_files_are(environ: dict[str, str], path: str) -> None:
    """By the XDG Base Directory Specification."""
    assert path_of(environ) == path


def test_without_a_word_the_settings_of_the_server_are_printed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As before there were profiles, with its options."""
    (tmp_path / "settings.ini").write_text("[server]\nendpoint = tcp:1234\n")
    assert main(["config", "-c", "settings.ini"]) == 0
    assert "endpoint = tcp:1234" in capsys.readouterr().out
    for words in (["config", "--json", "-c", "settings.ini"], ["-c", "settings.ini", "--json", "config"]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["server"]["endpoint"] == "tcp:1234"
    with pytest.raises(SystemExit):
        main(["config", "show"])
    assert "unknown command 'show'" in capsys.readouterr().err
