"""The extension module, and what all calls of the client library share: strings, errors, and the process's login.

Import it through L{pacarchive.backends.hpss.client}.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any, Final

import _hpss
import attrs

from pacarchive.backends.hpss.codes import HpssError, name_of

ffi, lib = _hpss.ffi, _hpss.lib


def to_text(pointer: Any) -> str:
    """Decode a C string; C{NULL} counts as empty."""
    return str(ffi.string(pointer), "utf-8", "surrogateescape") if pointer else ""


FEATURES: Final = frozenset(to_text(lib.shim_features()).split())
"""The optional calls that the SDK has which this was built with: C{batch_stage}, C{fsync}, C{last_error}..."""
BUILT_FOR: Final = to_text(lib.shim_built_for())
"""The release of the SDK, as C{"7.5"}."""
MAX_LEVELS: Final[int] = lib.shim_max_levels()
"""The most storage levels that a file can have."""

_MECHANISMS: Final = {"unix": lib.SHIM_MECHANISM_UNIX, "krb5": lib.SHIM_MECHANISM_KRB5}


@attrs.define
class _Session:
    """
    The state of this process's login.

    @ivar logged_in: Whether there is one; without, the library's call for the last error would wait for ever.
    @ivar core_server: The site that was looked up last, and its core server.
    """

    logged_in: bool = False
    core_server: tuple[str, Any] | None = None

    def forget(self) -> None:
        self.logged_in = False
        self.core_server = None


_session = _Session()
# The library's connections cannot be used in a forked child, which has to log in itself.
os.register_at_fork(after_in_child=_session.forget)


# ---- Errors ----


def check(call: str, result: int) -> int:
    """
    Return the result of a call.

    @param call: The call's name.
    @raise HpssError: The result is an error code.
    """
    if result < 0:
        raise HpssError(call, result, _last_error(result), name=_name(result))
    return result


def _name(code: int) -> str:
    known = name_of(code)
    if known:
        return known
    name = to_text(lib.shim_error_name(code))
    return "" if " " in name else name  # "unknown error code"


def _last_error(code: int) -> str:
    """Return what the library reports of this thread's last failure, beyond the code itself; may be empty."""
    if not _session.logged_in:
        return ""
    state = ffi.new("shim_last_error *")
    lib.shim_take_last_error(state)
    if state.code in (0, code):
        return ""
    name = _name(state.code) or "an unknown error"
    return f"{to_text(state.function)}: {name} ({state.code})"


def encode(call: str, text: str) -> bytes:
    """
    Encode a path or another string for the library.

    @raise HpssError: C{EINVAL} where it contains a NUL, or cannot be encoded.
    """
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise HpssError(call, -errno.EINVAL) from None
    if b"\0" in encoded:
        raise HpssError(call, -errno.EINVAL)
    return encoded


def encode_all(call: str, texts: Iterable[str]) -> tuple[Any, list[Any]]:
    """Return an array of C strings, and the objects that must be kept alive as long as it is used."""
    kept = [ffi.new("char[]", encode(call, text)) for text in texts]
    return ffi.new("char *[]", kept), kept


# ---- Session ----


def build_level() -> str:
    """Return the release of the loaded library, as it reports it (C{hpss_BuildLevelString})."""
    level = ffi.new("char[]", 256)
    check("hpss_BuildLevelString", lib.shim_level(level, 256))
    return to_text(level)


def configure(*, retries: int, busy_retries: int, busy_delay: int, total_delay: int) -> None:
    """
    Set how the library itself retries (C{hpss_SetConfiguration}); before the login, or after.

    @param retries: The retries after failures of communication; 0 for none.
    @param busy_retries: The retries when the core server has no thread free.
    @param busy_delay: Seconds between those.
    @param total_delay: The most seconds that all delays of a call may take together.
    """
    check("hpss_SetConfiguration", lib.shim_configure(retries, busy_retries, busy_delay, total_delay))


def login(principal: str, keytab: str, mechanism: str = "unix") -> None:
    """
    Log the process in (C{hpss_SetLoginCred}).

    @param principal: The HPSS user.
    @param keytab: The path of the key table file.
    @param mechanism: C{unix} or C{krb5}.
    """
    call = "hpss_SetLoginCred"
    if mechanism not in _MECHANISMS:
        raise HpssError(call, -errno.EINVAL)
    check(call, lib.shim_login(encode(call, principal), _MECHANISMS[mechanism], encode(call, keytab)))
    _session.forget()
    _session.logged_in = True


def reset() -> None:
    """Drop the connections of all threads (C{hpss_ClientAPIReset}); calls under way fail."""
    _session.core_server = None
    lib.shim_reset()


def logout() -> None:
    """Drop the connections and the credentials."""
    _session.forget()
    lib.shim_logout()


def thread_start() -> None:
    """Set up the calling thread in the library, with umask 0, so that modes are used as they are given."""
    lib.shim_thread_start()


def thread_end() -> None:
    """Release what the library holds for the calling thread, where it can (C{thread_cleanup} in L{FEATURES})."""
    lib.shim_thread_end()


def ping(site: str) -> None:
    """
    Ping the core server of a site (C{hpss_PingCore}).  Its address is looked up the first time, and again after a
    failure (C{hpss_LookupRootCS}).
    """
    known = _session.core_server
    if known is None or known[0] != site:
        call = "hpss_LookupRootCS"
        server = ffi.new("unsigned char[]", lib.SHIM_SERVER_SIZE)
        check(call, lib.shim_lookup_core_server(encode(call, site), server))
        known = (site, server)
    _session.core_server = None
    check("hpss_PingCore", lib.shim_ping(known[1]))
    _session.core_server = known
