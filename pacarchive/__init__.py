"""pacarchive: an event-driven archive server over hierarchical storage.

The modules here are the words that all rooms share: interfaces, the model of a file, errors, ids, digests, times.  They
import no room.  C{docs/architecture.md} shows the rooms, and which may import which.
"""

__version__ = "0.1.0"
