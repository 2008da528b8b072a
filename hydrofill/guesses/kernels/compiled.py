"""Compile a kernel when its module is imported, and keep the machine code for later processes.

Modules of kernels are imported by the functions that need them, so that importing hydrofill does not load the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# Sums may be taken in any order and products fused into them; NaN and infinity keep their meaning.
RELAXED = {"reassoc", "contract", "nsz"}


def compiled(signature: str) -> Callable[[F], F]:
    """Return a decorator that compiles a function for arguments of these types, such as "void(f4[:, ::1])".

    A kernel runs in one thread without the lock of the interpreter. Where no folder can be written, or what a folder
    holds cannot be read, the kernel is compiled in memory.
    """

    def compile_kernel(function: F) -> F:
        options = {"nogil": True, "error_model": "numpy", "fastmath": RELAXED}
        try:
            kernel = njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError, EOFError, ValueError):  # no folder for the machine code, or a damaged file
            kernel = njit(signature, **options)(function)
        return kernel  # type: ignore[no-any-return]

    return compile_kernel


def inlined(function: F) -> F:
    """Return a function that kernels call; it is compiled as a part of each of them."""
    return njit(inline="never", nogil=True, error_model="numpy", fastmath=RELAXED)(function)  # type: ignore[no-any-return]
