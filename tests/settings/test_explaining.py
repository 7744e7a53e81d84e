"""The way back from settings to a file, and the page that explains each key."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.settings.explaining import default_words, describe
from pacarchive.settings.fields import key_of, keys_of
from pacarchive.settings.reading import load
from pacarchive.settings.sections import Settings
from settings.surroundings import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"


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


def test_settings_travel_through_a_pipe(tmp_path: Path) -> None:
    """Worker processes get them pickled."""
    settings = _everything_set(tmp_path)
    assert pickle.loads(pickle.dumps(settings)) == settings


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
