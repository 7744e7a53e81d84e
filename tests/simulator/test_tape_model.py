"""The tape library model: what takes how long, in which order, and what becomes of everyone's request."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .library import (
    ACTIVE,
    DISK_AND_TAPE,
    DUAL_COPY,
    MB,
    QUEUED,
    TAPE_ONLY,
    UNKNOWN,
    Library,
    LibraryError,
    NewLibrary,
    build_model,
)

ENOENT, EIO, EPERM, EBUSY, EINVAL, ENOSPACE, ECONN = -2, -5, -1, -16, -22, -28, -50

PLAIN: dict[str, float] = {
    "schedule_seconds": 1,
    "mount_seconds": 60,
    "unmount_seconds": 30,
    "seek_seconds_full": 100,
    "position_seconds": 3,
    "tape_rate": 100 * MB,
    "cartridge_capacity": 10_000 * MB,
    "migration_delay": 600,
}
"""Round numbers: files of 100 MB take a second to read, and a second to wind over."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled model."""
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def new_library(model: Path, tmp_path: Path) -> Iterator[NewLibrary]:
    """Makes libraries, and closes them."""
    made: list[Library] = []

    def new(drives: int = 1, **changes: float | str) -> Library:
        made.append(Library(model, tmp_path / f"{len(made)}.db", drives=drives, **{**PLAIN, **changes}))
        return made[-1]

    yield new
    for library in made:
        library.close()


def started(library: Library) -> list[int]:
    """Objects in the order in which reading them began."""
    return [row[0] for row in library.rows("SELECT object FROM request WHERE started NOT NULL ORDER BY started, id")]


class TestMigration:
    def test_bytes_reach_tape_after_the_delay(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB, now=50)
        assert library.next_event() == 650
        library.advance(649.9)
        assert library.levels(made) == {0: 100 * MB}
        library.advance(650)
        assert library.levels(made) == {0: 100 * MB, 1: 100 * MB}
        assert library.next_event() is None

    def test_never_by_itself_with_a_negative_delay(self, new_library: NewLibrary) -> None:
        library = new_library(migration_delay=-1)
        library.file(100 * MB)
        assert library.next_event() is None

    def test_files_follow_each_other_until_the_cartridge_is_full(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=250 * MB)
        library.archived(100 * MB, count=3)
        assert library.rows("SELECT cartridge, position, offset, bytes FROM segment ORDER BY object") == [
            ("A0000100", 0, 0, 100 * MB),
            ("A0000100", 1, 100 * MB, 100 * MB),
            ("A0000200", 0, 0, 100 * MB),
        ]
        assert library.rows("SELECT name, used, next_position FROM cartridge") == [
            ("A0000100", 200 * MB, 2),
            ("A0000200", 100 * MB, 1),
        ]

    def test_a_file_longer_than_a_cartridge_has_one_for_itself(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=10 * MB)
        library.archived(100 * MB, count=2)
        assert library.rows("SELECT cartridge, offset FROM segment") == [("A0000100", 0), ("A0000200", 0)]

    def test_the_second_copy_goes_to_other_cartridges(self, new_library: NewLibrary) -> None:
        library = new_library()
        (made,) = library.archived(100 * MB, cos=DUAL_COPY)
        assert library.rows("SELECT level, cartridge FROM segment") == [(1, "A0000100"), (2, "B0000100")]
        assert library.levels(made) == {1: 100 * MB, 2: 100 * MB}

    def test_a_family_has_cartridges_of_its_own(self, new_library: NewLibrary) -> None:
        library = new_library()
        for family in (1, 2, 1):
            library.archived(100 * MB, family=family)
        assert [row[0] for row in library.rows("SELECT cartridge FROM segment ORDER BY object")] == [
            "A0000100",
            "A0000200",
            "A0000100",
        ]

    def test_tape_only_files_are_written_to_tape_at_once(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB, cos=TAPE_ONLY)
        assert library.rows("SELECT level, cartridge FROM segment") == [(0, "A0000100")]
        assert library.next_event() is None
        assert library.sums()["disk_used"] == 0
        with pytest.raises(LibraryError, match=str(EINVAL)):
            library.submit(made, 0)

    def test_new_bytes_drop_the_copies_of_the_old_ones(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB)
        library.migrate(made)
        library.write(made, 50 * MB, now=1000)
        assert library.levels(made) == {0: 50 * MB}
        assert library.next_event() == 1600
        library.advance(1600)
        assert library.rows("SELECT offset, bytes FROM segment") == [(100 * MB, 50 * MB)]

    def test_nothing_is_written_twice(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB)
        assert library.migrate(made) == 100 * MB
        assert library.migrate(made) == 0
        assert library.next_event() is None


