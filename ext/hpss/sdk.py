"""An HPSS SDK: where it is, how it is compiled against, and what it has.

What an SDK has is found by compiling small programs against its headers, not by arithmetic on its version: releases and
patch levels differ from site to site.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = Path("/opt/hpss")

# Each is compiled by itself; "yes" is that it compiles.  The name becomes SHIM_HAS_<NAME>.
QUESTIONS = {
    # 7.5 and later name a bitfile by an object handle, earlier ones by a bare id.
    "BITFILE_OBJECT": "hpss_Attrs_t a; bfs_bitfile_obj_handle_t *b = &a.BitfileObj; return b == 0;",
    # 7.5 and later name a server by a number, earlier ones by a UUID.
    "SERVER_NUMBER": "hpss_srvr_id_t id; return hpss_LookupRootCS((char *)0, &id);",
    # 8.1 and later name a request by a UUID, earlier ones by a number.
    "UUID_REQUEST": "hpss_reqid_t id; return id.time_low == 0;",
    # The status of a stage: the earlier spelling has an h more.
    "ASYNC_STATUS": "hpss_reqid_t id; int32_t s; memset(&id, 0, sizeof id); return hpss_GetAsyncStatus(id, 0, &s);",
    # 7.5 and later want the size of the values' buffers.
    "SIZED_USERATTR": "hpss_userattr_list_t l; return hpss_UserAttrGetAttrs((char *)0, &l, UDA_API_VALUE, 1);",
    # No public program calls it, so that neither its being there nor its form is certain.
    "THREAD_CLEANUP": "hpss_ThreadCleanUp(); return 0;",
    "LAST_ERROR": "hpss_errno_state_t s = hpss_GetLastHPSSErrno(); hpss_ClearLastHPSSErrno(); return s.hpss_errno;",
    "FSYNC": "return hpss_Fsync(0);",
    # 9.3 and later.
    "BATCH_STAGE": (
        "hpss_stage_batch_t b; bfs_callback_addr_t c; hpss_reqid_t r; hpss_stage_bitfile_list_t l;"
        "hpss_stage_batch_status_t s; memset(&r, 0, sizeof r);"
        "hpss_StageBatchCallBack(&b, &c, &r, &l, &s);"
        "return hpss_GetBatchAsynchStatus(r, &l, HPSS_STAGE_STATUS_BFS_SS, &s);"
    ),
}

# A call of what is not declared, or of something of another form, must not pass as a warning.
_STRICT = ("-Werror=implicit-function-declaration", "-Werror=incompatible-pointer-types", "-Werror=int-conversion")

_PROGRAM = """\
#include <hpss_api.h>
#include <stdint.h>
#include <string.h>
int main(void) {{ {body} }}
"""


class SdkError(Exception):
    """The SDK is not there, or cannot be compiled against."""


@dataclass(frozen=True)
class Sdk:
    """
    What the compiler and the linker have to be told.

    @ivar root: C{HPSS_ROOT}.
    @ivar compile_flags: For each source.
    @ivar link_flags: For the shared object; the SDK's library directory is recorded in it, so that nobody needs
        C{LD_LIBRARY_PATH}.
    """

    root: Path
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]


def compiler() -> list[str]:
    """The C compiler: the environment's C{CC}, or the one that this Python was built with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def configured_root() -> Path | None:
    """
    Where the SDK is.

    @return: C{None} where the environment names none, and none is in the usual place.
    @raise SdkError: The environment names a place, and there is none.
    """
    named = os.environ.get("HPSS_ROOT")
    root = Path(named) if named else DEFAULT_ROOT
    if (root / "include" / "hpss_api.h").is_file():
        return root
    if named:
        raise SdkError(f"HPSS_ROOT={named}: there is no include/hpss_api.h below it")
    return None


def open_sdk(root: Path) -> Sdk:
    """
    Find out how to compile and link.

    @raise SdkError: A program that does no more than include C{hpss_api.h} does not compile.
    """
    libraries = root / "lib"
    description = next((each for each in root.glob("lib*/**/hpss.pc") if each.is_file()), None)
    compile_flags, link_flags = _by_hand(root) if description is None else _from_description(description)
    sdk = Sdk(
        root,
        (*compile_flags, f"-isystem{root / 'include'}"),
        (f"-L{libraries}", *link_flags, *_login_modules(libraries), f"-Wl,-rpath,{libraries}"),
    )
    if complaint := _complaint(sdk, "return 0;"):
        raise SdkError(f"{root}: hpss_api.h does not compile:\n{complaint}")
    return sdk


def probe(sdk: Sdk) -> dict[str, bool]:
    """Answer the L{QUESTIONS}."""
    return {name: _complaint(sdk, body) is None for name, body in QUESTIONS.items()}


def _from_description(description: Path) -> tuple[list[str], list[str]]:
    """The flags that the SDK itself names; 7.5 and later come with C{hpss.pc}."""
    environment = {**os.environ, "PKG_CONFIG_PATH": str(description.parent)}

    def ask(what: str) -> list[str]:
        try:
            answer = subprocess.run(
                ["pkg-config", what, "hpss"], env=environment, capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            raise SdkError(f"{description}: pkg-config is needed to read it") from None
        except subprocess.CalledProcessError as error:
            raise SdkError(f"{description}: {error.stderr.strip()}") from None
        return shlex.split(answer.stdout)

    return ask("--cflags"), ask("--libs")


def _by_hand(root: Path) -> tuple[list[str], list[str]]:
    """The flags for SDKs without C{hpss.pc}."""
    flags = ["-DLINUX", *(["-DLITTLEEND"] if sys.byteorder == "little" else []), "-pthread"]
    libraries = ["-lhpss"]
    if any((root / "lib").glob("libhpsscs.*")):
        libraries.append("-lhpsscs")
    if (tirpc := Path("/usr/include/tirpc")).is_dir():
        # The SDK's headers want rpc/rpc.h, which left the C library.
        flags.append(f"-isystem{tirpc}")
        libraries.append("-ltirpc")
    return flags, libraries


def _login_modules(libraries: Path) -> list[str]:
    """
    The library loads these by itself at login, which fails when it was loaded with C{RTLD_DEEPBIND}; linked here, they
    are there already.
    """
    present = [name for name in ("hpssunixauth", "hpsskrb5auth") if (libraries / f"lib{name}.so").exists()]
    return ["-Wl,--no-as-needed", *(f"-l{name}" for name in present), "-Wl,--as-needed"] if present else []


def _complaint(sdk: Sdk, body: str) -> str | None:
    """What the compiler has against a program; C{None}: nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        source.write_text(_PROGRAM.format(body=body))
        command = [*compiler(), "-std=gnu11", *sdk.compile_flags, *_STRICT, "-fsyntax-only", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr
