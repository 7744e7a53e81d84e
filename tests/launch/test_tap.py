"""The command lines: twistd's plugin and the pacarchive command."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from certificates import Pair
from twisted.application.service import IServiceMaker
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.plugin import IPlugin, getPlugins
from twisted.scripts._twistd_unix import ServerOptions
from zope.interface.verify import verifyObject

from pacarchive import cli
from pacarchive.backends.hpss.settings import HpssSettings
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.backends.memory import MemorySettings
from pacarchive.backends.s3.settings import S3Settings
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.interfaces import IBackendProvider
from pacarchive.launch import needs, tap
from pacarchive.settings.explaining import describe
from pacarchive.settings.providers import BackendProvider
from pacarchive.settings.reading import find_provider, load
from pacarchive.settings.server import PoolSettings

if TYPE_CHECKING:
    from pacarchive.settings.sections import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from outside; relative paths start in a directory of the test."""
    for name in ("ARCHIVEINTERFACE_CONFIG", "PAI_BACKEND_TYPE", "PAI_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pacarchive.settings.reading.MACHINE_FILE", "/nonexistent/pacarchive.ini")
    monkeypatch.setattr(tap, "leave_out", lambda *_: None)  # other tests in this process would miss it
    monkeypatch.chdir(tmp_path)


def parse(*arguments: str) -> Settings:
    """What the options amount to."""
    options = tap.Options()
    options.parseOptions(arguments)
    return options.settings


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on standard error with which the options are refused."""
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pacarchive: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("pacarchive: ").rstrip("\n")


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A real process, which finds the package and the plugin in this checkout."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


TWISTD = ("-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()")


# options


def test_without_options_the_defaults_hold(tmp_path: Path) -> None:
    """No option overrides anything by its own default."""
    assert parse() == load(None, {}, {})


@pytest.mark.parametrize(
    ("arguments", "endpoints"),
    [
        (["-p", "8000"], ("tcp:8000:interface=127.0.0.1",)),
        (["--port=0"], ("tcp:0:interface=127.0.0.1",)),
        (["-a", "0.0.0.0"], ("tcp:8080:interface=0.0.0.0",)),
        (["-p", "08000", "--address", "::1"], ("tcp:8000:interface=\\:\\:1",)),
        (["--endpoint", "tcp:1", "--endpoint", "unix:/run/a;b.sock"], ("tcp:1", "unix:/run/a;b.sock")),
    ],
)
def test_where_to_listen(arguments: list[str], endpoints: tuple[str, ...]) -> None:
    """A port and an address make one TCP endpoint; --endpoint takes any and can be repeated."""
    assert parse(*arguments).server.endpoints == endpoints


def test_an_ipv6_address_reaches_the_endpoint_whole() -> None:
    """Its colons are no separators."""
    endpoint = serverFromString(MemoryReactor(), *parse("-p", "0", "-a", "fe80::1").server.endpoints)
    assert endpoint._interface == "fe80::1"


def test_the_predecessors_options(tmp_path: Path) -> None:
    """Long and short forms mean what they meant."""
    short = parse("-t", "memory", "-p", "8000", "-a", "127.0.0.2", "--prefix", str(tmp_path))
    long = parse("--type=memory", "--port=8000", "--address=127.0.0.2", f"--prefix={tmp_path}")
    assert short == long
    assert short.server.type == "memory"
    assert short.backend.prefix == tmp_path


def test_the_command_line_beats_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it leaves out comes from them."""
    (tmp_path / "site.ini").write_text("[server]\ntype = posix\nworkers = 5\nendpoint = tcp:5\n[pools]\nio = 3\n")
    monkeypatch.setenv("PAI_BACKEND_TYPE", "memory")
    settings = parse("-c", "site.ini", "--workers", "7")
    assert (settings.server.type, settings.server.workers, settings.of(PoolSettings).io) == ("memory", 7, 3)
    assert settings.server.endpoints == ("tcp:5",)
    assert parse("--config=site.ini", "-p", "6", "-t", "posix").server.endpoints == ("tcp:6:interface=127.0.0.1",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["-t", "sam"],
            "[server] type: this installation has no backend 'sam'; it has hpss, hsmsideband, memory, posix",
        ),
        (["-t", "hpss", "--prefix", "hpss"], "[server] prefix: hpss is not an absolute path"),
        (["--prefix", "/no/such"], "[server] prefix: /no/such is not an existing directory"),
        (["--workers", "many"], "[server] workers: 'many' is not a whole number"),
        (["-p", "65536"], "--port: '65536' is not a number from 0 to 65535"),
        (["-p", "-1"], "--port: '-1' is not a number from 0 to 65535"),
        (["-p", "\u0661"], "--port: '\u0661' is not a number from 0 to 65535"),
        (["-p", "1", "--endpoint", "tcp:1"], "--endpoint cannot be combined with --port or --address"),
        (["-a", "::1", "--endpoint", "tcp:1"], "--endpoint cannot be combined with --port or --address"),
        (["--endpoint", "8080"], "[server] endpoint: '8080' is not a valid endpoint; write for example tcp:8080"),
    ],
)
def test_a_bad_option_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Exit code 2, and where the mistake is."""
    assert refusal(capsys, *arguments).startswith(f"command line: {words}")


@pytest.mark.parametrize("endpoint", ["tcp:http", "nonsense:1", "tcp:1:colour=red", "systemd:domain=INET:index=9"])
def test_an_endpoint_that_its_own_parser_refuses(capsys: pytest.CaptureFixture[str], endpoint: str) -> None:
    """This too is found before anything starts."""
    assert refusal(capsys, "--endpoint", endpoint).startswith(f"[server] endpoint: {endpoint!r} cannot be used: ")


@pytest.mark.parametrize("endpoint", ["tcp:http", "nonsense:1"])
def test_a_place_for_metrics_that_its_own_parser_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], endpoint: str
) -> None:
    """Likewise."""
    (tmp_path / "site.ini").write_text(f"[metrics]\nendpoint = {endpoint}\n")
    said = refusal(capsys, "-c", "site.ini")
    assert said.startswith(f"[metrics] endpoint: '{endpoint}")
    assert " cannot be used: " in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start"], "Wrong number of arguments."),
        (["--foo"], "option --foo not recognized"),
        (["--workers"], "option --workers requires argument"),
    ],
)
def test_what_is_no_option_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Not thirty lines of help, at whose end it stands."""
    said = refusal(capsys, *arguments)
    assert said == f"command line: {words} (twistd pacarchive --help explains the options)"


