"""The settings: sources, converters, complaints, and the way back to a file."""

from __future__ import annotations

import contextlib
import enum
import os
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, strategies
from twisted.plugin import getPlugins

from pacarchive.backends.hpss.settings import HpssSettings
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.backends.memory import MemorySettings
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.interfaces import BackendSettings
from pacarchive.model import Durability, Overwrite
from pacarchive.recall.places import DefaultStore
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.filesystems import is_one_machines
from pacarchive.settings import converters
from pacarchive.settings.explaining import default_words, describe
from pacarchive.settings.fields import key_of, keys_of
from pacarchive.settings.reading import ConfigError, load
from pacarchive.settings.sections import Settings
from pacarchive.settings.server import Compatibility, PoolSettings, ServerSettings, VerifyReads
from pacarchive.web.http.settings import LimitSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS_EXAMPLE = """
[posix]
; use id2filename method when accessing a posix endpoint
use_id2filename = false

[hpss]
; IBM HPSS HSM settings
auth = /var/hpss/etc/hpss.unix.keytab
sitename = example.com
user = hpss.unix

[hsm_sideband]
; Oracle HSM Sideband database settings (MySQL)
sam_qfs_prefix = /tmp/path
schema = schema_name
host = host
user = user
password = pass
port = 3306
"""

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"