class TestPurge:
    def test_needs_a_copy_on_tape(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB)
        with pytest.raises(LibraryError) as refused:
            library.purge(made)
        assert refused.value.code == EPERM
        assert library.levels(made) == {0: 100 * MB}

    def test_respects_the_lock(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB)
        library.migrate(made)
        library.execute("UPDATE object SET purge_lock = 1")
        with pytest.raises(LibraryError) as refused:
            library.purge(made)
        assert refused.value.code == EBUSY
        library.execute("UPDATE object SET purge_lock = 0")
        assert library.purge(made) == 100 * MB
        assert library.purge(made) == 0

    def test_disk_use_is_counted_through_a_files_life(self, new_library: NewLibrary) -> None:
        library = new_library(disk_capacity=300 * MB)
        first, second = library.file(100 * MB), library.file(50 * MB)
        assert library.sums()["disk_used"] == 150 * MB
        assert library.has_room(150 * MB)
        assert not library.has_room(150 * MB + 1)
        library.write(first, 120 * MB, now=0)
        library.migrate(second)
        library.purge(second)
        assert library.sums()["disk_used"] == 120 * MB
        library.submit(second, now=0)
        library.play_all()
        assert library.sums()["disk_used"] == 170 * MB
        library.remove(first, now=1000)
        library.remove(second, now=1000)
        assert library.sums()["disk_used"] == 0


class TestTimes:
    def test_of_one_recall(self, new_library: NewLibrary) -> None:
        library = new_library()
        _, wanted = library.archived(100 * MB, count=2)
        request = library.submit(wanted, now=1000, client="c")
        assert library.status("c", wanted) == QUEUED
        assert library.is_moving(wanted)
        library.advance(1001)
        assert library.status("c", wanted) == ACTIVE
        # scheduled 1, mounted 60, positioned 3, wound over 1/100 of the tape 1, read 1
        assert library.next_event() == 1066
        library.advance(1065.9)
        assert library.ended(request) is None
        library.advance(1066)
        assert library.ended(request) == 0
        assert library.status("c", wanted) == UNKNOWN
        assert not library.is_moving(wanted)
        assert library.levels(wanted) == {0: 100 * MB, 1: 100 * MB}

    def test_neighbours_on_tape_need_no_locate(self, new_library: NewLibrary) -> None:
        library = new_library()
        for made in library.archived(100 * MB, count=10):
            library.submit(made, now=0)
        assert library.play_all() == 1 + 60 + 10
        assert library.sums()["locates"] == 0

    def test_another_cartridge_costs_rewind_unmount_and_mount(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=100 * MB)
        for made in library.archived(100 * MB, count=2):
            library.submit(made, now=0)
        # the first file ends at the end of its tape
        assert library.play_all() == 1 + 60 + 1 + 100 + 30 + 60 + 1
        assert (library.sums()["mounts"], library.sums()["unmounts"]) == (2, 1)

    def test_a_slow_drive_winds_and_reads_slowly(self, new_library: NewLibrary) -> None:
        library = new_library()
        library.operate("slow_drive", 0, due=0, value=4)
        _, wanted = library.archived(100 * MB, count=2)
        library.submit(wanted, now=0)
        assert library.play_all() == 1 + 60 + 4 * (3 + 1 + 1)

    def test_a_slow_drive_rewinds_slowly(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=100 * MB)
        library.operate("slow_drive", 0, due=0, value=4)
        for made in library.archived(100 * MB, count=2):
            library.submit(made, now=0)
        assert library.play_all() == 1 + 60 + 4 + 4 * 100 + 30 + 60 + 4

    def test_two_drives_read_two_cartridges_at_once(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, cartridge_capacity=100 * MB)
        for made in library.archived(100 * MB, count=2):
            library.submit(made, now=0)
        assert library.play_all() == 1 + 60 + 1

    def test_two_drives_cannot_read_one_cartridge(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2)
        for made in library.archived(100 * MB, count=2):
            library.submit(made, now=0)
        assert library.play_all() == 1 + 60 + 1 + 1
        assert library.sums()["mounts"] == 1


