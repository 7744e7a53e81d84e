"""The tests of all chapters, put together for one backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater

from pacarchive.backends.contract.handling import Capabilities, Factory, open_descriptors, wait_for
from pacarchive.backends.contract.listing import ListingTests
from pacarchive.backends.contract.moving import MovingTests
from pacarchive.backends.contract.quick import GivenTests, QuickTests
from pacarchive.backends.contract.reading import ReadingTests, RemovingTests
from pacarchive.backends.contract.sharing import CancellingTests, RacingTests, SurvivingTests
from pacarchive.backends.contract.writing import ConditionTests, WritingTests
from pacarchive.interfaces import IArchiveBackend


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
    WritingTests,
    ConditionTests,
    ReadingTests,
    RemovingTests,
    ListingTests,
    QuickTests,
    GivenTests,
    RacingTests,
    CancellingTests,
    MovingTests,
    SurvivingTests,
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
