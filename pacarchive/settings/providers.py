"""The plugin by which a backend is found without being imported."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from pacarchive.interfaces import IBackendProvider

if TYPE_CHECKING:
    from pacarchive.interfaces import BackendSettings, IArchiveBackend


@implementer(IPlugin, IBackendProvider)
@attrs.frozen(kw_only=True)
class BackendProvider:
    """
    An L{IBackendProvider} that imports nothing until it is used: plugin modules are imported for every
    C{twistd --help}, and a backend whose library is missing must not affect the others.

    @ivar name: The backend's name.
    @ivar section: The section of its settings.
    @ivar settings_name: The settings class, as C{"package.module:ClassName"}.
    @ivar make_name: The function that L{make} calls, in the same form.
    @ivar local_prefix: Whether the prefix is a directory of this machine.
    @ivar needs_tls: Whether it may need Twisted's TLS, which a server without it does not import.
    """

    name: str
    section: str
    settings_name: str
    make_name: str
    local_prefix: bool = True
    needs_tls: bool = False

    @property
    def settings_class(self) -> type[Any]:
        """The class that C{settings_name} names."""
        return resolve_name(self.settings_name)  # type: ignore[no-any-return]

    def make(self, reactor: Any, settings: BackendSettings) -> IArchiveBackend:
        """Call the function that C{make_name} names."""
        return resolve_name(self.make_name)(reactor, settings)  # type: ignore[no-any-return]
