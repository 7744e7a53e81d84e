"""How many examples a long property gets."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(count: int) -> int:
    """
    For properties each example of which takes long: fewer than others get, in the same proportion with each profile.

    @param count: How many are tried with the usual profile.
    """
    return max(1, count * settings().max_examples // _USUAL)
