"""pacarchive: an event-driven archive server over hierarchical storage."""

__version__ = "0.1.0"