class TestOrder:
    def test_first_in_first_out(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=200 * MB)
        a, b, c, d = library.archived(100 * MB, count=4)
        order = [a, c, b, d]
        for made in order:
            library.submit(made, now=0)
        library.play_all()
        assert started(library) == order
        assert library.sums()["mounts"] == 4

    def test_a_batch_is_read_in_tape_order(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=200 * MB)
        a, b, c, d = library.archived(100 * MB, count=4)
        for made in (d, b, c, a):
            library.submit(made, now=0, batch=7)
        library.play_all()
        assert started(library) == [a, b, c, d]
        assert library.sums()["mounts"] == 2

    def test_a_batch_keeps_its_drive_on_the_cartridge(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=200 * MB)
        a, b, other, _ = library.archived(100 * MB, count=4)
        library.submit(b, now=0, batch=7)
        library.advance(30)
        library.submit(other, now=30)
        library.submit(a, now=31, batch=7)
        library.play_all()
        assert started(library) == [b, a, other]

    def test_a_batch_keeps_its_drive_from_an_older_request_that_has_come_back(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, cartridge_capacity=200 * MB)
        older, _, first, second = library.archived(100 * MB, count=4)
        library.submit(older, now=0)
        for made in (first, second):
            library.submit(made, now=0, batch=7)
        library.operate("fail_drive", 0, due=30)
        library.play_all()
        assert started(library) == [first, second, older]

    def test_a_request_goes_to_the_drive_that_has_its_cartridge(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, cartridge_capacity=200 * MB)
        a, b, c, d = library.archived(100 * MB, count=4)
        for made in (a, c):
            library.submit(made, now=0)
        library.play_all()
        for made in (d, b):
            library.submit(made, now=1000)
        library.play_all()
        assert library.sums()["mounts"] == 2

    def test_an_empty_drive_is_taken_before_one_that_must_be_emptied(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, cartridge_capacity=100 * MB)
        first, second = library.archived(100 * MB, count=2)
        library.submit(first, now=0)
        library.operate("fail_drive", 1, due=500)
        library.operate("repair_drive", 1, due=600)
        library.advance(1000)
        library.submit(second, now=1000)
        library.play_all()
        assert library.rows("SELECT cartridge FROM drive ORDER BY id") == [("A0000100",), ("A0000200",)]

    def test_the_queue_passes_requests_whose_cartridge_is_busy(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, cartridge_capacity=200 * MB)
        a, b, c, _ = library.archived(100 * MB, count=4)
        for made in (a, b, c):
            library.submit(made, now=0)
        library.advance(2)
        assert library.rows("SELECT object, state FROM request") == [(a, "active"), (b, "queued"), (c, "active")]

    def test_recalls_in_tape_order_save_most_of_the_time(self, new_library: NewLibrary) -> None:
        def night(batch: int) -> tuple[float, int]:
            library = new_library(drives=2, cartridge_capacity=2000 * MB)
            files = library.archived(100 * MB, count=100)
            for made in itertools.chain.from_iterable(files[i::20] for i in range(20)):
                library.submit(made, now=0, batch=batch)
            return library.play_all(), library.sums()["mounts"]

        mixed, sorted_ = night(batch=0), night(batch=1)
        assert sorted_[1] == 5
        assert mixed[1] > 90
        assert sorted_[0] < mixed[0] / 10