@pytest.mark.parametrize(
    ("own", "is_told"), [((), False), (("--prefix", "/srv"), True), (("--syslog", "--prefix=archive"), False)]
)
def test_a_prefix_that_goes_to_twistd(monkeypatch: pytest.MonkeyPatch, own: tuple[str, ...], is_told: bool) -> None:
    """Before the word C{pacarchive} it is another option, of syslog; without that it can only be a mistake."""
    stand_in = types.ModuleType("pacarchive.launch.service")
    monkeypatch.setattr(stand_in, "make_service", lambda settings, log, observer: None, raising=False)
    monkeypatch.setitem(sys.modules, "pacarchive.launch.service", stand_in)
    twistd = ServerOptions()
    twistd.parseOptions([*own, "-n", "pacarchive", "-t", "memory"])
    with capturedLogs() as events:
        tap.makeService(twistd.subOptions)
    assert ["--prefix before the word pacarchive" in str(formatEvent(each)) for each in events] == [True] * is_told


def test_the_service_is_made_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """makeService hands over what was parsed, and imports the server only then."""
    stand_in = types.ModuleType("pacarchive.launch.service")
    monkeypatch.setattr(stand_in, "make_service", lambda *given: ("service of", *given), raising=False)
    monkeypatch.setitem(sys.modules, "pacarchive.launch.service", stand_in)
    options = tap.Options()
    options.parseOptions(["-t", "memory"])
    made: object = tap.makeService(options)
    assert made == ("service of", options.settings, None, None)


# the plugin, in real processes


