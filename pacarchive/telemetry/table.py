"""Every metric that there is: its name, what it says, its labels, and how the values of several workers become one.

Nothing is counted or sampled under a name that is not here.  Labels have few values, which all come from this program:
no id, path, address, user or token is one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import attrs

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels."""

Series: TypeAlias = tuple[str, ...]
"""The name of a metric, followed by L{Labels}."""

PREFIX = "pacarchive_"
"""What the names begin with, where they leave the program."""

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Buckets for requests, and for all that they wait for, in seconds."""

SLOW = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0, 259200.0, 604800.0)
"""Buckets for recalls, in seconds."""

SIZES = tuple(float(4**power) for power in range(5, 21))
"""Buckets for bodies, in bytes: 1 KiB to 1 TiB."""

METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "PROPFIND", "OPTIONS")
OTHER = "other"
"""The method of a request that has none of L{METHODS}, or of which it is not known."""

NO_ANSWER = "none"
"""The code of a request that was not answered, as its client left before, or time was up."""

_USUAL = {
    "GET": ("200", "206", "304", "404", "503"),
    "HEAD": ("200", "204", "404"),
    "PUT": ("201", "400", "503", "507"),
    "POST": ("200", "202"),
    "PATCH": ("200",),
    "DELETE": ("200", "404"),
    "PROPFIND": ("207", "404"),
    "OPTIONS": ("204",),
    OTHER: ("400",),
}


_REFUSALS = (
    *(
        "AlreadyExists",
        "DigestMismatch",
        "InArchive",
        "IncompleteBody",
        "InvalidRequest",
        "KeptBehind",
        "Locked",
        "NotAFile",
        "NotFound",
        "NotPermitted",
    ),
    *("Offline", "Overloaded", "PreconditionFailed", "QuotaReached", "TooLarge", "TooManyFailures", "TooSlow"),
    *("400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "405 Method Not Allowed"),
    *(
        "411 Length Required",
        "415 Unsupported Media Type",
        "416 Requested Range Not Satisfiable",
        "421 Misdirected Request",
    ),
    *("501 Not Implemented", "connections", "framing", "left", "memory", "stalled", "tls"),
)
"""What the log calls what is refused."""

_KINDS = ("password", "token", "issuer")
"""Of credentials."""


class Kind(enum.Enum):
    """What a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Join(enum.Enum):
    """How a gauge's values in several workers become one."""

    SUM = "sum"
    MOST = "most"
    LEAST = "least"


@attrs.frozen
class Metric:
    """
    One of them.

    @ivar name: Without L{PREFIX}.
    @ivar help: What it says, in one sentence.
    @ivar labels: The names of its labels.
    @ivar known: The values of the labels that are exported as 0 from the start.
    @ivar buckets: The upper bounds of a histogram's.
    @ivar join: Of a gauge.
    @ivar prefix: What its name begins with, where it leaves the program.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[Labels, ...] = ()
    buckets: tuple[float, ...] = ()
    join: Join = Join.SUM
    prefix: str = PREFIX

    @property
    def width(self) -> int:
        """How many numbers a series has: of a histogram, one for each bucket, one for what is beyond, and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1


def _values(*each: str) -> tuple[Labels, ...]:
    return tuple((value,) for value in each)


def _counter(name: str, text: str, labels: tuple[str, ...] = (), known: tuple[Labels, ...] | None = None) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, ((),) if known is None and not labels else known or ())


def _gauge(name: str, text: str, labels: tuple[str, ...] = (), join: Join = Join.SUM) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels, join=join)


def _histogram(
    name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = (), known: tuple[Labels, ...] = ((),)
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, known, buckets)


def _process(name: str, text: str) -> Metric:
    return Metric(name, Kind.GAUGE, text, ("worker",), prefix="")


_DIRECTIONS = ("in", "out")
_ENDINGS = ("client", "timeout", "server")

