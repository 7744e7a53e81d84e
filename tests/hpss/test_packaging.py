"""What an installation builds: the extension with an SDK, everything else without."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hpss_build
import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "ext" / "hpss"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """C{ext/hpss/build.py}, with no SDK in the usual place."""
    monkeypatch.delenv("HPSS_ROOT", raising=False)
    with hpss_build.builder() as module:
        monkeypatch.setattr(sys.modules["sdk"], "DEFAULT_ROOT", tmp_path / "opt" / "hpss")
        yield module


def test_without_an_sdk_there_is_no_extension(build: ModuleType, tmp_path: Path) -> None:
    """And no complaint."""
    assert build.extension(tmp_path) is None


def test_an_sdk_that_was_asked_for_must_be_there(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets HPSS_ROOT wants the extension."""
    monkeypatch.setenv("HPSS_ROOT", str(tmp_path))
    with pytest.raises(build.SdkError, match="there is no include"):
        build.extension(tmp_path)


def test_headers_that_do_not_compile_are_reported(build: ModuleType, tmp_path: Path) -> None:
    """With the compiler's words."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "hpss_api.h").write_text("#error incomplete\n")
    with pytest.raises(build.SdkError, match="incomplete"):
        build.open_sdk(tmp_path)


def test_with_an_sdk_there_is_one(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """setup() is told the sources relative to itself, and where the library is for good."""
    pytest.importorskip("setuptools")
    monkeypatch.chdir(ROOT)
    root = hpss_build.simulator("8.3")
    monkeypatch.setenv("HPSS_ROOT", str(root))
    scratch = ROOT / "build" / "test-packaging"
    try:
        module = build.extension(Path("build", "test-packaging"))
    finally:
        shutil.rmtree(scratch)
    assert module.name == "_hpss"
    assert "ext/hpss/shim_session.c" in module.sources
    assert f"-Wl,-rpath,{root / 'lib'}" in module.extra_link_args


@pytest.mark.parametrize("variant", hpss_build.VARIANTS)
def test_the_shim_compiles_without_a_warning(variant: str, tmp_path: Path) -> None:
    """In every shape of the API."""
    assert hpss_build.compile_with_shim(
        Path(__file__).with_name("drive_shim.c"), hpss_build.simulator(variant), tmp_path
    )


def test_the_types_are_those_of_the_header(build: ModuleType) -> None:
    """C{_hpss.pyi} is written by hand, and has every function and constant of C{shim.h}."""
    stub = (SHIM / "_hpss.pyi").read_text()
    declared = build.declarations()
    assert re.findall(r"def (shim_\w+)\(", stub) == re.findall(r"(shim_\w+)\(", declared)
    constants = re.findall(r"\bSHIM_\w+(?= \d| =)", declared)
    assert sorted(re.findall(r"(SHIM_\w+): int", stub)) == sorted(constants)
