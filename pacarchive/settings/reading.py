"""Read and check the settings, and report an error in one line.

L{load} merges the defaults of the sections (L{pacarchive.settings.sections}), the INI file, the environment and the
command line; each overrides those before it.  L{pacarchive.settings.explaining.describe} is its inverse.
"""

from __future__ import annotations

import configparser
import difflib
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
from twisted.plugin import getPlugins

from pacarchive.interfaces import BackendSettings, IBackendProvider
from pacarchive.runtime.directories import make_durable
from pacarchive.settings.converters import converted, directory
from pacarchive.settings.errors import ConfigError as ConfigError
from pacarchive.settings.fields import keys_of
from pacarchive.settings.sections import NAMED, SECTIONS, Completing, Settings, Surroundings, section_class
from pacarchive.settings.server import PoolSettings, ServerSettings
from pacarchive.texts import NotText, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path, PurePath

CONFIG_VARIABLE = "ARCHIVEINTERFACE_CONFIG"
"""The environment variable that names the settings file where the command line does not."""

MACHINE_FILE = "/etc/pacarchive/pacarchive.ini"
"""The settings file of the machine's service, which is read if no other is named."""

VARIABLES: Mapping[str, tuple[str, str]] = {
    "PAI_BACKEND_TYPE": ("server", "type"),
    "PAI_PREFIX": ("server", "prefix"),
}
"""Environment variables of the predecessor, and the section and key that each sets."""


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

# An archive itself, and those of its directories that have files where its layout has directories (id2filename).
_HOLDS_FILES = re.compile(r"\.|[0-9a-f]{2}(/[0-9a-f]{2})*", re.ASCII)


@attrs.frozen
class _Given:
    """
    A value that is not a default.

    @ivar origin: Where it is from, for error messages.
    """

    value: object
    origin: str


_GivenValues = dict[tuple[str, str], _Given]
"""By section and key."""


def load(
    path: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[tuple[str, str], object],
    *,
    create_default: bool = True,
    behind: bool = False,
) -> Settings:
    """
    Read and check all settings.

    @param path: The INI file; C{None} for the one that L{settings_file} finds, if any.
    @param environ: The environment variables; an empty one counts as not set.
    @param overrides: Values by section and key, from the command line; text or typed.
    @param create_default: Whether to create the default prefix if it is missing.  Any other prefix is never created: it
        is more likely a file system that is not mounted.
    @param behind: Whether these are the settings of another's fallback, which has none of its own.
    @raise ConfigError: A setting is invalid, or the file cannot be read.
    """
    backends = _providers()
    given: _GivenValues = {}
    named: list[str] = []
    source = settings_file(path, environ)
    if source is not None:
        read, named = _read(source, {*SECTIONS, *(each.section for each in backends.values())})
        given |= read
    for name, place in VARIABLES.items():
        if text := environ.get(name):
            given[place] = _Given(text, name)
    given |= {place: _Given(value, "command line") for place, value in overrides.items()}

    server = _build("server", ServerSettings, given)
    backend = _choose(backends, server.type, given)
    for section in {section for section, _ in given} - {*SECTIONS, *named, backend.section}:
        _convert(section, _section_class(section, backends), given)
    own = _build(backend.section, _settings_class(backend), given)
    sections = {section: _build(section, section_class(section), given) for section in SECTIONS if section != "server"}
    server = _with_endpoints(server, sections["tls"].endpoints, given)
    if backend.local_prefix:
        server = attrs.evolve(
            server, prefix=directory(server.prefix), move_roots=tuple(directory(root) for root in server.move_roots)
        )
        _check_directories(server, given, create_default)
    else:
        _check_remote_names(server, given)
    for name, each in sections.items():
        if isinstance(each, Completing):
            keys = {key for section, key in given if section == name}
            sections[name] = each.completed(Surroundings(server, backend.local_prefix, keys, environ))
    pools: PoolSettings = sections["pools"]
    settings = Settings(
        sections={"server": server, **sections},
        named={section: _build(section, section_class(section), given) for section in named},
        backend=BackendSettings(
            prefix=server.prefix,
            move_roots=server.move_roots,
            digests=server.digests,
            durability=server.durability,
            io_threads=pools.io,
            own=own,
        ),
        source=source,
    )
    if server.fallback is None:
        return settings
    if behind:
        raise _error(given, "server", "fallback", "these are settings of a fallback, which has none of its own")
    return _with_fallback(settings, environ, given)


