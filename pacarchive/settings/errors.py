"""What is wrong with the settings; apart from what finds it, which a command without settings need not import."""

from __future__ import annotations


class ConfigError(Exception):
    """
    The settings cannot be used.  C{str()} is one line for the operator.

    @param origin: The file, the environment variable or the command line.
    """

    def __init__(self, origin: str, words: str, section: str | None = None, key: str | None = None) -> None:
        place = [f"[{section}] {key}" if key else f"[{section}]"] if section else []
        super().__init__(" ".join(": ".join([origin, *place, words]).split()))