SECTIONS: dict[str, type[Any]] = {
    "server": ServerSettings,
    "limits": LimitSettings,
    "pools": PoolSettings,
    "recall": RecallSettings,
    "posix": PosixSettings,
    "memory": MemorySettings,
    "hpss": HpssSettings,
    "hsm_sideband": SidebandSettings,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, the default prefix among them, start in a directory of the test."""
    monkeypatch.setattr("pacarchive.settings.reading.MACHINE_FILE", "/nonexistent/pacarchive.ini")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "site.ini"
        path.write_text(text)
        return str(path)

    return write


def complaint(path: str | None, environ: dict[str, str] | None = None, **server: object) -> str:
    """The words of the error that loading ends in; always one line."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, {("server", key): value for key, value in server.items()})
    assert "\n" not in str(caught.value)
    return str(caught.value)


# converters


@given(strategies.integers(1, 2**60))
def test_a_size_survives_being_written(value: int) -> None:
    """What format_size writes, size reads."""
    assert converters.size(converters.format_size(value)) == value


@given(strategies.integers(1, 2**20), strategies.sampled_from(["KiB", "MiB", "GiB", "TiB", "PiB"]))
def test_a_size_has_binary_units(number: int, unit: str) -> None:
    """The units are powers of 1024, written with or without a space, in any case."""
    factor = 1024 ** (1 + ["KiB", "MiB", "GiB", "TiB", "PiB"].index(unit))
    assert converters.size(f"{number} {unit}") == converters.size(f"{number}{unit.lower()}") == number * factor


@given(strategies.floats(0, allow_infinity=False, allow_nan=False))
def test_a_duration_survives_being_written(value: float) -> None:
    """What format_seconds writes, seconds reads, to the last bit."""
    assert converters.seconds(converters.format_seconds(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("60", 60), ("60 s", 60), ("2 min", 120), ("1 h", 3600), ("1d", 86400), ("0.5 s", 0.5)]
)
def test_a_duration_has_units(text: str, value: float) -> None:
    """Seconds are what a bare number means."""
    assert converters.seconds(text) == value


BAD_VALUES: list[tuple[Callable[..., object], object]] = [
    *((converters.size, each) for each in ["", "0", "-1", "64 KB", "1.5 GiB", "KiB", "\u0661", 0, -5]),
    *((converters.block_size, each) for each in ["", "4", "4095 KiB", "32769 KiB", 2**22 - 1, 2**25 + 1]),
    *((converters.number, each) for each in ["", "-1", "1.5", "\u0661", -1]),
    *((converters.seconds, each) for each in ["", "-1", "1 week", "nan", "inf", "1e999", "\u0661", float("nan")]),
    (converters.timeout, "0"),
    *((converters.count, each) for each in ["", "0", "-1", "1.5", "\u0661", 0]),
    (converters.worker_count, "-1"),
    (converters.port_number, "65536"),
    (converters.flag, "maybe"),
    *((converters.line, each) for each in ["", "two\nlines"]),
    (converters.directory, ""),
    *((converters.mount_path, each) for each in ["", "/a/../b", "..", "/a/.", "two\nlines"]),
    *((converters.command, each) for each in ["two\nlines", "stage 'a", 'stage "a', "stage \\"]),
    *(
        (converters.endpoint_strings, each)
        for each in ["", " ; ", "8080", "tcp:", ("tcp:1", "2"), "ssl:1:sslmethod=TLSv1_METHOD"]
    ),
    (converters.digest_names, "md5 crc32"),
    *((converters.time_zone, each) for each in ["", "Mars", "America", "../../etc/passwd", "\0"]),
]


@pytest.mark.parametrize(("converter", "value"), BAD_VALUES)
def test_what_cannot_be_converted_is_refused(converter: Callable[..., object], value: object) -> None:
    """Every converter refuses with ValueError and with words."""
    with pytest.raises(ValueError, match=r"\w"):
        converter(value)


@pytest.mark.parametrize(
    ("text", "value"), [("/", "/"), ("//", "/"), ("a/b", "/a/b"), ("/a//b/", "/a/b"), ("/%_'a b/...", "/%_'a b/...")]
)
def test_a_path_below_a_mount_point_has_one_spelling(text: str, value: str) -> None:
    """With or without slashes around it; what a database may take for a wildcard or a quote stays."""
    assert converters.mount_path(text) == converters.mount_path(value) == value


@pytest.mark.parametrize("text", ["", "stage -- {path}", "ssh 'sam host' stage -- \"/sam1{sam_path}\"", "a ; # b"])
def test_a_command_is_kept_as_it_is_written(text: str) -> None:
    """Quotes have to survive until it is run."""
    assert converters.command(text) == text


CONVERTERS: list[Any] = list(
    dict.fromkeys(each.converter for cls in SECTIONS.values() for each in attrs.fields(cls) if each.converter)
)


@given(
    strategies.sampled_from(CONVERTERS),
    strategies.text() | strategies.from_regex(r"[0-9]{1,30}(\.[0-9]+)?(e[0-9]{1,5})? ?[a-z]{0,3}"),
)
def test_no_text_breaks_a_converter(converter: Callable[[str], object], text: str) -> None:
    """Whatever stands in a file, a converter returns a value or raises ValueError."""
    with contextlib.suppress(ValueError):
        converter(text)


@pytest.mark.parametrize("cls", SECTIONS.values())
def test_converters_take_their_own_results(cls: type[Any]) -> None:
    """Settings can be rebuilt from their own values, as attrs.evolve does."""
    settings = cls()
    assert attrs.evolve(settings) == settings


# values


def test_defaults(tmp_path: Path) -> None:
    """Without file, environment and options: the posix backend in ./archive, on the loopback."""
    settings = load(None, {}, {})
    assert settings.source is None
    assert settings.server.type == "posix"
    assert settings.server.prefix == tmp_path / "archive"
    assert settings.server.endpoints == ("tcp:8080:interface=127.0.0.1",)
    assert settings.server.workers == len(os.sched_getaffinity(0))
    assert settings.server.move_roots == (settings.server.prefix,)
    assert settings.backend == BackendSettings(
        prefix=tmp_path / "archive",
        move_roots=(tmp_path / "archive",),
        digests=(),
        durability=Durability.FULL,
        io_threads=16,
        own=PosixSettings(use_id2filename=False),
    )


def test_every_key_can_be_set(write: Callable[[str], str], tmp_path: Path) -> None:
    """The file's texts become typed values."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    path = write(
        """
        [server]
        type = posix
        prefix = link
        endpoint = tcp:1 ; tcp:2
          unix:/run/x
        workers = 3
        overwrite = identical
        move_roots = a
          b
        asctime_zone = America/Los_Angeles
        verify_reads = always
        digests = MD5, adler32 sha256
        durability = relaxed
        drain_timeout = 2 min
        [limits]
        body = 10 GiB
        idle_timeout = 90
        connections = 7
        [pools]
        io = 4
        [posix]
        use_id2filename = yes
        """.replace("\n        ", "\n")
    )
    settings = load(path, {}, {})
    assert settings.source == path
    assert settings.server == ServerSettings(
        type="posix",
        prefix=tmp_path / "a",
        endpoints=("tcp:1", "tcp:2", "unix:/run/x"),
        workers=3,
        compatibility=Compatibility.NONE,
        overwrite=Overwrite.IDENTICAL,
        move_roots=(tmp_path / "a", tmp_path / "b"),
        asctime_zone=ZoneInfo("America/Los_Angeles"),
        verify_reads=VerifyReads.ALWAYS,
        digests=("md5", "adler32"),
        durability=Durability.RELAXED,
        drain_timeout=120.0,
    )
    assert settings.of(LimitSettings) == LimitSettings(body=10 * 2**30, idle_timeout=90.0, connections=7)
    assert settings.of(PoolSettings) == PoolSettings(io=4)
    assert settings.backend.own == PosixSettings(use_id2filename=True)
    assert settings.backend.io_threads == 4


@pytest.mark.parametrize(
    ("server", "policy"),
    [
        ({}, Overwrite.ALLOW),
        ({"compatibility": "pacifica"}, Overwrite.DENY),
        ({"compatibility": "pacifica", "overwrite": "allow"}, Overwrite.ALLOW),
    ],
)
def test_the_drop_in_denies_overwriting_unless_told(server: dict[str, str], policy: Overwrite) -> None:
    """The default of overwrite follows compatibility."""
    overrides = {("server", key): value for key, value in server.items()}
    assert load(None, {}, overrides).server.overwrite is policy


# precedence


def test_the_environment_beats_the_file_and_the_command_line_beats_both(
    write: Callable[[str], str], tmp_path: Path
) -> None:
    """Each source overrides key by key."""
    for name in ("file", "environment", "line"):
        (tmp_path / name).mkdir()
    path = write("[server]\ntype = memory\nprefix = file\nworkers = 5\n")
    environ = {"PAI_PREFIX": "environment", "PAI_BACKEND_TYPE": ""}
    settings = load(path, environ, {})
    assert settings.server.prefix == tmp_path / "environment"
    assert settings.server.workers == 5
    assert settings.backend.own == MemorySettings()  # an empty variable is none
    assert load(path, {"PAI_BACKEND_TYPE": "posix"}, {}).server.type == "posix"
    assert load(path, environ, {("server", "prefix"): "line"}).server.prefix == tmp_path / "line"


def test_the_environment_names_the_file_unless_the_caller_does(write: Callable[[str], str], tmp_path: Path) -> None:
    """ARCHIVEINTERFACE_CONFIG is what stands in for -c."""
    path = write("[server]\nworkers = 5\n")
    assert load(None, {"ARCHIVEINTERFACE_CONFIG": path}, {}).server.workers == 5
    other = tmp_path / "other.ini"
    other.write_text("[server]\nworkers = 6\n")
    assert load(str(other), {"ARCHIVEINTERFACE_CONFIG": path}, {}).server.workers == 6


def test_a_percent_sign_means_itself(write: Callable[[str], str]) -> None:
    """Interpolation is off."""
    path = write("[hsm_sideband]\npassword = 100%(user)s%\n")
    assert load(path, {}, {}).source == path


def test_the_predecessors_file_loads_whole(write: Callable[[str], str]) -> None:
    """Sections of backends that are not in use are no error."""
    assert load(write(SEEDS_EXAMPLE), {}, {}).backend.own == PosixSettings(use_id2filename=False)


# complaints


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sever]\n", "[sever]: unknown section; did you mean server?"),
        ("[DEFAULT]\nprefix = /\n", "[DEFAULT]: unknown section"),
        ("[server]\nprefx = /\n", "[server] prefx: unknown key; did you mean prefix?"),
        ("[hpss]\nzzz = 1\n", "[hpss] zzz: unknown key"),
        ("[hpss]\nblock_size = 1 MiB\n", "[hpss] block_size: a block has 4 MiB to 32 MiB"),
        ("[hpss]\nblock_size = 33 MiB\n", "[hpss] block_size: a block has 4 MiB to 32 MiB"),
        ("[hpss]\nclass_of_service = -1\n", "[hpss] class_of_service: '-1' is not a whole number"),
        ("[hpss]\ncall_timeout = 0\n", "[hpss] call_timeout: a time-out is more than zero"),
        ("[limits]\nbody = big\n", "[limits] body: 'big' is not a valid size"),
        ("[posix]\nuse_id2filename = 7\n", "[posix] use_id2filename: '7' is neither true nor false"),
        ("[hsm_sideband]\nport = 0\n", "[hsm_sideband] port: 0 is less than 1"),
        ("[server]\noverwrite = maybe\n", "[server] overwrite: 'maybe' is not among allow, identical, deny"),
        ("[server]\nworkers = 1\nworkers = 2\n", "[server] workers: given twice, again in line 3"),
        ("[pools]\n[pools]\n", "[pools]: given twice, again in line 2"),
        ("workers = 1\n", "line 1 is neither a [section] nor key = value inside one"),
        ("[hsm_sideband]\npassword tops3cret\n", "line 2 is neither a [section] nor key = value inside one"),
        (
            "[server]\ntype = posx\n",
            "[server] type: this installation has no backend 'posx'; it has hpss, hsmsideband, memory, posix",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_where(write: Callable[[str], str], text: str, words: str) -> None:
    """The file, the section and the key are named, and a near miss is guessed."""
    path = write(text)
    said = complaint(path)
    assert said.startswith(f"{path}: {words}")
    assert "tops3cret" not in said


def test_a_mistake_elsewhere_names_its_origin() -> None:
    """Not only files can be wrong."""
    assert complaint(None, {"PAI_PREFIX": "nowhere"}).startswith("PAI_PREFIX: [server] prefix: ")
    assert complaint(None, workers="x") == "command line: [server] workers: 'x' is not a whole number"


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    """A file that somebody named must be readable."""
    assert complaint("missing.ini") == "missing.ini: No such file or directory"
    assert complaint(None, {"ARCHIVEINTERFACE_CONFIG": str(tmp_path)}) == f"{tmp_path}: Is a directory"
    (tmp_path / "latin.ini").write_bytes(b"[server]\n; \xe9\n")
    assert complaint("latin.ini") == "latin.ini: line 2 is not UTF-8 text"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "is UTF-16; save it as UTF-8"),
        ("utf-32", "is UTF-32; save it as UTF-8"),
        ("utf-16-be", "line 1 has a NUL in it; save it as UTF-8 text"),
    ],
)
def test_a_file_in_another_encoding(tmp_path: Path, encoding: str, words: str) -> None:
    """Is told apart from one with a mistake in it."""
    (tmp_path / "wide.ini").write_text("[server]\nworkers = 5\n", encoding=encoding)
    assert complaint("wide.ini") == f"wide.ini: {words}"


def test_a_file_of_any_editors(tmp_path: Path) -> None:
    """With a byte order mark, other ends of lines, and blanks at the ends."""
    (tmp_path / "marked.ini").write_bytes("\ufeff[server] \r\nworkers = 5 \r\nsite_name = Köln\t\r\n".encode())
    server = load("marked.ini", {}, {}).server
    assert (server.workers, server.site_name) == (5, "Köln")


def test_a_backend_that_is_not_installed() -> None:
    """Those that are there are listed."""
    words = "[server] type: this installation has no backend 'tape'; it has hpss, hsmsideband, memory, posix"
    assert complaint(None, type="tape") == f"command line: {words}"


# directories


def test_the_default_prefix_is_made_but_a_named_one_is_not(tmp_path: Path) -> None:
    """A named prefix that is missing is more likely a file system that is not mounted."""
    said = complaint(None, prefix="archive")
    assert said == f"command line: [server] prefix: {tmp_path}/archive is not an existing directory"
    assert not (tmp_path / "archive").exists()
    load(None, {}, {}, create_default=False)
    assert not (tmp_path / "archive").exists()
    load(None, {}, {})
    assert (tmp_path / "archive").is_dir()
    load(None, {}, {})


def test_a_default_prefix_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in its place is an error with words."""
    (tmp_path / "archive").touch()
    said = complaint(None)
    assert said == f"settings: [server] prefix: {tmp_path}/archive cannot be made: File exists"


def test_move_roots_must_exist() -> None:
    """A root that is not there would refuse every move without a word."""
    assert complaint(None, move_roots="nowhere").endswith("nowhere is not an existing directory")


@contextlib.contextmanager
def _unprivileged() -> Iterator[None]:
    """Without the rights of root, to whom every directory is open."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_prefix_without_rights_is_refused() -> None:
    """Reading is not enough: the archive writes."""
    with tempfile.TemporaryDirectory() as prefix:
        Path(prefix).chmod(0o555)
        with _unprivileged():
            said = complaint(None, prefix=prefix, type="memory")
    assert said.endswith(f"{prefix} does not give this user the rights that the archive needs")


# a name space of the storage's own


def remote(**server: object) -> Settings:
    """The settings of an archive in HPSS."""
    return load(None, {}, {("server", key): value for key, value in {"type": "hpss", **server}.items()})


def test_a_prefix_of_another_name_space_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """What lies under the same path on this machine has nothing to do with it."""
    (tmp_path / "link").symlink_to("elsewhere")
    for prefix in ("/", "/hpss/no/such/archive", f"{tmp_path}/link", f"{tmp_path}/link/./below"):
        settings = remote(prefix=prefix)
        assert settings.server.prefix == settings.backend.prefix == Path(prefix)
        assert settings.server.move_roots == settings.backend.move_roots == (Path(prefix),)
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]
    settings = remote(prefix="/hpss/archive", move_roots=f"{tmp_path}/link\n/hpss/incoming")
    assert settings.backend.move_roots == (tmp_path / "link", Path("/hpss/incoming"))


@pytest.mark.parametrize("name", ["archive", "./archive", "../archive", "/hpss/../etc", "/hpss/.."])
def test_a_name_of_another_name_space_must_be_whole(name: str) -> None:
    """There is no working directory there, and nobody who could resolve it here."""
    words = f"{Path(name)} is not an absolute path; hpss has a name space of its own"
    assert complaint(None, type="hpss", prefix=name) == f"command line: [server] prefix: {words}"
    said = complaint(None, type="hpss", prefix="/hpss", move_roots=f"/hpss\n{name}")
    assert said == f"command line: [server] move_roots: {words}"


def test_another_name_space_has_no_default_prefix(tmp_path: Path) -> None:
    """The default is a directory of this machine, and is not made for nothing."""
    words = "archive is not an absolute path; hpss has a name space of its own"
    assert complaint(None, type="hpss") == f"settings: [server] prefix: {words}"
    assert not (tmp_path / "archive").exists()


def test_the_settings_of_hpss(write: Callable[[str], str]) -> None:
    """Those of the predecessor's file, and our own; the library need not be there to read them."""
    path = write(
        SEEDS_EXAMPLE.replace(
            "user = hpss.unix",
            "user = archive\nblock_size = 32 MiB\nclass_of_service = 3\nfamily = 0\ndeep_bind = yes\nthreads = 4\n"
            "accept_latency = 0.5\nping_interval = 1 min\ncall_timeout = 1 h",
        )
    )
    overrides = {("server", "type"): "hpss", ("server", "prefix"): "/hpss/archive"}
    settings = load(path, {}, overrides)
    assert settings.backend.own == HpssSettings(
        auth="/var/hpss/etc/hpss.unix.keytab",
        sitename="example.com",
        user="archive",
        accept_latency=0.5,
        ping_interval=60,
        call_timeout=3600,
        threads=4,
        data_threads=16,
        block_size=32 << 20,
        class_of_service=3,
        family=0,
        deep_bind=True,
    )
    for each in (settings, load(None, {}, overrides)):
        path = write(describe(each))
        assert load(path, {}, {}) == attrs.evolve(each, source=path)


@given(strategies.integers(4 * 2**20, 32 * 2**20))
def test_a_block_size_survives_being_written(value: int) -> None:
    """From the smallest to the largest."""
    assert converters.block_size(value) == value
    assert converters.block_size(converters.format_size(value)) == value


# plugins of others


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class _OtherSettings:
    server: str = attrs.field()
    colour: Colour = attrs.field(default=Colour.RED, converter=Colour)
    token: int = attrs.field(default=0, converter=int, metadata={"secret": True})
    even: int = attrs.field(default=0, converter=int)

    @even.validator
    def _check_even(self, attribute: object, value: int) -> None:
        if value % 2:
            raise ValueError("even must be even")


@attrs.frozen
class _OtherProvider:
    name: str = "other"
    section: str = "other"
    missing: bool = False
    local_prefix: bool = True

    @property
    def settings_class(self) -> type[Any]:
        if self.missing:
            raise ImportError("No module named 'vendor'")
        return _OtherSettings


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is installed beside our own; starts with one backend of another maker."""
    found = [_OtherProvider()]
    monkeypatch.setattr("pacarchive.settings.reading.getPlugins", lambda interface: [*getPlugins(interface), *found])
    return found


@pytest.mark.usefixtures("plugins")
def test_an_installed_backend_brings_its_section(write: Callable[[str], str]) -> None:
    """Its keys are checked whether or not it is chosen; its mandatory ones only when it is."""
    path = write("[other]\ncolour = red\n")
    assert load(path, {}, {}).backend.own == PosixSettings()
    assert complaint(path, type="other") == "settings: [other] server: must be set"
    path = write("[other]\nserver = tape1\n")
    assert load(path, {}, {("server", "type"): "other"}).backend.own == _OtherSettings(server="tape1")
    assert complaint(write("[other]\ncolour = blue\n")).endswith("[other] colour: 'blue' is not among red")
    assert complaint(write("[other]\nserver = a\neven = 3\n"), type="other").endswith("[other]: even must be even")


@pytest.mark.usefixtures("plugins")
def test_a_bad_secret_is_not_repeated(write: Callable[[str], str]) -> None:
    """Words of an error go to logs."""
    assert complaint(write("[other]\ntoken = s3cret\n")).endswith("[other] token: not a valid value")


def test_a_backend_whose_library_is_missing_matters_only_when_it_is_used(plugins: list[Any]) -> None:
    """The others start without it."""
    plugins[:] = [_OtherProvider(missing=True)]
    assert load(None, {}, {}).server.type == "posix"
    assert complaint(None, type="other") == "backend other: cannot be loaded: No module named 'vendor'"


def test_two_backends_of_one_name_are_refused(plugins: list[Any]) -> None:
    """Chance must not decide which of them gets the files."""
    plugins[:] = [_OtherProvider(name="posix")]
    assert complaint(None) == "plugins: two installed backends are called 'posix'"


# the way back


def _everything_set(tmp_path: Path) -> Settings:
    overrides: dict[tuple[str, str], object] = {
        ("server", "prefix"): str(tmp_path),
        ("server", "endpoint"): ("tcp:1:interface=\\:\\:1", "unix:/run/a.sock"),
        ("server", "compatibility"): "pacifica",
        ("server", "move_roots"): "/tmp\n/",
        ("server", "asctime_zone"): "America/Los_Angeles",
        ("server", "digests"): "md5 adler32",
        ("server", "hosts"): "archive.example.org, [2001:DB8::1]",
        ("server", "drain_timeout"): "0.25",
        ("limits", "body"): "1023",
        ("posix", "use_id2filename"): "on",
    }
    return load(None, {}, overrides)


def _sideband_set() -> Settings:
    """All keys of a backend's section but the secret, which does not come back."""
    values: dict[str, object] = {
        "sam_qfs_prefix": "/%_'a b",
        "schema": "sam%s",
        "host": "::1",
        "user": "pacarchive",
        "port": "3307",
        "unix_socket": "/run/mysqld/mysqld.sock",
        "database_timeout": "0.25",
        "connections": "2",
        "remember": "0",
        "stage_command": "ssh 'sam host' stage -- \"/sam1{sam_path}\" ; # %s",
        "stage_threads": "8",
        "recall_timeout": "2 d",
        "read_timeout": "1 min",
    }
    overrides = {("hsm_sideband", key): value for key, value in values.items()}
    settings = load(None, {}, {("server", "type"): "hsmsideband", **overrides})
    found, unset = attrs.asdict(settings.backend.own), attrs.asdict(SidebandSettings())
    assert {key for key in found if found[key] == unset[key]} == {"password"}
    return settings


def test_a_description_loads_back(write: Callable[[str], str], tmp_path: Path) -> None:
    """The printed settings are a settings file with the same meaning."""
    for settings in (load(None, {}, {}), _everything_set(tmp_path), _sideband_set()):
        path = write(describe(settings))
        (tmp_path / "archive").mkdir(exist_ok=True)
        assert load(path, {}, {}) == attrs.evolve(settings, source=path)


def test_a_description_explains_every_key(tmp_path: Path) -> None:
    """Each key has its words above it."""
    for own, settings in {"posix": _everything_set(tmp_path), "hsm_sideband": _sideband_set()}.items():
        text = " ".join(describe(settings).replace("\n; ", " ").split())
        for section in ("server", "limits", "pools", own):
            assert f"[{section}]" in text
            for field in keys_of(SECTIONS[section]).values():
                assert f"{field.metadata['doc']} {key_of(field)} =" in text


def test_secrets_are_masked_and_the_mask_does_not_become_the_secret(write: Callable[[str], str]) -> None:
    """Neither the description nor a repr shows one."""
    settings = load(write("[hsm_sideband]\npassword = s3cret\n"), {}, {("server", "type"): "hsmsideband"})
    assert settings.backend.own.password == "s3cret"
    text = describe(settings)
    assert "s3cret" not in text + repr(settings)
    assert "password = ****" in text
    assert load(write(text), {}, {}).backend.own == SidebandSettings(password="")


def test_hosts(write: Callable[[str], str]) -> None:
    """Names and addresses, however they are written and separated, in one spelling."""
    hosts = "archive.example.org Grid.example.,\n  [2001:DB8:0::1]\n  192.0.2.7; archiv_1 bücher.example"
    found = load(write(f"[server]\nhosts = {hosts}\n"), {}, {}).server.hosts
    assert found == (
        "archive.example.org", "grid.example", "2001:db8::1", "192.0.2.7", "archiv_1", "xn--bcher-kva.example",
    )  # fmt: skip
    for text in ("archive:8080", "http://archive", "[::1", "*.example.org", "a..b", "a/b", "192.0.2.7:80", "ü" * 300):
        assert f"{text!r} is not a valid host" in complaint(write(f"[server]\nhosts = {text}\n"))


def test_settings_travel_through_a_pipe(tmp_path: Path) -> None:
    """Worker processes get them pickled."""
    settings = _everything_set(tmp_path)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_paths_and_commands_of_the_sideband(write: Callable[[str], str]) -> None:
    """A path below the mount point is written in one way; a command keeps its quotes, and is checked for them."""
    for text in ("/archive", "archive/", "//archive//"):
        path = write(f"[server]\ntype = hsmsideband\n[hsm_sideband]\nsam_qfs_prefix = {text}\n")
        assert load(path, {}, {}).backend.own.sam_qfs_prefix == "/archive"
    own = load(write("[server]\ntype = hsmsideband\n[hsm_sideband]\nsam_qfs_prefix = /\n"), {}, {}).backend.own
    assert own.sam_qfs_prefix == "/"
    command = "ssh sam 'stage -r' -- {sam_path}"
    path = write(f"[server]\ntype = hsmsideband\n[hsm_sideband]\nstage_command = {command}\n")
    settings = load(path, {}, {})
    assert settings.backend.own.stage_command == command
    assert load(write(describe(settings)), {}, {}).backend.own == settings.backend.own
    for key, value, words in (
        ("sam_qfs_prefix", "/a/../b", "'/a/../b' has a part that is . or .."),
        ("stage_command", "stage 'x", '"stage \'x" is not a valid command: No closing quotation'),
        ("stage_command", "stage\n  x", "'stage\\nx' is not a valid command: one line of text is needed"),
        ("database_timeout", "0", "a time-out is more than zero"),
    ):
        assert complaint(write(f"[hsm_sideband]\n{key} = {value}\n")).endswith(f"[hsm_sideband] {key}: {words}")


def test_the_public_url(write: Callable[[str], str]) -> None:
    """It begins other URLs."""
    path = write("[server]\npublic_url = https://archive.example.org/deep/\n")
    assert load(path, {}, {}).server.public_url == "https://archive.example.org/deep"
    for text in ("archive.example.org", "ftp://a", "https://", "https://u:p@a", "https://a?b", "https://a b"):
        assert f"{text!r} is not a valid URL" in complaint(write(f"[server]\npublic_url = {text}\n"))


def test_the_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]) -> None:
    """Is with the archive where that is on a disk of this machine; else it has a name that depends on the archive."""
    systemd = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}
    homes: list[tuple[dict[str, str], Path]] = [({}, tmp_path), (systemd, Path("/var/lib/a"))]
    for environ, former in homes:
        settings = load(None, environ, {})
        assert settings.of(RecallSettings).store == str(tmp_path / "archive/.pacarchive/recall.sqlite")
        assert settings.of(RecallSettings).default_store == DefaultStore(
            settings.of(RecallSettings).store, True, str(former / "recall.sqlite")
        )
    monkeypatch.setattr("pacarchive.recall.places.is_one_machines", lambda path: False)
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for kind in ("posix", "hsmsideband", "memory", "hpss"):
            given: dict[tuple[str, str], object] = {
                ("server", "prefix"): f"{tmp_path}/{name}",
                ("server", "type"): kind,
            }
            for environ, home in homes:
                settings = load(None, environ, given)
                path = Path(settings.of(RecallSettings).store)
                assert (path.parent, path.match(f"recall-{kind}-*.sqlite")) == (home, True)
                assert load(None, environ, given) == settings
                assert settings.of(RecallSettings).default_store == DefaultStore(
                    str(path), False, str(home / "recall.sqlite")
                )
                found.add(path)
    assert len(found) == 16
    named = load(write("[recall]\nstore = jobs.db\n"), systemd, {})
    assert (named.of(RecallSettings).store, named.of(RecallSettings).default_store) == (str(tmp_path / "jobs.db"), None)


