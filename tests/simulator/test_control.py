"""The operator's side of the simulator: C{hpss_simulator}, and the command of that name."""

from __future__ import annotations

import ctypes
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
from hpss_simulator.command import main
from hpss_simulator.files import path_of_id
from hpss_simulator.rehearsal import Plan, rehearse
from hpss_simulator.tables import amount, duration, parse_amount, table

from pacarchive.ids import MAX_FILE_ID, id_to_path

IDS = [0, 1, 255, 256, 1234, 12345, 0x12345, 10**12 + 7, MAX_FILE_ID]

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


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        """Run the command, which succeeds.  @return: What it prints."""
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert (code, captured.err) == (0, "")
        return captured.out

    def test_a_tour(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        place = tmp_path / "archive"
        assert str(place / "etc" / "hpss.unix.keytab") in self.run(
            capsys, "create", place, "--scale", "0", "--drives", "2", "--set", "mount_seconds=20"
        )
        populated = self.run(capsys, "populate", place, 3, "--size", "300M")
        assert populated == "3 files of 300.0 MB: ids 1 to 3, /archive/file.1 to /archive/file.3\n"
        assert "files TAPE" in self.run(capsys, "status", place)
        assert "-T     300000000" in self.run(capsys, "ls", place, "/archive")
        assert "level 1 (tape): 300000000 on A0000100, file 2" in self.run(capsys, "ls", "-X", place)
        self.run(capsys, "stage", place, "/archive/file.1", "/archive/file.2")
        self.run(capsys, "clock", place, "--advance", 1)
        assert "active" in self.run(capsys, "requests", place)
        self.run(capsys, "fail", place, 0)
        assert "failed" in self.run(capsys, "drives", place)
        self.run(capsys, "repair", place, 0)
        self.run(capsys, "slow", place, 1, 3)
        self.run(capsys, "clock", place, "--advance", 1000)
        assert "done" in self.run(capsys, "requests", place, "--all")
        assert "DT     300000000" in self.run(capsys, "ls", place, "/archive/file.1")
        self.run(capsys, "lock", place, "/archive/file.1")
        assert "(locked)" in self.run(capsys, "ls", place)
        self.run(capsys, "unlock", place, "/archive/file.1")
        self.run(capsys, "migrate", place, "/archive/file.1")
        self.run(capsys, "purge", place, "/archive/file.1", "/archive/file.2")
        assert "DT" not in self.run(capsys, "ls", place)
        self.run(capsys, "lose", place, "A0000100", "--after", 60)
        assert "A0000100   ok" in self.run(capsys, "cartridges", place)
        self.run(capsys, "clock", place, "--advance", 60)
        assert "!!" in self.run(capsys, "ls", place)
        self.run(capsys, "restore", place, "A0000100")
        self.run(capsys, "forget", place)
        self.run(capsys, "expire", place)
        self.run(capsys, "mkdir", place, "/a/b", "--fileset", 2)
        assert "/a/b/" in self.run(capsys, "ls", place, "/a")
        assert "fault 1" in self.run(capsys, "fault", "add", place, "hpss_Open", "--count", 0)
        assert "hpss_Open" in self.run(capsys, "fault", "list", place)
        self.run(capsys, "fault", "clear", place)
        assert "mount_seconds        20" in self.run(capsys, "settings", place)
        self.run(capsys, "settings", place, "mount_seconds=30", "server_state=busy")
        assert "busy" in self.run(capsys, "settings", place)
        assert self.run(capsys, "calls", place) == "function  calls\n"

    def test_files_have_the_places_of_their_ids(self, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        """As the service looks for them."""
        out = self.run(capsys, "populate", archive.directory, 1, "--size", "1M", "--first", 12345)
        assert out == "1 file of 1.0 MB: id 12345, /archive/39/3039\n"
        assert archive.entry("/archive/39/3039").locality is Locality.TAPE
        assert [f"/{path_of_id(each)}" for each in IDS] == [id_to_path(each) for each in IDS]

    def test_patterns(self, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        """They stand for files at any depth, but not for hidden ones; one that is the name of a file is just that."""
        place = archive.directory
        names = ("1", "2", "a/3", "a/*", ".pacarchive/tmp/4")
        for name in names:
            archive.write(f"/archive/{name}", b"data")
        self.run(capsys, "migrate", place, "/archive/*", "/archive/1")
        self.run(capsys, "purge", place, "/archive/a/*")
        self.run(capsys, "purge", place, "/archive/[12]")

        def on_disk() -> list[str]:
            return [name for name in names if 0 in archive.entry(f"/archive/{name}").levels]

        assert on_disk() == ["a/3", ".pacarchive/tmp/4"]
        self.run(capsys, "stage", place, "--batch", "/archive/[12]")
        archive.clock.advance(10_000)
        self.run(capsys, "lock", place, "/archive/?")
        assert main(["purge", str(place), "/archive/?", "/archive/a/3"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("hpss-simulator: /archive/1: purge ")
        assert error.endswith(" (and 1 of the other 2 files)\n")
        assert on_disk() == ["1", "2", ".pacarchive/tmp/4"], "what can be done is done"
        assert main(["migrate", str(place), "/archive/.pacarchive/*"]) == 0
        assert main(["purge", str(place), "/elsewhere/*"]) == 1
        assert main(["purge", str(place), "/archive/9*"]) == 1
        assert "no file fits /archive/9*" in capsys.readouterr().err

    def test_rehearsing(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = self.run(capsys, "rehearse", "--files", 100, "--wanted", 10, "--fail", "0@60", "--set", "mount_seconds=5")
        assert "as asked" in out
        assert "tape order" in out

    def test_the_root_of_a_variant(self, capsys: pytest.CaptureFixture[str]) -> None:
        root = Path(self.run(capsys, "root").strip())
        assert (root / "include" / "hpss_api.h").exists()
        assert ctypes.CDLL(str(root / "lib" / "libhpss.so"))

    def test_what_cannot_be_done_is_said_in_a_line(
        self, archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for arguments, words in (
            (["purge", archive.directory, "/missing"], "there is no /missing"),
            (["settings", archive.directory, "mount_seconds=1", "no_such=1"], "there is no setting no_such"),
            (["status", tmp_path / "none"], "is not a simulated archive"),
            (["fail", archive.directory, "99"], "there is no drive 99; they are 0 to 1\n"),
            (["slow", archive.directory, "2", "3"], "there is no drive 2; they are 0 to 1\n"),
            (["lose", archive.directory, "B1"], "there is no cartridge B1\n"),
            (["settings", archive.directory, "server_state=dwon"], "server_state is up, down or busy, not 'dwon'\n"),
            (["settings", archive.directory, "errno_style=hpux"], "errno_style is aix or linux, not 'hpux'\n"),
            (["settings", archive.directory, "user_attributes=no"], "user_attributes is on or off, not 'no'\n"),
            (["settings", archive.directory, "drive_failure=stop"], "drive_failure is requeue or fail, not 'stop'\n"),
            (["fault", "add", archive.directory, "hpss_Opn"], "no function hpss_Opn; do you mean hpss_Open?\n"),
            (["fault", "add", archive.directory, "quite_different"], "no function quite_different\n"),
        ):
            assert main([str(argument) for argument in arguments]) == 1
            error = capsys.readouterr().err
            assert error.startswith("hpss-simulator: ")
            assert error.count("\n") == 1
            assert words in error
        assert archive.get("mount_seconds") == 60
        assert archive.get("server_state") == "up"
        assert archive.faults() == []

    def test_one_is_no_plural(self, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        self.run(capsys, "populate", archive.directory, 1)
        self.run(capsys, "stage", archive.directory, "/archive/file.1")
        archive.clock.advance(1000)
        status = self.run(capsys, "status", archive.directory)
        assert "1 file, 1.0 GB" in status
        assert "0 of 1 request, 0 lost, 0 duplicates" in status
        out = self.run(capsys, "rehearse", "--files", 1, "--wanted", 1, "--cartridges", 1, "--drives", 1)
        assert out.startswith("1 of 1 file of 1.0 GB on 1 cartridge, 1 drive (simulated)\n")

    @pytest.mark.parametrize(
        "arguments", [[], ["explode"], ["create", "x", "--set", "novalue"], ["populate", "x", "1", "--size=?"]]
    )
    def test_wrong_command_lines_end_with_2(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)

    def test_it_runs_as_a_module(self, archive: Archive) -> None:
        source = Path(__file__).parents[2] / "ext" / "simulator"
        made = subprocess.run(
            [sys.executable, "-m", "hpss_simulator", "ls", archive.directory],
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stdout.splitlines()[1].split()[-1] == "/"

    @pytest.mark.parametrize("arguments", [("ls", "ARCHIVE"), ("ls", "--help"), ("--help",), ("settings", "ARCHIVE")])
    def test_nobody_reads(self, archive: Archive, arguments: tuple[str, ...]) -> None:
        """Whoever did is gone already."""
        source = Path(__file__).parents[2] / "ext" / "simulator"
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "hpss_simulator"]
                + [str(archive.directory) if each == "ARCHIVE" else each for each in arguments],
                env={**os.environ, "PYTHONPATH": str(source), "PYTHONUNBUFFERED": ""},
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (1, "")

    def test_nobody_need_read_to_the_end(self, archive: Archive) -> None:
        """As with C{head}."""
        archive.populate(3000, 1)
        source = Path(__file__).parents[2] / "ext" / "simulator"
        line = f"{sys.executable} -m hpss_simulator ls {archive.directory} | true"
        environment = {**os.environ, "PYTHONPATH": str(source)}
        assert subprocess.run(["sh", "-c", line], env=environment, capture_output=True, check=True).stderr == b""


class TestTables:
    def test_numbers_stand_to_the_right(self) -> None:
        assert table(("a", "name"), [(1, "x"), (22, "yy")]) == " a  name\n 1  x\n22  yy"

    @pytest.mark.parametrize(("text", "size"), [("0", 0), ("100", 100), ("1.5GB", 1_500_000_000), ("2 m", 2_000_000)])
    def test_amounts_are_read(self, text: str, size: int) -> None:
        assert parse_amount(text) == size

    @pytest.mark.parametrize("text", ["", "GB", "-1", "1.5", "x", "nan", "inf"])
    def test_what_is_no_amount(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_amount(text)

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "1.5 MB"), (2 * 10**15, "2.0 PB")]
    )
    def test_amounts_are_printed(self, size: int, text: str) -> None:
        assert amount(size) == text

    @pytest.mark.parametrize(
        ("seconds", "text"), [(1.25, "1.2 s"), (61, "1 min 01.0 s"), (3600, "1 h 00 min"), (90_000, "25 h 00 min")]
    )
    def test_durations_are_printed(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text
