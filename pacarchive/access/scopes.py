"""What the scopes of an issuer's token open: rights, each for some file ids.

The path of a file is C{/ID}, and a scope's path covers whole segments: C{storage.read:/12} opens file 12 and never 123,
C{storage.read:/} all files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pacarchive.access.rights import ALL_IDS, LOCAL, Grant, IdRanges, Right, with_implied
from pacarchive.access.settings import Profile
from pacarchive.ids import parse_file_id
from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_SHOWN = 80
_NO_IDS = IdRanges(())

_RIGHTS = {
    Profile.WLCG: {
        "storage.read": Right.READ,
        "storage.create": Right.CREATE,
        "storage.modify": Right.MODIFY,
        "storage.stage": Right.STAGE,
        "storage.poll": Right.POLL,
    },
    Profile.SCITOKENS: {"read": Right.READ, "write": Right.CREATE | Right.MODIFY},
}
_WITH_PATH = {Profile.WLCG: ("storage.",), Profile.SCITOKENS: ()}
_CAPABILITIES = {Profile.WLCG: ("storage.", "compute."), Profile.SCITOKENS: ()}


@attrs.frozen
class Scopes:
    """
    What was read of a token's scopes.

    @ivar opened: For which ids each right is given, as far as the token goes.
    @ivar has_capability: Whether any of them names something to do, be it of no use here; the groups of such a token
        count for nothing.
    """

    opened: Mapping[Right, IdRanges]
    has_capability: bool


def read_scopes(profile: Profile, scopes: Iterable[str]) -> Scopes:
    """
    Read a token's scopes.

    @raise ValueError: One of them makes the whole token invalid; C{str()} says why, in words that follow "the token's".
    """
    rights, with_path, capabilities = _RIGHTS[profile], _WITH_PATH[profile], _CAPABILITIES[profile]
    opened: dict[Right, list[IdRanges]] = {}
    has_capability = False
    for scope in scopes:
        name, _, path = scope.partition(":")
        right = rights.get(name)
        if right is not None or name.startswith(with_path):
            ids = _ids(scope, path)
            if right is not None and ids:
                opened.setdefault(right, []).append(ids)
        has_capability = has_capability or right is not None or name.startswith(capabilities)
    return Scopes({right: _union(several) for right, several in opened.items()}, has_capability)


def grants_of(scopes: Scopes, may: Right, ids: IdRanges, source: str) -> tuple[Grant, ...]:
    """
    What scopes give where their issuer is believed so far.

    @param may: The most rights that its tokens can give; never L{LOCAL} ones.
    @param ids: The most ids.
    @param source: As for L{Grant}.
    """
    together: dict[IdRanges, int] = {}
    for right, opened in scopes.opened.items():
        bits = (with_implied(right) & may & ~LOCAL).value
        common = ids if opened == ALL_IDS else opened if ids == ALL_IDS else opened & ids
        if bits and common:
            together[common] = together.get(common, 0) | bits
    return tuple(Grant(bits, None if each == ALL_IDS else each, source) for each, bits in together.items())


def _ids(scope: str, path: str) -> IdRanges:
    if path == "/":
        return ALL_IDS
    if not path:
        raise ValueError(f"scope {_shown(scope)} names no path, as {_shown(scope.rstrip(':'))}:/ would")
    segments = path.split("/")
    if segments[0]:
        raise ValueError(f"scope {_shown(scope)} has a path that does not begin with /")
    if "%" in path or "" in segments[1:-1] or not {".", ".."}.isdisjoint(segments):
        raise ValueError(f"scope {_shown(scope)} has %, // or a segment of dots in its path")
    try:
        only = parse_file_id(path[1:])
    except ValueError:
        return _NO_IDS  # of nothing that there is here, or ever will be
    return IdRanges(((only, only),))


def _union(several: list[IdRanges]) -> IdRanges:
    if len(several) == 1 or ALL_IDS in several:
        return ALL_IDS if ALL_IDS in several else several[0]
    return IdRanges.of(bounds for each in several for bounds in each.bounds)


def _shown(scope: str) -> str:
    return printable(scope if len(scope) <= _LONGEST_SHOWN else f"{scope[:_LONGEST_SHOWN]}...")
