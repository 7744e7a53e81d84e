"""The error of invalid settings, in a module of its own for commands that read no settings."""

from __future__ import annotations


class ConfigError(Exception):
    """
    The settings cannot be used.  C{str()} is one line for the operator.

    @param origin: Where the value is from: the file, the environment variable or the command line.
    @param words: What is wrong.
    @param section: The section, if it is about one.
    @param key: The key in it, if it is about one.
    """

    def __init__(self, origin: str, words: str, section: str | None = None, key: str | None = None) -> None:
        place = [f"[{section}] {key}" if key else f"[{section}]"] if section else []
        super().__init__(" ".join(": ".join([origin, *place, words]).split()))