@pytest.mark.server
def test_twistd_knows_the_command_and_its_options() -> None:
    """The help of twistd names every option, its default, and examples."""
    done = run(*TWISTD, "pacarchive", "--help", COLUMNS="200")
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ["--type", "-t,", "--port", "-p,", "--address", "-a,", "--prefix", "--config", "-c,", "--endpoint"]:
        assert word in done.stdout
    for word in [
        "--workers",
        "[default: ./archive]",
        "[default: tcp:8080:interface=127.0.0.1]",
        "twistd -n pacarchive",
    ]:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["-t", "sam"], {}, "command line: [server] type: this installation has no backend 'sam'"),
        (["-t", "hpss"], {}, "settings: [server] prefix: archive is not an absolute path"),
        ([], {"PAI_PREFIX": "/no/such"}, "PAI_PREFIX: [server] prefix: /no/such is not an existing directory"),
        (["-c", "site.ini"], {}, "site.ini: [server] prefx: unknown key; did you mean prefix?"),
    ],
)
@pytest.mark.server
def test_twistd_exits_with_2_for_a_bad_configuration(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], words: str
) -> None:
    """One line and no help text: a supervisor can tell it from a crash, and its log stays readable."""
    (tmp_path / "site.ini").write_text("[server]\nprefx = /\n")
    done = run(*TWISTD, "-n", "pacarchive", *arguments, **environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"pacarchive: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("_hpss", "the HPSS client extension is not built: install pacarchive with HPSS_ROOT naming the SDK"),
        ("_cffi_backend", "the HPSS client extension needs cffi: install pacarchive[hpss]"),
    ],
)
@pytest.mark.server
def test_twistd_exits_with_2_where_the_backend_lacks_its_library(
    tmp_path: Path, module: str, words: str, workers: str
) -> None:
    """One line that says what is missing, once, before there are processes or logs."""
    (tmp_path / f"{module}.py").write_text("raise ModuleNotFoundError")
    done = run(
        *(*TWISTD, "-n", "pacarchive", "-t", "hpss", "--prefix", "/archive", "-p", "0", "--workers", workers),
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pacarchive: backend hpss: {words}\n"
    assert not (tmp_path / "twistd.pid").exists()


def test_finding_the_plugins_imports_nothing_heavy() -> None:
    """Every twistd command runs the plugin module, so it stays light."""
    done = run(
        "-c",
        "import sys; from twisted.plugin import IPlugin, getPlugins; found = list(getPlugins(IPlugin));"
        "from twisted.plugins import pacarchive_plugin; assert pacarchive_plugin.posix in found;"
        "print([m for m in sys.modules if m in {'klein', 'twisted.web', 'twisted.internet.reactor'}"
        " or m.startswith('pacarchive.')])",
    )
    assert done.stderr == ""
    assert set(done.stdout.strip("[]\n").replace("'", "").split(", ")) <= {
        "pacarchive.digests",
        "pacarchive.errors",
        "pacarchive.interfaces",
        "pacarchive.model",
        "pacarchive.settings",
        "pacarchive.settings.providers",
        "pacarchive.times",
    }


NEVER = {"h2", "opentelemetry", "pymysql", "rich", "treq", "twisted.web.client", "pacarchive.client", "pacarchive.cli"}
TLS = {"OpenSSL", "cryptography", "service_identity", "twisted.internet.ssl"}


@pytest.mark.server
@pytest.mark.parametrize(
    ("twistd", "own", "tls"),
    [
        ([], ["--workers", "1"], False),
        ([], ["--workers", "2"], False),
        ([], ["--endpoint", "unix:socket", "--endpoint", "tcp6:0", "--anonymous", "all"], False),
        ([], ["--endpoint", "tcp:0", "--endpoint", "haproxy:tcp:0", "--anonymous", "read"], True),
        (["--logger", "os.getpid"], [], True),
        ([], ["-c", "metrics.ini"], True),
        ([], ["--workers", "2", "-c", "tls.ini", "--anonymous", "all"], None),
    ],
)
def test_what_is_imported_to_serve(tmp_path: Path, twistd: list[str], own: list[str], tls: bool | None) -> None:
    """
    It is all that the workers need, before they are forked; and nothing that these settings do not need.

    @param tls: Whether Twisted's TLS is there; C{None} where C{[tls]} is, which does without it.
    """
    (tmp_path / "archive").mkdir()
    pair = Pair("localhost").write(tmp_path / "server.pem")
    (tmp_path / "tls.ini").write_text(f"[tls]\nendpoint = tcp:0\ncertificate = {pair}\n")
    (tmp_path / "metrics.ini").write_text(f"[metrics]\nendpoint = ssl:0:interface=127.0.0.1:privateKey={pair}\n")
    arguments = [*twistd, "--nodaemon", "pacarchive", "--prefix", "archive", *own]
    code = f"""
import sys
from twisted.scripts._twistd_unix import ServerOptions
options = ServerOptions()
options.parseOptions({arguments})
options.loadedPlugins["pacarchive"].makeService(options.subOptions)
print(*(name for name, module in sys.modules.items() if module))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = set(done.stdout.split())
    assert imported & NEVER == set()
    own_tls = {"ssl", "pacarchive.web.http.secure", "pacarchive.launch.renewal"}
    if tls is None:
        assert imported & TLS == {"cryptography"}
        assert imported >= own_tls
    else:
        assert imported & TLS == (TLS if tls else set())
        assert not imported & (own_tls - {"ssl"})  # asyncio imports that anyway
    assert imported >= {
        "klein",
        "pacarchive.web.files",
        "pacarchive.backends.posix",
        "pacarchive.recall.engine",
        "sqlite3",
    }


def test_backends_of_others_have_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what they need."""
    told: list[bool] = []
    monkeypatch.setattr(needs, "do_without_http2", lambda: None)
    monkeypatch.setattr(needs, "do_without_tls", lambda: told.append(True))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda _: None)
    needs.leave_out(parse(), {})
    assert told == [True]
    theirs = BackendProvider(name="tape", section="tape", settings_name="tape:Settings", make_name="tape:make")
    monkeypatch.setattr(needs, "find_provider", lambda name: theirs)
    needs.leave_out(parse(), {})
    assert told == [True]


