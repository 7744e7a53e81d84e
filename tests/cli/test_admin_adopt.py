"""C{pacarchive admin adopt}: every finding, on trees made for it; nothing is changed, followed or read."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pacarchive.backends.local.layout import FLAT, SPREAD
from pacarchive.backends.local.walk import Walk
from pacarchive.cli import main
from pacarchive.cli.admin.findings import KINDS
from pacarchive.cli.admin.loose import loose_id
from pacarchive.ids import MAX_FILE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

SHA256 = "user.pacarchive.sha256"
IDS = st.integers(0, MAX_FILE_ID) | st.integers(0, 70000)


class Tree:
    """A tree, and what the command says of it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.prefix = directory / "archive"
        self.prefix.mkdir()
        self.settings = directory / "settings.ini"
        self._capsys = capsys

    def add(self, name: str, data: bytes | None = None, mode: int = 0o444) -> Path:
        """A file as the predecessor leaves it; by default, of some bytes."""
        path = self.prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape") if data is None else data)
        path.chmod(mode)
        return path

    def run(self, *options: str, layout: str = "false") -> tuple[int, str]:
        """Run it.  @return: The exit code, and what it printed."""
        self.settings.write_text(f"[server]\nprefix = {self.prefix}\n[posix]\nuse_id2filename = {layout}\n")
        self._capsys.readouterr()
        code = main(["admin", "adopt", "-c", str(self.settings), *options])
        return code, self._capsys.readouterr().out

    def findings(self, layout: str = "false") -> tuple[int, set[tuple[str, str]], dict[str, Any]]:
        """The exit code; kinds and paths of what was found, but for what everybody has; and the summary."""
        code, out = self.run("--json", layout=layout)
        *found, last = map(json.loads, out.splitlines())
        usual = {"root", "no_digest", "no_attributes", "no_unnamed_files"}
        assert all(each["needs_attention"] == KINDS[each["finding"]].needs_attention for each in found)
        counted = Counter(each["finding"] for each in found)
        assert last["summary"]["findings"] == counted
        assert last["summary"]["needs_attention"] == sum(each["needs_attention"] for each in found)
        assert code == (1 if last["summary"]["needs_attention"] else 0)
        return (
            code,
            {(each["finding"], each.get("path", "")) for each in found if each["finding"] not in usual},
            last["summary"],
        )

    def state(self) -> dict[str, tuple[int, ...]]:
        """All that a look might have changed."""
        found: dict[str, tuple[int, ...]] = {}
        for path in [self.prefix, *self.prefix.rglob("*")]:
            state = path.lstat()
            found[str(path)] = (state.st_ino, state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        return found


@pytest.fixture
def tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tree:
    """An empty one."""
    return Tree(tmp_path, capsys)


def test_a_sound_tree(tree: Tree) -> None:
    """Nothing needs attention; files, bytes and layout are told; nothing is changed."""
    for name in ("0", "7", "18446744073709551615"):
        tree.add(name)
    before = tree.state()
    code, found, summary = tree.findings()
    assert (code, found) == (0, set())
    assert (summary["files"], summary["bytes"], summary["flat"], summary["digested"]) == (3, 22, 3, 0)
    assert summary["findings"]["no_digest"] == 3
    code, out = tree.run()
    assert code == 0
    assert "use_id2filename = false fits\n" in out
    assert "files without a digest: 3\n    pacarchive admin digest" in out
    assert out.endswith("\nNothing needs attention.\n")
    assert tree.state() == before
    assert not (tree.prefix / ".pacarchive").exists()


@pytest.mark.parametrize("layout", ["false", "true"])
def test_the_other_layout(tree: Tree, layout: str) -> None:
    """Each file that the settings do not fit is named, and the report says that they do not."""
    names = ["file.1", "d2/4d2", "39/3039"] if layout == "false" else ["1", "1234", "12345"]
    for name in names:
        tree.add(name)
    code, found, summary = tree.findings(layout)
    assert (code, found) == (1, {("layout", name) for name in names})
    assert summary["id2filename" if layout == "false" else "flat"] == 3
    assert f"use_id2filename = {layout} DOES NOT FIT" in tree.run(layout=layout)[1]
    other = "true" if layout == "false" else "false"
    assert f"use_id2filename = {other} fits\n" in tree.run(layout=other)[1]
    tree.add("5" if layout == "false" else "file.5")
    assert f"use_id2filename = {layout} fits 1 of 4\n" in tree.run(layout=layout)[1]


def test_odd_names(tree: Tree) -> None:
    """Names that are no ids; and of those that read like one, whether another name stands for that already."""
    for name in ("7", "300", "abc", "-5", "1_0", "18446744073709551616", "8.txt", "deep/er/9"):
        tree.add(name)
    for name in ("007", "2c/12c", "011", "11 "):
        tree.add(name)
    _, found, _ = tree.findings()
    twice = {path for kind, path in found if kind == "same_id"}
    # Which of the two spellings of eleven counts as the second is chance.
    assert twice - {"011", "11 "} == {"007", "2c/12c"}
    assert len(twice) == 3
    no_id = {path for kind, path in found if kind == "no_id"} - {"011", "11 "}
    assert no_id == {"abc", "-5", "1_0", "18446744073709551616", "8.txt", "deep/er/9"}


def test_odd_names_of_id2filename(tree: Tree) -> None:
    """The same where files are in directories."""
    for name in ("39/3039", "file.01", "39/3039.new", "aa/3039", "39/03039", "D2/4D2", "file.1ff"):
        tree.add(name)
    _, found, _ = tree.findings("true")
    assert found == {
        ("same_id", "aa/3039"),
        ("same_id", "39/03039"),
        *(("no_id", name) for name in ("file.01", "39/3039.new", "D2/4D2", "file.1ff")),
    }


def test_files_that_were_not_finished(tree: Tree) -> None:
    """Those that can be written to, with the signs of that; an empty one that is read-only may be right."""
    tree.add("1", b"", 0o644)
    tree.add("2", bytes(128 << 10), 0o644)
    old = tree.add("3", bytes(1000), 0o666)
    os.utime(old, (0, 0))
    tree.add("4", b"")
    tree.add("5", b"x", 0o440)
    tree.add("notes", b"x", 0o644)
    _, found, _ = tree.findings()
    assert found == {
        *(("unfinished", name) for name in "123"), ("empty", "4"), ("mode", "5"), ("no_id", "notes")
    }  # fmt: skip
    out = tree.run()[1]
    assert "2: mode 0644, 128.0 KiB, whole blocks, as if cut short, changed " in out
    assert "3: mode 0666, 1000 B, everybody may write, changed " in out


def test_what_is_no_file(tree: Tree, tmp_path: Path) -> None:
    """Links are not followed, also those to directories; sockets, pipes and further names of files are told of."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "5").write_text("x")
    (tree.prefix / "1").symlink_to(outside / "5")
    (tree.prefix / "aa").symlink_to(outside)
    os.mkfifo(tree.prefix / "2")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree.prefix / "3"))
    os.link(tree.add("4"), tmp_path / "another")
    (tree.prefix / "bb" / "cc").mkdir(parents=True)
    tree.add("5", mode=0o4555)
    _, found, summary = tree.findings()
    assert found == {
        *(("symlink", name) for name in ("1", "aa")), *(("special", name) for name in "23"),
        ("hard_link", "4"), ("empty_directory", "bb/cc"), ("special_bits", "5"),
    }  # fmt: skip
    assert (summary["files"], summary["directories"]) == (2, 2)
    assert f"1: to {outside}/5" in tree.run()[1]


def test_a_directory_that_becomes_a_link(tmp_path: Path) -> None:
    """It is not entered, although it was a directory when its name was read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/5").touch()
    (tmp_path / "archive/aa").mkdir(parents=True)
    failed: list[str] = []
    root = os.open(tmp_path / "archive", os.O_RDONLY)
    try:
        names = Walk(root, lambda name: True, lambda path, error: failed.append(path))
        assert next(iter(names)).path == "aa"
        (tmp_path / "archive/aa").rmdir()
        (tmp_path / "archive/aa").symlink_to(tmp_path / "outside")
        assert [name.path for name in names] == []
    finally:
        os.close(root)
    assert failed == ["aa"]


def test_digests(tree: Tree) -> None:
    """What has one, and of those the ones that cannot be theirs."""
    files = {str(number): tree.add(str(number), b"" if number == 3 else b"data") for number in range(1, 7)}
    right, empty = hashlib.sha256(b"data").digest(), hashlib.sha256().digest()
    for name, digest in {"1": right, "2": empty, "3": right, "4": right[:5], "5": right}.items():
        files[name].chmod(0o644)
        os.setxattr(files[name], SHA256, digest)
        files[name].chmod(0o444 if name != "5" else 0o644)
    _, found, summary = tree.findings()
    assert found == {*(("stale_digest", name) for name in "234"), ("unfinished", "5"), ("empty", "3")}
    assert (summary["digested"], summary["findings"]["no_digest"]) == (5, 1)


def test_after_the_takeover(tree: Tree) -> None:
    """What pacarchive keeps for itself is no part of the tree; what lies among its temporaries is told of."""
    tree.add("1")
    assert main(["admin", "digest", "--prefix", str(tree.prefix)]) == 0
    (tree.prefix / ".pacarchive/tmp/abc").touch()
    code, found, summary = tree.findings()
    assert (code, found) == (0, {("left_over", ".pacarchive/tmp/abc")})
    assert (summary["digested"], summary["files"], summary["directories"]) == (1, 1, 0)


def test_digests_in_files_of_their_own(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count like the others, on file systems without attributes."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("setxattr", "getxattr", "listxattr"):
        monkeypatch.setattr(os, name, refuse)
    tree.add("1")
    tree.add("2")
    assert main(["admin", "digest", "--prefix", str(tree.prefix)]) == 0
    tree.add("3")
    (tree.prefix / "2").unlink()
    tree.add("2", b"another version")
    code, found, summary = tree.findings()
    assert (code, found, summary["digested"]) == (0, set(), 1)
    assert summary["findings"]["no_attributes"] == 1


def test_a_file_system_that_is_full(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and inodes that run out need attention, and so does one that is read-only."""
    tree.add("1")
    space = list(os.statvfs(tree.prefix))
    space[4], space[5], space[6], space[8] = 1, 1000, 1, os.ST_RDONLY  # bavail, files, ffree, flag
    space[7] = 1
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(space))
    _, out = tree.run()
    assert "room for 1 more file (inodes) left" in out
    assert "the file system is nearly full\n" in out
    assert "the file system is mounted read-only\n" in out


def test_examples(tree: Tree) -> None:
    """So many of each kind, and how many more there are; names can do nothing to the terminal."""
    for number in range(20):
        tree.add(f"name-{number}")
    tree.add("\x1b[2J\nfoul \udcff")
    code, out = tree.run("--examples", "3")
    assert code == 1
    assert "names that are not ids: 21\n" in out
    assert "      and 18 more\n" in out
    assert sum(line.startswith("      ") for line in out.splitlines()) <= 4 + 1
    code, out = tree.run("--examples", "100")
    assert r"\x1b[2J\nfoul \udcff" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines()[7:])) <= 80
    assert "more\n" not in out.partition("Needs attention")[2]


@pytest.fixture
def somebody(capsys: pytest.CaptureFixture[str]) -> Iterator[Tree]:
    """A tree in a place where any user may go; the test becomes one that has no rights at its end."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user for a while")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        tree = Tree(Path(directory), capsys)
        os.chown(tree.prefix, 65534, 65534)
        tree.settings.touch()
        os.chmod(tree.settings, 0o666)
        yield tree
        with suppress(PermissionError):
            os.seteuid(0)


def test_rights(somebody: Tree) -> None:
    """What this user cannot read, or is not the owner of."""
    tree = somebody
    for number, (uid, mode) in enumerate([(65534, 0o444), (0, 0o444), (0, 0o400), (65534, 0o200)], 1):
        os.chown(tree.add(str(number), mode=mode), uid, uid)
    (tree.prefix / "aa").mkdir(mode=0o700)
    (tree.prefix / ".pacarchive").mkdir()
    tree.run()  # what is imported only now is, while it can be
    os.seteuid(65534)
    try:
        _, found, _ = tree.findings()
        out = tree.run()[1]
    finally:
        os.seteuid(0)
    assert found == {
        ("owner", "2"), ("unreadable", "3"), ("mode", "3"), ("unreadable", "4"), ("unfinished", "4"),
        ("unreadable_directory", "aa"), ("hidden", ".pacarchive"),
    }  # fmt: skip
    assert "2: root" in out


def test_what_it_is_not_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prefix that is not there, a backend without a tree, a count that is none: words, and exit code 2."""
    assert main(["admin", "adopt", "--prefix", str(tmp_path / "absent")]) == 2
    assert "absent is not an existing directory" in capsys.readouterr().err
    settings = tmp_path / "settings.ini"
    settings.write_text(f"[server]\ntype = memory\nprefix = {tmp_path}\n")
    assert main(["admin", "adopt", "-c", str(settings)]) == 2
    assert "an archive of type memory is none" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["admin", "adopt", "--examples", "0"])
    assert ended.value.code == 2


def test_the_default_prefix_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be missing, and stays so."""
    monkeypatch.chdir(tmp_path)
    assert main(["admin", "adopt"]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


# The mapping of names


@given(IDS)
def test_every_id_has_one_name_in_each_layout(file_id: int) -> None:
    """The name stands for that id, and for none in the other layout."""
    for mine, other in ((FLAT, SPREAD), (SPREAD, FLAT)):
        name = mine.name_of(file_id)
        assert mine.id_of(name) == file_id
        assert other.id_of(name) is None
        assert loose_id(name, mine) == file_id
        directory = os.path.dirname(name)
        while directory:
            assert mine.leads_to_files(directory)
            directory = os.path.dirname(directory)


_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20) | (
    st.from_regex(r"(file\.)?[0-9a-fA-F_]{1,20}", fullmatch=True)
)


@pytest.mark.timeout(480)  # a busy machine makes such texts slowly
@given(st.lists(_NAMES, min_size=1, max_size=4).map("/".join))
@example("00/39/3039")
@example("100/10000")
@example("file.0a")
@example("00/00")
@example("٣")
def test_no_other_name_stands_for_an_id(path: str) -> None:
    """A name that stands for an id is the very one that the id has."""
    for layout in (FLAT, SPREAD):
        file_id = layout.id_of(path)
        assert file_id is None or layout.name_of(file_id) == path
        assert file_id is None or loose_id(path, layout) == file_id


_SAFE = st.sampled_from(
    ["0", "5", "05", "abc", "256", "file.5", "file.a", "00", "00/100", "01/100", "zz", "3039", "39"]
)


@settings(max_examples=examples(60))
@given(paths=st.sets(st.lists(_SAFE, min_size=1, max_size=3).map("/".join), max_size=8), layout=st.booleans())
def test_every_file_is_accounted_for(paths: set[str], layout: bool) -> None:
    """It is served under its id, or it is named with the reason why not; never both."""
    mine = SPREAD if layout else FLAT
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        prefix, made = Path(directory), set()
        for path in sorted(paths):
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # the one is below the other
                (prefix / path).parent.mkdir(parents=True, exist_ok=True)
                (prefix / path).write_text("x")
                (prefix / path).chmod(0o444)
                made.add(path)
        printed: list[dict[str, Any]] = []
        patch.setattr("pacarchive.cli.admin.adopt.print_json", printed.append)
        (prefix / ".pacarchive").mkdir()
        settings_file = prefix / ".pacarchive" / "settings.ini"
        settings_file.write_text(f"[posix]\nuse_id2filename = {layout}\n")
        main(["admin", "adopt", "-c", str(settings_file), "--prefix", directory, "--json"])
    summary = printed.pop()["summary"]
    named = {each["path"] for each in printed if each["finding"] in ("layout", "no_id", "same_id")}
    assert summary["files"] == len(made)
    assert made - named == {path for path in made if mine.id_of(path) is not None}
