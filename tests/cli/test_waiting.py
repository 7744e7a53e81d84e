"""For how long C{pacarchive get} waits for tape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from pacarchive.cli import exits
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.getting import _GRACE, _Get
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.totals import Totals
from pacarchive.client.testing import FakeArchive

if TYPE_CHECKING:
    import pytest


def waiting(archive: FakeArchive, waits: float) -> tuple[Session, Deferred[None]]:
    """A command that has begun to wait for two files on tape."""
    for file_id in (1, 2):
        archive.add(file_id, b"x", on_tape=True)
    session = Session(archive.clock, archive.client(), 4, quiet=True, json=False)
    display = Display("get", 2, clock=archive.clock)
    get = _Get(
        session=session,
        display=display,
        totals=Totals(session, display, "got"),
        output="/nowhere",
        into_directory=True,
        paths={},
        force=True,
        verify=True,
        keep_times=True,
        waits=waits,
    )
    return session, Deferred.fromCoroutine(get.all([1, 2]))


def test_a_limit_is_kept_although_the_archive_does_not_keep_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It is given time to say why the files did not come; it may never do."""
    archive = FakeArchive()
    session, running = waiting(archive, 100.0)
    for _ in range(int(100 + _GRACE)):
        assert not running.called
        archive.clock.advance(1)
    archive.clock.advance(1)
    assert running.called
    assert session.code == exits.FAILED
    assert capsys.readouterr().err.count("in the time that --wait-limit gives") == 2


def test_without_one_it_waits_as_long_as_it_takes() -> None:
    """Tapes may take hours."""
    archive = FakeArchive()
    _, running = waiting(archive, math.inf)
    for _ in range(1_000):
        archive.clock.advance(30)
    assert not running.called
    running.addErrback(lambda failure: None)
    running.cancel()
