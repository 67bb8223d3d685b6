# SPDX-License-Identifier: Apache-2.0
# The cffi module; what is in `lib` are the functions of the C headers.
from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

class _FFI:
    def def_extern(self, *, error: int = ...) -> Callable[[F], F]: ...
    def __getattr__(self, name: str) -> Any: ...

ffi: _FFI
lib: Any
