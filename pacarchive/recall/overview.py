"""Reads from the store what operators see of the queue.

Each function runs in a thread of the store, inside one transaction; what it costs depends on the number of cartridges
and owners, and not on that of files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from pacarchive.recall.counting import HOUR, Counted, hour_of
from pacarchive.recall.holds import Holds, read_holds
from pacarchive.recall.lease import HEARTBEAT, LEASE_TIMEOUT
from pacarchive.recall.planning import learned_of
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor
from pacarchive.recall.tables import RecallState
from pacarchive.recall.views import (
    Age,
    Amount,
    Buffer,
    CartridgeRow,
    Drive,
    Overview,
    OwnerRow,
    Reason,
    States,
    Upcoming,
)
from pacarchive.texts import counted

_AGES = (HOUR, 6 * HOUR, 24 * HOUR, 72 * HOUR)
_REASONS = 20
_UPCOMING = 10

_STALE = 60.0
"""Seconds after which the dispatcher's plan is too old for something that moves."""

_TAKEOVER = LEASE_TIMEOUT + 2 * HEARTBEAT
"""Seconds within which a process becomes the dispatcher."""

_STATES: Mapping[int, str] = {
    Counted.NEW: "looked_up",
    Counted.QUEUED: "queued",
    Counted.BACKING_OFF: "backing_off",
    Counted.STARTED: "started",
    Counted.CANCELLING: "cancelling",
}

_LIVE = ", ".join(str(int(each)) for each in _STATES)
_WAITING = ", ".join(str(int(each)) for each in (Counted.NEW, Counted.QUEUED, Counted.BACKING_OFF))


@attrs.frozen
class Plan:
    """
    What the dispatcher has stored of what it does.

    @ivar made: When; C{None} if there is nothing.
    @ivar drives: The cartridges that are being read.
    """

    made: float | None
    drives: Sequence[Drive]

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """Decode what is in the store; invalid values are left out."""
        stored = learned_of(text).get("plan")
        match stored:
            case {"made": int() | float() as made, "drives": list() as entries}:
                return cls(made, [drive for each in entries if (drive := _drive(each)) is not None])
            case _:
                return cls(None, [])

    def encode(self) -> dict[str, Any]:
        """Return it in the form in which it is stored."""
        return {"made": self.made, "drives": [_encode(each) for each in self.drives]}


def _drive(entry: Any) -> Drive | None:
    match entry:
        case [str(cartridge), str(owner), begun, bool(mounted), bool(ending), int(files), int(size), last, bool(stuck)]:
            return Drive(
                cartridge=cartridge,
                owner=owner,
                begun=float(begun),
                mounted=mounted,
                ending=ending,
                submitted=Amount(files, size),
                last=float(last),
                stuck=stuck,
            )
    return None


def _encode(drive: Drive) -> list[Any]:
    submitted = drive.submitted
    where = [drive.cartridge, drive.owner, round(drive.begun, 3), drive.mounted, drive.ending]
    return [*where, submitted.files, submitted.size, round(drive.last, 3), drive.stuck]


def _states(rows: Iterable[tuple[int, int, int]]) -> States:
    return States(**{_STATES[state]: Amount(int(files), int(size)) for state, files, size in rows})


def _sum(cursor: Cursor, condition: str, *arguments: object) -> Amount:
    query = f"SELECT COALESCE(SUM(files), 0), COALESCE(SUM(size), 0) FROM counts WHERE {condition}"  # noqa: S608
    row = cursor.row(query, *arguments)
    return Amount(int(row[0]), int(row[1])) if row else Amount()


