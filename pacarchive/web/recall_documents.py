"""The queue of recalls and what holds it as JSON, and the schemas of these documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pacarchive.recall.views import Amount, CartridgePage, CartridgeRow, Drive, Overview, OwnerPage, OwnerRow, States
from pacarchive.recall.words import Hold, HoldKind, Retried
from pacarchive.web.description import count, seconds
from pacarchive.web.http.schemas import AnySchema, array, boolean, choice, integer, members, or_null, record, text
from pacarchive.web.job_documents import page_url

KINDS: Mapping[str, HoldKind] = {"all": HoldKind.ALL, "drives": HoldKind.DRIVES, "cartridge": HoldKind.CARTRIDGE}
_NAMES = {kind: name for name, kind in KINDS.items()}

AMOUNT = record(
    "Amount", "So many files.", {"files": count("How many."), "bytes": count("Their bytes, as far as they are known.")}
)
_NEXT = text("The path of the next page, if there is one.")
_MADE = seconds("When it was read from the list of recalls.")

_STATES: Mapping[str, AnySchema] = {
    "looked_up": AMOUNT,
    "queued": AMOUNT,
    "backing_off": AMOUNT,
    "started": AMOUNT,
    "cancelling": AMOUNT,
}
STATES = record(
    "RecallStates",
    "Recalls that have not ended: each file once, however many jobs wait for it. It is being looked up where they are; "
    "they wait for their cartridges; they are tried again after a pause; they were submitted to the storage system; "
    "they were, and nobody needs them any more.",
    _STATES,
)

_CARTRIDGE = text("The name of a cartridge.", maxLength=250)

HOLD = record(
    "Hold",
    "What an operator keeps from being recalled.",
    {
        "kind": choice("What is held.", *KINDS),
        "who": text("Who holds it."),
        "why": text("Why; may be empty."),
        "since": seconds("Since when."),
        "until": or_null(seconds("When it ends by itself.")),
    },
    {"cartridge": _CARTRIDGE, "drives": count("How many drives may still be used.")},
)
HOLDS = record("Holds", "What is held.", {"holds": array(HOLD)})

_DRIVE = members(
    "A cartridge that is being read.",
    {
        "cartridge": _CARTRIDGE,
        "owner": text("For whom it was chosen; empty where that is not known."),
        "begun": seconds("When it was chosen."),
        "mounted": boolean("Whether a file of it has come."),
        "ending": boolean("Whether no more of its files are submitted."),
        "submitted": AMOUNT,
        "last": seconds("When its last file came, or when it was chosen."),
        "stuck": boolean("Whether no file has come for far longer than one should take."),
    },
)

OVERVIEW = record(
    "RecallOverview",
    "How the queue of recalls stands.",
    {
        "made": _MADE,
        "planned": or_null(seconds("When the dispatcher made its plan, from which are `drives`, `next`, `through`.")),
        "dispatcher": text("The process that decides what is recalled; empty if none does."),
        "problems": array(text(), "What keeps the queue from moving, the worst first."),
        "states": STATES,
        "completed_hour": AMOUNT,
        "completed_day": AMOUNT,
        "failed": AMOUNT,
        "ages": array(
            members(
                "Files that have waited for less than `below` seconds, and not for less than the one before.",
                {"below": or_null(count("Seconds.")), "files": count("How many."), "bytes": count("Their bytes.")},
            )
        ),
        "drive_limit": count("How many cartridges are read at a time, by the settings."),
        "drives_usable": count("How many may be, as operators hold drives."),
        "drives": array(_DRIVE),
        "next": array(
            members(
                "A cartridge that comes next.",
                {
                    "cartridge": _CARTRIDGE,
                    "files": count("That wait for it."),
                    "begins": seconds("When it can be read, by the forecast."),
                    "ends": seconds("When its last file will be on disk."),
                },
            )
        ),
        "through": or_null(seconds("When the queue will be through, by the forecast.")),
        "reasons": array(
            members(
                "Why files are not recalled.",
                {
                    "reason": text("Words for people."),
                    "files": count("How many."),
                    "bytes": count("Their bytes."),
                    "for_good": boolean("Whether they have failed; else they are tried again."),
                },
            )
        ),
        "holds": array(HOLD),
        "buffer": members(
            "The disk buffer.",
            {
                "limit": or_null(count("Bytes that recalls may use; `null`: the storage system manages it.")),
                "pinned": AMOUNT,
                "coming": AMOUNT,
            },
        ),
        "cartridges": count("Cartridges that files wait for."),
        "owners": count("Owners whose files wait."),
    },
)

_CARTRIDGE_ROW = record(
    "CartridgeQueue",
    "What waits for a cartridge.",
    {
        "cartridge": _CARTRIDGE,
        "states": STATES,
        "failed": AMOUNT,
        "oldest": or_null(seconds("Since when the oldest of its queued files waits.")),
        "reading": boolean("Whether it is being read."),
        "place": or_null(integer("Its place among those that come next.", minimum=1)),
        "begins": or_null(seconds("When it can be read, by the forecast.")),
        "ends": or_null(seconds("When its last file will be on disk.")),
        "hold": or_null(HOLD),
    },
)
_TOTAL = count("How many there are on all pages.")
CARTRIDGES = record(
    "Cartridges",
    "A page of cartridges.",
    {"made": _MADE, "total": _TOTAL, "cartridges": array(_CARTRIDGE_ROW)},
    {"next": _NEXT},
)
OWNERS = record(
    "Owners",
    "A page of owners.",
    {
        "made": _MADE,
        "total": _TOTAL,
        "owners": array(
            record(
                "OwnerQueue",
                "What an owner waits for. A file that several wait for is the first one's.",
                {
                    "owner": text("Who."),
                    "states": STATES,
                    "completed_day": AMOUNT,
                    "failed": AMOUNT,
                    "pins": AMOUNT,
                    "jobs": count("Jobs that are kept."),
                    "kept_files": count("Their files."),
                    "oldest": or_null(seconds("When the oldest job was made that has not ended.")),
                },
            )
        ),
    },
    {"next": _NEXT},
)
RETRIED = record(
    "Retried",
    "What a retry is about.",
    {
        "dry_run": boolean("Whether it was only counted."),
        "failed": count("Requests that had failed; their jobs go on."),
        "hurried": count("Files that were to be tried again later, and are now."),
    },
)


def _amount(amount: Amount) -> dict[str, int]:
    return {"files": max(0, amount.files), "bytes": max(0, amount.size)}


def _states(states: States) -> dict[str, Any]:
    return {name: _amount(getattr(states, name)) for name in _STATES}


def hold_document(hold: Hold) -> dict[str, Any]:
    """A hold."""
    document = {
        "kind": _NAMES[hold.kind],
        "who": hold.who,
        "why": hold.why,
        "since": hold.since,
        "until": hold.until,
    }
    if hold.kind is HoldKind.CARTRIDGE:
        document["cartridge"] = hold.cartridge
    if hold.drives is not None:
        document["drives"] = hold.drives
    return document


def holds_document(holds: Iterable[Hold]) -> dict[str, Any]:
    """All holds."""
    return {"holds": [hold_document(each) for each in holds]}


def _drive(drive: Drive) -> dict[str, Any]:
    return {
        "cartridge": drive.cartridge,
        "owner": drive.owner,
        "begun": drive.begun,
        "mounted": drive.mounted,
        "ending": drive.ending,
        "submitted": _amount(drive.submitted),
        "last": drive.last,
        "stuck": drive.stuck,
    }


def overview_document(found: Overview) -> dict[str, Any]:
    """How the queue stands."""
    return {
        "made": found.made,
        "planned": found.planned,
        "dispatcher": found.dispatcher,
        "problems": list(found.problems),
        "states": _states(found.states),
        "completed_hour": _amount(found.completed_hour),
        "completed_day": _amount(found.completed_day),
        "failed": _amount(found.failed),
        "ages": [
            {"below": None if each.below is None else int(each.below), **_amount(each.amount)} for each in found.ages
        ],
        "drive_limit": found.drive_limit,
        "drives_usable": found.drives_usable,
        "drives": [_drive(each) for each in found.drives],
        "next": [
            {"cartridge": each.cartridge, "files": each.files, "begins": each.begins, "ends": each.ends}
            for each in found.upcoming
        ],
        "through": found.through,
        "reasons": [
            {"reason": each.reason, "for_good": each.for_good, **_amount(each.amount)} for each in found.reasons
        ],
        "holds": [hold_document(each) for each in found.holds],
        "buffer": {
            "limit": found.buffer.limit,
            "pinned": _amount(found.buffer.pinned),
            "coming": _amount(found.buffer.coming),
        },
        "cartridges": found.cartridges,
        "owners": found.owners,
    }


def cartridge_document(row: CartridgeRow) -> dict[str, Any]:
    """What waits for a cartridge."""
    return {
        "cartridge": row.cartridge,
        "states": _states(row.states),
        "failed": _amount(row.failed),
        "oldest": row.oldest,
        "reading": row.reading,
        "place": row.place,
        "begins": row.begins,
        "ends": row.ends,
        "hold": None if row.hold is None else hold_document(row.hold),
    }


def owner_document(row: OwnerRow) -> dict[str, Any]:
    """What an owner waits for."""
    return {
        "owner": row.owner,
        "states": _states(row.states),
        "completed_day": _amount(row.completed_day),
        "failed": _amount(row.failed),
        "pins": _amount(row.pins),
        "jobs": max(0, row.jobs),
        "kept_files": max(0, row.kept_files),
        "oldest": row.oldest,
    }


def page_document(page: CartridgePage | OwnerPage, path: str, **parameters: object) -> dict[str, Any]:
    """What a page has beside its rows."""
    document: dict[str, Any] = {"made": page.made, "total": page.total}
    if page.next is not None:
        document["next"] = page_url(path, **parameters, after=page.next)
    return document


def retried_document(retried: Retried, *, dry_run: bool) -> dict[str, Any]:
    """What a retry is about, or would be."""
    return {"dry_run": dry_run, "failed": retried.failed, "hurried": retried.hurried}