class TestAskers:
    def test_every_asker_of_one_file_is_answered_by_one_read(self, new_library: NewLibrary) -> None:
        library = new_library()
        (made,) = library.archived(100 * MB)
        requests = [library.submit(made, now=0) for _ in range(3)]
        library.advance(62)
        assert [library.ended(request) for request in requests] == [0, 0, 0]
        assert library.sums()["duplicates"] == 2
        assert library.sums()["staged"] == 1
        assert library.next_event() is None

    def test_what_is_on_disk_is_done_at_once(self, new_library: NewLibrary) -> None:
        library = new_library()
        for made in (library.file(100 * MB), library.file(0)):
            assert library.ended(library.submit(made, now=0)) == 0
        library.advance(600)
        assert library.sums()["mounts"] == 0

    def test_statuses_belong_to_client_and_file(self, new_library: NewLibrary) -> None:
        library = new_library()
        one, other = library.archived(100 * MB, count=2)
        library.submit(one, now=0, client="mine")
        assert library.status("mine", one) == QUEUED
        assert library.status("mine", other) == UNKNOWN
        assert library.status("yours", one) == UNKNOWN

    def test_askers_for_a_removed_file_hear_that_it_is_gone(self, new_library: NewLibrary) -> None:
        library = new_library()
        active, queued, kept = library.archived(100 * MB, count=3)
        requests = [library.submit(made, now=0) for made in (active, queued, kept)]
        library.advance(2)
        library.remove(active, now=2)
        library.remove(queued, now=2)
        assert [library.ended(request) for request in requests] == [ENOENT, ENOENT, None]
        library.play_all()
        assert library.ended(requests[2]) == 0
        assert library.rows("SELECT DISTINCT object FROM level") == [(kept,)]

    def test_askers_for_overwritten_bytes_have_the_new_ones(self, new_library: NewLibrary) -> None:
        library = new_library(migration_delay=10_000)
        (made,) = library.archived(100 * MB)
        request = library.submit(made, now=0)
        library.advance(2)
        library.write(made, 10 * MB, now=2)
        assert library.ended(request) == 0
        library.advance(1000)
        assert library.levels(made) == {0: 10 * MB}

    def test_there_is_no_such_object_or_request(self, new_library: NewLibrary) -> None:
        library = new_library()
        with pytest.raises(LibraryError, match=str(ENOENT)):
            library.submit(999, now=0)
        with pytest.raises(LibraryError, match=str(ENOENT)):
            library.ended(999)