def test_a_backend_may_need_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of ours says so."""
    monkeypatch.setattr(needs, "do_without_http2", lambda: None)
    monkeypatch.setattr(needs, "do_without_tls", lambda: pytest.fail("the store may be reached by TLS"))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda _: None)
    monkeypatch.setattr(needs, "find_provider", lambda name: find_provider("s3"))
    needs.leave_out(parse(), {})


def test_our_plugins() -> None:
    """They keep to their interfaces, and the names lead to what they say."""
    makers = {each.tapname: each for each in getPlugins(IServiceMaker)}
    assert makers["pacarchive"].options is tap.Options
    assert makers["pacarchive"].makeService is tap.makeService
    providers = {each.name: each for each in getPlugins(IBackendProvider)}
    assert {each.section: each.settings_class for each in providers.values()} == {
        "posix": PosixSettings,
        "memory": MemorySettings,
        "s3": S3Settings,
        "hpss": HpssSettings,
        "hsm_sideband": SidebandSettings,
    }
    assert {name for name, each in providers.items() if not each.local_prefix} == {"hpss", "s3"}
    for each in providers.values():
        assert verifyObject(IBackendProvider, each)
        assert verifyObject(IPlugin, each)


def test_a_provider_makes_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is found by its name, when a backend is made."""
    stand_in = types.ModuleType("pacarchive.backends.memory")
    monkeypatch.setattr(stand_in, "make", lambda *arguments: arguments, raising=False)
    monkeypatch.setattr(stand_in, "MemorySettings", MemorySettings, raising=False)
    monkeypatch.setitem(sys.modules, "pacarchive.backends.memory", stand_in)
    memory = next(each for each in getPlugins(IBackendProvider) if each.name == "memory")
    reactor, settings = object(), parse("-t", "memory").backend
    made: object = memory.make(reactor, settings)
    assert made == (reactor, settings)


# the pacarchive command


def test_the_config_command_prints_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the environment, put together; nothing is made on the way."""
    (tmp_path / "site.ini").write_text("[server]\nworkers = 5\n")
    monkeypatch.setenv("PAI_BACKEND_TYPE", "memory")
    assert cli.main(["config", "-c", "site.ini"]) == 0
    expected = load("site.ini", {"PAI_BACKEND_TYPE": "memory"}, {}, create_default=False)
    assert capsys.readouterr().out == describe(expected)
    assert not (tmp_path / "archive").exists()


def test_the_config_command_shows_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of the backend in use nor of one that is not, nor when another key is wrong."""
    site = tmp_path / "site.ini"
    site.write_text("[hsm_sideband]\npassword = s3cret\nuser = pacarchive\n")
    assert cli.main(["config", "-c", "site.ini"]) == 0
    assert "s3cret" not in "".join(capsys.readouterr())
    monkeypatch.setenv("PAI_BACKEND_TYPE", "hsmsideband")
    assert cli.main(["config", "-c", "site.ini"]) == 0
    out, err = capsys.readouterr()
    assert "\n; password = ****\n" in out
    assert "\nuser = pacarchive\n" in out
    assert "s3cret" not in out + err
    assert "s3cret" not in repr(parse("-t", "hsmsideband", "-c", "site.ini"))
    site.write_text(site.read_text() + "port = 0\n")
    assert "s3cret" not in refusal(capsys, "-t", "hsmsideband", "-c", "site.ini")


def test_the_config_command_with_a_bad_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert cli.main(["config", "-c", "missing.ini"]) == 2
    assert capsys.readouterr() == ("", "pacarchive: missing.ini: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "pacarchive: which command? "), (["nonsense"], "pacarchive: unknown command 'nonsense'; ")],
)
def test_a_bad_command(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """Exit code 2, and what is wrong."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(said)