_METRICS = (
    _gauge("build_info", "The version that runs; the value is 1.", ("version",), Join.MOST),
    _gauge("start_time_seconds", "When the service was started, in seconds since the epoch.", (), Join.LEAST),
    _gauge("workers", "Worker processes that there are to be."),
    _gauge("workers_reporting", "Worker processes whose numbers are in this answer."),
    _counter(
        "worker_restarts_total",
        "Worker processes that ended before they were asked to, by how.",
        ("reason",),
        _values("exit", "signal", "silent"),
    ),
    # Requests
    _counter(
        "http_requests_total",
        "Requests that are over, by method and the code of the answer; none where there was no answer.",
        ("method", "code"),
        tuple((method, code) for method, codes in _USUAL.items() for code in (*codes, NO_ANSWER)),
    ),
    _histogram(
        "http_request_duration_seconds",
        "From the end of a request's head to the last byte of its answer.",
        QUICK,
        ("method",),
        _values(*METHODS),
    ),
    _histogram(
        "http_time_to_first_byte_seconds",
        "From the end of a request's head to the first byte of its answer.",
        QUICK,
        ("method",),
        _values(*METHODS),
    ),
    _gauge("http_requests_in_flight", "Requests that are not over."),
    _gauge("connections", "Connections of clients."),
    _gauge("connections_limit", "Connections that are accepted at a time ([limits] connections)."),
    _gauge("transfers", "Bodies on their way."),
    _gauge("transfers_limit", "Bodies that may be on their way at a time ([limits] transfers)."),
    _gauge("lookups", "Files that are being looked up by requests that name many."),
    _gauge("lookups_limit", "Files that may be looked up at a time ([limits] lookups)."),
    _gauge("listings", "Lists of files that are being made."),
    _gauge("listings_limit", "Lists of files that may be made at a time ([limits] listings)."),
    _gauge("memory_held_bytes", "Memory that unfinished requests hold."),
    _gauge("memory_limit_bytes", "Memory that unfinished requests may hold ([limits] memory)."),
    _gauge("turns_waiting", "Connections and requests that wait for the reactor's next turn."),
    _counter("transfer_bytes_total", "Bytes of bodies, received and sent.", ("direction",), _values(*_DIRECTIONS)),
    _histogram(
        "transfer_size_bytes",
        "Sizes of the bodies of files that were received and sent whole, or as a range.",
        SIZES,
        ("direction",),
        _values(*_DIRECTIONS),
    ),
    _counter(
        "transfers_aborted_total",
        "Requests that ended before their body or answer was complete, by whose doing.",
        ("direction", "by"),
        tuple((direction, by) for direction in _DIRECTIONS for by in _ENDINGS),
    ),
    _counter(
        "refused_total",
        "What clients did wrong, and what a limit refused, by kind, as the log names it.",
        ("kind",),
        _values(*_REFUSALS),
    ),
    _counter(
        "failures_total",
        "What the archive could not do, by kind, as the log names it.",
        ("kind",),
        _values("BackendUnavailable", "NoSpace", "Corrupted", "download"),
    ),
    _counter("incidents_total", "Failures that nobody foresaw; each has a traceback in the log."),
    _counter(
        "log_lines_dropped_total",
        "Lines that were not written, as the disk refused them or was too slow.",
        ("log",),
        _values("access", "audit"),
    ),
    _counter(
        "spans_total",
        "Spans: sent, failed as the collector did not take them, dropped as too many waited, or refused beyond "
        "[tracing] callers.",
        ("result",),
        _values("sent", "failed", "dropped", "refused"),
    ),
    _gauge("log_waiting_bytes", "Lines that wait to be written.", ("log",)),
    _gauge("log_waiting_limit_bytes", "How much may wait; more is dropped.", ("log",)),
    _gauge("console_viewers", "Pages of the console that are kept up to date."),
    _gauge("console_viewers_limit", "How many may be at a time ([console] viewers)."),
    # Access
    _counter(
        "auth_total",
        "Credentials that were looked at, by their kind and what came of it; who is remembered is not looked at again.",
        ("how", "result"),
        (
            *((how, result) for how in _KINDS for result in ("accepted", "refused", "slowed", "unavailable")),
            ("other", "refused"),
            ("other", "slowed"),
        ),
    ),
    _histogram(
        "auth_duration_seconds",
        "How long it took to verify a password, or the token of an issuer, by what came of it.",
        QUICK,
        ("how", "result"),
        tuple((how, result) for how in ("password", "issuer") for result in ("accepted", "refused", "unavailable")),
    ),
    _gauge("auth_cache_entries", "Callers that are remembered, and need not be verified."),
    _gauge("auth_cache_entries_limit", "How many can be remembered."),
    _gauge("auth_waiting", "Credentials that are being verified, or wait for that."),
    _gauge("jwks_age_seconds", "How old an issuer's keys are; +Inf where there are none.", ("issuer",), Join.MOST),
    _counter("jwks_fetch_failures_total", "Times that an issuer's keys could not be had.", ("issuer",)),
    # TLS
    _gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "Until when the server's certificate is valid, in seconds since the epoch.",
        ("name",),
        Join.LEAST,
    ),
    _counter(
        "tls_handshake_failures_total",
        "TLS handshakes that came to nothing, by why: the client's alert, its certificate, no TLS at all...",
        ("reason",),
        _values("alert", "certificate", "garbage", "http", "other", "parameters", "timeout", "version"),
    ),
    # Storage
    _histogram(
        "commit_duration_seconds",
        "From the last byte of a file to its acknowledgement: digests, syncs and its name.",
        QUICK,
    ),
    _histogram(
        "sync_duration_seconds", "How long a sync of a file, of several together, or of a directory took.", QUICK
    ),
    _gauge("backend_up", "Whether storage can serve: 1, or 0.", ("backend",), Join.LEAST),
    _gauge("backend_latency_seconds", "How long storage took to say so.", ("backend",), Join.MOST),
    _gauge("storage_free_bytes", "Space for new files, where the archive is a directory.", ("backend",), Join.LEAST),
    _gauge("storage_size_bytes", "The size of its file system.", ("backend",), Join.MOST),
    _gauge("storage_free_inodes", "How many more files its file system takes.", ("backend",), Join.LEAST),
    # Recalls
    _gauge("recall_store_up", "Whether the store of recalls can be used: 1, or 0.", (), Join.LEAST),
    _gauge("recall_files", "Files that are to be recalled, or could not be, by state.", ("state",), Join.MOST),
    _gauge(
        "recall_oldest_queued_seconds",
        "How long that file has waited which has waited longest, accurate to an hour; 0 where none waits.",
        (),
        Join.MOST,
    ),
    _gauge("recall_owners", "Owners whose files wait.", (), Join.MOST),
    _gauge("recall_kept_jobs", "Jobs that are kept, also such as have ended.", (), Join.MOST),
    _gauge("recall_kept_jobs_limit", "How many may be ([recall] kept_jobs).", (), Join.MOST),
    _gauge("recall_kept_files", "Files of the jobs that are kept.", (), Join.MOST),
    _gauge("recall_kept_files_limit", "How many may be ([recall] kept_files).", (), Join.MOST),
    _histogram(
        "recall_duration_seconds", "From the request of a file to the end of its recall, if that is on disk.", SLOW
    ),
    _counter(
        "recall_failures_total",
        "Recalls that failed, by why; retried: an attempt of one that goes on.",
        ("reason",),
        _values("absent", "attempts", "deadline", "look-up", "retried", "storage"),
    ),
    _gauge("cartridges_active", "Cartridges that are being read.", (), Join.MOST),
    _gauge(
        "cartridges_limit", "Cartridges that may be read at a time ([recall] drives, but for holds).", (), Join.MOST
    ),
    _gauge("pinned_bytes", "Bytes of recalled files that are to stay on disk.", (), Join.MOST),
    _gauge("recall_buffer_limit_bytes", "What they may take ([recall] buffer and high_water), if set.", (), Join.MOST),
    # What a process runs on
    _gauge("pool_busy", "Threads that are at work.", ("pool",)),
    _gauge("pool_size", "Threads that there may be.", ("pool",)),
    _gauge("pool_queued", "Calls that wait for a thread.", ("pool",)),
    Metric("process_cpu_seconds_total", Kind.COUNTER, "CPU time that a process has used.", ("worker",), prefix=""),
    _process("process_resident_memory_bytes", "Memory of a process that is resident."),
    _process("process_open_fds", "Descriptors that a process has open."),
    _process("process_max_fds", "Descriptors that a process may have open."),
    _process("process_start_time_seconds", "When a process was started, in seconds since the epoch."),
    _histogram("reactor_lag_seconds", "How late a call of the reactor's comes, which is due once a second.", QUICK),
)

METRICS: Mapping[str, Metric] = {each.name: each for each in _METRICS}
"""All of them, by name, in the order in which they are exported."""