class TestMisfortune:
    def test_a_failed_drive_gives_its_request_back(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2)
        (made,) = library.archived(100 * MB)
        request = library.submit(made, now=0)
        broken = library.operate("fail_drive", 0, due=30)
        library.advance(30)
        assert library.rows("SELECT state, request FROM drive") == [("failed", None), ("ok", request)]
        assert library.play_all() == 30 + 60 + 1
        assert library.ended(request) == 0
        assert library.rows("SELECT played, code FROM operation WHERE id = ?", broken) == [(30, 0)]

    def test_a_failed_drive_fails_its_request_by_a_setting(self, new_library: NewLibrary) -> None:
        library = new_library(drive_failure="fail")
        (made,) = library.archived(100 * MB)
        request = library.submit(made, now=0, client="c")
        library.operate("fail_drive", 0, due=30)
        library.operate("repair_drive", 0, due=50)
        library.play_all()
        assert library.ended(request) == EIO
        assert library.sums()["staged"] == 0
        assert library.status("c", made) == UNKNOWN
        assert library.levels(made) == {1: 100 * MB}

    def test_requests_wait_until_a_drive_is_repaired(self, new_library: NewLibrary) -> None:
        library = new_library()
        (made,) = library.archived(100 * MB)
        library.operate("fail_drive", 0, due=0)
        library.operate("repair_drive", 0, due=500)
        request = library.submit(made, now=0)
        library.advance(499)
        assert library.ended(request) is None
        assert library.play_all() == 500 + 60 + 1

    def test_a_lost_cartridge_fails_its_requests(self, new_library: NewLibrary) -> None:
        library = new_library()
        requests = [library.submit(made, now=0) for made in library.archived(100 * MB, count=3)]
        library.operate("lose_cartridge", "A0000100", due=30)
        library.advance(30)
        assert [library.ended(request) for request in requests] == [EIO, EIO, EIO]
        assert library.rows("SELECT cartridge, request FROM drive") == [(None, None)]

    def test_requests_for_a_lost_cartridge_fail_until_it_is_found(self, new_library: NewLibrary) -> None:
        library = new_library()
        (made,) = library.archived(100 * MB)
        library.operate("lose_cartridge", "A0000100", due=0)
        library.operate("restore_cartridge", "A0000100", due=10)
        early, late = library.submit(made, now=5), library.submit(made, now=10)
        library.play_all()
        assert (library.ended(early), library.ended(late)) == (EIO, 0)

    def test_a_second_copy_stands_in_for_a_lost_cartridge(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.archived(100 * MB, cos=DUAL_COPY, count=3)
        requests = [library.submit(each, now=0) for each in made]
        library.operate("lose_cartridge", "A0000100", due=30)
        library.play_all()
        assert [library.ended(request) for request in requests] == [0, 0, 0]
        assert library.rows("SELECT name, mounts FROM cartridge") == [("A0000100", 1), ("B0000100", 1)]

    def test_nothing_is_appended_to_a_lost_cartridge(self, new_library: NewLibrary) -> None:
        library = new_library()
        library.archived(100 * MB)
        library.operate("lose_cartridge", "A0000100", due=0)
        library.advance(0)
        library.archived(100 * MB)
        assert library.rows("SELECT cartridge FROM segment") == [("A0000100",), ("A0000200",)]

    def test_a_full_disk_fails_the_stage(self, new_library: NewLibrary) -> None:
        library = new_library(disk_capacity=250 * MB)
        requests = [library.submit(made, now=0) for made in library.archived(100 * MB, count=3)]
        library.play_all()
        assert [library.ended(request) for request in requests] == [0, 0, ENOSPACE]
        assert library.sums()["disk_used"] == 200 * MB

    def test_room_is_set_aside_for_what_is_being_read(self, new_library: NewLibrary) -> None:
        library = new_library(drives=2, disk_capacity=150 * MB, cartridge_capacity=100 * MB)
        requests = [library.submit(made, now=0) for made in library.archived(100 * MB, count=2)]
        library.advance(1)
        assert not library.has_room(51 * MB)
        assert [library.ended(request) for request in requests] == [None, ENOSPACE]

    @pytest.mark.parametrize(("lose", "lost"), [(3, [2, 5]), (0.5, [1, 3, 5]), (1, [0, 1, 2, 3, 4, 5])])
    def test_lost_requests_are_never_heard_of_again(
        self, new_library: NewLibrary, lose: float, lost: list[int]
    ) -> None:
        library = new_library(lose_requests=lose)
        files = library.archived(100 * MB, count=6)
        requests = [library.submit(made, now=0, client="c") for made in files]
        vanished = [i for i, made in enumerate(files) if library.status("c", made) == UNKNOWN]
        library.play_all()
        assert vanished == lost
        assert [i for i, request in enumerate(requests) if library.ended(request) is None] == lost
        assert library.sums()["lost"] == len(lost)

    def test_losing_starts_to_count_when_it_is_set(self, new_library: NewLibrary) -> None:
        library = new_library()
        files = library.archived(100 * MB, count=4)
        for lose, made, expected in zip((2, 2, 0, 2), files, (QUEUED, UNKNOWN, QUEUED, QUEUED), strict=True):
            library.set(lose_requests=lose)
            library.submit(made, now=0, client="c")
            assert library.status("c", made) == expected

    def test_a_restarted_core_server_has_forgotten_the_queue(self, new_library: NewLibrary) -> None:
        library = new_library(cartridge_capacity=300 * MB)
        *forgotten, later = library.archived(100 * MB, count=4)
        requests = [library.submit(made, now=0, client="c") for made in forgotten]
        library.operate("forget_requests", due=30)
        library.advance(30)
        assert [library.ended(request) for request in requests] == [ECONN] * 3
        assert library.next_event() is None
        assert library.rows("SELECT request FROM drive") == [(None,)]
        request = library.submit(later, now=30)
        library.play_all()
        assert library.ended(request) == 0

    @pytest.mark.parametrize(
        ("action", "target"),
        [("fail_drive", 9), ("lose_cartridge", "A9999900"), ("purge", 999), ("migrate", 999)],
    )
    def test_the_operator_hears_what_does_not_exist(self, new_library: NewLibrary, action: str, target: object) -> None:
        library = new_library()
        library.operate(action, target, due=0)
        library.advance(0)
        assert library.rows("SELECT played, code FROM operation") == [(0, ENOENT)]

    def test_the_operator_migrates_and_purges(self, new_library: NewLibrary) -> None:
        library = new_library()
        made = library.file(100 * MB)
        for action in ("purge", "migrate", "purge"):
            library.operate(action, made, due=5)
        library.advance(5)
        assert library.rows("SELECT action, code, bytes FROM operation") == [
            ("purge", EPERM, 0),
            ("migrate", 0, 100 * MB),
            ("purge", 0, 100 * MB),
        ]


class TestDeterminism:
    """Who calls C{tape_advance}, and how often, makes no difference."""

    @given(st.data())
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_many_small_steps_end_as_one_large_step(
        self, model: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        drives = data.draw(st.integers(1, 3), "drives")
        count = data.draw(st.integers(2, 8), "files")
        events = sorted(data.draw(st.lists(_events(count, drives), max_size=25), "events"), key=lambda event: event.at)
        looks = data.draw(st.lists(st.floats(0, 900), max_size=20), "looks")

        def play(extra: list[float]) -> dict[str, list[tuple[Any, ...]]]:
            library = Library(
                model,
                tmp_path_factory.mktemp("play") / "hpss.db",
                drives=drives,
                **{**PLAIN, "cartridge_capacity": 300 * MB, "disk_capacity": 600 * MB, "migration_delay": 200},
            )
            try:
                files = [
                    library.archived(100 * MB, cos=DUAL_COPY if i % 3 == 0 else DISK_AND_TAPE)[0] for i in range(count)
                ]
                for at, event in sorted([(look, None) for look in extra] + [(e.at, e) for e in events], key=_moment):
                    library.advance(at)
                    if event is not None:
                        event.happen(library, files)
                library.advance(10_000)
                return library.dump()
            finally:
                library.close()

        assert play([]) == play(looks)

    def test_the_model_does_not_depend_on_who_plays(self, new_library: NewLibrary) -> None:
        stepwise, at_once = new_library(drives=2), new_library(drives=2)
        for library in (stepwise, at_once):
            for made in library.archived(300 * MB, count=30)[::-1]:
                library.submit(made, now=0)
        stepwise.play_all()
        at_once.advance(1e9)
        assert stepwise.dump() == at_once.dump()

    def test_the_past_stays_as_it_was_played(self, new_library: NewLibrary) -> None:
        library = new_library()
        first, second = library.archived(100 * MB, count=2)
        library.submit(first, now=100)
        library.advance(200)
        library.submit(second, now=50)
        assert library.value("SELECT submitted FROM request WHERE object = ?", second) == 162


@attrs.frozen
class Event:
    """Something that happens to a library from outside."""

    at: float
    name: str
    target: int
    value: float

    def happen(self, library: Library, files: list[int]) -> None:
        made = files[self.target % len(files)]
        try:
            if self.name == "submit":
                library.submit(made, self.at, client="c", batch=int(self.value))
            elif self.name == "write":
                library.write(made, 50 * MB, self.at)
            elif self.name == "remove":
                library.remove(made, self.at)
            elif self.name == "cartridge":
                action = "lose_cartridge" if self.value else "restore_cartridge"
                library.operate(action, f"A000{self.target % 3 + 1:02}00", due=self.at)
            else:
                library.operate(self.name, self.target, due=self.at + 40 * self.value, value=self.value + 1)
        except LibraryError as error:
            if error.code != ENOENT:  # removed meanwhile
                raise


def _events(count: int, drives: int) -> st.SearchStrategy[Event]:
    moments = st.floats(0, 600) | st.sampled_from([0.0, 1.0, 61.0, 62.0])
    submissions = st.builds(Event, moments, st.just("submit"), st.integers(0, count - 1), st.integers(0, 2))
    others = st.builds(
        Event,
        moments,
        st.sampled_from(["write", "remove", "cartridge", "fail_drive", "repair_drive", "slow_drive", "purge"]),
        st.integers(0, max(count, drives) - 1),
        st.integers(0, 2),
    )
    return submissions | submissions | others


def _moment(pair: tuple[float, Event | None]) -> tuple[float, bool]:
    return pair[0], pair[1] is not None


class TestSize:
    @pytest.mark.parametrize("batch", [0, 1])
    def test_a_queue_of_ten_thousand_is_played_in_seconds(self, new_library: NewLibrary, batch: int) -> None:
        library = new_library(drives=4, cartridge_capacity=100_000 * MB, schedule_seconds=0)
        count = 10_000
        library.execute("BEGIN")
        library.execute(
            "INSERT INTO object (type, mode, size, cos) SELECT 0x81, 0, 100000000, 1"
            " FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n)",
            count,
        )
        library.execute("INSERT INTO level SELECT id, 0, size FROM object WHERE type = 0x81")
        library.execute("INSERT INTO migration SELECT id, 0 FROM object WHERE type = 0x81")
        library.execute("COMMIT")
        library.advance(0)
        library.execute("DELETE FROM level WHERE level = 0")
        library.execute(
            "INSERT INTO request (object, batch, submitted, ready, state)"
            " SELECT id, ?, 0, 0, 'queued' FROM object WHERE type = 0x81 ORDER BY id * 7919 % 10007",
            batch,
        )
        begun = time.process_time()
        library.advance(1e9)
        assert library.value("SELECT count(*) FROM request WHERE state = 'done'") == count
        assert time.process_time() - begun < 4
