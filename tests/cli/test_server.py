"""Which server a command uses, with which credentials, and how a signal becomes an exit code."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest

from pacarchive.cli.server import Server, server_of
from pacarchive.cli.streams import Interrupted, run_program
from pacarchive.cli.words import Misunderstood
from pacarchive.client import TokenFile, tokens

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://archive.example.org"
OPTIONS = ("url", "profile", "token_file", "user", "cert", "key", "ca")


def given(**options: Any) -> Namespace:
    """A command line."""
    return Namespace(**{**dict.fromkeys(OPTIONS), "allow_plain_http": False, **options})


class Home:
    """What a user has; C{environ} is the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        """Make a file.  @return: Its path."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def profiles(self, text: str, mode: int = 0o600) -> str:
        """Make the file of the profiles.  @return: Its path."""
        return self.write("pacarchive/profiles.ini", text, mode)

    def server(self, *variables: str, environ: dict[str, str] | None = None, **options: Any) -> Server:
        """The server that a command line means."""
        return server_of(given(**options), {**self.environ, **(environ or {})}, *(variables or ("PACARCHIVE_URL",)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """One of a user who has nothing."""
    monkeypatch.setattr(tokens, "_TEMPORARY", str(tmp_path / "tmp"))
    return Home(tmp_path)


# the server


def test_the_command_line_comes_before_the_environment(home: Home) -> None:
    """For the URL, the token and the authorities; of two variables the first that has something counts."""
    file = home.write("token", "from.file\n")
    variables = {"A": "", "B": f" {URL}/ \n", "C": "http://c", "PACARCHIVE_TOKEN": "from.here", "PACARCHIVE_CA": "ca"}
    server = Server(f"{URL}/", token="from.here", ca="ca")
    assert home.server("A", "B", "C", environ=variables) == server
    found = home.server("A", "B", "C", environ=variables, url="https://a", token_file=file, ca="mine")
    assert found == Server("https://a", token=TokenFile(file), ca="mine")
    assert home.server("A", url="host:80") == Server("http://host:80")


def test_what_is_missing_is_named(home: Home) -> None:
    """The URL, or the file of the token."""
    with pytest.raises(Misunderstood, match="which server"):
        home.server("A", environ={"A": " "})
    missing = home.directory / "missing"
    with pytest.raises(Misunderstood, match=f"^{missing}: No such file or directory$"):
        home.server(url="a", token_file=str(missing))


def test_no_secret_is_in_its_text(home: Home) -> None:
    """As it may get into a traceback."""
    home.write(".netrc", "machine archive.example.org login alice password secret2\n")
    for server in (
        home.server(url=URL, environ={"PACARCHIVE_TOKEN": "secret1"}),
        home.server(url=URL, user="alice"),
    ):
        assert "secret" not in repr(server)
        assert "secret" in repr(server.options)


# credentials

PROFILE = f"[default]\nurl = {URL}\ntoken = profiles\nca = its\n[other]\nuser = alice\n"


def who(server: Server) -> object:
    """The credentials of a server."""
    token = server.token() if callable(server.token) else server.token
    return (server.user, server.password) if server.user else token


def test_credentials_are_taken_from_the_first_place_that_has_some(home: Home) -> None:
    """Option, variable, profile, and where tools of the WLCG look: without one, the next one is taken."""
    home.profiles(PROFILE)
    home.write(f"tmp/bt_u{os.geteuid()}", "discovered\n")
    options: dict[str, Any] = {"token_file": home.write("token", "options")}
    environ = {"PACARCHIVE_TOKEN": "variables"}
    assert who(home.server(url=URL, environ=environ, **options)) == "options"
    assert who(home.server(url=URL, environ=environ)) == "variables"
    assert who(home.server(url=URL)) == "profiles"
    home.profiles(f"[default]\nurl = {URL}\n")
    assert who(home.server(url=URL)) == "discovered"
    os.unlink(home.directory / f"tmp/bt_u{os.geteuid()}")
    assert who(home.server(url=URL)) is None


def test_a_profile_that_is_typed_comes_before_the_environment(home: Home) -> None:
    """With all that it has; what it has not, the environment may have."""
    home.profiles(f"[a]\nurl = {URL}:1\ntoken = profiles\nca = its\n[b]\nurl = {URL}:1\n")
    environ = {"PACARCHIVE_URL": f"{URL}:2", "PACARCHIVE_TOKEN": "variables", "PACARCHIVE_CA": "variables"}
    assert home.server(profile="a", environ=environ) == Server(f"{URL}:1", token="profiles", ca="its")
    assert home.server(profile="b", environ=environ) == Server(f"{URL}:1", token="variables", ca="variables")
    environ["PACARCHIVE_PROFILE"] = "a"
    assert home.server(environ=environ) == Server(f"{URL}:2", token="variables", ca="variables")
    del environ["PACARCHIVE_URL"]
    assert home.server(environ=environ) == Server(f"{URL}:1", token="variables", ca="variables")


@pytest.mark.parametrize("url", ["https://evil.example.org", f"{URL}:444", "http://archive.example.org", f"{URL}.evil"])
def test_what_a_profile_says_is_for_its_own_server(home: Home, url: str) -> None:
    """Nothing of it goes to another one, by whatever way that is named; one that was typed is held to its word."""
    home.profiles(f"[default]\nurl = {URL}\ntoken = secret\nca = its\ncert = its\nallow-plain-http = yes\n")
    assert home.server(url=url) == Server(url)
    assert home.server(environ={"PACARCHIVE_URL": url}) == Server(url)
    with pytest.raises(Misunderstood, match=f"^profile 'default' is for {URL}, and not for ") as caught:
        home.server(url=url, profile="default")
    assert "secret" not in str(caught.value)
    for same in (f"{URL}:443/", f"{URL}/path", "https://ARCHIVE.example.org"):
        assert home.server(url=same).token == "secret"


def test_a_user_has_the_password_of_netrc(home: Home) -> None:
    """For this server; of this user; from the file that C{NETRC} names, or the usual one."""
    home.write(
        ".netrc", "machine other login alice password wrong\nmachine archive.example.org login alice password a\n"
    )
    assert who(home.server(url=f"{URL}:8443", user="alice")) == ("alice", "a")
    named = {"NETRC": home.write("named", "default login alice password b")}
    assert who(home.server(url=URL, user="alice", environ=named)) == ("alice", "b")
    home.profiles(PROFILE)
    assert who(home.server(url=URL, profile="other")) == ("alice", "a")
    assert who(home.server(url=URL, profile="other", environ=named)) == ("alice", "b")


def test_a_user_comes_before_a_token_of_the_environment(home: Home) -> None:
    """What was typed was meant; but not both of that kind."""
    home.write(".netrc", "machine archive.example.org login alice password a")
    found = home.server(url=URL, user="alice", environ={"PACARCHIVE_TOKEN": "x", "BEARER_TOKEN": "y"})
    assert (found.token, who(found)) == (None, ("alice", "a"))
    with pytest.raises(Misunderstood, match="exclude each other"):
        home.server(url=URL, user="alice", token_file="x")


def test_a_certificate_is_enough(home: Home) -> None:
    """No token is looked for then; one that is given goes with it.  Its key may be another's than the profile's."""
    environ = {"BEARER_TOKEN": "x"}
    assert home.server(url=URL, cert="c", environ=environ) == Server(URL, cert="c")
    assert home.server(url=URL, cert="c", key="k", environ={"PACARCHIVE_TOKEN": "x"}).token == "x"
    home.profiles(f"[default]\nurl = {URL}\ncert = /c\nkey = /k\n")
    found = home.server(url=URL, environ=environ)
    assert (found.cert, found.key, found.token) == ("/c", "/k", None)
    found = home.server(url=URL, cert="c")
    assert (found.cert, found.key) == ("c", None)
    found = home.server(url=URL, key="k")
    assert (found.cert, found.key) == ("/c", "k")


def test_without_tls_nothing_is_sent_over_a_network(home: Home) -> None:
    """It is refused, unless that was allowed; what nobody gave is left out without a word."""
    home.write(".netrc", "default login alice password secret")
    home.profiles(
        "[plain]\nurl = http://archive\ntoken = secret\n[meant]\nurl=http://archive\ntoken=x\nallow-plain-http=yes"
    )
    file = home.write("token", "secret")
    refused: list[dict[str, Any]] = [
        {"token_file": file},
        {"user": "alice"},
        {"environ": {"PACARCHIVE_TOKEN": "secret"}},
        {"profile": "plain"},
    ]
    for each in refused:
        with pytest.raises(
            Misunderstood, match=r"no token or password is sent to http://archive without TLS.*https:"
        ) as e:
            home.server(url="http://archive", **each)
        assert "secret" not in str(e.value)
        assert who(home.server(url="http://archive", allow_plain_http=True, **each))
        if "profile" not in each:
            assert who(home.server(url="http://localhost:8080", **each))
    assert home.server(profile="meant") == Server("http://archive", token="x", allow_plain_http=True)
    found = {"environ": {"BEARER_TOKEN": "x"}}
    assert home.server(url="http://archive", **found).token is None
    assert who(home.server(url="http://[::1]", **found)) == "x"


def test_what_is_no_token_ends_the_command(home: Home) -> None:
    """In one line, without what it is."""
    for options in (
        {"token_file": home.write("token", "not a secret\n")},
        {"token_file": home.write("empty", "\n")},
        {"environ": {"BEARER_TOKEN": "not a secret"}},
        {"environ": {"BEARER_TOKEN_FILE": home.write("named", "not a secret")}},
        {"environ": {"BEARER_TOKEN_FILE": str(home.directory)}},
    ):
        with pytest.raises(Misunderstood) as caught:
            home.server(url=URL, **options)
        assert "secret" not in str(caught.value)
        assert str(caught.value).count("\n") == 0


# the file of the profiles


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602, 0o644, 0o666])
def test_a_token_that_others_may_read_is_not_used(home: Home, mode: int) -> None:
    """Nor anything else of that file; without a token in it, there is nothing to keep."""
    path = home.profiles(PROFILE, mode)
    with pytest.raises(
        Misunderstood, match=rf"contains a token, and other users can access it \(mode {mode:04o}\): chmod 600 {path}"
    ):
        home.server(url="https://elsewhere")
    home.profiles(f"[default]\nurl = {URL}\n", mode)
    assert home.server().url == URL
    home.profiles(PROFILE, 0o400)
    assert home.server().token == "profiles"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("secret\n", "line 1 is not KEY = VALUE"),
        ("[a]\nsecret\n", "line 2 is not KEY = VALUE"),
        ("[a]\nurl = x\nurl = secret\n", "line 3 is not KEY = VALUE"),
        ("[a]\n[b]\n[a]\n", "line 3 is not KEY = VALUE"),
        ("[a]\ntokn = secret\n", r"\[a\] tokn: there is no such key; there are url, token, "),
        ("[a]\ntoken = secret\nuser = alice\n", r"\[a\] has token and user: only one of them can be used"),
        ("[a]\ntoken = \xe9secret", "line 2 is not UTF-8 text"),
        ("[a]\ntoken = secret\nurl = ftp://x\n", "profile 'a': an archive's URL begins with http"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_without_its_secrets(home: Home, text: str, words: str) -> None:
    """In one line, with the number of the line."""
    path = home.profiles("")
    (home.directory / "pacarchive/profiles.ini").write_bytes(text.encode("latin-1"))
    with pytest.raises(Misunderstood, match=words) as caught:
        home.server(url=URL, profile="a")
    assert path in str(caught.value) or "profile 'a'" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_profile_that_is_named_has_to_be_there(home: Home) -> None:
    """By the command line or by the environment; the others are told."""
    with pytest.raises(Misunderstood, match="there is no profile 'x' in "):
        home.server(url=URL, profile="x")
    home.profiles("[a]\n[b]\n")
    with pytest.raises(Misunderstood, match=r"there is no profile 'x' in .*; there are a, b"):
        home.server(url=URL, environ={"PACARCHIVE_PROFILE": "x"})
    with pytest.raises(Misunderstood, match="not a valid name of a profile"):
        home.server(url=URL, profile="x]")
    assert home.server(url=URL) == Server(URL)


# signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_exit_code(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """As shells have it, and one line."""

    def command() -> int:
        raise Interrupted(number)

    assert run_program("pacarchive", command) == code
    assert capsys.readouterr().err == "pacarchive: interrupted\n"
