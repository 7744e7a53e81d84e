"""The tables of the job store, and their versions.

SQL is written once, with C{?} for parameters; L{Dialect} has the differences between SQLite and MariaDB.  A file id is
stored as a signed integer of 64 bits, which both have (L{to_key}).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

_SIGN = 1 << 63


def to_key(file_id: int) -> int:
    """Return a file id (below 2**64) as a signed integer."""
    return file_id - (_SIGN << 1) if file_id >= _SIGN else file_id


def from_key(key: int) -> int:
    """Return the file id of a key."""
    return key + (_SIGN << 1) if key < 0 else key


@attrs.frozen
class Dialect:
    """
    The differences between the databases.

    @ivar words: Replacements for the words in braces.
    @ivar placeholder: The placeholder for a parameter.
    """

    words: Mapping[str, str]
    placeholder: str

    def render(self, text: str) -> str:
        """Return a statement in the form that the database takes."""
        text = re.sub(r"\{(\w+)\}", lambda match: self.words[match[1]], text)
        return text if self.placeholder == "?" else text.replace("?", self.placeholder)


SQLITE = Dialect(
    {
        "number": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "text": "TEXT",
        "long": "TEXT",
        "real": "REAL",
        "clustered": "WITHOUT ROWID",
        "plain": "",
        "ignore": "INSERT OR IGNORE",
        "div": "/",  # of integers
        "hour": "CAST(since / 3600 AS INTEGER)",
        "merge": "ON CONFLICT DO UPDATE SET",
        "new_files": "excluded.files",
        "new_size": "excluded.size",
    },
    "?",
)

MARIADB = Dialect(
    {
        "number": "BIGINT PRIMARY KEY AUTO_INCREMENT",
        "text": "VARCHAR(250) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "long": "MEDIUMTEXT CHARACTER SET utf8mb4",
        "real": "DOUBLE",
        "clustered": "ENGINE=InnoDB",
        "plain": "ENGINE=InnoDB",
        "ignore": "INSERT IGNORE",
        "div": "DIV",
        "hour": "FLOOR(since / 3600)",
        "merge": "ON DUPLICATE KEY UPDATE",
        "new_files": "VALUES(files)",
        "new_size": "VALUES(size)",
    },
    "%s",
)

LONGEST_TEXT = 250
"""The longest text in characters; longer ones are cut."""

TABLES = """
CREATE TABLE IF NOT EXISTS turn (
    one INTEGER NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    holder {text} NOT NULL,
    term BIGINT NOT NULL,
    beat BIGINT NOT NULL,
    archive {text} NOT NULL,
    obstacle {text} NOT NULL,
    learned {long} NOT NULL
) {plain};

{ignore} INTO turn VALUES (1, 1, '', 0, 0, '', '', '');

CREATE TABLE IF NOT EXISTS jobs (
    number {number},
    job {text} NOT NULL UNIQUE,
    owner {text} NOT NULL,
    priority INTEGER NOT NULL,
    created {real} NOT NULL,
    deadline {real} NOT NULL,
    pin {real} NOT NULL,
    until_read INTEGER NOT NULL,
    single {text} UNIQUE,
    started {real},
    ended {real},
    files BIGINT NOT NULL,
    remaining BIGINT NOT NULL,
    others {long} NOT NULL
) {plain};
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, number);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (ended);
CREATE INDEX IF NOT EXISTS jobs_by_deadline ON jobs (ended, deadline);

CREATE TABLE IF NOT EXISTS wishes (
    job BIGINT NOT NULL,
    file BIGINT NOT NULL,
    state INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    pin {real} NOT NULL,
    size BIGINT,
    started {real},
    ended {real},
    reason {text},
    PRIMARY KEY (job, file)
) {clustered};
CREATE INDEX IF NOT EXISTS wishes_by_file ON wishes (file);

CREATE TABLE IF NOT EXISTS recalls (
    file BIGINT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    owner {text} NOT NULL,
    priority INTEGER NOT NULL,
    since {real} NOT NULL,
    medium {text} NOT NULL,
    position BIGINT NOT NULL,
    size BIGINT,
    request {text} NOT NULL,
    attempts INTEGER NOT NULL,
    started {real},
    heard {real},
    resting {real} NOT NULL,
    reason {text} NOT NULL
) {plain};
CREATE INDEX IF NOT EXISTS recalls_in_order ON recalls (state, medium, position, file);

CREATE TABLE IF NOT EXISTS pins (
    file BIGINT NOT NULL,
    job BIGINT NOT NULL,
    size BIGINT NOT NULL,
    expires {real} NOT NULL,
    until_read INTEGER NOT NULL,
    PRIMARY KEY (file, job)
) {clustered};
CREATE INDEX IF NOT EXISTS pins_by_end ON pins (expires);
CREATE INDEX IF NOT EXISTS pins_by_job ON pins (job);

CREATE TABLE IF NOT EXISTS media (
    medium {text} NOT NULL PRIMARY KEY,
    files BIGINT NOT NULL,
    begins {real} NOT NULL,
    ends {real} NOT NULL,
    lowest BIGINT NOT NULL,
    highest BIGINT NOT NULL
) {plain};
"""

ACCOUNTS = """
CREATE TABLE IF NOT EXISTS accounts (
    kind INTEGER NOT NULL,
    owner {text} NOT NULL,
    jobs BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    PRIMARY KEY (kind, owner)
) {clustered};
CREATE INDEX IF NOT EXISTS jobs_by_owners_end ON jobs (owner, ended);
"""

OPERATIONS = """
CREATE TABLE IF NOT EXISTS holds (
    kind INTEGER NOT NULL,
    name {text} NOT NULL,
    drives INTEGER NOT NULL,
    who {text} NOT NULL,
    why {text} NOT NULL,
    since {real} NOT NULL,
    until {real},
    PRIMARY KEY (kind, name)
) {clustered};

CREATE TABLE IF NOT EXISTS counts (
    state INTEGER NOT NULL,
    medium {text} NOT NULL,
    owner {text} NOT NULL,
    reason {text} NOT NULL,
    files BIGINT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (state, medium, owner, reason)
) {clustered};

CREATE TABLE IF NOT EXISTS failed (
    job BIGINT NOT NULL,
    file BIGINT NOT NULL,
    medium {text} NOT NULL,
    owner {text} NOT NULL,
    reason {text} NOT NULL,
    size BIGINT NOT NULL,
    ended {real} NOT NULL,
    PRIMARY KEY (job, file)
) {clustered};
CREATE INDEX IF NOT EXISTS failed_by_medium ON failed (medium, job, file);
CREATE INDEX IF NOT EXISTS failed_by_owner ON failed (owner, job, file);
CREATE INDEX IF NOT EXISTS recalls_by_age ON recalls (state, medium, since);

{ignore} INTO failed (job, file, medium, owner, reason, size, ended)
    SELECT w.job, w.file, '', j.owner, COALESCE(w.reason, ''), COALESCE(w.size, 0), COALESCE(w.ended, j.created)
    FROM wishes w JOIN jobs j ON j.number = w.job WHERE w.state = 4
"""

STEPS: Sequence[str] = (TABLES, ACCOUNTS, OPERATIONS)
"""
The statements that lead from each version of the tables to the next.  MariaDB commits each of these statements
separately, so each must be repeatable: an earlier run may have ended between two.
"""


def statements(step: str) -> list[str]:
    """Split a step into its statements."""
    return [each.strip() for each in step.split(";") if each.strip()]
