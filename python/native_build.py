# SPDX-License-Identifier: Apache-2.0
"""Describes the module devcomm._native to cffi.

The declarations are the C headers themselves, through the preprocessor, so that
they cannot differ from the library's; the compiler checks them again (API mode).
"""
import os
import re
import subprocess
import tempfile
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ["devcomm/devcomm.h", "devcomm/queue.h"]


def declarations() -> str:
    """The public headers without macros and without what they include."""
    with tempfile.TemporaryDirectory() as empty:
        for name in ("stddef.h", "stdint.h"):
            Path(empty, name).write_text("")
        text = subprocess.run(
            [os.environ.get("CC", "cc"), "-E", "-P", "-undef", "-nostdinc",
             "-D__attribute__(x)=", "-I", empty, "-I", ROOT / "include", "-"],
            input="".join(f"#include <{name}>\n" for name in HEADERS),
            check=True, capture_output=True, text=True).stdout
    # cffi reads numbers without a suffix only.
    return re.sub(r"\b(\d+)u\b", r"\1", text)


def shim() -> "tuple[str, str]":
    """native.c, and the part of it that Python sees."""
    text = (ROOT / "python" / "native.c").read_text()
    seen = "".join(re.findall(r"/\* cffi \*/(.*?)/\* end \*/", text, re.S))
    # The compiler knows the version's number.
    return text, seen.replace("= DCM_VERSION", "= ...")


def make() -> FFI:
    source, seen = shim()
    ffi = FFI()
    ffi.cdef(declarations() + seen + """
        extern "Python" int dcmpy_all_gather(void *, const void *, void *,
                                             size_t);
        extern "Python" void dcmpy_log(void *, int, const char *);
    """)
    ffi.set_source(
        "devcomm._native", source,
        include_dirs=[str(ROOT / "include")],
        library_dirs=[str(ROOT / "build" / "python")],
        extra_compile_args=["-O2", "-std=gnu11"],
        # By its soname: what is linked with is what is carried.
        extra_link_args=["-l:libdevcomm.so.0", "-Wl,-rpath,$ORIGIN"])
    return ffi


builder = make()
