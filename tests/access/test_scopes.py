"""L{pacarchive.access.scopes}: which files the path of a scope covers."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacarchive.access.rights import ALL_IDS, EVERYTHING, LOCAL, IdRanges, Right, grant, with_implied
from pacarchive.access.scopes import grants_of, read_scopes
from pacarchive.access.settings import Profile
from pacarchive.ids import MAX_FILE_ID

IDS = st.one_of(st.integers(0, 2000), st.integers(0, MAX_FILE_ID))
RANGES = st.lists(st.tuples(IDS, IDS).map(lambda pair: (min(pair), max(pair))), max_size=5).map(IdRanges.of)
RIGHTS = st.sets(st.sampled_from(list(Right))).map(lambda several: sum(each.value for each in several)).map(Right)
SCOPES = {
    "storage.read": Right.READ,
    "storage.create": Right.CREATE,
    "storage.modify": Right.MODIFY,
    "storage.stage": Right.STAGE,
    "storage.poll": Right.POLL,
}


def opened(*scopes: str) -> IdRanges:
    """For which ids the scopes give the right to read."""
    return read_scopes(Profile.WLCG, scopes).opened.get(Right.READ, IdRanges(()))


@given(IDS, IDS)
@example(12, 123)
@example(12, 1)
@example(0, 10)
def test_an_id_opens_itself_alone(mine: int, other: int) -> None:
    """Whatever another looks like."""
    ids = opened(f"storage.read:/{mine}")
    assert mine in ids
    assert (other in ids) == (other == mine)


@given(IDS, st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x21, exclude_characters="%/"), min_size=1))
def test_what_is_no_id_opens_nothing(file_id: int, more: str) -> None:
    """Nor what an id is only a part of."""
    candidates = [f"/{file_id}/", f"/{file_id}/{more}", f"/{more}/{file_id}", f"/0{file_id}", f"/+{file_id}"]
    for path in candidates:
        if not {".", ".."}.isdisjoint(path.split("/")):
            continue
        assert not opened(f"storage.read:{path}"), path
    if not (more.isdigit() and more.isascii()) and more not in (".", ".."):
        assert not opened(f"storage.read:/{more}")


@pytest.mark.parametrize("path", ["/12 ", "/\u0661\u0662", "/12\u200b", "/0x0c", "/1_2", f"/{2**64}", "/-1"])
def test_other_ways_to_write_an_id(path: str) -> None:
    """There is one only."""
    assert not opened(f"storage.read:{path}")


@pytest.mark.parametrize(
    "path",
    ["", "12", "foo", "//", "//12", "/12//", "/a//b", "/.", "/..", "/../12", "/12/..", "/./12", "/%31%32", "/12%2f",
     "/%", "https://archive.example.org/12"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["storage.read", "storage.poll", "storage.unheard-of"])
def test_paths_that_refuse_a_token(name: str, path: str) -> None:
    """None is made into another one: what means two things to two readers opens nothing."""
    with pytest.raises(ValueError, match="path"):
        read_scopes(Profile.WLCG, ["storage.read:/", f"{name}:{path}"])


def test_all_ids() -> None:
    """The root has all files below it."""
    assert opened("storage.read:/", "storage.read:/12") == ALL_IDS
    assert MAX_FILE_ID in opened("storage.read:/")


@given(st.lists(st.tuples(st.sampled_from(sorted(SCOPES)), st.one_of(st.none(), IDS)), max_size=8), RIGHTS, RANGES, IDS)
@example([("storage.modify", None)], Right.READ, ALL_IDS, 1)
@example([("storage.read", None), ("storage.read", 5)], EVERYTHING, ALL_IDS, 5)
def test_grants(scopes: list[tuple[str, int | None]], may: Right, ids: IdRanges, other: int) -> None:
    """Exactly what some scope, the rights of the settings and their ids all have; nothing that is the site's alone."""
    words = [f"{name}:/{'' if file_id is None else file_id}" for name, file_id in scopes]
    found = grants_of(read_scopes(Profile.WLCG, words), may, ids, "")
    for file_id in {other, *(each for _, each in scopes if each is not None)}:
        given_here = [with_implied(SCOPES[name]) for name, each in scopes if each in (None, file_id)]
        for right in Right:
            expected = any(right in each for each in given_here) and right in may and file_id in ids
            expected = expected and right not in LOCAL
            assert any(right in each.rights and (each.ids is None or file_id in each.ids) for each in found) == expected
    assert len(found) <= len(SCOPES)


def test_no_limit_is_no_limit() -> None:
    """All ids are not looked at one by one."""
    found = grants_of(read_scopes(Profile.WLCG, ["storage.read:/"]), EVERYTHING, ALL_IDS, "source")
    assert found == (grant(Right.READ, None, "source"),)
