"""The C{hpss} backend keeps the contract of all backends."""

from __future__ import annotations

from backends.interface import make_backend_tests
from simulated import CAPABILITIES, archive

TestContract = make_backend_tests(archive, CAPABILITIES)
