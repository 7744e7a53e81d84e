"""Where a file's bytes are, by what the mount and the database say: without either."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.sideband.residency import (
    Copy,
    Entry,
    choose,
    levels_of,
    locality_of,
    location_of,
)
from pacarchive.model import Locality, TapeLocation

MODIFIED = 1_700_000_000


@attrs.frozen
class State:
    """What the mount says."""

    st_size: int = 1000
    st_blocks: int = 2
    st_ino: int = 50


def copy(number: int = 0, sequence: int = 0, *, media_type: str = "li", created: int = MODIFIED) -> Copy:
    return Copy(
        number=number,
        sequence=sequence,
        media_type=media_type,
        vsn=f"A{number}{sequence}",
        position=10 * number + sequence,
        size=1000,
        created=created,
    )


ENTRY = Entry(
    directory=b"/archive/39/",
    directory_gen=1,
    ino=50,
    gen=1,
    type=0,
    size=1000,
    modified=MODIFIED,
    online=True,
    copies=(copy(),),
)

STALE = (copy(created=MODIFIED - 1),)

CASES = [
    ("online with a copy", State(), {}, Locality.DISK_AND_TAPE),
    ("online without", State(), {"copies": ()}, Locality.DISK),
    ("online with an old one", State(), {"copies": STALE}, Locality.DISK),
    ("offline", State(), {"online": False}, Locality.TAPE),
    ("offline, no blocks", State(st_blocks=0), {"online": False}, Locality.TAPE),
    ("offline without a copy", State(), {"online": False, "copies": ()}, Locality.TAPE),
    ("another size", State(st_size=999), {"online": False}, Locality.DISK),
    ("another size, no blocks", State(st_size=999, st_blocks=0), {}, Locality.UNAVAILABLE),
    ("a directory", State(), {"type": 1, "online": False}, Locality.DISK),
    ("a symbolic link", State(), {"type": 4, "online": False}, Locality.DISK),
    ("a segment", State(), {"type": 2, "online": False}, Locality.DISK),
    ("segments, all blocks", State(), {"type": 3, "size": 512}, Locality.DISK_AND_TAPE),
    ("segments, some blocks", State(st_blocks=1), {"type": 3, "size": 512}, Locality.UNAVAILABLE),
    ("segments, offline", State(), {"type": 3, "size": 512, "online": False}, Locality.TAPE),
    ("nothing in it", State(st_size=0, st_blocks=0), {"online": False, "size": 0}, Locality.DISK),
]


@pytest.mark.parametrize(
    ("state", "changes", "expected"), [each[1:] for each in CASES], ids=[each[0] for each in CASES]
)
@pytest.mark.parametrize("sees_inodes", [True, False])
def test_judgements(state: State, changes: dict[str, object], expected: Locality, sees_inodes: bool) -> None:
    """One for each state that both can be in."""
    entry = attrs.evolve(ENTRY, **changes)  # type: ignore[arg-type]
    assert locality_of(state, entry, sees_inodes=sees_inodes) is expected


@pytest.mark.parametrize("sees_inodes", [True, False])
def test_without_a_row(sees_inodes: bool) -> None:
    """A file is new and on disk, where it has blocks there."""
    assert locality_of(State(), None, sees_inodes=sees_inodes) is Locality.DISK
    assert locality_of(State(st_blocks=0), None, sees_inodes=sees_inodes) is Locality.UNAVAILABLE
    assert locality_of(State(st_size=0, st_blocks=0), None, sees_inodes=sees_inodes) is Locality.DISK


entries = st.builds(
    Entry,
    directory=st.sampled_from([b"/a/", b"/a"]),
    directory_gen=st.integers(1, 3),
    ino=st.sampled_from([50, 51]),
    gen=st.integers(1, 3),
    type=st.integers(0, 5),
    size=st.sampled_from([0, 999, 1000]),
    modified=st.just(MODIFIED),
    online=st.booleans(),
    copies=st.sampled_from([(), (copy(),), STALE]),
)
mounted = st.builds(State, st.sampled_from([0, 999, 1000]), st.sampled_from([0, 1, 2]), st.just(50))


@given(mounted, st.none() | entries, st.booleans())
def test_levels_agree_with_the_judgement(state: State, entry: Entry | None, sees_inodes: bool) -> None:
    """All bytes are somewhere, each level has all or none, and nothing is on disk that is said to be on tape only."""
    locality = locality_of(state, entry, sees_inodes=sees_inodes)
    on_disk, on_tape = levels_of(locality, state)
    assert {on_disk, on_tape} <= {0, state.st_size}
    assert max(on_disk, on_tape) == state.st_size
    if state.st_size:
        expected = {
            Locality.DISK: (True, False),
            Locality.TAPE: (False, True),
            Locality.DISK_AND_TAPE: (True, True),
            Locality.UNAVAILABLE: (state.st_blocks > 0, state.st_blocks == 0),
        }
        assert (on_disk > 0, on_tape > 0) == expected[locality]
    else:
        assert locality is Locality.DISK


@given(mounted, entries, st.booleans())
def test_a_row_of_another_file_decides_nothing(state: State, entry: Entry, sees_inodes: bool) -> None:
    """A file is on tape only by a row of a file of that size, which is offline."""
    if locality_of(state, entry, sees_inodes=sees_inodes) is Locality.TAPE:
        assert not entry.online
        assert entry.type in (0, 3)
        assert entry.type == 3 or entry.size == state.st_size


@given(st.lists(entries, max_size=4), st.booleans())
def test_the_choice(some: list[Entry], sees_inodes: bool) -> None:
    """It is one of them: of the mount's inode, of a path as the daemon writes it, and the latest."""
    chosen = choose(some, State(), sees_inodes=sees_inodes)
    if not some:
        assert chosen is None
        return
    assert chosen in some
    assert chosen is not None
    rest = [each for each in some if each.ino == 50] if sees_inodes else some
    if rest and len(some) > 1:
        assert chosen in rest
    else:
        rest = some
    if len(some) > 1:
        slashed = [each for each in rest if each.directory.endswith(b"/")] or rest
        assert chosen in slashed
        assert (chosen.directory_gen, chosen.gen) == max((each.directory_gen, each.gen) for each in slashed)


def test_the_order_of_copies() -> None:
    """A stage reads the first copy, and of that the first volume; one that looks old only where there is no other."""
    offline = attrs.evolve(ENTRY, online=False)

    def medium(*copies: Copy) -> str | None:
        where = location_of(attrs.evolve(offline, copies=copies))
        return None if where is None else where.medium

    assert medium(copy(2), copy(1, 1), copy(1, 0, media_type="ti")) == "ti.A10"
    assert medium(copy(0, created=MODIFIED - 1), copy(3)) == "li.A30"
    assert medium(copy(1, created=MODIFIED - 1), copy(0, created=1)) == "li.A00"
    assert medium() is None
    assert location_of(ENTRY) is None
    assert location_of(offline) == TapeLocation(medium="li.A00", position=0, size=1000)
