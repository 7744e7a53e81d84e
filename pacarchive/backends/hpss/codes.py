"""The error codes of the client library.

They come from two systems.  HPSS's own constants are numbered as AIX numbers its errors; some calls of the library
return the local C{-errno} instead.  Up to 34 both agree.  A greater number is taken as HPSS's where HPSS has such a
constant, and as the local one otherwise.
"""

from __future__ import annotations

import errno
from typing import Final

_SECURITY: Final = -11000

# The names of HPSS's constants, and the local errno that each means.
_HPSS: Final[dict[int, tuple[str, int]]] = {
    -1: ("HPSS_EPERM", errno.EPERM),
    -2: ("HPSS_ENOENT", errno.ENOENT),
    -4: ("HPSS_EINTR", errno.EINTR),
    -5: ("HPSS_EIO", errno.EIO),
    -6: ("HPSS_ENXIO", errno.ENXIO),
    -9: ("HPSS_EBADF", errno.EBADF),
    -10: ("HPSS_ECHILD", errno.ECHILD),
    -11: ("HPSS_EAGAIN", errno.EAGAIN),
    -12: ("HPSS_ENOMEM", errno.ENOMEM),
    -13: ("HPSS_EACCES", errno.EACCES),
    -14: ("HPSS_EFAULT", errno.EFAULT),
    -16: ("HPSS_EBUSY", errno.EBUSY),
    -17: ("HPSS_EEXIST", errno.EEXIST),
    -18: ("HPSS_EXDEV", errno.EXDEV),
    -19: ("HPSS_ENODEV", errno.ENODEV),
    -20: ("HPSS_ENOTDIR", errno.ENOTDIR),
    -21: ("HPSS_EISDIR", errno.EISDIR),
    -22: ("HPSS_EINVAL", errno.EINVAL),
    -23: ("HPSS_ENFILE", errno.ENFILE),
    -24: ("HPSS_EMFILE", errno.EMFILE),
    -27: ("HPSS_EFBIG", errno.EFBIG),
    -28: ("HPSS_ENOSPACE", errno.ENOSPC),
    -31: ("HPSS_EMLINK", errno.EMLINK),
    -32: ("HPSS_EPIPE", errno.EPIPE),
    -33: ("HPSS_EDOM", errno.EDOM),
    -34: ("HPSS_ERANGE", errno.ERANGE),
    -45: ("HPSS_EDEADLK", errno.EDEADLK),
    -46: ("HPSS_ENOLCK", errno.ENOLCK),
    -47: ("HPSS_EWRPROTECT", errno.EROFS),
    -50: ("HPSS_ECONN", errno.ENOTCONN),
    -52: ("HPSS_ESTALE", errno.ESTALE),
    -55: ("HPSS_EINPROGRESS", errno.EINPROGRESS),
    -59: ("HPSS_EMSGSIZE", errno.EMSGSIZE),
    -63: ("HPSS_ENOSR", errno.ENOSR),
    -64: ("HPSS_EOPNOTSUPP", errno.EOPNOTSUPP),
    -67: ("HPSS_ENOLINK", errno.ENOLINK),
    -77: ("HPSS_EBADMSG", errno.EBADMSG),
    -78: ("HPSS_ETIMEDOUT", errno.ETIMEDOUT),
    -85: ("HPSS_ELOOP", errno.ELOOP),
    -86: ("HPSS_ENAMETOOLONG", errno.ENAMETOOLONG),
    -87: ("HPSS_ENOTEMPTY", errno.ENOTEMPTY),
    -88: ("HPSS_EDQUOT", errno.EDQUOT),
    -1406: ("HPSS_ENOTALLMOVED", 0),
}


def name_of(code: int) -> str:
    """Return the name of a negative code, HPSS's or the local one; empty where neither has it."""
    if code in _HPSS:
        return _HPSS[code][0]
    return errno.errorcode.get(-code, "")


def errno_of(code: int) -> int:
    """Return the local C{errno} that a negative code means; 0 where there is none."""
    if code in _HPSS:
        return _HPSS[code][1]
    return -code if -code in errno.errorcode else 0


class HpssError(Exception):
    """
    A call of the client library failed.

    @ivar call: The call, as C{"hpss_Open"}.
    @ivar code: The code that it returned.
    @ivar name: The code's name, as C{"HPSS_EIO"}.
    @ivar errno: The local C{errno} that the code means; 0 where there is none.
    @ivar security: Whether authentication or authorisation failed.
    @ivar detail: What else the library reports of the failure, for the log; may be empty.
    """

    def __init__(self, call: str, code: int, detail: str = "", *, name: str = "") -> None:
        super().__init__(call, code)
        self.call = call
        self.code = code
        self.name = name or name_of(code) or "an unknown error"
        self.errno = errno_of(code)
        self.security = code <= _SECURITY
        self.detail = detail

    def __str__(self) -> str:
        message = f"{self.call}: {self.name} ({self.code})"
        return f"{message}; {self.detail}" if self.detail else message
