"""What C{pacarchive top} makes of metrics: rates, percentiles, and why an archive is not well."""

from __future__ import annotations

import pytest

from pacarchive.cli.remote.figures import Change, Figures, window
from pacarchive.cli.remote.overview import Line, Mood, Overview
from pacarchive.model import Health

NOW = 1_800_000_000.0
WELL = Health(ready=True, words="All is well.")


def figures(time: float, *lines: str, begun: float = 1.0) -> Figures:
    """Metrics of a server."""
    whole = [f"pacarchive_start_time_seconds {begun}", *(f"pacarchive_{each}" for each in lines), ""]
    return Figures.read(time, "\n".join(whole))


def overview(*history: Figures, health: Health = WELL) -> Overview:
    """What is said of it."""
    return Overview("http://192.0.2.1/", list(history), health, NOW)


def line(found: Overview, label: str) -> str:
    """The text of the line with a label."""
    (text,) = (each.text for each in found.lines() if each.label == label)
    return text


def test_sums() -> None:
    """Over all labels, over some, and by one of them; what is not there is no zero."""
    found = figures(
        0,
        'http_requests_total{method="GET",code="200"} 7',
        'http_requests_total{method="GET",code="404"} 2',
        'http_requests_total{method="PUT",code="201"} 1',
    )
    assert found.sum("pacarchive_http_requests_total") == 10
    assert found.sum("pacarchive_http_requests_total", method="GET") == 9
    assert found.by("pacarchive_http_requests_total", "code", method="GET") == {"200": 7, "404": 2}
    assert found.sum("pacarchive_http_requests_total", method="HEAD") is None
    assert found.sum("pacarchive_transfers") is None


@pytest.mark.parametrize("text", ["<html>", "a{ 1\n", "a b c d\n"])
def test_what_is_no_metrics(text: str) -> None:
    """Another server may answer there."""
    with pytest.raises(ValueError, match=r"."):
        Figures.read(0, text)


def test_rates_over_a_window() -> None:
    """As far back as wanted, but as far as the last look at the least, and not to before the server's start."""
    history = [figures(time, f"refused_total {time * 3}") for time in (0.0, 2.0, 4.0, 6.0)]
    assert window(history, 4).seconds == 4
    assert window(history, 100).rate("pacarchive_refused_total") == 3
    assert window(history, 1).seconds == 2
    assert window(history[:1], 100).rate("pacarchive_refused_total") == 0
    anew = [*history, figures(8, "refused_total 5", begun=7), figures(10, "refused_total 9", begun=7)]
    assert window(anew, 100).seconds == 2
    assert window(anew, 100).rate("pacarchive_refused_total") == 2


def test_percentiles() -> None:
    """As Prometheus has them; what is beyond the last bound counts as that; of nothing there are none."""
    bounds = ("0.1", "0.2", "0.4", "+Inf")

    def seen(*counts: int) -> Figures:
        return figures(0, *(f'x_bucket{{le="{b}"}} {n}' for b, n in zip(bounds, counts, strict=True)))

    def quantile(part: float, *counts: int) -> float | None:
        return Change(seen(5, 5, 5, 5), seen(*(5 + each for each in counts))).quantile(part, "pacarchive_x")

    assert quantile(0.5, 0, 10, 20, 20) == pytest.approx(0.2)
    assert quantile(0.75, 0, 10, 20, 20) == pytest.approx(0.3)
    assert quantile(0.25, 0, 10, 20, 20) == pytest.approx(0.15)
    assert quantile(0.99, 0, 0, 0, 20) == 0.4
    assert quantile(0.5, 0, 0, 0, 0) is None


def test_all_is_well() -> None:
    """Which is said first, after whose state it is."""
    first, second, *_ = overview(figures(0, 'build_info{version="1.2"} 1', "workers 2", "workers_reporting 2")).lines()
    assert str(first).startswith("pacarchive 1.2 at http://192.0.2.1/, up ")
    assert str(first).endswith(", 2 of 2 workers")
    assert second == Line("", "The archive is well.", Mood.GOOD)


