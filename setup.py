# SPDX-License-Identifier: Apache-2.0
"""Builds the wheel: the C library, which it carries, and the cffi module.

DEVCOMM_LIBRARY    a libdevcomm.so to carry instead of building one
DEVCOMM_CMAKE_ARGS more arguments for CMake
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# native_build.py links with the library that is put here.
STAGE = ROOT / "build" / "python"
SONAME = "libdevcomm.so.0"


def version() -> str:
    text = (ROOT / "include/devcomm/version.h").read_text()
    return ".".join(re.findall(r"define DCM_VERSION_[A-Z]+ (\d+)", text))


def build_library() -> Path:
    """Build libdevcomm by CMake; return where it lies."""
    folder = STAGE / "cmake"
    more = shlex.split(os.environ.get("DEVCOMM_CMAKE_ARGS", ""))
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *more],
                   check=True, stdout=sys.stderr)
    subprocess.run(["cmake", "--build", folder, "--target", "devcomm_library",
                    "-j", str(os.cpu_count() or 1)],
                   check=True, stdout=sys.stderr)
    return folder / "src" / SONAME


class BuildWithLibrary(build_py):
    """Puts the C library into the package, before the module is linked."""

    def run(self) -> None:
        super().run()
        given = os.environ.get("DEVCOMM_LIBRARY")
        library = Path(given) if given else build_library()
        for folder in (STAGE, Path(self.build_lib) / "devcomm"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(library, folder / SONAME)


setup(
    version=version(),
    packages=["devcomm", "devcomm.device_communicators"],
    package_dir={"": "python"},
    package_data={"devcomm": ["py.typed", "*.pyi"]},
    cffi_modules=["python/native_build.py:builder"],
    cmdclass={"build_py": BuildWithLibrary},
    options={
        "build": {"build_base": "build/python/setuptools"},
        "egg_info": {"egg_base": "python"},
        "bdist_wheel": {"py_limited_api": "cp39"},
    },
    zip_safe=False,
)