def _with_fallback(settings: Settings, environ: Mapping[str, str], given: _GivenValues) -> Settings:
    """Read the settings of the archive behind; what the environment says of an archive is said of the other."""
    others = {name: value for name, value in environ.items() if name not in VARIABLES}
    behind = load(str(settings.server.fallback), others, {}, create_default=False, behind=True)
    if behind.place == settings.place:
        raise _error(given, "server", "fallback", "names the settings of this same archive")
    roots = settings.server.move_roots
    if find_provider(behind.server.type).local_prefix == find_provider(settings.server.type).local_prefix and any(
        _may_take(root, behind.server.prefix) for root in roots
    ):
        raise _error(given, "server", "move_roots", "the archive of [server] fallback lies there, and keeps its files")
    return attrs.evolve(settings, fallback=behind)


def _may_take(root: PurePath, prefix: PurePath) -> bool:
    """Whether there can be files of an archive below a directory that files are moved from."""
    if root.is_relative_to(prefix):
        return _HOLDS_FILES.fullmatch(root.relative_to(prefix).as_posix()) is not None
    return prefix.is_relative_to(root)


def settings_file(path: str | None, environ: Mapping[str, str]) -> str | None:
    """
    Return the path of the file to read: the one of the command line, else of the environment, else the machine's.

    @param path: The path that the command line names, if any.
    @param environ: The environment variables.
    @return: C{None} where there is no file.
    """
    if named := path or environ.get(CONFIG_VARIABLE):
        return named
    try:
        os.stat(MACHINE_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may exist all the same; the error is reported when it is read
    return MACHINE_FILE


@cache
def find_provider(name: str) -> IBackendProvider:
    """
    Return the plugin of a backend.

    @raise ConfigError: No backend of this name is installed, or several are.
    """
    return _choose(_providers(), name, {})


def _providers() -> dict[str, IBackendProvider]:
    found: dict[str, IBackendProvider] = {}
    for each in getPlugins(IBackendProvider):
        # Else chance would decide which of the two is used.
        if found.setdefault(each.name, each) is not each:
            raise ConfigError("plugins", f"two installed backends are called {each.name!r}")
    return found


def _choose(backends: Mapping[str, IBackendProvider], name: str, given: _GivenValues) -> IBackendProvider:
    if name in backends:
        return backends[name]
    words = f"this installation has no backend {name!r}; it has {', '.join(sorted(backends))}"
    raise _error(given, "server", "type", words)


def _settings_class(backend: IBackendProvider) -> type[Any]:
    try:
        return backend.settings_class
    except ImportError as error:
        raise ConfigError(f"backend {backend.name}", f"cannot be loaded: {error}") from error


def _section_class(section: str, backends: Mapping[str, IBackendProvider]) -> type[Any]:
    return _settings_class(next(backend for backend in backends.values() if backend.section == section))


def _read(path: str, sections: Iterable[str]) -> tuple[_GivenValues, list[str]]:
    """
    Read a file.

    @param sections: The sections that there can be once.
    @return: All values, and the sections that have a name of their own.
    """
    # A header cannot be empty, so there is no section whose keys are defaults of the others.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(read_text(path), path)
    except OSError as error:
        words = error.strerror or str(error)
        if path == MACHINE_FILE:
            words += "; this is the file of the machine's service: be its user, or name another file with -c"
        raise ConfigError(path, words) from error
    except NotText as error:
        raise ConfigError(path, str(error)) from error
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        raise ConfigError(
            path, f"given twice, again in line {error.lineno}", error.section, getattr(error, "option", None)
        ) from error
    except configparser.ParsingError as error:
        # The line itself is not shown, as it may contain a password.
        number = getattr(error, "lineno", None) or error.errors[0][0]
        raise ConfigError(path, f"line {number} is neither a [section] nor key = value inside one") from error
    known = set(sections)
    named = []
    for section in parser.sections():
        kind, _, name = section.partition(" ")
        if kind in NAMED:
            if not _NAME.fullmatch(name):
                words = f"a section of this kind has a name, of letters, digits and . _ -, as [{kind} example]"
                raise ConfigError(path, words, section)
            named.append(section)
        elif section not in known:
            raise ConfigError(path, f"unknown section{_nearest(section, {*known, *NAMED})}", section)
    given = {
        (section, key): _Given(value, path) for section in parser.sections() for key, value in parser.items(section)
    }
    return given, named


def _convert(section: str, cls: type[Any], given: _GivenValues) -> dict[str, Any]:
    """Return the typed values of the keys that are given for a section, by the names of their fields."""
    fields = keys_of(cls)
    values = {}
    for (where, key), each in given.items():
        if where != section:
            continue
        if key not in fields:
            raise ConfigError(each.origin, f"unknown key{_nearest(key, fields)}", section, key)
        try:
            values[fields[key].name] = converted(fields[key], each.value)
        except ValueError as error:
            words = "not a valid value" if fields[key].metadata.get("secret") else str(error)
            raise ConfigError(each.origin, words, section, key) from error
    return values


def _build(section: str, cls: type[Any], given: _GivenValues) -> Any:
    values = _convert(section, cls, given)
    for key, field in keys_of(cls).items():
        if field.default is attrs.NOTHING and field.name not in values:
            raise _error(given, section, key, "must be set")
    try:
        return cls(**values)
    except ValueError as error:  # a validator, or a check of several values together
        raise ConfigError("settings", str(error), section) from error


def _with_endpoints(server: ServerSettings, secure: tuple[str, ...], given: _GivenValues) -> ServerSettings:
    """Who says where TLS is spoken, and nothing else, does not mean that all is served without it too."""
    if secure and ("server", "endpoint") not in given:
        return attrs.evolve(server, endpoints=())
    if not server.endpoints and not secure:
        raise _error(given, "server", "endpoint", "at least one endpoint is needed")
    return server


def _error(given: _GivenValues, section: str, key: str, words: str) -> ConfigError:
    place = given.get((section, key))
    return ConfigError(place.origin if place else "settings", words, section, key)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _check_directories(server: ServerSettings, given: _GivenValues, create_default: bool) -> None:
    if ("server", "prefix") in given:
        _check_directory(given, "prefix", server.prefix, os.R_OK | os.W_OK | os.X_OK)
    elif create_default or server.prefix.exists():
        try:
            if create_default:
                make_durable(server.prefix)
        except OSError as error:
            raise _error(given, "server", "prefix", f"{server.prefix} cannot be made: {error.strerror}") from error
        _check_directory(given, "prefix", server.prefix, os.R_OK | os.W_OK | os.X_OK)
    if ("server", "move_roots") in given:
        for root in server.move_roots:
            _check_directory(given, "move_roots", root, os.X_OK)


def _check_remote_names(server: ServerSettings, given: _GivenValues) -> None:
    """Check paths in another system's name space; whether they exist is found out when the backend starts."""
    for key, names in (("prefix", (server.prefix,)), ("move_roots", server.move_roots)):
        for name in names:
            if not name.is_absolute() or ".." in name.parts:
                words = f"{name} is not an absolute path; {server.type} has a name space of its own"
                raise _error(given, "server", key, words)


def _check_directory(given: _GivenValues, key: str, path: Path, mode: int) -> None:
    if not path.is_dir():
        raise _error(given, "server", key, f"{path} is not an existing directory")
    # By the effective ids, with which the server will run.
    if not os.access(path, mode, effective_ids=True):
        raise _error(given, "server", key, f"{path} does not give this user the rights that the archive needs")
