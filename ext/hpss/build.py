"""Builds the extension module C{_hpss}: the shim, and the wrapper that cffi generates from the shim's own header.

As a command: C{python build.py --output DIRECTORY [--hpss-root DIRECTORY]}.  For C{pip install}, C{setup.py} uses
L{extension}.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cffi

from sdk import QUESTIONS, Sdk, SdkError, compiler, configured_root, open_sdk, probe

if TYPE_CHECKING:
    from setuptools import Extension

HERE = Path(__file__).resolve().parent
SOURCES = sorted(HERE.glob("shim*.c"))
COMPILE_FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden")


def declarations() -> str:
    """What Python may call: the part of C{shim.h} that says so."""
    text = (HERE / "shim.h").read_text()
    return text.partition("/* declarations */")[2].partition("/* end of declarations */")[0]


def config_header(answers: dict[str, bool]) -> str:
    """C{shim_config.h}, from the answers of L{probe}."""
    lines = (f"#define SHIM_HAS_{name} {int(answers[name])}\n" for name in QUESTIONS)
    return "/* Generated: what this SDK has. */\n" + "".join(lines)


def generate(sdk: Sdk, directory: Path) -> Path:
    """
    Write what is generated: C{shim_config.h}, and the wrapper.

    @return: The wrapper's source.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shim_config.h").write_text(config_header(probe(sdk)))
    builder = cffi.FFI()
    builder.cdef(declarations())
    builder.set_source("_hpss", '#include "shim.h"')
    wrapper = directory / "_hpss.c"
    builder.emit_c_code(str(wrapper))
    return wrapper


def extension(scratch: Path) -> Extension | None:
    """
    The extension, for C{setup()}; paths are relative, as setuptools wants them.

    @param scratch: Where generated files go.
    @return: C{None} where there is no SDK.
    @raise SdkError: C{HPSS_ROOT} is set, and is no SDK.
    """
    from setuptools import Extension

    root = configured_root()
    if root is None:
        return None
    sdk = open_sdk(root)
    sources = [generate(sdk, scratch), *SOURCES]
    return Extension(
        "_hpss",
        sources=[str(each.resolve().relative_to(Path.cwd())) for each in sources],
        depends=[str(each.relative_to(Path.cwd())) for each in sorted(HERE.glob("*.h"))],
        include_dirs=[str(HERE), str(scratch)],
        extra_compile_args=[*COMPILE_FLAGS, *sdk.compile_flags],
        extra_link_args=list(sdk.link_flags),
    )


def build(sdk: Sdk, output: Path) -> Path:
    """
    Compile C{_hpss} into a directory, without setuptools.

    @return: The module.
    @raise subprocess.CalledProcessError: It does not compile.
    """
    output.mkdir(parents=True, exist_ok=True)
    module = output / f"_hpss{sysconfig.get_config_var('EXT_SUFFIX')}"
    with tempfile.TemporaryDirectory() as scratch:
        wrapper = generate(sdk, Path(scratch))
        finished = Path(scratch, module.name)
        command = [
            *compiler(), "-shared", *COMPILE_FLAGS, *sdk.compile_flags,
            f"-I{HERE}", f"-I{scratch}", f"-isystem{sysconfig.get_path('include')}",
            str(wrapper), *map(str, SOURCES), "-o", str(finished), *sdk.link_flags,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        # Under another name first: a process may have the old one loaded.
        fresh = module.with_suffix(".new")
        fresh.write_bytes(finished.read_bytes())
        fresh.chmod(0o755)
        fresh.replace(module)
    return module


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Build the module _hpss against an HPSS SDK, or the simulator.")
    parser.add_argument("--output", type=Path, required=True, help="directory for the module")
    parser.add_argument("--hpss-root", type=Path, help="the SDK (default: HPSS_ROOT of the environment, or /opt/hpss)")
    options = parser.parse_args()
    try:
        root = options.hpss_root or configured_root()
        if root is None:
            raise SdkError("there is no HPSS SDK: name it with --hpss-root or HPSS_ROOT")
        print(build(open_sdk(root.resolve()), options.output))
    except SdkError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
