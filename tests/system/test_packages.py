"""What is released: the sdist, the wheel made from it, and the whole service out of that wheel, far from the checkout.

The environment that the wheel is installed into has what the wheel declares and nothing else.  Its dependencies are not
downloaded: they are linked, one by one, from the environment that runs these tests.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution, distributions, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import hpss_build
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from system.harness import PATIENCE, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RELEASED = ("bench", "deploy", "docs", "ext", "man", "news", "pacarchive", "tac", "tests", "tools", "twisted")
"""What an sdist has all of."""

MADE = shutil.ignore_patterns("__pycache__", "build", "dropin.cache", "*.pyc", "*.egg-info", "*.so", ".*")
"""What tools leave in a checkout."""

NEVER_IMPORTED = {"tzdata"}
"""Dependencies that are no modules."""

TEST_OF_A_BACKEND = """
from pacarchive.backends.contract import Capabilities, make_backend_tests, started
from pacarchive.backends.memory import MemoryArchive
from twisted.internet import reactor

TestMemory = make_backend_tests(lambda _: started(MemoryArchive(reactor)), Capabilities())


class Forgetful(MemoryArchive):
    async def remove(self, file_id, conditions):
        await self.status(file_id)


TestForgetful = make_backend_tests(lambda _: started(Forgetful(reactor)), Capabilities())
"""

IMPORT_ALL = """
import pkgutil, pacarchive
from importlib import import_module

for each in pkgutil.walk_packages(pacarchive.__path__, "pacarchive."):
    if not each.name.startswith(("pacarchive.backends.contract", "pacarchive.telemetry.tracing")):
        try:
            import_module(each.name)
        except ModuleNotFoundError as error:
            # The extension, which is there where it was built, and what an extra brings.
            if error.name not in ("_hpss", "botocore"):
                raise
