"""What has come of the files of one command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.cli.printing import size_words, time_words
from pacarchive.texts import printable

if TYPE_CHECKING:
    from pacarchive.cli.remote.display import Tally
    from pacarchive.cli.remote.session import Session


@attrs.define
class Totals:
    """
    Files that are moved one way or the other, told of one by one and together.

    @ivar verb: What has become of one that was moved.
    @ivar wanted: How many there are.
    """

    session: Session
    tally: Tally
    verb: str
    wanted: int
    _begun: float
    _moved: int = 0
    _there: int = 0
    _size: int = 0

    @classmethod
    def begin(cls, session: Session, tally: Tally, verb: str, wanted: int) -> Totals:
        """It begins now."""
        return cls(session, tally, verb, wanted, session.reactor.seconds())

    def end(
        self, file_id: int, path: str, size: int, checked: str, how: str, record: dict[str, Any], *, there: bool
    ) -> None:
        """
        Tell of a file that is where it should be.

        @param checked: What is known of its bytes.
        @param there: Whether it was, before.
        """
        self.tally.end(file_id, size)
        self._there += there
        self._moved += not there
        self._size += 0 if there else size
        line = f"{file_id}  {printable(path)}  {size_words(size)}  {checked}  {how}"
        self.session.result({**record, "size": size, "already_there": there}, line if self._lists else None)

    @property
    def _lists(self) -> bool:
        """Whether each file is a line: not where they would scroll past a bar that says the same."""
        return not self.session.quiet and (self.wanted == 1 or not sys.stdout.isatty())

    def sum_up(self) -> None:
        """Tell of all together, where there are several."""
        if self.wanted == 1:
            return
        session, tally, left = self.session, self.tally, self.wanted - self.tally.files
        took = session.reactor.seconds() - self._begun
        record = {
            self.verb: self._moved,
            "already_there": self._there,
            "failed": tally.failed,
            "not_done": left,
            "bytes": self._size,
            "seconds": round(took, 3),
        }
        counted = f"{self._moved:,} of {self.wanted:,} files {self.verb}"
        parts = [f"{counted}, {size_words(self._size)} in {time_words(took)}"]
        if took > 0 and self._size:
            parts.append(f"{size_words(self._size / took)}/s")
        if self._there:
            parts.append(f"{self._there:,} were there already")
        if tally.failed:
            parts.append(f"{tally.failed:,} failed")
        if left:
            parts.append(f"{left:,} not done; type the same again to go on")
        session.result({"summary": record}, None if session.quiet else ", ".join(parts))
