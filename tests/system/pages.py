"""
Pages of the manual as scripts: the shell commands that they show are run, and what they show as answers is compared.

What is run are the fenced blocks of a page that begin with C{```sh} or C{```console}:

  - In a C{sh} block every line is a command, but for those that are empty or comments.
  - In a C{console} block every line that begins with C{$} is one, which goes on in the following lines as long as a
    quote is open.  The lines below it, up to the next command, are its answer: all that it prints, but for what goes to
    standard error.
  - C{...} in an answer stands for anything within its line; a line that is C{...} for any lines, also none.
  - C{JOB} stands for the id of a job: the one that was answered first, from then on.
  - All commands of a page are run in one shell, in the page's order; each must succeed.  A command whose answer is an
    HTTP error is one that shows it.

A block that is not to be run has a line C{<!-- not run: REASON -->} right before it.  C{tests/test_docs.py} sees to
it that some test runs every other.

Programs in Python (C{```python}) are run by tests of their own pages; L{programs} gives them.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs"
README = ROOT / "README.md"

SHELLS = ("sh", "console")
"""The languages of blocks with commands."""

RUN: dict[str, list[str] | None] = {
    "README.md": ["Use"],
    "access.md": None,
    "admin.md": None,
    "check.md": None,
    "command.md": None,
    "installation.md": None,
    "inventory.md": None,
    "migration.md": ["A rehearsal"],
    "quickstart.md": None,
    "s3.md": ["A trial"],
    "tls.md": ["A trial"],
    "usage.md": None,
}
"""The pages that tests run, with the headings above what they run; C{None} for the whole page."""

PROGRAMS = {"backends.md": "test_backend_example.py", "client.md": "system/test_docs_client.py"}
"""The pages with programs in Python, and the tests that run those."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>.*)$")
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>\S.*) -->$")
_PLACEHOLDER = re.compile(r"\bJOB\b")
_SPECIAL = re.compile(r"(\.\.\.|\bJOB\b)")
_STATUS = re.compile(r"^http status (\d{3})$", re.MULTILINE)

# curl tells the status of every answer on standard error, where it is no part of what the page shows.
_CURLRC = r"""write-out = "%{stderr}http status %{response_code}\n"
max-time = 60
"""


@attrs.frozen
class Block:
    """
    A fenced block.

    @ivar language: What stands behind the fence.
    @ivar line: The line of the page that it begins in, from 1.
    @ivar heading: The heading that it is below.
    @ivar reason: Why it is not run, where the page says so.
    """

    page: Path
    language: str
    line: int
    heading: str
    reason: str | None
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.page.name}:{self.line}"


@attrs.frozen
class Command:
    """
    A command that a page shows.

    @ivar where: Page and line.
    @ivar answer: What it prints; C{None} where the page does not tell.
    """

    where: str
    text: str
    answer: str | None


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found: list[Block] = []
    heading, before = "", ""
    opened: re.Match[str] | None = None
    collected: list[str] = []
    began, reason = 0, None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is not None:
            if fence is not None and not fence["language"]:
                lines = tuple(each.removeprefix(opened["indent"]) for each in collected)
                found.append(Block(page, opened["language"], began, heading, reason, lines))
                opened = None
            else:
                collected.append(line)
            continue
        if fence is not None:
            comment = _NOT_RUN.match(before)
            opened, collected, began, reason = fence, [], number, comment and comment["reason"]
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()
        if line:
            before = line
    assert opened is None, f"{page.name}: the fence of line {began} has no end"
    return found


def shell_blocks(page: Path, heading: str | None = None) -> list[Block]:
    """The blocks with commands that are to be run; with C{heading}, those below it."""
    return [
        block
        for block in blocks(page)
        if block.language in SHELLS and block.reason is None and heading in (None, block.heading)
    ]


def programs(page: Path) -> list[str]:
    """The programs in Python that a page shows, in order."""
    return ["\n".join(block.lines) + "\n" for block in blocks(page) if block.language == "python"]