print(pacarchive.__file__)
"""


def run(*command: str | Path, cwd: Path, status: int = 0, **environ: str) -> str:
    """Run a command elsewhere, with nothing that leads to the checkout.  @return: Its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PACARCHIVE", "HPSS"))}
    done = subprocess.run(
        command, cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, timeout=PATIENCE * 4, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def copy(directory: Path, *names: str) -> set[str]:
    """Copy folders of the checkout, without what was made in them.  @return: The files, relative to the directory."""
    for name in names:
        shutil.copytree(ROOT / name, directory / name, ignore=MADE)
    return {str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and with the wheel that is built from it."""
    scratch = tmp_path_factory.mktemp("released")
    copy(scratch / "source", *RELEASED)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, scratch / "source")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", scratch / "dist", scratch / "source", cwd=scratch)
    return scratch / "dist"


@pytest.fixture(scope="module")
def sdist(released: Path) -> set[str]:
    """The names of the files in the sdist, below its one directory."""
    (archive,) = released.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {each.name.partition("/")[2] for each in opened if each.isfile()}


@pytest.fixture(scope="module")
def wheel(released: Path) -> Path:
    """The wheel."""
    (found,) = released.glob("*.whl")
    return found


class Environment:
    """A virtual environment with the wheel.  @ivar bin: Its commands."""

    def __init__(self, directory: Path, wheel: Path, *extras: str) -> None:
        venv.create(directory, symlinks=True)
        self.bin = directory / "bin"
        self.python = self.bin / "python"
        (self.site,) = directory.glob("lib/python*/site-packages")
        self.pip("install", "--no-deps", "--no-index", wheel)
        self.own = next(iter(distributions(name="pacarchive", path=[str(self.site)])))
        for name in needed(self.own, *extras):
            found = distribution(name)
            for top in {each.parts[0] for each in found.files or ()} - {"..", "__pycache__"}:  # ..: commands
                link(Path(str(found.locate_file(top))), self.site / top)

    def pip(self, *arguments: str | Path) -> str:
        """Run a command of pip's on it.  @return: What it prints."""
        return run(sys.executable, "-m", "pip", "--python", self.python, "-q", *arguments, cwd=self.bin)


def requirements(of: Distribution, *extras: str) -> list[Requirement]:
    """What a distribution requires here, with some of its extras."""
    found = [Requirement(each) for each in of.requires or ()]
    return [
        each
        for each in found
        if each.marker is None or any(each.marker.evaluate({"extra": on}) for on in ("", *extras))
    ]


def needed(of: Distribution, *extras: str) -> set[str]:
    """The names of all that pip would install with a distribution."""
    todo, seen = requirements(of, *extras), set[str]()
    while todo:
        requirement = todo.pop()
        if str(requirement) not in seen:
            seen.add(str(requirement))
            todo += requirements(distribution(requirement.name), *requirement.extras)
    return {Requirement(each).name for each in seen}


def link(source: Path, target: Path) -> None:
    """Put a link to a file or folder somewhere; where there is a folder already, links to what the other one has."""
    if target.is_dir() and not target.is_symlink():
        for each in source.iterdir():
            link(each, target / each.name)
    elif not target.exists():
        target.symlink_to(source)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What C{pip install pacarchive} makes."""
    return Environment(tmp_path_factory.mktemp("installed"), wheel)


# What is released


def test_the_sdist_has_everything(sdist: set[str], tmp_path: Path) -> None:
    """All that the checkout has: the pages, the tests, the units, the tools."""
    expected = copy(tmp_path, *RELEASED)
    assert expected - sdist == set()
    assert {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"} <= sdist
    assert {"tac/pacarchive.tac", "tac/systemd/pacarchive.service", "docs/usage.md", "tools/test"} <= sdist


def test_the_sdist_has_nothing_that_was_made(sdist: set[str]) -> None:
    """Nor anything but those folders, and files at the top."""
    assert not [each for each in sdist if each.endswith((".pyc", ".so", ".o", "dropin.cache")) or "__pycache__" in each]
    assert {each.partition("/")[0] for each in sdist if "/" in each} - {"pacarchive.egg-info"} == set(RELEASED)


def test_the_wheel_is_the_package(wheel: Path, tmp_path: Path) -> None:
    """All of it, its mark of being typed, and the plugin; no tests of its own."""
    with zipfile.ZipFile(wheel) as opened:
        found = set(opened.namelist())
    assert wheel.name.endswith("-py3-none-any.whl")
    expected = copy(tmp_path, "pacarchive")
    other = {each for each in found if ".dist-info/" not in each and ".data/" not in each}
    assert other == {*expected, "twisted/plugins/pacarchive_plugin.py"}
    assert "pacarchive/py.typed" in other


def test_the_extension_is_built_where_there_is_an_sdk(released: Path, tmp_path: Path) -> None:
    """And only there, from the sources that the sdist has."""
    (archive,) = released.glob("*.tar.gz")
    run("tar", "xf", archive, cwd=tmp_path)
    (source,) = tmp_path.iterdir()
    build = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "dist", source)
    run(*build, cwd=tmp_path, HPSS_ROOT=str(hpss_build.simulator("8.3")))
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as opened:
        assert [each for each in opened.namelist() if each.startswith("_hpss.") and each.endswith(".so")]


# What it needs


class Imports(ast.NodeVisitor):
    """The packages that a module imports when it runs.  @ivar found: Their names."""

    def __init__(self) -> None:
        self.found = set[str]()

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {each.name.partition(".")[0] for each in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.found.add((node.module or "pacarchive").partition(".")[0])


def imports(*paths: Path) -> set[str]:
    """The packages of others that modules import when they run."""
    visitor = Imports()
    for path in paths:
        visitor.visit(ast.parse(path.read_text()))
    return visitor.found - sys.stdlib_module_names - {"pacarchive", "_hpss"}


def declared(of: Distribution, *extras: str) -> set[str]:
    """The names of what a distribution requires itself, and of what its requirements' extras stand for."""
    direct = requirements(of, *extras)
    more = [
        each
        for requirement in direct
        for each in requirements(distribution(requirement.name), *requirement.extras)
        if each.marker is not None and not each.marker.evaluate({"extra": ""})
    ]
    return {canonicalize_name(each.name) for each in (*direct, *more)}


def test_what_is_imported_is_declared(installed: Environment) -> None:
    """Nothing is there only because something else happens to need it; and nothing is declared for no reason."""
    known = packages_distributions()
    modules = set((installed.site / "pacarchive").rglob("*.py"))
    contract = {each for each in modules if each.is_relative_to(installed.site / "pacarchive/backends/contract")}
    imported = set[str]()
    tracing = {installed.site / "pacarchive/telemetry/tracing.py"}
    signing = {installed.site / "pacarchive/backends/s3/signing.py"}
    for paths, extras in (
        (modules - contract - tracing - signing, ()),
        (contract, ("contract",)),
        (tracing, ("otel",)),
        (signing, ("s3",)),
    ):
        names = declared(installed.own, *extras)
        for name in imports(*paths):
            found = names & set(map(canonicalize_name, known[name]))
            assert found, f"{name} is imported, and not declared"
            imported |= found
    direct = {canonicalize_name(each.name) for each in requirements(installed.own, "contract", "otel", "s3")}
    assert direct - imported == NEVER_IMPORTED


def test_pip_misses_nothing(installed: Environment) -> None:
    """Nor does it find another version than the one that something needs."""
    installed.pip("check")


def test_every_module_can_be_imported(installed: Environment, tmp_path: Path) -> None:
    """With the dependencies alone."""
    out = run(installed.python, "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path)
    assert str(installed.site) in out


# What it does


@pytest.fixture
def service(installed: Environment, tmp_path: Path) -> Iterator[Service]:
    """A server out of the wheel, with two workers, which finds its plugin there."""
    service = Service(tmp_path / "service", workers=2, python=installed.python, environment={"PYTHONPATH": ""})
    try:
        yield service
        assert service.stop() in (0, -15)
        service.assert_clean()
    finally:
        service.kill()


def test_the_commands_explain_themselves(installed: Environment, tmp_path: Path) -> None:
    """Both, and the version is that of the package."""
    assert run(installed.bin / "pacarchive", "--version", cwd=tmp_path).split() == ["pacarchive", installed.own.version]
    assert "pacarchive put results.h5" in run(installed.bin / "pacarchive", "--help", cwd=tmp_path)
    assert "delete" in run(installed.bin / "pacifica-archiveinterface-cmd", "--help", cwd=tmp_path)
    assert "[recall]" in run(installed.bin / "pacarchive", "config", cwd=tmp_path)


def test_man_finds_the_pages(installed: Environment, tmp_path: Path) -> None:
    """Without being told where: it looks beside the commands that the shell finds."""
    path = f"{installed.bin}:{os.environ['PATH']}"
    for page in (ROOT / "man").iterdir():
        name, section = page.stem, page.suffix[1:]
        found = run("man", "--where", section, name, cwd=tmp_path, PATH=path, MANPATH="").strip()
        assert Path(found) == installed.bin.parent / f"share/man/man{section}" / page.name


def test_files_go_in_and_come_out(service: Service, installed: Environment, tmp_path: Path) -> None:
    """Server and command, both out of the wheel."""
    url = f"http://127.0.0.1:{service.port}"
    (tmp_path / "words").write_bytes(b"words")

    def pacarchive(*arguments: str) -> str:
        return run(installed.bin / "pacarchive", *arguments, cwd=tmp_path, PACARCHIVE_URL=url)

    pacarchive("put", "words", "--id", "7")
    assert "5 B" in pacarchive("stat", "7")
    pacarchive("get", "7", "-o", "copy")
    assert (tmp_path / "copy").read_bytes() == b"words"
    assert (
        run(installed.bin / "pacifica-archiveinterface-cmd", "--prefix", "service/archive", "delete", "7", cwd=tmp_path)
        == ""
    )
    assert service.ask("GET", 7).status == 404


def test_the_checks_pass(service: Service, installed: Environment, tmp_path: Path) -> None:
    """Some of those that need no large files."""
    url = f"http://127.0.0.1:{service.port}"
    chosen = [f"--only={each}" for each in ("greeting", "health", "text-put", "text-get", "malformed")]
    out = run(installed.bin / "pacarchive", "check", url, *chosen, cwd=tmp_path)
    assert "5 passed" in out


def test_authors_of_backends_have_the_contract(wheel: Path, tmp_path: Path) -> None:
    """With the extra alone: a backend that keeps it passes, one that does not is told what is wrong with it."""
    environment = Environment(tmp_path / "environment", wheel, "contract")
    (tmp_path / "test_mine.py").write_text(TEST_OF_A_BACKEND)
    chosen = "TestMemory or TestForgetful and test_a_removed_file_is_gone"
    pytest_ = (environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, "test_mine.py")
    out = run(*pytest_, cwd=tmp_path, status=1)
    assert "assert b'words' is None" in out
    assert "1 failed, " in out
    assert " passed" in out
