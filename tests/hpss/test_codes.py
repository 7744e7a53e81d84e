"""The client library's codes, in both of its number systems."""

from __future__ import annotations

import errno

import pytest

from pacarchive.backends.hpss.codes import HpssError, errno_of
from pacarchive.backends.hpss.loading import same_release


@pytest.mark.parametrize(
    ("hpss", "local", "meaning"),
    [
        (-2, -errno.ENOENT, errno.ENOENT),
        (-45, -errno.EDEADLK, errno.EDEADLK),
        (-46, -errno.ENOLCK, errno.ENOLCK),
        (-52, -errno.ESTALE, errno.ESTALE),
        (-55, -errno.EINPROGRESS, errno.EINPROGRESS),
        (-59, -errno.EMSGSIZE, errno.EMSGSIZE),
        (-64, -errno.EOPNOTSUPP, errno.EOPNOTSUPP),
        (-77, -errno.EBADMSG, errno.EBADMSG),
        (-78, -errno.ETIMEDOUT, errno.ETIMEDOUT),
        (-85, -errno.ELOOP, errno.ELOOP),
        (-86, -errno.ENAMETOOLONG, errno.ENAMETOOLONG),
        (-87, -errno.ENOTEMPTY, errno.ENOTEMPTY),
        (-88, -errno.EDQUOT, errno.EDQUOT),
    ],
)
def test_both_number_systems_mean_the_same(hpss: int, local: int, meaning: int) -> None:
    """HPSS's own number, and the local one that some paths hand through."""
    assert errno_of(hpss) == errno_of(local) == meaning


def test_a_number_that_both_systems_use_is_of_hpss() -> None:
    """Linux has an error 50 (ENOCSI), and 47 is EUNATCH's neighbour; HPSS means a lost connection, a read-only file."""
    assert (HpssError("x", -50).name, HpssError("x", -50).errno) == ("HPSS_ECONN", errno.ENOTCONN)
    assert HpssError("x", -47).errno == errno.EROFS


def test_the_message_names_call_error_and_code() -> None:
    """What an operator finds in the log."""
    assert str(HpssError("hpss_Open", -5)) == "hpss_Open: HPSS_EIO (-5)"
    assert str(HpssError("hpss_Open", -5, "the mover is gone")) == "hpss_Open: HPSS_EIO (-5); the mover is gone"
    assert str(HpssError("hpss_Open", -39)) == "hpss_Open: ENOTEMPTY (-39)"
    assert str(HpssError("hpss_Open", -5000)) == "hpss_Open: an unknown error (-5000)"


@pytest.mark.parametrize(("code", "security"), [(-11000, True), (-11004, True), (-13, False), (-1406, False)])
def test_security_codes_are_told_apart(code: int, security: bool) -> None:
    """A refused login is no error number of a file."""
    error = HpssError("hpss_SetLoginCred", code)
    assert error.security is security
    assert error.errno == (errno.EACCES if code == -13 else 0)


@pytest.mark.parametrize(
    ("built", "loaded", "same"),
    [
        ("7.5", "7.5.1.0", True),
        ("07.04", "7.4.3p2", True),
        ("8.3", "HPSS 8.3.0 u2", True),
        ("8.3", "8.4.0", False),
        ("10.3", "1.3", False),
        ("7.5", "8.5", False),
        ("", "8.3", True),
        ("8.3", "unknown", True),
    ],
)
def test_releases_are_compared_by_two_numbers(built: str, loaded: str, same: bool) -> None:
    """Patch levels may differ; what cannot be read is not held against the library."""
    assert same_release(built, loaded) is same
