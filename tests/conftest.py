"""What every test is held to."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import needs
import pytest
from hypothesis import HealthCheck, settings

from pacarchive.runtime import measuring
from pacarchive.telemetry.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator


# How fast the machine is at the moment is no property of the code.
settings.register_profile("pacarchive", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Before a release, or after a property was added: --hypothesis-profile=thorough.
settings.register_profile("thorough", settings.get_profile("pacarchive"), max_examples=20_000)
# While thinking, with --quick.
settings.register_profile("quick", settings.get_profile("pacarchive"), max_examples=25)
settings.load_profile("pacarchive")

# A shell without job control has what it runs in the background ignore it, and all that is started there inherits that:
# the commands and servers that are interrupted by tests would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The credentials and profiles of the user who runs the tests must not reach the commands that they run.
_OF_THE_USER = (
    "BEARER_TOKEN",
    "BEARER_TOKEN_FILE",
    "NETRC",
    "PACARCHIVE_PROFILE",
    "PACARCHIVE_TOKEN",
    "XDG_RUNTIME_DIR",
)
for _name in _OF_THE_USER:
    os.environ.pop(_name, None)
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"


@pytest.fixture
def heard() -> Iterator[Counts]:
    """What is measured while a test runs."""
    counts = Counts()
    measuring.listen(counts)
    yield counts
    measuring.stop_listening(counts)


_MEMORY = Path("/dev/shm")
_ENOUGH = 1 << 30


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """
    A directory in memory where the service is not in processes of its own: what is called there is looked at, and it
    makes no difference to that what a disk takes for it.  The sideband backend asks the kernel whether a file is in the
    page cache, which that of memory does not say.
    """
    on_disk = any(map(request.node.get_closest_marker, (needs.SERVER, needs.DATABASE)))
    if on_disk or not _MEMORY.is_dir() or disk_usage(_MEMORY).free < _ENOUGH:
        yield request.getfixturevalue("tmp_path")  # pytest's own
        return
    made = mkdtemp(prefix="pa-", dir=_MEMORY)
    yield Path(made)
    rmtree(made, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_delayed_calls_left() -> Iterator[None]:
    """A test leaves nothing to do in the reactor."""
    yield
    module = sys.modules.get("twisted.internet.reactor")
    if module is None:
        return
    calls = module.getDelayedCalls()
    left = [call for call in calls if call.getTime() > module.seconds()]  # the others are done in the turn that begins
    for call in calls:
        call.cancel()
    assert not left, "the test left delayed calls behind"


# what a test needs

_guard = needs.Guard()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="what needs no server process, simulator or database, with few examples"
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, words in needs.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {words}")
    config.addinivalue_line("markers", f"{needs.THOROUGH}: at length what others show too; not with --quick")
    if config.option.quick and not config.option.hypothesis_profile:
        settings.load_profile("quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    _guard.closed = "what is collected" if session.config.option.quick else None
    return (yield)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what needs something: some of it is built then."""
    return True if config.option.quick and needs.place_of(collection_path) is not None else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        needs.mark(item)
    if config.option.quick:
        config.hook.pytest_deselected(items=[item for item in items if not needs.is_quick(item)])
        items[:] = filter(needs.is_quick, items)
    else:
        # First what takes long: of two processes none is left alone with it at the end.
        items.sort(key=needs.needs_nothing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Whatever a test is found not to need, it does not get."""
    _guard.closed = item.nodeid if needs.needs_nothing(item) else None
    return (yield)
