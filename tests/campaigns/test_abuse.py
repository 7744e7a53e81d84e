"""A short run of each case; how long others wait is for the campaign to tell, on a machine of its own."""

from __future__ import annotations

import pytest

from campaigns.abuse import CASES, main


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("case", "more"),
    [
        *((case, []) for case in CASES),
        *((case, ["--tls"]) for case in ("tiny chunks", "pipelines", "dribbling", "unfinished", "not taken")),
        *((case, ["--access"]) for case in ("guesses", "pipelines", "plans", "dribbling", "trailers")),
    ],
)
def test_nobody_has_all(case: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is too much is refused, nothing is left, and others are answered."""
    assert main(["--length", "0.05", "--stall", "30", "--case", case, *more]) == 0, capsys.readouterr().out
    assert "0 breaches" in capsys.readouterr().out
