"""All checks, in their order."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pacarchive.cli.check import basic, files, fixity, parts, refusals, rewriting, times, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacarchive.cli.check.checks import Check


def _order() -> tuple[Check, ...]:
    found: list[Check] = []
    of_files = files.GROUP.checks
    large = [check for check in of_files if check.name.startswith("large-")]
    found += basic.GROUP.checks
    found += [check for check in of_files if check not in large]
    for group in (times, rewriting, fixity, parts, refusals):
        found += [check for check in group.GROUP.checks if check.name != "range-large"]
    many = files.MANY.checks
    found += many[:-1]
    found += together.GROUP.checks
    found += many[-1:]
    found += files.MOVE.checks
    # The large file is stored for as short a time as possible.
    found += large[:-1]
    found += [check for check in parts.GROUP.checks if check.name == "range-large"]
    found += large[-1:]
    return tuple(found)


CHECKS = _order()
"""All of them."""


def chosen(patterns: Sequence[str]) -> list[Check]:
    """
    Choose checks by name, in their order.

    @param patterns: Names, in which C{*} stands for any text.  One that matches no name stands for all checks whose
        names begin with it and a hyphen.  Empty for all checks.
    @raise ValueError: A pattern matches no check.
    """
    if not patterns:
        return list(CHECKS)
    names: set[str] = set()
    for pattern in patterns:
        found = {check.name for check in CHECKS if fnmatchcase(check.name, pattern)}
        found = found or {check.name for check in CHECKS if check.name.startswith(f"{pattern}-")}
        if not found:
            raise ValueError(f"no check has the name {pattern!r}; all are listed by --list")
        names |= found
    return [check for check in CHECKS if check.name in names]
