"""A short run of the campaign, and what its judge is worth."""

from __future__ import annotations

import hashlib

import pytest

from campaigns.races import IDS, OUTSIDE, PLACES, Operation, State, is_explained, main

A, B, C = (hashlib.sha256(body).digest() for body in (b"a", b"b", b"c"))


def state(**held: bytes) -> State:
    """What is under id 1, 2 and 65, and outside; C{_1} stands for the id."""
    return tuple(held.get(f"_{place}" if isinstance(place, int) else place) for place in PLACES)


def operation(
    method: str, target: int, status: int, *, when: tuple[float, float] = (0, 1), **more: object
) -> Operation:
    """One that has its answer."""
    made = Operation(method, target, **more)  # type: ignore[arg-type]
    made.status, (made.begun, made.ended) = status, when
    return made


@pytest.mark.timeout(600)
def test_no_version_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Puts, moves and removals of the same few ids at the same time, by two workers."""
    assert main(["--operations", "1800"]) == 0, capsys.readouterr().out
    assert ": 0 breaches" in capsys.readouterr().out


def test_the_places() -> None:
    """Ids and files outside; some of the ids share a lock."""
    assert (*IDS, *OUTSIDE) == PLACES
    assert len({file_id % 64 for file_id in IDS}) < len(IDS)


@pytest.mark.parametrize(
    ("first", "operations", "last", "is_right"),
    [
        (state(), [operation("PUT", 1, 201, body=b"a")], state(_1=A), True),
        (state(), [operation("PUT", 1, 201, body=b"a")], state(), False),
        (state(), [operation("PUT", 1, 412, body=b"a", absent=True)], state(), False),
        (state(_1=B), [operation("PUT", 1, 412, body=b"a", absent=True)], state(_1=B), True),
        (state(_1=B), [operation("PUT", 1, 201, body=b"a", matching=B)], state(_1=A), True),
        (state(_1=B), [operation("PUT", 1, 201, body=b"a", matching=C)], state(_1=A), False),
        (state(_1=A), [operation("PATCH", 2, 200, source=1)], state(_2=A), True),
        (state(_1=A), [operation("PATCH", 2, 200, source=1)], state(_1=A, _2=A), False),
        (state(_1=A), [operation("PATCH", 2, 404, source=1)], state(_1=A), False),
        (state(_1=A), [operation("PATCH", 1, 200, source=1, absent=True)], state(_1=A), True),
        (state(one=A), [operation("PATCH", 2, 200, source="one")], state(_2=A), True),
        (state(_1=A), [operation("DELETE", 1, 200)], state(), True),
        (state(_1=A), [operation("DELETE", 1, 200, matching=B)], state(), False),
        (state(_1=A), [operation("GET", 1, 200, found=B)], state(_1=A), False),
        (state(_1=A), [operation("GET", 1, 503)], state(_1=A), False),
        # The put came before the move, or after it; but it is not gone.
        (
            state(_1=A),
            [operation("PUT", 1, 201, body=b"b"), operation("PATCH", 2, 200, source=1)],
            state(_2=B),
            True,
        ),
        (
            state(_1=A),
            [operation("PUT", 1, 201, body=b"b"), operation("PATCH", 2, 200, source=1)],
            state(_1=B, _2=A),
            True,
        ),
        (
            state(_1=A),
            [operation("PUT", 1, 201, body=b"b"), operation("PATCH", 2, 200, source=1)],
            state(_2=A),
            False,
        ),
        # Two of the same time, and one after the other.
        (state(), [operation("PUT", 1, 201, body=b"a"), operation("PUT", 1, 201, body=b"b")], state(_1=A), True),
        (
            state(),
            [operation("PUT", 1, 201, body=b"a"), operation("PUT", 1, 201, body=b"b", when=(2, 3))],
            state(_1=A),
            False,
        ),
        # One file for two who move it.
        (
            state(one=A),
            [operation("PATCH", 1, 200, source="one"), operation("PATCH", 2, 200, source="one")],
            state(_1=A, _2=A),
            False,
        ),
        (
            state(one=A),
            [operation("PATCH", 1, 200, source="one"), operation("PATCH", 2, 404, source="one")],
            state(_1=A),
            True,
        ),
    ],
)
def test_the_judge(first: State, operations: list[Operation], last: State, is_right: bool) -> None:
    """What an order explains, and what none does."""
    assert is_explained(first, operations, last, "allow") is is_right


@pytest.mark.parametrize(
    ("policy", "first", "made", "last", "is_right"),
    [
        ("deny", state(_1=A), operation("PUT", 1, 409, body=b"a"), state(_1=A), True),
        ("deny", state(_1=A), operation("PUT", 1, 201, body=b"b"), state(_1=B), False),
        ("deny", state(_1=A, _2=B), operation("PATCH", 2, 409, source=1), state(_1=A, _2=B), True),
        ("identical", state(_1=A), operation("PUT", 1, 201, body=b"a"), state(_1=A), True),
        ("identical", state(_1=A), operation("PUT", 1, 409, body=b"b"), state(_1=A), True),
        ("identical", state(_1=A, _2=A), operation("PATCH", 2, 200, source=1), state(_2=A), True),
        ("identical", state(_1=A, _2=B), operation("PATCH", 2, 200, source=1), state(_2=A), False),
    ],
)
def test_the_judge_of_policies(policy: str, first: State, made: Operation, last: State, is_right: bool) -> None:
    """Of a taken id."""
    assert is_explained(first, [made], last, policy) is is_right
