"""The C{memory} backend keeps the contract."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime

from pacarchive.backends.contract import Capabilities, make_backend_tests, started
from pacarchive.backends.memory import MemoryArchive

TestMemory = make_backend_tests(lambda _: started(MemoryArchive(IReactorTime(reactor))), Capabilities())