def recipe(page: Path, heading: str, language: str, replacements: Mapping[str, str]) -> str:
    """
    What a page shows below a heading to be written into settings.

    @param language: C{ini}, or that of another program's settings.
    @param replacements: What of that stands for something else here; all of it must be there.
    """
    found = [block for block in blocks(page) if (block.heading, block.language) == (heading, language)]
    assert found, f"{page.name} has no {language} below {heading}"
    text = "".join(f"{line}\n" for block in found for line in block.lines)
    for shown, here in replacements.items():
        assert shown in text, f"{page.name} does not show {shown} below {heading}"
        text = text.replace(shown, here)
    return text


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block, in order."""
    lines = list(enumerate(block.lines, block.line + 1))
    while lines:
        number, text = lines.pop(0)
        where = f"{block.page.name}:{number}"
        if block.language == "console":
            assert text.startswith("$ "), f"{where}: a session begins with a command"
            text = text.removeprefix("$ ")
        elif not text.strip() or text.startswith("#"):
            continue
        while _goes_on(text):
            assert lines, f"{where}: the command has no end"
            text = f"{text}\n{lines.pop(0)[1]}"
        if block.language == "sh":
            yield Command(where, text, None)
            continue
        answer = []
        while lines and not lines[0][1].startswith("$ "):
            answer.append(lines.pop(0)[1])
        yield Command(where, text, "\n".join(answer))


def _goes_on(text: str) -> bool:
    """Whether a quote is open at the end, or the line break is escaped."""
    quote, position = "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (position == 0 or text[position - 1].isspace()):
            return False
        position += 1
    return bool(quote) or position > len(text)


def for_pip() -> dict[str, str]:
    """The variables by which pip finds its settings and its cache although the home is another."""
    home = Path.home()
    return {
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(home / ".config")),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(home / ".cache")),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


class Shell:
    """
    One shell for the commands of a page, as a context manager; what is left of its processes is killed at the end.

    @param directory: Its home, and where it starts unless C{start} is given.
    @param replacements: What of the page's commands and answers stands for something else here.
    @param environment: Variables beside this process's own.
    """

    def __init__(
        self,
        directory: Path,
        replacements: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
        start: Path | None = None,
    ) -> None:
        self._replacements = dict(replacements)
        self._job: str | None = None
        (directory / ".curlrc").write_text(_CURLRC)
        self._said = directory / ".said"
        self._complained = directory / ".complained"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        for name in ("ARCHIVEINTERFACE_CONFIG", "XDG_CONFIG_HOME"):
            kept.pop(name, None)
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", _LOOP],
            cwd=start or directory,
            env={
                **kept,
                "HOME": str(directory),
                "CURL_HOME": str(directory),
                "LC_ALL": "C.UTF-8",
                **(environment or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        finally:
            self._process.communicate()

    def show(self, page: Path, heading: str | None = None, limit: float = 60.0) -> int:
        """Run a page, or a chapter of it.  @return: How many commands that were."""
        count = 0
        for block in shell_blocks(page, heading):
            for command in commands(block):
                self.check(command, limit)
                count += 1
        return count

    def check(self, command: Command, limit: float = 60.0) -> None:
        """Run a command; see that it succeeds, and that its answer is the one that the page shows."""
        text = self._here(command.text)
        status, said, complained = self.run(text, limit)
        told = f"{command.where}\n$ {text}\n{said}\n[{status}] {complained}"
        assert status == 0, told
        for answered in _STATUS.findall(complained):
            assert answered < "400" or answered in (command.answer or ""), f"it shows no {answered}: {told}"
        if command.answer is not None:
            expected = self._here(command.answer)
            found = re.fullmatch(_pattern(expected), f"{said}\n")
            assert found is not None, f"the page shows another answer:\n{expected}\n\n{told}"
            self._job = self._job or found.groupdict().get("JOB")

    def _here(self, text: str) -> str:
        for shown, here in self._replacements.items():
            text = text.replace(shown, here)
        return text if self._job is None else _PLACEHOLDER.sub(self._job, text)

    def run(self, text: str, limit: float) -> tuple[int, str, str]:
        """Run commands.  @return: The exit status, and what was written to standard output and error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode() + b"\0")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        assert ready, f"not within {limit:g} s: {text}"
        line = self._process.stdout.readline()
        assert line, f"the shell has ended: {text}"
        said = self._said.read_text(errors="replace").replace("\r\n", "\n").rstrip("\n")
        return int(line), said, self._complained.read_text(errors="replace")


# Commands come one by one, each ended by a zero byte; after each a line with its exit status goes out.
_LOOP = r"""
while IFS= read -r -d '' command; do
    eval "$command" </dev/null >"$HOME/.said" 2>"$HOME/.complained"
    echo $?
done
"""


def _pattern(answer: str) -> str:
    """The regular expression of an answer, whose lines all end in a line break."""
    pieces, named = [], False
    for line in answer.rstrip("\n").split("\n"):
        if line == "...":
            pieces.append(r"(?:.*\n)*?")
            continue
        for part in _SPECIAL.split(line):
            if part == "...":
                pieces.append(".*?")
            elif part == "JOB":
                pieces.append("(?P=JOB)" if named else "(?P<JOB>[0-9a-f]{8,})")
                named = True
            else:
                pieces.append(re.escape(part))
        pieces.append(r"\n")
    return "".join(pieces)
