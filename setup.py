"""The one thing that pyproject.toml cannot say: the extension module C{_hpss} is built where there is an HPSS SDK.

The SDK is named by C{HPSS_ROOT}, or is in C{/opt/hpss}.  Without one, everything else is installed all the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "ext" / "hpss"))
from build import extension
from sdk import SdkError

try:
    module = extension(Path("build", "hpss"))
except SdkError as error:
    sys.exit(f"pacarchive: {error}")
setup(ext_modules=[] if module is None else [module])
