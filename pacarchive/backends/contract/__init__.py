"""The contract of L{pacarchive.interfaces} as tests, which every backend has to pass, those of others too.

A backend's own test module calls L{make_backend_tests}, and adds what is special to it::

    TestMine = make_backend_tests(lambda directory: started(MyArchive(directory)), Capabilities(durable=True))

They need pytest with pytest-twisted, which C{pip install pacarchive[contract]} installs: the reactor and the threads
are real.  After every test the number of open descriptors must be what it was before.

This room imports the words and L{pacarchive.runtime}.  Only tests import it: no part of the service does.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{chapter}" for chapter in ("listing", "moving", "reading", "sharing", "writing", "suite"))
)

from pacarchive.backends.contract.handling import Capabilities, Factory  # noqa: E402  (now its asserts explain themselves)
from pacarchive.backends.contract.suite import make_backend_tests, started  # noqa: E402

__all__ = ["Capabilities", "Factory", "make_backend_tests", "started"]
