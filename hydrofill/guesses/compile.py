"""Compile every kernel of the first guesses, so that the first fill need not: `python -m hydrofill.guesses.compile`.

The machine code is kept in `__pycache__` beside the sources, or in the user's cache folder where that cannot be
written. The code is of the processor that NUMBA_CPU_NAME names, by default of the one that compiles.
"""

from __future__ import annotations

import importlib
import pkgutil

from hydrofill.guesses import kernels


def compile_kernels() -> list[str]:
    """Compile the kernels that are not compiled yet; return the names of their modules."""
    names = [f"{kernels.__name__}.{module.name}" for module in pkgutil.iter_modules(kernels.__path__)]
    for name in names:
        importlib.import_module(name)
    return names


if __name__ == "__main__":
    compile_kernels()
