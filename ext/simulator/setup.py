"""What pyproject.toml cannot say: the package takes the built library along, in all variants."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

_VARIANTS = ("7.4", "7.5", "8.3")


class BuildWithLibrary(build_py):
    """Builds the library into the package: C{hpss_simulator/variants/8.3} and so on are each an C{HPSS_ROOT}."""

    def run(self) -> None:
        super().run()
        package = Path(self.build_lib).resolve() / "hpss_simulator"
        if self.editable_mode:
            return  # the package finds what is built beside it
        variants = package / "variants"
        subprocess.run(["make", f"VARIANTS={' '.join(_VARIANTS)}", f"BUILD={variants}"], check=True)
        for variant in _VARIANTS:
            shutil.rmtree(variants / variant / "objects")
        shutil.copy("schema.sql", package)


class PlatformDistribution(Distribution):
    """Tells that a wheel is for one platform."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildWithLibrary}, distclass=PlatformDistribution)
