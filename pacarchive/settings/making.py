"""Make the backend that the settings name; and one of two, where files are read from another archive behind it."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from pacarchive.settings.errors import ConfigError
from pacarchive.settings.reading import find_provider

if TYPE_CHECKING:
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.settings.sections import Settings

_BOTH = "pacarchive.backends.fallback:Fallback"


def make_archive(reactor: Any, settings: Settings) -> IArchiveBackend:
    """
    Make the archive that a server serves.

    @raise ConfigError: This machine lacks something that a backend needs.
    """
    front = make_backend(reactor, settings)
    if settings.fallback is None:
        return front
    behind = make_backend(reactor, settings.fallback)
    return resolve_name(_BOTH)(reactor, front, behind, has_files=True)  # type: ignore[no-any-return]


def make_backend(reactor: Any, settings: Settings) -> IArchiveBackend:
    """
    Make the backend alone, whatever is behind it.

    @raise ConfigError: This machine lacks something that it needs.
    """
    name = settings.server.type
    try:
        return find_provider(name).make(reactor, settings.backend)
    except ImportError as error:
        raise ConfigError(f"backend {name}", str(error)) from error
