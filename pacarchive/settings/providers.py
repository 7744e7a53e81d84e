"""What a twistd plugin module needs to make a backend known without importing it."""

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
    An L{IBackendProvider} that imports nothing until it is used: plugin modules run for every C{twistd --help}, and a
    backend whose library is missing must not stop the others.

    @ivar settings_name: Where the settings class is, as C{"package.module:ClassName"}.
    @ivar make_name: Where the function is that C{make} calls, in the same form.
    @ivar local_prefix: As L{IBackendProvider} says.
    """

    name: str
    section: str
    settings_name: str
    make_name: str
    local_prefix: bool = True

    @property
    def settings_class(self) -> type[Any]:
        """The class that C{settings_name} names."""
        return resolve_name(self.settings_name)  # type: ignore[no-any-return]

    def make(self, reactor: Any, settings: BackendSettings) -> IArchiveBackend:
        """Call the function that C{make_name} names."""
        return resolve_name(self.make_name)(reactor, settings)  # type: ignore[no-any-return]
