"""Shared fixtures."""

from system.conftest import serve

__all__ = ["serve"]
