"""The command of the simulator of HPSS, and the tables that it prints."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpss_simulator import Archive, Locality, hpss_root
from hpss_simulator.command import main
from hpss_simulator.files import path_of_id
from hpss_simulator.tables import amount, duration, parse_amount, table

from pacarchive.ids import MAX_FILE_ID, id_to_path

IDS = [0, 1, 255, 256, 1234, 12345, 0x12345, 10**12 + 7, MAX_FILE_ID]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """The library is there before any test's time runs."""
    hpss_root()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An archive whose clock stands still."""
    with Archive.create(tmp_path / "archive", drives=2, scale=0, start=1e9) as made:
        yield made


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
