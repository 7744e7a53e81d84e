"""Reports what has been done to the files of one command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.cli.printing import size_words, time_words
from pacarchive.texts import printable

if TYPE_CHECKING:
    from pacarchive.cli.progress import Display
    from pacarchive.cli.remote.session import Session


@attrs.define
class Totals:
    """
    Files that are moved one way or the other, reported one by one and together.

    @ivar verb: What has become of one that was moved.
    """

    session: Session
    display: Display
    verb: str
    _begun: float = attrs.field(init=False)
    _moved: int = 0
    _there: int = 0
    _size: int = 0

    def __attrs_post_init__(self) -> None:
        self._begun = self.session.reactor.seconds()

    def end(
        self, file_id: int, path: str, size: int, checked: str, how: str, record: dict[str, Any], *, there: bool
    ) -> None:
        """
        Report a file that is where it should be.

        @param checked: What is known of its bytes.
        @param there: Whether it was, before.
        """
        self.display.end(file_id, size)
        self._there += there
        self._moved += not there
        self._size += 0 if there else size
        line = f"{file_id}  {printable(path)}  {size_words(size)}  {checked}  {how}"
        self.session.result({**record, "size": size, "already_there": there}, line if self._lists else None)

    @property
    def _lists(self) -> bool:
        """Whether each file is a line: not where they would scroll past a bar that says the same."""
        return not self.session.quiet and (self.display.total == 1 or not sys.stdout.isatty())

    def sum_up(self) -> None:
        """Report all together, where there are several."""
        if self.display.total == 1:
            return
        session, display = self.session, self.display
        total = display.total or 0
        left = total - display.files
        took = session.reactor.seconds() - self._begun
        record = {
            self.verb: self._moved,
            "already_there": self._there,
            "failed": display.failed,
            "not_done": left,
            "bytes": self._size,
            "seconds": round(took, 3),
        }
        counted = f"{self._moved:,} of {total:,} files {self.verb}"
        parts = [f"{counted}, {size_words(self._size)} in {time_words(took)}"]
        if took > 0 and self._size:
            parts.append(f"{size_words(self._size / took)}/s")
        if self._there:
            parts.append(f"{self._there:,} were there already")
        if display.failed:
            parts.append(f"{display.failed:,} failed")
        if left:
            parts.append(f"{left:,} not done; type the same again to go on")
        session.result({"summary": record}, None if session.quiet else ", ".join(parts))
