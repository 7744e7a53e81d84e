"""
The post-deployment test: C{pacarchive check}, one test for each check, in order.

It takes the variables of the predecessor's test::

    ARCHIVE_URL=http://127.0.0.1:8080 pytest -v tests/deployment

C{LARGE_FILE_SIZE} and C{MANY_FILES_TEST_COUNT} are there as well, and C{ARCHIVE_CHECK_OPTIONS} has further options of
C{pacarchive check}.  Without C{ARCHIVE_URL}, a service is started, and checked with a smaller file and fewer files.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from system.harness import HOST, Service

from pacarchive.cli.check.catalogue import CHECKS
from pacarchive.cli.check.checks import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long it takes is the archive's business.
pytestmark = pytest.mark.timeout(0)

_MAIN = "import sys; from pacarchive.cli import main; sys.exit(main())"


class Checking:
    """The command while it runs."""

    def __init__(self, environment: dict[str, str], options: list[str]) -> None:
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the rest)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "check", "--json", *options],
            stdout=subprocess.PIPE, stderr=self._complaints, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def until(self, event: str, name: str | None = None) -> dict[str, Any]:
        """
        Wait until it tells of something.

        @param name: Of what.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            document: dict[str, Any] = json.loads(line)
            if document["event"] == event and name in (None, document.get("name")):
                return document
        self._process.wait()
        self._complaints.seek(0)
        return pytest.fail(self._complaints.read().strip() or "the command has ended without a word", pytrace=False)

    def close(self) -> None:
        """Have it clean up, if it has not ended."""
        with self._process:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            assert self._process.stdout is not None
            self._process.stdout.read()
        self._complaints.close()


@contextmanager
def _own(directory: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A service to check."""
    service = Service(directory)
    source = service.prefix / "incoming"
    source.write_bytes(b"to be moved")
    url = f"http://{HOST}:{service.port}/"
    variables = {"ARCHIVE_URL": url, "LARGE_FILE_SIZE": str(32 << 20), "MANY_FILES_TEST_COUNT": "100"}
    try:
        yield variables, ["--move-from", str(source)]
        service.stop()
        service.assert_clean()
    finally:
        service.kill()


@pytest.fixture(scope="module")
def checking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checking]:
    """The command, with the checks that are to be tests, in its own order."""
    wanted = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    }
    only: list[str] = []
    for name in sorted(wanted):
        only += ["--only", name]
    given = shlex.split(os.environ.get("ARCHIVE_CHECK_OPTIONS", ""))

    def run(environment: dict[str, str], options: list[str]) -> Iterator[Checking]:
        found = Checking(environment, [*only, *options, *given])
        try:
            yield found
        finally:
            found.close()

    if os.environ.get("ARCHIVE_URL"):
        yield from run({}, [])
    else:
        with _own(tmp_path_factory.mktemp("service")) as (environment, options):
            yield from run(environment, options)


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_check(checking: Checking, name: str) -> None:
    """What C{pacarchive check --list} says of it."""
    found = checking.until("check", name)
    outcome = Outcome(found["outcome"])
    words = f"{found['purpose']}: expected {found['expected']}, got {found['came']}. It matters: {found['why']}."
    if outcome is Outcome.FAILED:
        pytest.fail(words, pytrace=False)
    if outcome is Outcome.EXPECTED:
        pytest.xfail(found["reason"])
    if outcome is Outcome.NOT_APPLICABLE:
        pytest.skip(found["detail"])


def test_nothing_is_left(checking: Checking) -> None:
    """All test files have been removed again."""
    assert checking.until("end")["left"] == []