@pytest.mark.parametrize(
    ("lines", "said", "mood"),
    [
        (["workers 2", "workers_reporting 1"], "only 1 of 2 workers say how they are", Mood.WARNING),
        (['backend_up{backend="hpss"} 0'], "the storage (hpss) is not ready", Mood.BAD),
        (["recall_store_up 0"], "the list of recalls cannot be reached", Mood.BAD),
        (["scrub_corrupt_files 1"], "1 file is not what was stored", Mood.BAD),
        (["transfers 9", "transfers_limit 9"], "there are as many transfers as there may be (9)", Mood.WARNING),
        (
            ['pool_busy{pool="io"} 4', 'pool_size{pool="io"} 4', 'pool_queued{pool="io"} 2'],
            "all threads of io are at work, and 2 calls more to do",
            Mood.WARNING,
        ),
        (["recall_oldest_queued_seconds 200000"], "a file has been queued for a recall for 2 days", Mood.WARNING),
        (
            [f'tls_certificate_expiry_timestamp_seconds{{name="a.example"}} {NOW + 86400 * 3}'],
            "the certificate a.example expires in 3 days",
            Mood.WARNING,
        ),
    ],
)
def test_why_it_is_not(lines: list[str], said: str, mood: Mood) -> None:
    """Whatever somebody has to do something about."""
    found = overview(figures(0, *lines))
    assert found.troubles() == [(mood, said)]
    assert found.state == (Mood.WARNING, "needs attention")
    assert Line("", f"  {said}", mood) in list(found.lines())
    assert found.record()["well"] is False


def test_what_happened_lately() -> None:
    """What has failed at some time is no trouble for ever."""
    before = figures(
        0, "incidents_total 1", 'failures_total{kind="NoSpace"} 3', 'worker_restarts_total{reason="exit"} 0'
    )
    after = figures(
        9, "incidents_total 2", 'failures_total{kind="NoSpace"} 5', 'worker_restarts_total{reason="exit"} 1'
    )
    assert [text for _, text in overview(before, after).troubles()] == [
        "1 incident lately: the log has more",
        "1 worker ended lately, unasked",
        "failed lately: NoSpace 2",
    ]
    assert overview(after).troubles() == []


def test_its_own_words() -> None:
    """The archive knows best why it is not ready; nothing that it says moves the cursor."""
    found = overview(figures(0), health=Health(ready=False, words="no room\x1b[2J"))
    assert found.state == (Mood.BAD, "NOT WELL")
    ((mood, said),) = found.troubles()
    assert mood is Mood.BAD
    assert said.startswith("no room")
    assert "\x1b" not in said
    half = overview(figures(0), health=Health(ready=True, words="blind", degraded=True))
    assert half.troubles() == [(Mood.WARNING, "blind")]


def test_the_lines() -> None:
    """What moves, what is refused, what waits."""
    before = figures(0, 'http_requests_total{method="GET",code="200"} 0', 'transfer_bytes_total{direction="out"} 0')
    after = figures(
        10,
        'http_requests_total{method="GET",code="200"} 90',
        'http_requests_total{method="GET",code="500"} 10',
        "http_requests_in_flight 3",
        'transfer_bytes_total{direction="out"} 10485760',
        "transfers 2",
        "transfers_limit 64",
        "connections 5",
        'refused_total{kind="NotFound"} 20',
        'refused_total{kind="Offline"} 0',
        'pool_busy{pool="io"} 1',
        'pool_size{pool="io"} 16',
        'pool_queued{pool="io"} 0',
        'recall_files{state="queued"} 1200',
        'recall_files{state="started"} 32',
        "recall_oldest_queued_seconds 7900",
        'storage_free_bytes{backend="posix"} 1048576',
        'storage_size_bytes{backend="posix"} 2097152',
    )
    found = overview(before, after)
    assert line(found, "requests") == "10.0/s (GET 10.0), 1.0/s of them 5xx, 3 under way"
    assert line(found, "bytes") == "in 0 B/s, out 1.0 MiB/s, 2 of 64 transfers, 5 connections"
    assert line(found, "refused") == "2.0/s (NotFound 2.0); since the start NotFound 20"
    assert line(found, "failed") == "0.0/s; since the start none"
    assert line(found, "threads") == "io 1 of 16"
    assert line(found, "recalls") == "queued 1,200, started 32; the oldest queued for 2 hours"
    assert line(found, "storage") == "posix 1.0 MiB of 2.0 MiB free"
    assert found.summary() == (
        "well; 10.0/s requests; in 0 B/s; out 1.0 MiB/s; 2 transfers; refused 2.0/s; failed 0.0/s; "
        "recalls: queued 1,200, started 32"
    )
    record = found.record()
    assert record["requests_per_second"] == 10
    assert record["bytes_per_second"] == {"in": 0, "out": 1 << 20}
    assert record["recalls"] == {"queued": 1200, "started": 32}
