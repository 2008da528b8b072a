"""A symmetric positive definite tridiagonal system of equations (hydrofill/guesses/patterns_in_time.py)."""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled


@compiled("void(f8[::1], f8[::1], f8[::1], f8[::1])")
def solve_tridiagonal(diagonal, beside, right, solution):
    """Solve a system by the factors L D L' of its matrix.

    Args:
        diagonal: (n,) diagonal of the matrix, n >= 1.
        beside: (n - 1,) elements beside the diagonal.
        right: (n,) right side.
        solution: (n,), written.

    Source: Golub and Van Loan 2013, section 4.3.6.
    """
    n = right.shape[0]
    factor = np.empty(n, np.float64)  # elements of L beside its diagonal
    pivot = diagonal[0]
    forward = right[0]
    solution[0] = forward / pivot
    for i in range(1, n):
        factor[i] = beside[i - 1] / pivot
        pivot = diagonal[i] - factor[i] * beside[i - 1]
        forward = right[i] - factor[i] * forward
        solution[i] = forward / pivot
    for i in range(n - 1, 0, -1):
        solution[i - 1] -= factor[i] * solution[i]