def test_file_systems(tmp_path: Path) -> None:
    """Those of disks, and what is none; what is not there could be anything."""
    assert is_one_machines(tmp_path)
    assert not is_one_machines("/proc")
    assert not is_one_machines(tmp_path / "missing")


def test_recall_values(write: Callable[[str], str], tmp_path: Path) -> None:
    """The job store is where it is said to be."""
    path = write("[recall]\nstore = jobs.db\nbuffer = 1 TiB\nhigh_water = 80 %\n")
    settings = load(path, {"STATE_DIRECTORY": "/var/lib/a"}, {})
    recall = settings.of(RecallSettings)
    assert (recall.store, recall.buffer, recall.high_water) == (str(tmp_path / "jobs.db"), 2**40, 80)
    for url in ("mariadb://u@h:3306/jobs", "mariadb://u@/jobs?socket=/run/m.sock"):
        path = write(f"[recall]\nstore = {url}\nstore_password = geheim\n")
        settings = load(path, {}, {})
        assert settings.of(RecallSettings).store == url
        assert "geheim" not in describe(settings)
        assert "geheim" not in repr(settings)
    for key, value, words in (
        ("store", "mariadb://u:p@h/jobs", "a password does not belong here; there is store_password for it"),
        ("store", "mariadb://h/jobs", "write mariadb://user@host:3306/database or mariadb://user@/database?socket="),
        ("store", "mariadb://u@/jobs", "write mariadb://user@host:3306/database or mariadb://user@/database?socket="),
        ("buffer", "much", "'much' is not a valid size; write bytes, or for example 64 KiB, 10 MiB, 1 GiB"),
        ("high_water", "101", "a share is 1 to 100 percent"),
        ("high_water", "0", "a share is 1 to 100 percent"),
        ("drives", "0", "0 is less than 1"),
    ):
        assert f"[recall] {key}: {words}" in complaint(write(f"[recall]\n{key} = {value}\n"))


# the manual


@pytest.mark.parametrize("section", SECTIONS)
def test_the_manual_explains_every_key(section: str) -> None:
    """Each key stands in the manual under its section, with the default and the words of the code."""
    text = MANUAL.read_text()
    _, found, rest = text.partition(f"# `[{section}]`\n")
    assert found
    rows = {line for line in rest.partition("\n#")[0].splitlines() if line.startswith("| `")}
    assert rows == {_row(field) for field in keys_of(SECTIONS[section]).values()}


def _row(field: attrs.Attribute[Any]) -> str:
    words = default_words(field)
    default = words if "default" in field.metadata else f"`{words}`" if words else "(none)"
    return f"| `{key_of(field)}` | {default} | {field.metadata['doc']} |"
