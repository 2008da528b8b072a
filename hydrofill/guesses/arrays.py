"""Give kernels arrays as they need them: contiguous, writable, and in blocks, so that work can be cancelled."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK_VALUES = 500_000  # values that a kernel works on at a time


def contiguous(values: np.ndarray) -> npt.NDArray[np.float32]:
    """Return values as contiguous writable float32; a copy only where they are not."""
    return np.require(values, np.float32, ("C", "W"))


def blocks(n_time: int, steps: int) -> Iterator[tuple[int, int]]:
    """Yield the first step and the step after the last of each block of `steps` steps, at least one."""
    steps = max(steps, 1)
    for first in range(0, n_time, steps):
        yield first, min(first + steps, n_time)


def largest_exponent(values: npt.NDArray[np.float32]) -> int:
    """Return the exponent of the power of two above the largest finite size of contiguous values."""
    from hydrofill.guesses.kernels.records import largest

    return exponent_above(largest(values.reshape(-1)))


def exponent_above(size: float) -> int:
    """Return the exponent of the power of two above a size; the power and its inverse are float32 numbers."""
    return min(max(math.frexp(size)[1], -126), 126)
