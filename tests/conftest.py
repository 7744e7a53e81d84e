"""What every test is held to."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator


# How fast the machine is at the moment is no property of the code.
settings.register_profile("pacarchive", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Before a release, or after a property was added: --hypothesis-profile=thorough.
settings.register_profile("thorough", settings.get_profile("pacarchive"), max_examples=20_000)
settings.load_profile("pacarchive")

# A shell without job control has what it runs in the background ignore it, and all that is started there inherits that:
# the commands and servers that are interrupted by tests would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
