"""What becomes of a request that is over: a line in the access log, a span for a collector, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacarchive.settings.reading import ConfigError
from pacarchive.telemetry.settings import AccessLogSettings, TracingSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.settings.sections import Settings
    from pacarchive.telemetry.accesslog import AccessLog
    from pacarchive.telemetry.counts import Counts
    from pacarchive.telemetry.tracing import Tracing
    from pacarchive.web.http.site import ArchiveSite

    Note = Callable[[Any, float, int, bool], None]


def note_requests(
    reactor: Any, settings: Settings, counts: Counts, site: ArchiveSite
) -> tuple[AccessLog | None, Tracing | None]:
    """
    Have a site note its requests, as far as the settings say so.

    @return: What is to be started before the first of them, and stopped after the last.
    @raise ConfigError: A package is missing.
    """
    tracing = _tracing(reactor, settings, counts, site)  # first: the line of a request names the trace of its span
    return _access_log(reactor, settings, counts, site), tracing


def _access_log(reactor: Any, settings: Settings, counts: Counts, site: ArchiveSite) -> AccessLog | None:
    section = settings.of(AccessLogSettings)
    if section.file is None:
        return None
    from pacarchive.telemetry.accesslog import AccessLog  # only now: most servers have none
    from pacarchive.web.http.accesslines import line_of, lines_of

    log, line = AccessLog(reactor, section.file, counts), line_of(section.form)
    if site.when_over is None:  # else a span is made of each first
        lines = lines_of(section.form, site.run)
        site.when_answered = lambda entries: log.add(lines(entries), len(entries))
    _also(site, lambda *over: log.add(line(*over)))
    return log


def _tracing(reactor: Any, settings: Settings, counts: Counts, site: ArchiveSite) -> Tracing | None:
    section = settings.of(TracingSettings)
    if not section.endpoint:
        return None
    try:
        from pacarchive.telemetry.tracing import Tracing  # only now: its packages are an extra
    except ImportError as error:
        words = f"spans need more packages: pip install 'pacarchive[otel]' ({error})"
        raise ConfigError("settings", words, "tracing", "endpoint") from error
    from pacarchive.web.spans import note_spans

    tracing = Tracing(reactor, section, counts)
    site.notes_phases = True
    _also(site, note_spans(tracing))
    return tracing


def _also(site: ArchiveSite, note: Note) -> None:
    """Have a site call one thing or two; without either it calls none."""
    if (first := site.when_over) is None:
        site.when_over = note
        return

    def both(request: Any, now: float, code: int, answered: bool) -> None:
        first(request, now, code, answered)
        note(request, now, code, answered)

    site.when_over = both
