"""Compile a kernel when its module is imported, and keep the machine code for later processes.

Modules of kernels are imported by the functions that need them, so that importing hydrofill does not load the compiler.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from numba import njit

# Sums may be taken in any order, and products fused into sums; NaN and infinity keep their meaning.
RELAXED = {"reassoc", "contract", "nsz"}
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": RELAXED, "no_cfunc_wrapper": True}


def compiled(signature: str, *, in_order: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function for arguments of these types, such as "void(f4[:, ::1])".

    With `in_order`, sums are taken in the order in which they are written. A kernel runs in one thread and without the
    lock of the interpreter. Where no folder can be written, or what a folder holds cannot be read, the kernel is
    compiled in memory.
    """
    options = {**OPTIONS, "fastmath": False} if in_order else OPTIONS

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return njit(signature, **options)(function)

    return compile_kernel


def inlined(function: Callable[..., Any]) -> Any:
    """Return a function that only kernels call; the function is compiled as a part of each of them."""
    return njit(**{**OPTIONS, "no_cpython_wrapper": True, "forceinline": True})(function)
