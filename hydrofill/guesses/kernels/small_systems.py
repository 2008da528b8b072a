"""Many small symmetric systems of equations at once.

Symmetric matrices are given by their lower triangles, row by row: element (i, j) with j <= i is at i (i + 1) / 2 + j.
The systems lie along the last axis, so that one instruction works on several systems.
"""

from __future__ import annotations

import math

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

BATCH = 64  # systems that are solved at a time, so that their factors stay in the cache of the processor


@inlined
def _load(matrices, diagonal, per_system, start, number, lower):
    """Copy the lower triangles of a batch and add the diagonal; systems beyond the last are identities."""
    rank = diagonal.shape[0]
    for i in range(rank):
        for j in range(i + 1):
            p = i * (i + 1) // 2 + j
            for b in range(number):
                lower[p, b] = matrices[p, start + b]
            for b in range(number, BATCH):
                lower[p, b] = 1.0 if i == j else 0.0
            if i == j:
                for b in range(number):
                    lower[p, b] += diagonal[i] + per_system[start + b]


@inlined
def _subtract_product(lower, p, q, total):
    for b in range(BATCH):
        total[b] -= lower[p, b] * lower[q, b]


@inlined
def _factorise(lower, total, rank):
    """Replace lower triangles by their Cholesky factors, with the inverse of each diagonal element in its place."""
    for i in range(rank):
        for j in range(i + 1):
            p = i * (i + 1) // 2 + j
            for b in range(BATCH):
                total[b] = lower[p, b]
            for k in range(j):
                _subtract_product(lower, i * (i + 1) // 2 + k, j * (j + 1) // 2 + k, total)
            if i == j:
                for b in range(BATCH):
                    lower[p, b] = 1.0 / math.sqrt(max(total[b], 1e-300))
            else:
                q = j * (j + 1) // 2 + j
                for b in range(BATCH):
                    lower[p, b] = total[b] * lower[q, b]


@inlined
def _solve(lower, right, rank):
    """Replace right sides (rank, BATCH) by solutions, given factors as `_factorise` leaves them."""
    for i in range(rank):
        for k in range(i):
            p = i * (i + 1) // 2 + k
            for b in range(BATCH):
                right[i, b] -= lower[p, b] * right[k, b]
        p = i * (i + 1) // 2 + i
        for b in range(BATCH):
            right[i, b] *= lower[p, b]
    for i in range(rank - 1, -1, -1):
        for k in range(i + 1, rank):
            p = k * (k + 1) // 2 + i
            for b in range(BATCH):
                right[i, b] -= lower[p, b] * right[k, b]
        p = i * (i + 1) // 2 + i
        for b in range(BATCH):
            right[i, b] *= lower[p, b]


@inlined
def _invert(lower, total, rank):
    """Replace factors by the lower triangles of the inverses of their matrices."""
    for j in range(rank):  # the factor's inverse, column by column
        for i in range(j + 1, rank):
            for b in range(BATCH):
                total[b] = 0.0
            for k in range(j, i):
                _subtract_product(lower, i * (i + 1) // 2 + k, k * (k + 1) // 2 + j, total)
            p, q = i * (i + 1) // 2 + j, i * (i + 1) // 2 + i
            for b in range(BATCH):
                lower[p, b] = total[b] * lower[q, b]
    for i in range(rank):  # the product of the factor's inverse with itself
        for j in range(i + 1):
            for b in range(BATCH):
                total[b] = 0.0
            for k in range(i, rank):
                _subtract_product(lower, k * (k + 1) // 2 + i, k * (k + 1) // 2 + j, total)
            p = i * (i + 1) // 2 + j
            for b in range(BATCH):
                lower[p, b] = -total[b]


@compiled("void(f4[:, ::1], f8[::1], f8[::1], f4[:, ::1], b1, f4[:, ::1], f4[:, ::1])")
def solve(matrices, diagonal, per_system, right, inverted, solutions, inverses):
    """Solve many positive definite systems, and invert their matrices where wanted.

    Args:
        matrices: (K (K + 1) / 2, n) lower triangles.
        diagonal: (K,) added to the diagonal of every matrix.
        per_system: (n,) added to the diagonal of each matrix.
        right: (K, n) right sides.
        inverted: whether inverses are written.
        solutions: (K, n), written.
        inverses: as `matrices`, written if `inverted`.
    """
    rank, n = right.shape
    size = matrices.shape[0]
    lower, total = np.empty((size, BATCH), np.float64), np.empty(BATCH, np.float64)
    side = np.empty((rank, BATCH), np.float64)
    for start in range(0, n, BATCH):
        number = min(BATCH, n - start)
        _load(matrices, diagonal, per_system, start, number, lower)
        for i in range(rank):
            for b in range(BATCH):
                side[i, b] = right[i, start + b] if b < number else 0.0
        _factorise(lower, total, rank)
        _solve(lower, side, rank)
        for i in range(rank):
            for b in range(number):
                solutions[i, start + b] = np.float32(side[i, b])
        if inverted:
            _invert(lower, total, rank)
            for p in range(size):
                for b in range(number):
                    inverses[p, start + b] = np.float32(lower[p, b])
