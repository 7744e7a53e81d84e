"""What every test of the settings has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, the default prefix among them, start in a directory of the test."""
    monkeypatch.setattr("pacarchive.settings.reading.MACHINE_FILE", "/nonexistent/pacarchive.ini")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "site.ini"
        path.write_text(text)
        return str(path)

    return write
