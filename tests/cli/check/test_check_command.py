"""What C{pacarchive check} makes of its arguments, its list, and its report."""

from __future__ import annotations

import io
import json
import re
from argparse import Namespace
from contextlib import redirect_stdout
from typing import Any

import pytest
from system.pages import MANUAL

from pacarchive.cli import main, make_parser
from pacarchive.cli.check.catalogue import CHECKS, chosen
from pacarchive.cli.check.checks import Check, Outcome, Result, Summary
from pacarchive.cli.check.command import code_of, options_of
from pacarchive.cli.check.ids import FIRST_ID
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.report import Lines, Plain, Tables, left_over
from pacarchive.cli.check.session import SPARE
from pacarchive.cli.check.words import Failed, Speed
from pacarchive.cli.words import Misunderstood

NAMES = [check.name for check in CHECKS]
PAGE = MANUAL / "check.md"


def summary(**more: Any) -> Summary:
    """How a run may have ended."""
    return Summary(**{"results": [], "speeds": [], "left": [], "kept": [], "interrupted": False, **more})


def result(outcome: Outcome, **more: str) -> Result:
    """What came of a check."""

    async def run(_: object) -> None:
        """See nothing."""

    return Result(check=Check("a-check", "nothing holds", run), outcome=outcome, seconds=1.25, **more)


def parse(*arguments: str) -> Namespace:
    """The arguments of the command."""
    return make_parser().parse_args(["check", *arguments])


# the catalogue


def test_names() -> None:
    """They are different, short, and can be typed."""
    assert len(set(NAMES)) == len(NAMES) < SPARE
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) and len(name) <= 20 for name in NAMES)
    assert all(check.purpose and "\n" not in check.purpose for check in CHECKS)


def test_the_order_is_that_of_the_predecessors_test() -> None:
    """Put, status, stage, get, delete, for each kind of file; the greeting comes first."""
    assert NAMES[0] == "greeting"
    for kind in ("text", "binary", "empty", "many", "large"):
        places = [NAMES.index(f"{kind}-{step}") for step in ("put", "status", "stage", "get", "delete")]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["range"], ["range"]),
        (["text"], ["text-put", "text-status", "text-stage", "text-get", "text-delete"]),
        (["cut*", "etag"], ["etag", "cut", "cut-chunks"]),
        (["*-put"], ["text-put", "binary-put", "empty-put", "digest-put", "many-put", "large-put"]),
    ],
)
def test_choosing(patterns: list[str], expected: list[str]) -> None:
    """Names, patterns, and what names begin with; in the order of the catalogue."""
    assert [check.name for check in chosen(patterns)] == expected


def test_choosing_nothing() -> None:
    """All, where nothing is said; a pattern that fits none is an error."""
    assert chosen([]) == list(CHECKS)
    with pytest.raises(ValueError, match="no check has the name 'txt'"):
        chosen(["range", "txt"])


def test_what_is_expected_of_the_predecessor_is_in_the_manual() -> None:
    """Each row of its table, in order, and no other; and all are checks."""
    table = PAGE.read_text().partition("| check | why it fails |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", table, re.MULTILINE) == list(EXPECTED.items())
    assert set(EXPECTED) < set(NAMES)


def test_the_options_are_in_the_manual() -> None:
    """Each, and no other."""
    options = set(re.findall(r"--[a-z-]+", make_parser_help())) - {"--help", "--version"}
    assert set(re.findall(r"^\| `(--[a-z-]+)", PAGE.read_text(), re.MULTILINE)) == options


