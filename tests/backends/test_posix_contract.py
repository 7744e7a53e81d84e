"""The C{posix} backend keeps the contract, on every kind of system that it has a way around."""

from __future__ import annotations

import pytest

from backends.posix import (
    CAPABILITIES,
    archive,
    on_a_system,
    without_attributes,
    without_cached_opens,
    without_openat2,
    without_unnamed_files,
)
from pacarchive.backends.contract import make_backend_tests
from pacarchive.model import Durability

TestFlat = make_backend_tests(archive, CAPABILITIES)
TestTree = make_backend_tests(on_a_system(use_id2filename=True), CAPABILITIES)
TestRelaxed = make_backend_tests(on_a_system(durability=Durability.RELAXED), CAPABILITIES)
TestWithoutCachedOpens = make_backend_tests(on_a_system(without_cached_opens), CAPABILITIES)
TestWithoutAnything = make_backend_tests(
    on_a_system(without_unnamed_files, without_attributes, without_openat2), CAPABILITIES
)

# Each of these alone: each way around is gone in TestWithoutAnything, too.
TestWithoutUnnamedFiles = pytest.mark.thorough(make_backend_tests(on_a_system(without_unnamed_files), CAPABILITIES))
TestWithoutAttributes = pytest.mark.thorough(make_backend_tests(on_a_system(without_attributes), CAPABILITIES))
TestWithoutOpenat2 = pytest.mark.thorough(
    make_backend_tests(on_a_system(without_openat2, use_id2filename=True), CAPABILITIES)
)
