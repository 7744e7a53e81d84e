"""Sections of backends that others install."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from twisted.plugin import getPlugins

from pacarchive.backends.local.settings import PosixSettings
from pacarchive.settings.reading import find_provider, load
from settings.surroundings import complaint

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_a_backend_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have what their parent has found."""
    find_provider.cache_clear()
    found = find_provider("posix")
    monkeypatch.setattr("pacarchive.settings.reading.getPlugins", None)
    assert find_provider("posix") is found
