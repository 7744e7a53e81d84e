"""Loading the extension module C{_hpss}, and with it the client library."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module

_NOT_BUILT = "the HPSS client extension is not built: install pacarchive with HPSS_ROOT naming the SDK"


def load(deep_bind: bool) -> None:
    """
    Import C{_hpss}, for those who will import L{pacarchive.backends.hpss.client}.  Once is enough; call it before there
    are threads that import other things.

    @param deep_bind: Let the client library find its own symbols before those of this process (C{RTLD_DEEPBIND}).
        Needed where something else brought the C library's old RPC functions into the process: the login would
        crash in them.
    @raise ImportError: With one line of words for the operator.
    """
    if "_hpss" in sys.modules:
        return
    try:
        # The module would load this by itself, and then it would be bound deeply as well.
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
    """The library's structures differ between releases: another release than the SDK's would overwrite memory."""
    from pacarchive.backends.hpss import client

    built, loaded = client.BUILT_FOR, client.build_level()
    if not same_release(built, loaded):
        raise ImportError(
            f"the HPSS client extension was built for HPSS {built}, and the library is {loaded}: install it again"
        )


def same_release(built: str, loaded: str) -> bool:
    """
    Whether two levels are of one release: the first two numbers are the same, or are not to be found.

    @param built: Of the SDK, as C{"07.5"}.
    @param loaded: Of the library, as C{"7.5.1.0"} with whatever else it says.
    """
    first, second = (re.match(r"\D*(\d+)\.(\d+)", text) for text in (built, loaded))
    if first is None or second is None:
        return True
    return [int(number) for number in first.groups()] == [int(number) for number in second.groups()]
