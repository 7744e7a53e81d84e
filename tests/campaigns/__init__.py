"""Long trials of promises: each is one command, C{python -m tests.campaigns.NAME}, which prints its figures.

Their short runs are tests, in the C{test_NAME} beside each.
"""

import sys
from pathlib import Path

# As a command, a campaign finds what it shares with the tests where pytest finds it.
_TESTS = Path(__file__).parents[1]
for _each in (str(_TESTS), str(_TESTS.parent / "ext/simulator")):
    if _each not in sys.path:
        sys.path.insert(0, _each)
