"""The C{hpss} backend keeps the contract of all backends."""

from __future__ import annotations

from simulated import CAPABILITIES, archive

from pacarchive.backends.contract import make_backend_tests

TestContract = make_backend_tests(archive, CAPABILITIES)
