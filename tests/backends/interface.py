"""The contract of L{pacarchive.interfaces} as tests, for every backend, those of others too.

A backend's own test module calls L{make_backend_tests}, and adds what is special to it::

    TestMine = make_backend_tests(lambda directory: started(MyArchive(directory)), Capabilities(durable=True))

It needs pytest with pytest-twisted: the reactor and the threads are real.  After every test the number of open
descriptors must be what it was before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater

from backends.contract_moving import MovingTests
from backends.contract_reading import ReadingTests, RemovingTests
from backends.contract_sharing import CancellingTests, RacingTests, SurvivingTests
from backends.contract_writing import ConditionTests, WritingTests
from backends.handling import Capabilities, open_descriptors, wait_for
from pacarchive.interfaces import IArchiveBackend

__all__ = ["Capabilities", "Factory", "make_backend_tests", "started"]

Factory: TypeAlias = Callable[[Path], AbstractAsyncContextManager[IArchiveBackend]]
"""
Makes a backend that has started, and stops it in the end.  The path is an existing scratch directory of the test.  A
durable backend's factory is called several times with the same one, and finds the same files each time.
"""


@asynccontextmanager
async def started(backend: IArchiveBackend) -> AsyncIterator[IArchiveBackend]:
    """Start a backend, and stop it in the end."""
    await maybeDeferred(backend.startService)
    try:
        yield backend
    finally:
        await maybeDeferred(backend.stopService)


async def _turn() -> None:
    """One turn of the reactor."""
    await deferLater(reactor, 0)


class _ContractTests(
    WritingTests, ConditionTests, ReadingTests, RemovingTests, RacingTests, CancellingTests, MovingTests, SurvivingTests
):
    """All of it."""


def make_backend_tests(factory: Factory, capabilities: Capabilities) -> type:
    """
    Make the tests of the contract for one backend.

    @param factory: Makes the backend.
    @param capabilities: What the contract leaves open.
    @return: A class for pytest to collect: bind it to a name that begins with C{Test}.
    """

    class TestContract(_ContractTests):
        @pytest.fixture
        def capabilities(self) -> Capabilities:
            return capabilities

        @pytest.fixture
        def factory(self) -> Factory:
            return factory

        @pytest.fixture
        def backend(self, tmp_path: Path) -> Iterator[IArchiveBackend]:
            """A backend that runs, in which nothing is open before or after the test."""
            context = factory(tmp_path)
            backend = wait_for(context.__aenter__())
            try:
                wait_for(_turn())  # the reactor opens its own with its first turn
                before = open_descriptors()
                yield backend
                assert open_descriptors() == before
            finally:
                wait_for(context.__aexit__(None, None, None))

    return TestContract