def make_parser_help() -> str:
    """What C{--help} says."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit):
        parse("--help")
    return out.getvalue()


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check with its purpose; as JSON too."""
    assert main(["check", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert main(["check", "--list", "--json", "--only", "range"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "name": "range",
        "purpose": CHECKS[NAMES.index("range")].purpose,
        "predecessor": EXPECTED["range"],
    }


# arguments


def test_defaults_are_those_of_the_predecessors_test() -> None:
    """1 GiB, and 1000 files."""
    options = options_of(parse("http://archive"), {})
    assert (options.large, options.many, options.first_id) == (1 << 30, 1000, FIRST_ID)
    assert not options.keep
    assert not options.predecessor


def test_the_command_line_comes_before_the_variables() -> None:
    """And those before the defaults; an empty one is none."""
    variables = {"LARGE_FILE_SIZE": "1073741825", "MANY_FILES_TEST_COUNT": "7"}
    options = options_of(parse("http://archive"), variables)
    assert (options.large, options.many) == (1073741825, 7)
    options = options_of(parse("http://archive", "--large-file-size", "2 MiB", "--many", "3"), variables)
    assert (options.large, options.many) == (2 << 20, 3)
    assert options_of(parse("http://archive"), {"LARGE_FILE_SIZE": ""}).large == 1 << 30


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--many", "x"], {}, "--many: "),
        (["--many", "-1"], {}, "--many: it is negative"),
        (["--many", "0"], {}, "--many: it must be at least 1"),
        ([], {"MANY_FILES_TEST_COUNT": "0"}, "MANY_FILES_TEST_COUNT: it must be at least 1"),
        (["--first-id", str(2**62 + 2**61)], {}, "--first-id, --many: the first id is below"),
        (["--many", str(10**9)], {}, "files at the most"),
        ([], {"LARGE_FILE_SIZE": "large"}, "LARGE_FILE_SIZE: "),
        ([], {"MANY_FILES_TEST_COUNT": "1.5"}, "MANY_FILES_TEST_COUNT: "),
    ],
)
def test_what_means_nothing_is_named(arguments: list[str], variables: dict[str, str], words: str) -> None:
    """The option, or the variable."""
    with pytest.raises(Misunderstood, match=re.escape(words)):
        options_of(parse("http://archive", *arguments), variables)


@pytest.mark.parametrize(
    "arguments",
    [[], ["ftp://archive"], ["http://archive", "--only", "nothing"], ["http://archive", "--token-file", "/nonexistent"],
     ["https://archive", "--ca", "/nonexistent"], ["http://archive?a"]],
)  # fmt: skip
def test_a_wrong_command_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and exit code 2."""
    for name in ("ARCHIVE_URL", "PACARCHIVE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["check", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch("pacarchive: .+\n", captured.err)


# what came of it


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (summary(results=[result(Outcome.PASSED), result(Outcome.EXPECTED), result(Outcome.UNEXPECTED)]), 0),
        (summary(results=[result(Outcome.NOT_APPLICABLE)], kept=[1]), 0),
        (summary(results=[result(Outcome.PASSED), result(Outcome.FAILED)]), 1),
        (summary(results=[result(Outcome.PASSED)], left=[(1, "why")]), 1),
        (summary(results=[result(Outcome.FAILED)], interrupted=True), 130),
    ],
)
def test_exit_codes(made: Summary, code: int) -> None:
    """As the manual has them."""
    assert code_of(made) == code


def test_what_is_left_is_told_with_what_to_type() -> None:
    """The first of many, and how many more."""
    lines = list(left_over(summary(left=[(each, "gone wrong") for each in range(50)])))
    assert lines[0] == "50 test files could not be removed:"
    assert "  and 38 more" in lines
    assert sum("pacarchive admin delete" in line for line in lines) == 12
    typed = next(line for line in lines if "admin delete" in line).split()
    assert make_parser().parse_args(typed[1:4]).ids == ["0"]
    assert list(left_over(summary())) == []


def test_what_came_is_told_in_one_line() -> None:
    """However long it is."""
    error = Failed("this", "many\n lines " + "and more " * 200, "because")
    assert error.came.startswith("many lines and more")
    assert len(error.came) <= 300


def test_a_plain_line_has_all_that_matters() -> None:
    """What was expected, what came, why it matters, and why it is known."""
    lines: list[str] = []
    failed = {"expected": "this", "came": "that", "why": "it matters"}
    for each in (result(Outcome.FAILED, **failed), result(Outcome.EXPECTED, reason="as ever", **failed)):
        Plain(lines.append).end(each)
    assert lines == [
        "failed           a-check              expected this, got that: it matters",
        "expected failure a-check              expected this, got that: it matters (as ever)",
    ]


def test_a_terminal_gets_failures_as_they_happen() -> None:
    """And the others with the table at the end."""
    lines: list[str] = []
    tables = Tables(lines.append)
    for outcome in Outcome:
        tables.end(result(outcome, expected="this", came="that", why="it matters"))
    assert lines == ["a-check: expected this, got that: it matters"]


def test_a_line_of_json_has_all_that_matters(capsys: pytest.CaptureFixture[str]) -> None:
    """By name."""
    Lines().end(result(Outcome.FAILED, expected="this", came="that", why="it matters"))
    assert json.loads(capsys.readouterr().out) == {
        "event": "check", "name": "a-check", "purpose": "nothing holds", "outcome": "failed", "seconds": 1.25,
        "detail": "",        "expected": "this", "came": "that", "why": "it matters", "reason": "",
    }  # fmt: skip


def test_speeds() -> None:
    """In what people count."""
    assert str(Speed("put", 10 << 20, "bytes", 2.0)) == "5 MiB/s"
    assert str(Speed("put", 10, "files", 2.0)) == "5 files/s"
