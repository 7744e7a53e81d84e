"""The simulator's library by way of its installed headers: cffi in ABI mode, one face for each variant."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import cffi
import hpss_build

# What the headers take from the system.
_SYSTEM = """
typedef unsigned int uid_t; typedef unsigned int gid_t; typedef unsigned int mode_t;
struct sockaddr_storage { unsigned short ss_family; char data[6]; uint64_t more[15]; };
struct utimbuf { long actime; long modtime; };
"""
_INTEGER = re.compile(r"[\s()0-9a-fx-]+")


def _preprocessed(root: Path) -> tuple[str, dict[str, int]]:
    """The declarations of the installed headers, and their integer constants."""
    include = root / "include"
    command = ["gcc", "-E", "-dD", f"-I{include}", str(include / "hpss_api.h")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    declarations, constants, ours = [], {}, False
    for line in text.splitlines():
        if line.startswith("# "):
            ours = str(include) in line
        elif ours and line.startswith("#define"):
            _, name, *value = line.split(maxsplit=2)
            if value and _INTEGER.fullmatch(value[0]):
                constants[name] = int(value[0].strip("()"), 0) if not value[0].startswith("0") else _octal(value[0])
        elif ours and not line.startswith("#"):
            declarations.append(line)
    return "\n".join(declarations), constants


def _octal(text: str) -> int:
    return int(text, 16 if text.startswith("0x") else 8)


class Sdk:
    """
    A loaded variant.

    @ivar ffi: For C{new}, C{string} and the like.
    @ivar lib: The functions and enumerations.
    @ivar root: Where it is installed.
    @ivar number: The integer constants of the headers, by name.
    """

    def __init__(self, variant: str) -> None:
        self.root = hpss_build.simulator(variant)
        declarations, self.number = _preprocessed(self.root)
        self.variant = variant
        self.ffi = cffi.FFI()
        self.ffi.cdef(_SYSTEM + declarations)
        self.lib: Any = self.ffi.dlopen(str(self.root / "lib" / "libhpss.so"))
        self.has_newer_shape = variant != "7.4"

    def __getattr__(self, name: str) -> Any:
        """A function without its C{hpss_}, a constant, or an enumeration's value."""
        if name in self.number:
            return self.number[name]
        for prefix in ("hpss_", ""):
            try:
                return getattr(self.lib, prefix + name)
            except AttributeError:
                continue
        raise AttributeError(name)

    def new(self, type_: str, **fields: Any) -> Any:
        """A zeroed structure with these fields set."""
        made = self.ffi.new(f"{type_} *")
        for name, value in fields.items():
            setattr(made, name, value)
        return made


@cache
def load(variant: str) -> Sdk:
    """Build and load a variant.  It stays loaded."""
    return Sdk(variant)
