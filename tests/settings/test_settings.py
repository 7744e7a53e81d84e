"""The settings: sources, complaints, directories, and what depends on what."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import attrs
import pytest

from pacarchive.backends.hpss.settings import HpssSettings
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.backends.memory import MemorySettings
from pacarchive.interfaces import BackendSettings
from pacarchive.model import Durability, Overwrite
from pacarchive.recall.places import DefaultStore
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.filesystems import is_one_machines
from pacarchive.settings.explaining import describe
from pacarchive.settings.reading import load
from pacarchive.settings.sections import Settings
from pacarchive.settings.server import Compatibility, PoolSettings, ServerSettings, VerifyReads
from pacarchive.web.http.settings import ClientCertificates, LimitSettings, TlsSettings, TlsVersion
from settings.surroundings import complaint

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
        [tls]
        endpoint = tcp:443
        certificate = server.pem
        key = server.key
        client_ca = users.pem
        client = optional
        minimum = 1.3
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
    assert settings.of(TlsSettings) == TlsSettings(
        endpoints=("tcp:443",),
        certificate="server.pem",
        key="server.key",
        client_ca="users.pem",
        client=ClientCertificates.OPTIONAL,
        minimum=TlsVersion.TLS_1_3,
    )
    assert settings.of(PoolSettings) == PoolSettings(io=4)
    assert settings.backend.own == PosixSettings(use_id2filename=True)
    assert settings.backend.io_threads == 4


@pytest.mark.parametrize(
    ("text", "plain", "secure"),
    [
        ("", ("tcp:8080:interface=127.0.0.1",), ()),
        ("[tls]\nendpoint = tcp:443\n", (), ("tcp:443",)),
        ("[tls]\nendpoint = tcp:443; tcp6:443\n[server]\nendpoint = tcp:80\n", ("tcp:80",), ("tcp:443", "tcp6:443")),
        ("[tls]\nendpoint = tcp:443\n[server]\nendpoint =\n", (), ("tcp:443",)),
        ("[tls]\ncertificate = x\n", ("tcp:8080:interface=127.0.0.1",), ()),
    ],
)
def test_who_listens_with_tls_does_not_listen_without(
    write: Callable[[str], str], text: str, plain: tuple[str, ...], secure: tuple[str, ...]
) -> None:
    """Unless both are asked for; and what is printed of it means the same."""
    settings = load(write(text), {}, {})
    assert (settings.server.endpoints, settings.of(TlsSettings).endpoints) == (plain, secure)
    again = load(write(describe(settings)), {}, {})
    assert (again.server.endpoints, again.of(TlsSettings).endpoints) == (plain, secure)


def test_somewhere_it_listens(write: Callable[[str], str]) -> None:
    """A server that listens nowhere is refused."""
    for text in ("[server]\nendpoint =\n", "[server]\nendpoint = ;\n[tls]\nendpoint =\n"):
        path = write(text)
        assert complaint(path) == f"{path}: [server] endpoint: at least one endpoint is needed"


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
            "[server] type: this installation has no backend 'posx'; it has hpss, hsmsideband, memory, posix, s3",
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
    words = "[server] type: this installation has no backend 'tape'; it has hpss, hsmsideband, memory, posix, s3"
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


def test_hosts(write: Callable[[str], str]) -> None:
    """Names and addresses, however they are written and separated, in one spelling."""
    hosts = "archive.example.org Grid.example.,\n  [2001:DB8:0::1]\n  192.0.2.7; archiv_1 bücher.example"
    found = load(write(f"[server]\nhosts = {hosts}\n"), {}, {}).server.hosts
    assert found == (
        "archive.example.org", "grid.example", "2001:db8::1", "192.0.2.7", "archiv_1", "xn--bcher-kva.example",
    )  # fmt: skip
    for text in ("archive:8080", "http://archive", "[::1", "*.example.org", "a..b", "a/b", "192.0.2.7:80", "ü" * 300):
        assert f"{text!r} is not a valid host" in complaint(write(f"[server]\nhosts = {text}\n"))


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
