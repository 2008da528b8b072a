"""Conjugate gradients on the lattice of steps, rows and columns (hydrofill/guesses/space_time.py).

Frames lie flat in memory, (T, n): rows of W + 1 values, of which the last is 0 and so has no effect on its neighbours.
"""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

ZERO, ONE = np.float32(0), np.float32(1)


@compiled("void(f4[:, :, ::1], f4, f4[:, ::1], f4[:, ::1], u1[:, ::1])")
def lay_out(values, unit, filled, padded, free):
    """Write values (T, H, W) times `unit` into flat frames, 0 where missing, and 1 into `free` where missing.

    Args:
        values: (T, H, W), NaN where missing.
        unit: factor.
        filled: (T, H * (W + 1)).
        padded: (T + 2, 2 (W + 1) + H * (W + 1)), the same with a row of zeros before and after each frame, and a frame
            of zeros before and after the record.
        free: as `filled`.
    """
    n_time, height, width = values.shape
    stride = width + 1
    for t in range(n_time + 2):
        row = padded[t]
        for i in range(row.shape[0]):
            row[i] = ZERO
    for t in range(n_time):
        for y in range(height):
            row = values[t, y]
            out, gone = filled[t, y * stride : (y + 1) * stride], free[t, y * stride : (y + 1) * stride]
            into = padded[t + 1, (y + 1) * stride : (y + 2) * stride]
            for x in range(width):
                there = row[x] == row[x]
                out[x] = np.float32(row[x] * unit) if there else ZERO
                into[x] = out[x]
                gone[x] = 0 if there else 1
            out[width], gone[width] = ZERO, 0


@inlined
def _weighted(frame, before, after, above, below, left, right, diagonal, along, down, across, out):
    """Write the precision matrix times a frame, of which the arguments are the neighbours and the diagonal."""
    for i in range(out.shape[0]):
        beside = along * (before[i] + after[i]) + down * (above[i] + below[i]) + across * (left[i] + right[i])
        out[i] = diagonal[i] * frame[i] - beside


@inlined
def _only_free(out, free, frame):
    """Set values to zero where not free; return the sum of their products with a frame."""
    total = ZERO
    for i in range(out.shape[0]):
        here = out[i] if free[i] > 0 else ZERO
        out[i] = here
        total += here * frame[i]
    return float(total)


@inlined
def _redirect(residual, inverse, keep, direction):
    """Set the direction to the preconditioned residual plus `keep` times the direction."""
    for i in range(residual.shape[0]):
        direction[i] = residual[i] * inverse[i] + keep * direction[i]


@compiled("f8(f4[:, ::1], f4[:, ::1], u1[:, ::1], f4[:, ::1], f4[::1], f4, i8, b1, f4[:, ::1])")
def precision_times(direction, residual, free, diagonals, ties, keep, width, redirect, out):
    """Write the precision matrix times the direction, 0 where not free; return its product with the direction.

    Args:
        direction: padded as by `lay_out`; with `redirect` first changed to the preconditioned residual plus `keep`
            times the direction.
        residual, free, out: (T, n).
        diagonals: (3, n) diagonal of the matrix in frames with 0, 1 and 2 neighbours in time.
        ties: (3,) ties between neighbours in time, rows and columns.
        keep: share of the direction that is kept.
        width: W.
        redirect: whether the direction is changed.
    """
    n_time, n = out.shape
    stride = width + 1
    inverses = np.empty((3, n), np.float32)
    for number in range(3):
        for i in range(n):
            inverses[number, i] = ONE / diagonals[number, i]
    product = 0.0
    for t in range(-1, n_time):
        if redirect and t + 1 < n_time:
            beside = (t + 1 > 0) + (t + 1 < n_time - 1)
            _redirect(residual[t + 1], inverses[beside], keep, direction[t + 2, stride : stride + n])
        if t >= 0:
            frame = direction[t + 1]
            inside = frame[stride : stride + n]
            _weighted(
                inside,
                direction[t, stride : stride + n],
                direction[t + 2, stride : stride + n],
                frame[:n],
                frame[2 * stride : 2 * stride + n],
                frame[stride - 1 : stride - 1 + n],
                frame[stride + 1 : stride + 1 + n],
                diagonals[(t > 0) + (t < n_time - 1)],
                ties[0],
                ties[1],
                ties[2],
                out[t],
            )
            product += _only_free(out[t], free[t], inside)
    return product


@inlined
def _step(length, direction, curvature, inverse, filled, residual):
    """Move a frame along the direction; return the energy of what is left."""
    energy = ZERO
    for i in range(residual.shape[0]):
        filled[i] += length * direction[i]
    for i in range(residual.shape[0]):
        rest = residual[i] - length * curvature[i]
        residual[i] = rest
        energy += rest * rest * inverse[i]
    return float(energy)


@compiled("f8(f4, f4[:, ::1], f4[:, ::1], f4[:, ::1], i8, f4[:, ::1], f4[:, ::1])")
def step(length, direction, curvature, diagonals, width, filled, residual):
    """Move `filled` by `length` times the direction and update the residual; return the energy of the residual."""
    n_time, n = filled.shape
    stride = width + 1
    inverses = np.empty((3, n), np.float32)
    for number in range(3):
        for i in range(n):
            inverses[number, i] = ONE / diagonals[number, i]
    energy = 0.0
    for t in range(n_time):
        beside = (t > 0) + (t < n_time - 1)
        inside = direction[t + 1, stride : stride + n]
        energy += _step(length, inside, curvature[t], inverses[beside], filled[t], residual[t])
    return energy
