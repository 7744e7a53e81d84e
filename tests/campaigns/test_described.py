"""A short run of the campaign."""

from __future__ import annotations

import pytest

from campaigns.described import BACKENDS, main


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_described(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    """Whatever is asked."""
    assert main(["--cases", "100", "--backends", backend]) == 0, capsys.readouterr().out
    assert "0 of 1 servers answer otherwise than described" in capsys.readouterr().out
