"""The names of metrics: those that there are, and those that an expression asks for."""

from __future__ import annotations

import re

from pacarchive.telemetry.table import METRICS, Kind

_NAME = re.compile(r"\b(?:pacarchive|process)_\w+")
_LABELS = re.compile(r"\{[^}]*\}")


def exported() -> set[str]:
    """The names that series have outside of the program."""
    names = set()
    for metric in METRICS.values():
        endings = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {f"{metric.prefix}{metric.name}{ending}" for ending in endings}
    return names


def asked(expr: str) -> set[str]:
    """The names in an expression."""
    return set(_NAME.findall(_LABELS.sub("", expr)))
