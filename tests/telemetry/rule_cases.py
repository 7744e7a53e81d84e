"""
What the alerts of C{deploy/prometheus/rules.yml} are tried with: for each, series in promtool's notation with which it
fires, and such with which it does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

SERVER = "192.0.2.1:9105"
DAY = 86400


@attrs.frozen
class Case:
    """
    Series, and what comes of them.

    @ivar alert: Which alert is looked at.
    @ivar series: Values by metric, whose labels may stand behind it in braces; C{job} and C{instance} are added.
    @ivar at: When it is looked at.
    @ivar says: The summary of the alert; C{None} where it does not fire.
    @ivar every: How far the values are apart.
    @ivar labels: Labels of the alert beside those of the server.
    """

    alert: str
    series: Mapping[str, str]
    at: str
    says: str | None = None
    every: str = "1m"
    labels: Mapping[str, str] = attrs.field(factory=dict)


def _requests(**codes: str) -> dict[str, str]:
    return {f'pacarchive_http_requests_total{{method="GET", code="{code[1:]}"}}': each for code, each in codes.items()}


def _reads(within_1s: str, within_60s: str, in_all: str) -> dict[str, str]:
    name, method = "pacarchive_http_time_to_first_byte_seconds_bucket", 'method="GET"'
    limits = {"1.0": within_1s, "60.0": within_60s, "+Inf": in_all}
    return {f'{name}{{{method}, le="{limit}"}}': values for limit, values in limits.items()}


def _histogram(name: str, buckets: Mapping[str, str]) -> dict[str, str]:
    return {f'{name}_bucket{{le="{limit}"}}': values for limit, values in buckets.items()}


_SYNC, _LAG = "pacarchive_sync_duration_seconds", "pacarchive_reactor_lag_seconds"
_POSIX = {"backend": "posix"}
_EXPIRY = 'pacarchive_tls_certificate_expiry_timestamp_seconds{name="archive.example.org"}'
_CERTIFICATE = {"name": "archive.example.org"}
_AGE = 'pacarchive_jwks_age_seconds{issuer="wlcg"}'
_ISSUER = {"issuer": "wlcg"}
_WAITING = 'pacarchive_recall_files{state="queued"}'
_CAME = "pacarchive_recall_duration_seconds_count"
_FAILED = 'pacarchive_recall_failures_total{reason="storage"}'
_OLDEST = "pacarchive_scrub_oldest_verified_timestamp_seconds"
_PERIOD = "pacarchive_scrub_period_seconds"
_VERIFIED = 'pacarchive_scrub_files_total{result="good"}'
_FREE, _INODES = (f'pacarchive_storage_free_{what}{{backend="posix"}}' for what in ("bytes", "inodes"))

CASES = (
    # Time is counted from 1970, so that what happened long ago has a negative one.
    Case("PacarchiveDown", {"up": "1 1 0x10"}, "5m", f"pacarchive on {SERVER} does not answer Prometheus"),
    Case("PacarchiveDown", {"up": "1 1 0 1x10"}, "5m"),
    Case(
        "PacarchiveServerErrors",
        _requests(_200="0+540x40", _500="0+60x40"),
        "30m",
        f"10% of the requests to {SERVER} fail",
    ),
    # Files that are on tape are no errors.
    Case(
        "PacarchiveServerErrors",
        {**_requests(_200="0+60x40", _503="0+540x40"), 'pacarchive_refused_total{kind="Offline"}': "0+540x40"},
        "30m",
    ),
    Case("PacarchiveServerErrors", _requests(_200="0+540x40", _404="0+600x40", _500="0+6x40"), "30m"),
    Case("PacarchiveServerErrors", _requests(_200="0+1x40", _500="0+1x40"), "30m"),  # next to no traffic
    Case("PacarchiveServerErrors", _requests(_200="0+540x40", _500="0+60x40"), "8m"),  # not for long enough
    Case(
        "PacarchiveBackendDown",
        {'pacarchive_backend_up{backend="posix"}': "1 0x20"},
        "10m",
        f"the storage of {SERVER} (posix) is not ready",
        labels=_POSIX,
    ),
    Case("PacarchiveBackendDown", {'pacarchive_backend_up{backend="posix"}': "1 0 0 0 1x20"}, "10m"),
    Case(
        "PacarchiveWorkersRestart",
        {
            'pacarchive_worker_restarts_total{reason="signal"}': "0x30 2x90",
            'pacarchive_worker_restarts_total{reason="exit"}': "0x30 2x90",
        },
        "60m",
        f"4 workers of {SERVER} ended within an hour",
    ),
    Case("PacarchiveWorkersRestart", {'pacarchive_worker_restarts_total{reason="signal"}': "0x30 2x90"}, "60m"),
    Case(
        "PacarchiveStorageFull",
        {_FREE: "1000000-3000x200"},
        "10h",
        f"the storage of {SERVER} (posix) has room for less than a day",
        every="5m",
        labels=_POSIX,
    ),
    Case(
        "PacarchiveStorageFull",
        {_FREE: "0x200"},
        "10h",
        f"the storage of {SERVER} (posix) has room for less than a day",
        every="5m",
        labels=_POSIX,
    ),
    Case(
        "PacarchiveStorageFull",
        {_FREE: "1000000x200", _INODES: "5000-20x200"},
        "10h",
        f"the storage of {SERVER} (posix) has room for less than a day",
        every="5m",
        labels=_POSIX,
    ),
    Case("PacarchiveStorageFull", {_FREE: "9000000-3000x200", _INODES: "0x200"}, "10h", every="5m"),
    Case(
        "PacarchiveSlowReads",
        _reads("0+90x60", "0+100x60", "0+100x60"),
        "40m",
        f"10% of the reads of {SERVER} begin after more than a second",
    ),
    # Those that take more than a minute wait for a tape.
    Case("PacarchiveSlowReads", _reads("0+100x60", "0+100x60", "0+300x60"), "40m"),
    Case("PacarchiveSlowReads", _reads("0x60", "0x60", "0x60"), "40m"),
    Case(
        "PacarchiveSlowSync",
        _histogram(_SYNC, {"1.0": "0+98x60", "2.5": "0+98x60", "5.0": "0+100x60", "+Inf": "0+100x60"}),
        "40m",
        f"syncing files takes 3.75s on {SERVER}",
    ),
    Case(
        "PacarchiveSlowSync",
        _histogram(_SYNC, {"1.0": "0+1000x60", "5.0": "0+1001x60", "+Inf": "0+1001x60"}),
        "40m",
    ),
    Case(
        "PacarchiveReactorLag",
        _histogram(_LAG, {"0.25": "0+50x60", "0.5": "0+60x60", "+Inf": "0+60x60"}),
        "40m",
        f"{SERVER} is late by 485ms",
    ),
    Case(
        "PacarchiveReactorLag",
        _histogram(_LAG, {"0.001": "0+60x60", "0.5": "0+60x60", "+Inf": "0+60x60"}),
        "40m",
    ),
    Case(
        "PacarchiveRecallsStuck",
        {"pacarchive_recall_oldest_queued_seconds": f"{DAY - 600}+60x60"},
        "40m",
        f"files of {SERVER} wait for tape, and none comes",
    ),
    Case(
        "PacarchiveRecallsStuck",
        {_WAITING: "5x100", _CAME: "9x100"},
        "7h",
        f"files of {SERVER} wait for tape, and none comes",
        every="5m",
    ),
    Case(
        "PacarchiveRecallsStuck",
        {_WAITING: "5x100", _CAME: "9+1x100", "pacarchive_recall_oldest_queued_seconds": "0+300x100"},
        "7h",
        every="5m",
    ),
    # Either was there for no more than an hour.
    Case("PacarchiveRecallsStuck", {_WAITING: "0x72 5x100", _CAME: "9x200"}, "7h", every="5m"),
    Case("PacarchiveRecallsStuck", {_WAITING: "5x12", _CAME: "9x12"}, "1h", every="5m"),
    Case(
        "PacarchiveRecallsFail",
        {_CAME: "0+60x100", _FAILED: "0+20x100"},
        "70m",
        f"25% of the recalls of {SERVER} fail",
    ),
    Case("PacarchiveRecallsFail", {_CAME: "0+60x100", _FAILED: "0+5x100"}, "70m"),
    Case("PacarchiveRecallsFail", {_CAME: "9x100", _FAILED: "3x100"}, "70m"),
    Case("PacarchiveRecallsFail", {_CAME: "0+60x100", _FAILED.replace("storage", "absent"): "0+20x100"}, "70m"),
    Case(
        "PacarchiveCertificateExpires",
        {_EXPIRY: f"{13 * DAY + 3600}x100"},
        "1h",
        f"the certificate archive.example.org of {SERVER} expires in 13d 0h 0m 0s",
        labels=_CERTIFICATE,
    ),
    Case("PacarchiveCertificateExpires", {_EXPIRY: f"{15 * DAY}x100"}, "1h"),
    Case(
        "PacarchiveCertificateExpiresSoon",
        {_EXPIRY: f"{DAY + 3600}x100"},
        "1h",
        f"the certificate archive.example.org of {SERVER} expires in 1d 0h 0m 0s",
        labels=_CERTIFICATE,
    ),
    Case("PacarchiveCertificateExpiresSoon", {_EXPIRY: f"{3 * DAY}x100"}, "1h"),
    Case(
        "PacarchiveIssuerKeysOld",
        {_AGE: f"{25 * 3600}x100"},
        "1h",
        "the keys of issuer wlcg could not be had for 1d 1h 0m 0s",
        labels=_ISSUER,
    ),
    Case("PacarchiveIssuerKeysOld", {_AGE: f"{20 * 3600}x100"}, "1h"),
    Case(
        "PacarchiveIssuerKeysDying",
        {_AGE: f"{40 * 3600}x100"},
        "1h",
        "the keys of issuer wlcg are used no more after 48 h, and are 1d 16h 0m 0s old",
        labels=_ISSUER,
    ),
    Case("PacarchiveIssuerKeysDying", {_AGE: f"{30 * 3600}x100"}, "1h"),
    Case(
        "PacarchiveRefusedCallers",
        _requests(_401="0+1x600 600+60x100", _200="0+600x700"),
        "11h",
        f"{SERVER} refuses 1 requests a second for want of rights, ten times its usual",
    ),
    Case("PacarchiveRefusedCallers", _requests(_401="0+60x700", _403="0+60x700"), "11h"),  # it is the usual
    Case("PacarchiveRefusedCallers", _requests(_401="0x600 0+1x100"), "11h"),  # ten times of nothing
    Case(
        "PacarchiveCorruptFiles",
        {"pacarchive_scrub_corrupt_files": "0x10 2x10"},
        "15m",
        f"2 files of {SERVER} are not what was stored",
    ),
    Case("PacarchiveCorruptFiles", {"pacarchive_scrub_corrupt_files": "0x20"}, "15m"),
    Case(
        "PacarchiveScrubBehind",
        {_OLDEST: f"{-110 * DAY}x40", _PERIOD: f"{90 * DAY}x40"},
        "3h",
        f"files of {SERVER} are not verified in time",
        every="5m",
    ),
    Case(
        "PacarchiveScrubBehind",
        {_VERIFIED: "7x900", _OLDEST: "0x900"},
        "74h",
        f"files of {SERVER} are not verified in time",
        every="5m",
    ),
    Case(
        "PacarchiveScrubBehind",
        {_VERIFIED: "7x600 8x300", _OLDEST: f"{-80 * DAY}x900", _PERIOD: f"{90 * DAY}x900"},
        "74h",
        every="5m",
    ),
    # The period is the server's own.
    Case("PacarchiveScrubBehind", {_OLDEST: f"{-110 * DAY}x40", _PERIOD: f"{180 * DAY}x40"}, "3h", every="5m"),
    Case(
        "PacarchiveLogLinesDropped",
        {"pacarchive_log_lines_dropped_total": "0x30 59x60"},
        "60m",
        f"{SERVER} dropped 59 lines of its logs",
    ),
    Case("PacarchiveLogLinesDropped", {"pacarchive_log_lines_dropped_total": "59x100"}, "80m"),
    Case(
        "PacarchiveCheckpointOld",
        {"pacarchive_receipt_last_checkpoint_timestamp_seconds": f"{3600 - 3 * DAY}x100"},
        "1h",
        f"the last checkpoint of the receipts of {SERVER} is 3d 0h 0m 0s old",
    ),
    Case("PacarchiveCheckpointOld", {"pacarchive_receipt_last_checkpoint_timestamp_seconds": f"{-DAY}x100"}, "1h"),
)
