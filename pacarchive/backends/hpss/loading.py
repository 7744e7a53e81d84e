"""Load the extension module C{_hpss}, and with it the HPSS client library."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module

_NOT_BUILT = "the HPSS client extension is not built: install pacarchive with HPSS_ROOT naming the SDK"


def load(deep_bind: bool) -> None:
    """
    Import C{_hpss}, so that L{pacarchive.backends.hpss.client} can be imported.  Once is enough; call it before there
    are threads that import other modules.

    @param deep_bind: Whether the client library looks for its own symbols before those of this process
        (C{RTLD_DEEPBIND}).  Needed where the C library's old RPC functions are in the process: the login would crash in
        them.
    @raise ImportError: It cannot be loaded; the message is one line for the operator.
    """
    if "_hpss" in sys.modules:
        return
    try:
        # Loaded by _hpss, this module would be bound deeply as well.
        import_module("_cffi_backend")
    except ImportError:
        raise ImportError("the HPSS client extension needs cffi: install pacarchive[hpss]") from None
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | (os.RTLD_DEEPBIND if deep_bind else 0))
    try:
        import_module("_hpss")
    except ModuleNotFoundError:
        raise ImportError(_NOT_BUILT) from None
    except ImportError as error:
        raise ImportError(f"the HPSS client extension cannot be loaded: {error}") from None
    finally:
        sys.setdlopenflags(flags)
    _check_level()


def _check_level() -> None:
    """
    Check that the loaded library is of the release that the extension was built for.  Its structures differ between
    releases, and so another one would overwrite memory.
    """
    from pacarchive.backends.hpss import client

    built, loaded = client.BUILT_FOR, client.build_level()
    if not same_release(built, loaded):
        raise ImportError(
            f"the HPSS client extension was built for HPSS {built}, and the library is {loaded}: install it again"
        )


def same_release(built: str, loaded: str) -> bool:
    """
    Return whether two levels are of one release: their first two numbers are equal, or one of them has none.

    @param built: The level of the SDK, as C{"07.5"}.
    @param loaded: The level of the library, as C{"7.5.1.0"}, perhaps within other text.
    """
    first, second = (re.match(r"\D*(\d+)\.(\d+)", text) for text in (built, loaded))
    if first is None or second is None:
        return True
    return [int(number) for number in first.groups()] == [int(number) for number in second.groups()]
