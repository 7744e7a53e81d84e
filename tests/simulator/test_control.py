"""The operator's side of the simulator: C{hpss_simulator}, and the command of that name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hpss_simulator import Archive, Kind, Locality, Segment, SimulatorError, hpss_root
from hpss_simulator.rehearsal import Plan, rehearse

EPERM, ENOENT, EIO, EBUSY, EEXIST, EXDEV, ENOTDIR, EINVAL, ECONN = -1, -2, -5, -16, -17, -18, -20, -22, -50
MB = 10**6

CLIENT = """
import ctypes, sys
library, principal, keytab = sys.argv[1:]
hpss = ctypes.CDLL(library)
unix = client = from_keytab = 2
login = hpss.hpss_SetLoginCred(principal.encode(), unix, client, from_keytab, keytab.encode())
print(login, flush=True)
buffer = ctypes.create_string_buffer(4096)
for line in sys.stdin:
    function, *arguments = eval(line)
    print(getattr(hpss, function)(*arguments, *([buffer] if function == "hpss_Stat" else [])), flush=True)
"""


class Client:
    """A process of its own that has logged in to an archive."""

    def __init__(self, archive: Archive) -> None:
        library = hpss_root() / "lib" / "libhpss.so"
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, library, archive.principal, archive.keytab],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == 0

    def answer(self) -> int:
        """What the call returned."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def ask(self, function: str, *arguments: object) -> None:
        """Begin a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{(function, *arguments)!r}\n")
        self.process.stdin.flush()

    def call(self, function: str, *arguments: object) -> int:
        """Make a call.  @return: Its result."""
        self.ask(function, *arguments)
        return self.answer()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """The library is there before any test's time runs."""
    hpss_root()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An archive whose clock stands still."""
    with Archive.create(tmp_path / "archive", drives=2, scale=0, start=1e9) as made:
        yield made


@pytest.fixture
def new_client(archive: Archive) -> Iterator[Callable[[], Client]]:
    """Starts clients, and ends them."""
    clients: list[Client] = []

    def new() -> Client:
        clients.append(Client(archive))
        return clients[-1]

    yield new
    for client in clients:
        client.end()


def wait_for(condition: Callable[[], bool]) -> None:
    """Look until it holds, for at most ten seconds."""
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def refused(code: int) -> pytest.RaisesExc[SimulatorError]:
    """Expect a code."""
    return pytest.raises(SimulatorError, check=lambda error: error.code == code)


class TestCreating:
    def test_an_archive_is_what_a_client_logs_in_to(self, archive: Archive) -> None:
        assert archive.keytab == archive.directory / "etc" / "hpss.unix.keytab"
        assert archive.keytab.stat().st_mode & 0o777 == 0o600
        assert archive.principal == "hpss"
        assert archive.site == "simulated"
        assert [entry.path for entry in archive.entries()] == ["/"]

    def test_it_can_be_opened_again_and_by_several(self, archive: Archive) -> None:
        archive.write("/archive/1", b"bytes")
        with Archive(archive.directory) as other:
            other.set("mount_seconds", 7)
            assert other.read("/archive/1") == b"bytes"
        assert archive.get("mount_seconds") == 7

    def test_settings_are_given_at_once(self, tmp_path: Path) -> None:
        with Archive.create(tmp_path / "other", drives=7, principal="me", mount_seconds=5) as made:
            assert (len(made.drives()), made.principal, made.get("mount_seconds")) == (7, "me", 5)

    def test_nothing_is_overwritten(self, archive: Archive) -> None:
        with refused(EEXIST):
            Archive.create(archive.directory)

    def test_another_directory_is_no_archive(self, tmp_path: Path) -> None:
        with pytest.raises(SimulatorError, match="is not a simulated archive"):
            Archive(tmp_path)
        (tmp_path / "control").write_bytes(bytes(32768))
        with pytest.raises(SimulatorError, match="another version"):
            Archive(tmp_path)
        (tmp_path / "control").write_bytes(b"short")
        with pytest.raises(SimulatorError, match="no control page"):
            Archive(tmp_path)


class TestSettings:
    def test_unknown_ones_and_wrong_kinds_are_refused(self, archive: Archive) -> None:
        for name, value in (("mount_second", 5), ("mount_seconds", "soon"), ("server_state", 0)):
            with refused(EINVAL):
                archive.set(name, value)
        assert archive.get("mount_seconds") == 60

    def test_clients_see_them_at_once(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        client = new_client()
        archive.set("retry_delay_ms", 0)
        assert client.call("hpss_Stat", b"/") == 0
        archive.set("server_state", "down")
        assert client.call("hpss_Stat", b"/") == ECONN
        archive.set("server_state", "up")
        assert client.call("hpss_Stat", b"/") == 0

    def test_what_was_due_before_a_change_goes_by_the_old_value(self, archive: Archive) -> None:
        (path,) = archive.populate(1, 100 * MB)
        archive.stage(path)
        archive.clock.advance(1)
        archive.set("mount_seconds", 10_000)
        archive.clock.advance(100)
        assert archive.entry(path).locality is Locality.DISK_AND_TAPE

    def test_classes_of_service_can_be_changed(self, archive: Archive) -> None:
        archive.set_class(2, levels="tape", stage_code="none")
        archive.write("/archive/1", b"bytes", cos=2)
        assert archive.entry("/archive/1").media == ("tape",)
        with refused(EINVAL):
            archive.set_class(2, colour="red")
        with refused(EINVAL):
            archive.set_class(2, stage_code="opne")
        with refused(ENOENT):
            archive.set_class(9, stage_code="open")

    def test_each_setting_of_the_library_is_there_and_explained(self, archive: Archive) -> None:
        simulator = Path(__file__).parents[2] / "ext" / "simulator"
        known = set(re.findall(r'\(name, "(\w+)"\)', (simulator / "settings.c").read_text()))
        assert known <= archive.settings().keys()
        explained = re.findall(r"^\| `(\w+)` \| ", (simulator.parent / "README.md").read_text(), re.MULTILINE)
        assert sorted(name for name in explained if name in archive.settings()) == sorted(archive.settings())


class TestClock:
    def test_it_stands_still_and_leaps(self, archive: Archive) -> None:
        assert archive.clock.now() == 1e9
        archive.clock.advance(3600)
        assert archive.clock.now() == 1e9 + 3600

    def test_it_runs_at_its_pace(self, archive: Archive) -> None:
        archive.clock.set_scale(1e6)
        assert archive.clock.scale == 1e6
        wait_for(lambda: archive.clock.now() > 1e9 + 1000)
        archive.clock.freeze()
        assert archive.clock.now() == archive.clock.now() > 1e9 + 1000

    def test_it_does_not_run_backwards(self, archive: Archive) -> None:
        for change in (archive.clock.set_scale, archive.clock.advance):
            with pytest.raises(SimulatorError):
                change(-1)


class TestFiles:
    def test_a_files_life(self, archive: Archive) -> None:
        archive.write("/archive/a/1", b"some bytes", mtime=12345)
        entry = archive.entry("/archive/a/1")
        assert (entry.kind, entry.size, entry.mtime, entry.cos) == (Kind.FILE, 10, 12345, 1)
        assert (entry.locality, entry.media, entry.levels) == (Locality.DISK, ("disk", "tape"), {0: 10})
        with refused(EPERM):
            archive.purge("/archive/a/1")
        archive.clock.advance(600)
        assert archive.entry("/archive/a/1").locality is Locality.DISK_AND_TAPE
        archive.lock("/archive/a/1")
        assert archive.entry("/archive/a/1").purge_locked
        with refused(EBUSY):
            archive.purge("/archive/a/1")
        archive.unlock("/archive/a/1")
        archive.purge("/archive/a/1")
        entry = archive.entry("/archive/a/1")
        assert entry.locality is Locality.TAPE
        assert entry.segments == (Segment(level=1, cartridge="A0000100", position=0, offset=0, bytes=10),)
        assert archive.read("/archive/a/1") == b"some bytes"
        archive.lose_cartridge("A0000100")
        assert archive.entry("/archive/a/1").locality is Locality.LOST
        archive.restore_cartridge("A0000100")
        archive.stage("/archive/a/1")
        archive.clock.advance(600)
        assert archive.entry("/archive/a/1").locality is Locality.DISK_AND_TAPE
        archive.write("/archive/a/1", b"others")
        assert archive.entry("/archive/a/1").locality is Locality.DISK
        assert archive.read("/archive/a/1") == b"others"

    def test_migration_by_hand(self, archive: Archive) -> None:
        archive.write("/1", b"bytes")
        archive.migrate("/1")
        assert archive.entry("/1").locality is Locality.DISK_AND_TAPE

    def test_entries_below_a_path(self, archive: Archive) -> None:
        for path in ("/a/1", "/a/b/2", "/c/3"):
            archive.write(path, b"")
        assert [entry.path for entry in archive.entries("/a")] == ["/a", "/a/1", "/a/b", "/a/b/2"]
        assert [entry.links for entry in archive.entries("/a") if entry.kind is Kind.DIRECTORY] == [3, 2]

    def test_filesets(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        archive.mkdir("/a/other", fileset=2)
        archive.write("/a/file", b"")
        archive.write("/a/other/b/file", b"")
        client = new_client()
        assert client.call("hpss_Rename", b"/a/file", b"/a/other/b/there") == EXDEV
        assert client.call("hpss_Rename", b"/a/other/b/file", b"/a/other/there") == 0
        assert client.call("hpss_Rename", b"/a/file", b"/there") == 0

    def test_an_empty_file_is_on_disk(self, archive: Archive) -> None:
        archive.write("/empty", b"")
        assert archive.entry("/empty").locality is Locality.DISK

    def test_what_clients_made_is_seen(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        client = new_client()
        client.call("hpss_Umask", 0)
        assert client.call("hpss_Mkdir", b"/by-client", 0o750) == 0
        assert client.call("hpss_Symlink", b"/by-client", b"/by-client/link") == 0
        made, link = archive.entries("/by-client")
        assert (made.kind, made.mode & 0o777) == (Kind.DIRECTORY, 0o750)
        assert (link.kind, link.target, link.locality) == (Kind.SYMLINK, "/by-client", Locality.NONE)

    def test_what_was_put_in_is_seen_by_clients(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        archive.write("/archive/1", b"some bytes")
        client = new_client()
        descriptor = client.call("hpss_Open", b"/archive/1", os.O_RDONLY, 0, None, None, None)
        assert descriptor >= 0
        assert client.call("hpss_Lseek", descriptor, 0, os.SEEK_END) == 10

    def test_names_need_not_be_utf_8(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        path = os.fsdecode(b"/odd-\xff")
        archive.write(path, b"bytes")
        assert archive.entry(path).path == path
        assert new_client().call("hpss_Stat", b"/odd-\xff") == 0

    @pytest.mark.parametrize(
        ("path", "code"), [("/missing", ENOENT), ("relative", EINVAL), ("/", EINVAL), ("/file/below", ENOENT)]
    )
    def test_paths_that_lead_nowhere(self, archive: Archive, path: str, code: int) -> None:
        archive.write("/file", b"")
        with refused(code):
            archive.purge(path)

    def test_files_are_no_directories(self, archive: Archive) -> None:
        archive.write("/file", b"")
        with refused(ENOTDIR):
            archive.write("/file/below", b"")
        assert [entry.path for entry in archive.entries()] == ["/", "/file"]

    def test_there_is_no_such_class_of_service(self, archive: Archive) -> None:
        with refused(EINVAL):
            archive.write("/file", b"", cos=99)

    def test_many_files_take_neither_long_nor_room(self, archive: Archive) -> None:
        begun = time.process_time()
        paths = archive.populate(10_000, 10**9, name=lambda number: f"{number % 100}/{number}")
        assert time.process_time() - begun < 5
        assert (len(paths), paths[122]) == (10_000, "/archive/23/123")
        files = [entry for entry in archive.entries() if entry.kind is Kind.FILE]
        assert {entry.path for entry in files} == set(paths)
        assert {entry.locality for entry in files} == {Locality.TAPE}
        used = sum(status.stat().st_blocks for status in (archive.directory / "data").iterdir())
        assert used == 0

    def test_many_files_on_disk_of_sizes_of_their_own(self, archive: Archive) -> None:
        paths = archive.populate(3, len, "/p", on_tape=False, name="x".__mul__)
        assert paths == ["/p/x", "/p/xx", "/p/xxx"]
        assert [archive.entry(path).size for path in paths] == [1, 2, 3]
        assert archive.read("/p/xx") == b"\0\0"
        assert {archive.entry(path).locality for path in paths} == {Locality.DISK_AND_TAPE}

    def test_many_files_on_tape_only(self, archive: Archive) -> None:
        for path in archive.populate(3, 1000, cos=4):
            entry = archive.entry(path)
            assert (entry.media, entry.locality) == (("tape",), Locality.TAPE)


class TestLibrary:
    def test_drives_break_and_are_repaired(self, archive: Archive) -> None:
        archive.fail_drive(1)
        archive.slow_drive(0, 2.5)
        assert [(drive.state, drive.slowness) for drive in archive.drives()] == [("ok", 2.5), ("failed", 1)]
        for number in (0, 1):
            archive.repair_drive(number)
        assert [(drive.state, drive.slowness) for drive in archive.drives()] == [("ok", 1), ("ok", 1)]

    def test_misfortune_can_be_planned(self, archive: Archive) -> None:
        archive.fail_drive(0, after=100)
        archive.repair_drive(0, after=200)
        states = []
        for _ in range(3):
            states.append(archive.drives()[0].state)
            archive.clock.advance(100)
        assert states == ["ok", "failed", "ok"]

    def test_what_does_not_exist_cannot_be_broken(self, archive: Archive) -> None:
        with refused(ENOENT):
            archive.fail_drive(2)
        with refused(ENOENT):
            archive.lose_cartridge("A0000100")
        with refused(EINVAL):
            archive.slow_drive(0, 0)

    def test_requests_are_told(self, archive: Archive) -> None:
        first, second = archive.populate(2, 300 * MB)
        archive.stage_all([second, first], batch=True)
        archive.clock.advance(1)
        requests = archive.requests()
        assert [(request.path, request.state, request.cartridge) for request in requests] == [
            (second, "queued", "A0000100"),
            (first, "active", "A0000100"),
        ]
        assert requests[0].batch == requests[1].batch > 0
        assert [(drive.cartridge, drive.request) for drive in archive.drives()] == [("A0000100", 2), ("", 0)]
        archive.clock.advance(1000)
        assert archive.requests(unfinished=True) == []
        assert {request.state for request in archive.requests()} == {"done"}
        assert archive.mounts() == 1
        assert [(each.name, each.files, each.used, each.mounts) for each in archive.cartridges()] == [
            ("A0000100", 2, 600 * MB, 1)
        ]
        sums = archive.sums()
        assert (sums.submitted, sums.staged, sums.bytes_staged, sums.disk_used) == (2, 2, 600 * MB, 600 * MB)

    def test_a_restarted_core_server_forgets(self, archive: Archive) -> None:
        archive.stage_all(archive.populate(2, MB), batch=False)
        archive.forget_requests()
        assert {(request.state, request.code) for request in archive.requests()} == {("failed", ECONN)}


class TestCounters:
    def test_calls_of_all_processes_are_summed(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        for client in (new_client(), new_client()):
            for _ in range(3):
                assert client.call("hpss_Stat", b"/") == 0
        assert archive.calls("hpss_Stat") == 6
        assert archive.calls("hpss_Nothing") == 0
        assert archive.all_calls()["hpss_Stat"] == 6

    def test_contexts_and_descriptors_go_with_their_process(
        self, archive: Archive, new_client: Callable[[], Client]
    ) -> None:
        one, other = new_client(), new_client()
        for client in (one, other):
            assert client.call("hpss_Opendir", b"/") >= 0
        assert (archive.contexts(), archive.descriptors()) == (2, 2)
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        assert (archive.contexts(), archive.descriptors()) == (1, 1)

    def test_the_operator_leaves_no_trace(self, archive: Archive) -> None:
        archive.stage(archive.populate(1, MB)[0])
        archive.clock.advance(100)
        archive.entries()
        assert (archive.contexts(), archive.descriptors(), archive.calls_in_flight()) == (0, 0, 0)
        assert archive.all_calls() == {}


class TestFaults:
    def test_a_fault_strikes_the_calls_it_names(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        archive.write("/archive/1", b"")
        client = new_client()
        number = archive.fault("hpss_Stat", path="/archive/*", first=2, count=2, value=EIO)
        results = [client.call("hpss_Stat", path) for path in (b"/", *[b"/archive/1"] * 4)]
        assert results == [0, 0, EIO, EIO, 0]
        assert archive.fault_hits(number) == 2
        assert archive.faults()[0].hits == 2

    def test_calls_that_hang_go_on_when_the_plan_is_forgotten(
        self, archive: Archive, new_client: Callable[[], Client]
    ) -> None:
        client = new_client()
        number = archive.fault("hpss_Stat", count=0, action="hang")
        client.ask("hpss_Stat", b"/")
        wait_for(lambda: archive.fault_hits(number) == 1)
        assert archive.calls_in_flight() == 1
        archive.clear_faults()
        client.answer()
        assert archive.faults() == []
        assert client.call("hpss_Stat", b"/") == 0

    def test_a_new_fault_counts_from_nothing(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        client = new_client()
        for _ in range(2):
            number = archive.fault("hpss_Stat", value=EIO)
            assert [client.call("hpss_Stat", b"/") for _ in range(2)] == [EIO, 0]
            assert archive.fault_hits(number) == 1
            archive.clear_faults()

    def test_unknown_actions_are_refused(self, archive: Archive) -> None:
        with refused(EINVAL):
            archive.fault("hpss_Stat", action="explode")

    def test_logins_can_be_ended(self, archive: Archive, new_client: Callable[[], Client]) -> None:
        client = new_client()
        archive.expire_credentials()
        assert client.call("hpss_Stat", b"/") == -13


class TestRehearsal:
    def test_tape_order_beats_the_order_of_asking(self) -> None:
        plan = Plan(files=2000, wanted=200, cartridges=10, drives=2)
        asked, ordered = (rehearse(plan, in_tape_order=order) for order in (False, True))
        assert (asked.staged, ordered.staged) == (200, 200)
        assert ordered.mounts == 10
        assert asked.mounts > 100
        assert ordered.seconds < asked.seconds / 5
        assert ordered.median < ordered.seconds

    def test_it_comes_out_the_same_each_time(self) -> None:
        plan = Plan(files=300, wanted=100, cartridges=5, failures=[(0, 1000.0)])
        assert rehearse(plan, in_tape_order=False) == rehearse(plan, in_tape_order=False)

    def test_a_broken_drive_makes_it_longer(self) -> None:
        plan = Plan(files=300, wanted=100, cartridges=5, drives=2)
        broken = Plan(files=300, wanted=100, cartridges=5, drives=2, failures=[(0, 60.0)])
        sound, poor = (rehearse(each, in_tape_order=True) for each in (plan, broken))
        assert poor.seconds > 1.4 * sound.seconds
        assert poor.staged == 100
