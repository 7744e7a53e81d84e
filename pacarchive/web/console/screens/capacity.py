"""Room: of the storage and of the disk buffer, and how the first has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.access.rights import Right
from pacarchive.web.console.asking import Question, Screen, or_words
from pacarchive.web.console.parts import NOTHING, bar, element, facts, link, mark, panel
from pacarchive.web.console.words import clock_words, percent_of, size_words, span_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable, Tag

    from pacarchive.recall.views import Overview
    from pacarchive.web.health import Sample

_WIDTH, _HEIGHT = 600, 160
_SHORTEST = 120.0
"""Seconds; what changes in less is no trend."""

_LONG = 10 * 365 * 86400


def room(question: Question, queue: Overview | None, note: Tag | str = "") -> Tag:
    """The bars of storage and buffer."""
    lines = [_storage(question.app.health_probe.samples)]
    if queue is not None:
        lines.append(_buffer(queue))
    return panel("Room", tags.ul(*lines, class_="bars"), ident="room", note=note)


def to_trend() -> Tag:
    """Leads from those bars to what they were."""
    return link("Its trend", "/capacity")


def _storage(samples: Sequence[Sample]) -> Tag:
    name = tags.span("Storage", class_="name")
    if not samples:
        return tags.li(name, tags.span("The storage does not say how much room it has.", class_="soft"))
    last = samples[-1]
    used = last.size - last.free
    words = f"{size_words(last.free)} free of {size_words(last.size)}"
    kind = "bad" if percent_of(last.free, last.size) < 5 else "done"
    return tags.li(name, bar("Storage in use", [(used, kind)], last.size, words))


def _buffer(queue: Overview) -> Tag:
    name, buffer = tags.span("Disk buffer", class_="name"), queue.buffer
    taken = f"{size_words(buffer.pinned.size)} pinned, {size_words(buffer.coming.size)} coming"
    if buffer.limit is None:
        return tags.li(name, tags.span(f"{taken}; the storage system manages it", class_="soft"))
    parts = [(buffer.pinned.size, "done"), (buffer.coming.size, "moving")]
    words = f"{taken}, of {size_words(buffer.limit)} up to the high-water mark"
    return tags.li(name, bar("Disk buffer in use", parts, buffer.limit, words))


async def _capacity(question: Question) -> Sequence[Flattenable]:
    health = await question.app.health_probe.ask()
    queue = await or_words(question.app.recall.operations.overview())
    samples = question.app.health_probe.samples
    bars = room(question, None if isinstance(queue, str) else queue)
    if isinstance(queue, str):
        bars = tags.div(bars, tags.p(mark("bad", queue)))
    return [bars, panel("Trend", *_trend(samples, health.words), ident="trend")]


def _trend(samples: Sequence[Sample], words: str) -> Sequence[Flattenable]:
    if len(samples) < 2 or samples[-1].time - samples[0].time < _SHORTEST:
        return [
            tags.p(f"There is no trend yet: it is kept by each process since its start. Now: {words}", class_="empty")
        ]
    first, last = samples[0], samples[-1]
    span = max(1.0, last.time - first.time)
    top = max(each.size for each in samples) or 1
    points = [
        f"{_WIDTH * (each.time - first.time) / span:.1f},{_HEIGHT - _HEIGHT * (each.size - each.free) / top:.1f}"
        for each in samples
    ]
    line = f"M{' L'.join(points)}"
    change = (last.size - last.free) - (first.size - first.free)
    rate = change / span
    left = last.free / rate if rate > 0 else _LONG
    full = f"full in about {span_words(left)}" if left < _LONG else "not filling up"
    label = f"Storage in use from {clock_words(first.time)} to {clock_words(last.time)}"
    picture = element(
        "svg",
        *(element("line", x1="0", x2=str(_WIDTH), y1=str(y), y2=str(y)) for y in (0, _HEIGHT // 2, _HEIGHT)),
        element("path", d=f"{line} L{_WIDTH},{_HEIGHT} L0,{_HEIGHT} Z", class_="area"),
        element("path", d=line, class_="line"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        class_="trend",
        **{"aria-label": f"{label}: {size_words(abs(change))} {'more' if change >= 0 else 'less'}"},
    )
    pairs: list[tuple[str, Flattenable]] = [
        ("From", f"{clock_words(first.time)}: {size_words(first.size - first.free)} in use"),
        ("To", f"{clock_words(last.time)}: {size_words(last.size - last.free)} in use"),
        ("Change", f"{'+' if change >= 0 else '-'}{size_words(abs(change))} in {span_words(span)}"),
        ("At that rate", full if change else NOTHING),
    ]
    return [tags.p("How much of the storage is in use; the top is all of it.", class_="soft"), picture, facts(pairs)]


SCREEN = Screen(path="/capacity", title=lambda _: "Capacity", make=_capacity, section="/capacity", needs=Right.ADMIN)
