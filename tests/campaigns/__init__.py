"""Long trials of promises: each is one command, C{python -m tests.campaigns.NAME}, which prints its figures.

Their short runs are tests, in the C{test_NAME} beside each.
"""

import sys
from pathlib import Path

# As a command, a campaign finds what it shares with the tests where pytest finds it.
if (_TESTS := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.insert(0, _TESTS)
