"""Parse the command line of C{twistd pacarchive}, and build the service from it."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
from twisted.logger import Logger
from twisted.python import usage

from pacarchive.launch.logfile import log_file, log_observer
from pacarchive.launch.needs import leave_out
from pacarchive.settings.explaining import default_words
from pacarchive.settings.fields import key_of
from pacarchive.settings.reading import CONFIG_VARIABLE, MACHINE_FILE, VARIABLES, ConfigError, load
from pacarchive.settings.sections import Settings
from pacarchive.settings.server import DEFAULT_ENDPOINT, LogFormat, ServerSettings
from pacarchive.telemetry.settings import MetricsSettings
from pacarchive.web.http.settings import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.application.service import IService

DEFAULT_PORT = "8080"
DEFAULT_ADDRESS = "127.0.0.1"

BAD_CONFIGURATION = 2
"""The exit code for settings that cannot be used, so that a supervisor can tell it from a crash."""

_SYSLOG_PREFIX = "twisted"  # twistd's default

_log = Logger()

_EXAMPLES = f"""
Examples:
  twistd -n pacarchive
      serves ./archive on {DEFAULT_ADDRESS}, port {DEFAULT_PORT}.
  twistd -n pacarchive --prefix /srv/archive --endpoint 'tcp:8080:interface=\\:\\:' --anonymous 'read stat'
      serves /srv/archive on all addresses, to read from; what may be written by
      whom is said in the settings file ([auth], [allow NAME]).

What is not given here comes from the environment ({", ".join(VARIABLES)}), then
from the settings file. "pacarchive config" prints what is in force.
"""


def _server_doc(key: str) -> str:
    """Return the help text of a key of C{[server]}, with its default."""
    field = next(field for field in attrs.fields(ServerSettings) if key_of(field) == key)
    return f"{field.metadata['doc']} [default: {default_words(field)}]"


class Options(usage.Options):
    """
    The options of the predecessor's command, and C{--endpoint} and C{--workers}.

    @ivar settings: The settings in force, from the options, the environment and the settings file; set by parsing.
    """

    synopsis = "[options]"
    longdesc = "Serves an archive of files by number over HTTP."
    optParameters = [  # noqa: RUF012  (usage.Options demands it this way)
        [
            "config",
            "c",
            None,
            f"The settings file. [default: that of {CONFIG_VARIABLE}, else {MACHINE_FILE}, else none]",
        ],
        ["type", "t", None, _server_doc("type")],
        ["prefix", None, None, _server_doc("prefix")],
        ["port", "p", None, f"The TCP port to listen at; 0 takes any free one. [default: {DEFAULT_PORT}]"],
        ["address", "a", None, f"The IP address to listen at. [default: {DEFAULT_ADDRESS}]"],
        ["workers", None, None, _server_doc("workers")],
        [
            "anonymous",
            None,
            None,
            "What everyone may who can connect, as read stat; all; none. [default: that of [auth] anonymous]",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["endpoints"] = []

    def opt_endpoint(self, description: str) -> None:
        self["endpoints"].append(description)

    opt_endpoint.__doc__ = (
        f"A Twisted endpoint to listen at, instead of --port and --address. Can be repeated. "
        f"[default: {DEFAULT_ENDPOINT}]"
    )

    def getUsage(self, width: int | None = None) -> str:
        """Return the help text, with the examples appended as they are, so that their lines are not filled."""
        return super().getUsage(width) + _EXAMPLES

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line.

        @raise SystemExit: It is wrong; the reason is on standard error.  (After C{usage.UsageError}, twistd would print
            the whole help text and exit with 1.)
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            _refuse(f"command line: {error} (twistd pacarchive --help explains the options)")

    def postOptions(self) -> None:
        """
        Load the settings.

        @raise SystemExit: They cannot be used; the reason is on standard error.
        """
        overrides: dict[tuple[str, str], object] = {
            ("server", key): self[key] for key in ("type", "prefix", "workers") if self[key] is not None
        }
        if self["anonymous"] is not None:
            overrides["auth", "anonymous"] = self["anonymous"]
        if endpoints := self._endpoints():
            overrides["server", "endpoint"] = endpoints
        try:
            self.settings: Settings = load(self["config"], os.environ, overrides)
        except ConfigError as error:
            _refuse(str(error))
        leave_out(self.settings, self.parent or {})
        for description in self.settings.server.endpoints:
            _check_endpoint("[server]", description)
        for description in self.settings.of(MetricsSettings).endpoints:
            _check_endpoint("[metrics]", description)
        for description in self.settings.of(TlsSettings).endpoints:
            if description.startswith(("ssl:", "tls:")):
                _refuse(f"[tls] endpoint: {description!r} has TLS by itself; write for example tcp:443")
            _check_endpoint("[tls]", description)

    def _endpoints(self) -> tuple[str, ...]:
        port, address = self["port"], self["address"]
        if port is None and address is None:
            return tuple(self["endpoints"])
        if self["endpoints"]:
            _refuse("command line: --endpoint cannot be combined with --port or --address")
        port = DEFAULT_PORT if port is None else port
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            _refuse(f"command line: --port: {port!r} is not a number from 0 to 65535")
        interface = re.sub(r"([\\:])", r"\\\1", address or DEFAULT_ADDRESS)
        return (f"tcp:{int(port)}:interface={interface}",)


def _check_endpoint(section: str, description: str) -> None:
    """Parse an endpoint string now, so that an error in it is reported in one line and not amid the start."""
    # Only now: twistd's --reactor is parsed before our options.
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString

    try:
        serverFromString(reactor, description)
    except Exception as error:  # noqa: BLE001  (parsers are plugins, and may raise anything)
        _refuse(f"{section} endpoint: {description!r} cannot be used: {' '.join(str(error).split())}")


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"pacarchive: {message}\n")
    raise SystemExit(BAD_CONFIGURATION)


def makeService(options: Options) -> IService:
    """
    Build the service that the options describe.

    @raise SystemExit: This machine lacks something that the service needs; the reason is on standard error.
    """
    from pacarchive.launch.service import make_service  # only now: --help does not need it

    twistd: Mapping[str, Any] = options.parent or {}
    if twistd.get("prefix", _SYSLOG_PREFIX) != _SYSLOG_PREFIX and not twistd["syslog"]:
        _log.warn(
            "--prefix before the word pacarchive is twistd's own (for syslog) and does nothing here;"
            " the archive's stands behind that word"
        )
    log_format = options.settings.server.log_format
    if log_format is LogFormat.JSON and twistd.get("syslog"):
        _refuse("[server] log_format: json cannot go to syslog (--syslog)")
    try:
        file = log_file(options.parent)
        return make_service(options.settings, file, log_observer(options.parent, file, log_format))
    except ConfigError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"--logfile: {error.filename}: {error.strerror}")
