"""Which server a command asks, with which token, and how a signal becomes an exit code."""

from __future__ import annotations

import signal
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from pacarchive.cli.server import Server, server_of
from pacarchive.cli.streams import Interrupted, run_program
from pacarchive.cli.words import Misunderstood

if TYPE_CHECKING:
    from pathlib import Path


def given(**options: str | None) -> Namespace:
    """A command line."""
    return Namespace(**{"url": None, "token_file": None, "ca": None, **options})


def test_the_command_line_comes_before_the_environment(tmp_path: Path) -> None:
    """For the URL, the token and the authorities; of two variables the first that has something counts."""
    (tmp_path / "token").write_text("from.file\n")
    variables = {"A": "", "B": " http://b/ \n", "C": "http://c", "PACARCHIVE_TOKEN": "from.here", "PACARCHIVE_CA": "ca"}
    assert server_of(given(), variables, "A", "B", "C") == Server("http://b/", "from.here", "ca")
    options = given(url="https://a", token_file=str(tmp_path / "token"), ca="mine")
    assert server_of(options, variables, "A", "B", "C") == Server("https://a", "from.file", "mine")
    assert server_of(given(url="host:80"), {}, "A") == Server("http://host:80", None, None)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """The URL, or the file of the token."""
    with pytest.raises(Misunderstood, match="which server"):
        server_of(given(), {"A": " "}, "A")
    missing = tmp_path / "missing"
    with pytest.raises(Misunderstood, match=f"^{missing}: No such file or directory$"):
        server_of(given(url="a", token_file=str(missing)), {}, "A")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_exit_code(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """As shells have it, and one line."""

    def command() -> int:
        raise Interrupted(number)

    assert run_program("pacarchive", command) == code
    assert capsys.readouterr().err == "pacarchive: interrupted\n"