def overview(cursor: Cursor, settings: RecallSettings, now: float, begun: float = 0.0) -> Overview:
    """
    Return how the queue stands.

    @param settings: The settings.
    @param now: The time.
    @param begun: Since when some process could have become the dispatcher, as far as it is known.
    """
    row = cursor.row("SELECT holder, obstacle, learned FROM turn")
    assert row is not None, "the schema has put it there"
    holder, obstacle, learned = row
    holds, plan = read_holds(cursor), Plan.from_text(learned)
    states = _states(
        cursor.rows(f"SELECT state, SUM(files), SUM(size) FROM counts WHERE state IN ({_LIVE}) GROUP BY state")  # type: ignore[arg-type]  # noqa: S608
    )
    upcoming = [
        Upcoming(cartridge=medium, files=files, begins=begins, ends=ends)
        for medium, files, begins, ends in cursor.rows(
            "SELECT medium, files, begins, ends FROM media ORDER BY begins, medium LIMIT ?",
            _UPCOMING + len(plan.drives),
        )
    ]
    reading = {drive.cartridge for drive in plan.drives}
    through = cursor.row("SELECT MAX(ends) FROM media")
    many = cursor.row(
        f"SELECT COUNT(DISTINCT medium), COUNT(DISTINCT owner) FROM counts WHERE state IN ({_WAITING})"  # noqa: S608
    )
    kept = cursor.row("SELECT jobs, weight FROM accounts WHERE kind = 0")
    pinned = _sum(cursor, "state = ?", Counted.PINNED)
    reasons = _reasons(cursor)
    dispatcher = ":".join(holder.split(":")[:-1])
    return Overview(
        made=now,
        planned=plan.made,
        dispatcher=dispatcher,
        states=states,
        completed_hour=_completed(cursor, now - HOUR),
        completed_day=_completed(cursor, now - 24 * HOUR),
        failed=_sum(cursor, "state = ?", Counted.FAILED),
        ages=_ages(cursor, now),
        longest=_longest(cursor, now),
        drive_limit=settings.drives,
        drives_usable=holds.usable_drives(settings.drives),
        drives=plan.drives,
        upcoming=[each for each in upcoming if each.cartridge not in reading][:_UPCOMING],
        through=through[0] if through else None,
        reasons=reasons,
        holds=holds.all_of_them,
        problems=_problems(cursor, holds, plan, states, obstacle, dispatcher or now - begun < _TAKEOVER, reasons, now),
        buffer=Buffer(
            limit=settings.buffer * settings.high_water // 100 if settings.buffer else None,
            pinned=pinned,
            coming=states.started,
        ),
        cartridges=many[0] if many else 0,
        owners=many[1] if many else 0,
        kept_jobs=int(kept[0]) if kept else 0,
        kept_files=int(kept[1]) if kept else 0,
    )


def _completed(cursor: Cursor, since: float) -> Amount:
    return _sum(cursor, "state = ? AND medium >= ?", Counted.COMPLETED, hour_of(since))


def _reasons(cursor: Cursor) -> list[Reason]:
    rows = cursor.rows(
        "SELECT state, reason, SUM(files) AS many, SUM(size) FROM counts WHERE state IN (?, ?)"
        " GROUP BY state, reason ORDER BY many DESC, reason LIMIT ?",
        *(Counted.BACKING_OFF, Counted.FAILED, _REASONS),
    )
    return [
        Reason(reason=reason, amount=Amount(int(files), int(size)), for_good=state == Counted.FAILED)
        for state, reason, files, size in rows
    ]


def _ages(cursor: Cursor, now: float) -> list[Age]:
    rows = cursor.rows("SELECT medium, files, size FROM counts WHERE state = ?", Counted.WAITING_SINCE)
    found: defaultdict[float | None, Amount] = defaultdict(Amount)
    for hour, files, size in rows:
        age = _age(hour, now)
        found[next((below for below in _AGES if age < below), None)] += Amount(files, size)
    return [Age(below=below, amount=found[below]) for below in (*_AGES, None)]


def _longest(cursor: Cursor, now: float) -> float:
    row = cursor.row("SELECT MIN(medium) FROM counts WHERE state = ?", Counted.WAITING_SINCE)
    return 0.0 if row is None or row[0] is None else max(0.0, _age(row[0], now))


def _age(hour: str, now: float) -> float:
    """Return how long ago the middle of an hour was."""
    return now - int(hour) * HOUR - HOUR / 2


def _problems(
    cursor: Cursor,
    holds: Holds,
    plan: Plan,
    states: States,
    obstacle: str,
    dispatched: object,
    reasons: Iterable[Reason],
    now: float,
) -> list[str]:
    """Return what keeps the queue from moving, for a person."""
    found = []
    moving = states.waiting.files + states.started.files > 0
    if moving and not dispatched:
        found.append("No process is the dispatcher: nothing is recalled.")
    elif moving and plan.made is not None and now - plan.made > _STALE:
        found.append(f"The dispatcher has not made a plan for {counted(round(now - plan.made), 'second')}.")
    if holds.obstacle:
        found.append(holds.obstacle)
    if obstacle:
        found.append(obstacle)
    found += [
        f"No file of cartridge {drive.cartridge} has come for {counted(round(now - drive.last), 'second')}."
        for drive in plan.drives
        if drive.stuck
    ]
    if holds.drives is not None and holds.drives.drives:
        found.append(f"Drives are {holds.drives.by_whom}; {counted(holds.drives.drives, 'drive')} may be used.")
    query = "SELECT medium, SUM(files) FROM counts WHERE state = ? AND medium IN (*) GROUP BY medium"
    for medium, files in cursor.among(query, holds.cartridges, Counted.QUEUED):
        found.append(f"{counted(int(files), 'file')}: {holds.reason(medium)}")
    found += [
        f"{counted(each.amount.files, 'file')} to be tried again: {each.reason}"
        for each in reasons
        if not each.for_good and each.reason
    ]
    return found


