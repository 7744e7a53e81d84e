"""What C{hpss-simulator} prints about an archive."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hpss_simulator.archive import Archive
from hpss_simulator.tables import amount, counted, moment, pairs, table
from hpss_simulator.words import Entry, Kind, Locality, Request

_LETTERS = {
    Locality.DISK: "D-",
    Locality.TAPE: "-T",
    Locality.DISK_AND_TAPE: "DT",
    Locality.LOST: "!!",
    Locality.NONE: "--",
}


def status(archive: Archive, _options: argparse.Namespace) -> None:
    entries = archive.entries()
    files = [entry for entry in entries if entry.kind is Kind.FILE]
    sums = archive.sums()
    unfinished = archive.requests(unfinished=True)
    requested = counted(sums.submitted, "request")
    where = [(f"files {place.value}", sum(file.locality is place for file in files)) for place in Locality]
    print(
        pairs(
            [
                ("simulated time", f"{moment(archive.clock.now())}, {archive.clock.scale:g} seconds in a real one"),
                ("server", archive.get("server_state")),
                ("directories", sum(entry.kind is Kind.DIRECTORY for entry in entries)),
                *((name, count) for name, count in where if count),
                ("disk", f"{amount(sums.disk_used)} of {amount(archive.get('disk_capacity'))}"),
                ("drives", f"{sum(drive.state == 'ok' for drive in archive.drives())} of {len(archive.drives())}"),
                ("requests", ", ".join(f"{_count(unfinished, state)} {state}" for state in ("queued", "active"))),
                ("staged", f"{counted(sums.staged, 'file')}, {amount(sums.bytes_staged)}"),
                ("mounts", sums.mounts),
                (
                    "failed",
                    f"{sums.failed} of {requested}, {sums.lost} lost, {counted(sums.duplicates, 'duplicate')}",
                ),
                ("contexts", archive.contexts()),
                ("descriptors", archive.descriptors()),
                ("faults", len(archive.faults())),
            ]
        )
    )


def _count(requests: Sequence[Request], state: str) -> int:
    return sum(request.state == state for request in requests)


def ls(archive: Archive, options: argparse.Namespace) -> None:
    rows: list[tuple[object, ...]] = []
    for entry in archive.entries(options.path):
        rows.append(_line_of(entry))
        if options.levels:
            rows.extend(("", "", "", "", f"    {line}") for line in _levels_of(entry))
    print(table(("where", "size", "cos", "modified", "path"), rows))


def _line_of(entry: Entry) -> tuple[object, ...]:
    if entry.kind is not Kind.FILE:
        pointing = f" -> {entry.target}" if entry.target else "/" if entry.path != "/" else ""
        return "", "", "", moment(entry.mtime), f"{entry.path}{pointing}"
    locked = " (locked)" if entry.purge_locked else ""
    return _LETTERS[entry.locality], entry.size, entry.cos, moment(entry.mtime), f"{entry.path}{locked}"


def _levels_of(entry: Entry) -> list[str]:
    places = {
        segment.level: f" on {segment.cartridge}, file {segment.position}, byte {segment.offset}"
        for segment in entry.segments
    }
    levels = [
        f"level {level} ({medium}): {entry.levels.get(level, 0)}{places.get(level, '')}"
        for level, medium in enumerate(entry.media)
    ]
    return [*levels, *(f"{key} = {value}" for key, value in entry.attributes.items())]


def drives(archive: Archive, _options: argparse.Namespace) -> None:
    print(
        table(
            ("drive", "state", "slowness", "cartridge", "request", "busy until", "mounts"),
            [
                (
                    drive.number,
                    drive.state,
                    f"{drive.slowness:g}",
                    drive.cartridge or "-",
                    drive.request or "-",
                    moment(drive.busy_until) if drive.request else "-",
                    drive.mounts,
                )
                for drive in archive.drives()
            ],
        )
    )


def cartridges(archive: Archive, _options: argparse.Namespace) -> None:
    print(
        table(
            ("cartridge", "state", "copy", "family", "used", "capacity", "files", "mounts"),
            [
                (
                    each.name,
                    each.state,
                    each.copy,
                    each.family,
                    amount(each.used),
                    amount(each.capacity),
                    each.files,
                    each.mounts,
                )
                for each in archive.cartridges()
            ],
        )
    )


def requests(archive: Archive, options: argparse.Namespace) -> None:
    print(
        table(
            ("request", "state", "code", "batch", "cartridge", "submitted", "started", "finished", "path"),
            [
                (
                    request.number,
                    request.state,
                    request.code or "-",
                    request.batch or "-",
                    request.cartridge or "-",
                    moment(request.submitted),
                    moment(request.started),
                    moment(request.finished),
                    request.path or "-",
                )
                for request in archive.requests(unfinished=not options.all)
            ],
        )
    )


def calls(archive: Archive, _options: argparse.Namespace) -> None:
    print(table(("function", "calls"), archive.all_calls().items()))


def faults(archive: Archive, _options: argparse.Namespace) -> None:
    print(
        table(
            ("fault", "function", "path", "first", "count", "action", "value", "hits"),
            [
                (
                    fault.number,
                    fault.function,
                    fault.path,
                    fault.first,
                    fault.count or "all",
                    fault.action,
                    fault.value,
                    fault.hits,
                )
                for fault in archive.faults()
            ],
        )
    )
