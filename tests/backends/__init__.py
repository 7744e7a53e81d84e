"""Tests of the backends, and L{backends.interface}: the tests that every backend of anybody's has to pass."""

import pytest

pytest.register_assert_rewrite(
    "backends.contract_moving",
    "backends.contract_reading",
    "backends.contract_sharing",
    "backends.contract_writing",
    "backends.interface",
)