def cartridges(cursor: Cursor, owner: str | None = None) -> list[CartridgeRow]:
    """
    Return what waits for each cartridge, by name.

    @param owner: The owner whose files count; C{None} for all.
    """
    whose, arguments = ("", ()) if owner is None else (" AND owner = ?", (owner,))
    states: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    failed: dict[str, Amount] = {}
    for medium, state, files, size in cursor.rows(
        f"SELECT medium, state, SUM(files), SUM(size) FROM counts WHERE state IN ({_LIVE}, {Counted.FAILED:d}){whose}"  # noqa: S608
        " GROUP BY medium, state",
        *arguments,
    ):
        if state == Counted.FAILED:
            failed[medium] = Amount(int(files), int(size))
        else:
            states[medium].append((state, files, size))
    oldest = dict[str, float | None](
        cursor.rows(  # type: ignore[arg-type]
            "SELECT m.medium, (SELECT MIN(since) FROM recalls WHERE state = ? AND medium = m.medium)"
            " FROM (SELECT DISTINCT medium FROM counts WHERE state = ?) AS m",
            *(RecallState.QUEUED, Counted.QUEUED),
        )
    )
    row = cursor.row("SELECT learned FROM turn")
    reading = {drive.cartridge for drive in Plan.from_text(row[0] if row else "").drives}
    forecasts = cursor.rows("SELECT medium, begins, ends FROM media ORDER BY begins, medium")
    spans = {medium: (begins, ends) for medium, begins, ends in forecasts}
    waiting = [medium for medium, *_ in forecasts if medium not in reading]
    places = {medium: place for place, medium in enumerate(waiting, 1)}
    holds = read_holds(cursor)
    names = states.keys() | failed.keys() | (holds.cartridges.keys() if owner is None else set())
    return [
        CartridgeRow(
            cartridge=name,
            states=_states(states.get(name, ())),
            failed=failed.get(name, Amount()),
            oldest=oldest.get(name),
            reading=name in reading,
            place=places.get(name),
            begins=spans.get(name, (None, None))[0],
            ends=spans.get(name, (None, None))[1],
            hold=holds.cartridges.get(name),
        )
        for name in sorted(names)
    ]


def owners(cursor: Cursor, now: float, owner: str | None = None) -> list[OwnerRow]:
    """
    Return what each owner waits for, by name.

    @param now: The time.
    @param owner: The only one; C{None} for all.
    """
    whose, arguments = ("", ()) if owner is None else (" AND owner = ?", (owner,))
    states: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    others: dict[tuple[int, str], Amount] = {}
    kinds = f"{_LIVE}, {Counted.FAILED:d}, {Counted.PINS:d}"
    for name, state, files, size in cursor.rows(
        f"SELECT owner, state, SUM(files), SUM(size) FROM counts WHERE (state IN ({kinds})"  # noqa: S608
        f" OR state = {Counted.COMPLETED:d} AND medium >= ?){whose} GROUP BY owner, state",
        *(hour_of(now - 24 * HOUR), *arguments),
    ):
        if state in _STATES:
            states[name].append((state, files, size))
        else:
            others[state, name] = Amount(int(files), int(size))
    rows = cursor.rows(
        "SELECT a.owner, a.jobs, a.weight,"  # noqa: S608
        " (SELECT MIN(created) FROM jobs WHERE owner = a.owner AND number ="
        " (SELECT MIN(number) FROM jobs WHERE owner = a.owner AND ended IS NULL))"
        f" FROM accounts a WHERE kind = 1{whose}",
        *arguments,
    )
    kept = {name: (jobs, int(weight), oldest) for name, jobs, weight, oldest in rows}
    names = states.keys() | kept.keys() | {name for _, name in others}
    return [
        OwnerRow(
            owner=name,
            states=_states(states.get(name, ())),
            completed_day=others.get((Counted.COMPLETED, name), Amount()),
            failed=others.get((Counted.FAILED, name), Amount()),
            pins=others.get((Counted.PINS, name), Amount()),
            jobs=kept.get(name, (0, 0, None))[0],
            kept_files=kept.get(name, (0, 0, None))[1],
            oldest=kept.get(name, (0, 0, None))[2],
        )
        for name in sorted(names)
    ]
