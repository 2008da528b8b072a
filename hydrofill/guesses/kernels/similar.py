"""Mean squared differences between cells of a grid, and means of neighbours weighted by them.

Frames lie flat in memory, each row followed by MARGIN missing cells. The cell at any offset is then found at one
distance in memory, and a cell outside the frame is missing.
"""

from __future__ import annotations

import math

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

ZERO, ONE = np.float32(0), np.float32(1)
BLOCK = 256  # cells that are worked on at a time, so that their sums stay in the cache; frames have whole blocks
FRAMES = 4  # frames that are added at a time


@compiled("void(f4[:, :, ::1], i8, i8, i8, f4[:, ::1])")
def lay_out(values, exponent, front, margin, flat):
    """Write frames (T, H, W) in units of two to the power of `exponent` into flat memory, (T or more, n).

    Each row is followed by `margin` missing cells. At least `front` missing cells stand before and after a frame.
    """
    unit = math.ldexp(1.0, -exponent)
    for t in range(flat.shape[0]):
        out = flat[t]
        for i in range(out.shape[0]):
            out[i] = np.nan
    for t in range(values.shape[0]):
        out = flat[t]
        for y in range(values.shape[1]):
            start = front + y * (values.shape[2] + margin)
            row, into = values[t, y], out[start : start + values.shape[2]]
            for x in range(row.shape[0]):
                into[x] = np.float32(row[x] * unit)


@inlined
def _add_squares(a, b, c, d, e, f, g, h, sums):
    """Add the squared differences of four pairs of frames, and the numbers of pairs where both values are seen.

    sums: (2 * BLOCK,), squares before numbers. One array is faster than two: fewer arrays could overlap.
    """
    for i in range(BLOCK):
        p, q, r, s = a[i] - b[i], c[i] - d[i], e[i] - f[i], g[i] - h[i]
        pp, qq = p * p if p == p else ZERO, q * q if q == q else ZERO
        rr, ss = r * r if r == r else ZERO, s * s if s == s else ZERO
        pn, qn = ONE if p == p else ZERO, ONE if q == q else ZERO
        rn, sn = ONE if r == r else ZERO, ONE if s == s else ZERO
        sums[i] += (pp + qq) + (rr + ss)
        sums[i + BLOCK] += (pn + qn) + (rn + sn)


@compiled("void(f4[:, ::1], i8, i8[::1], i8, i8, f4[:, :, ::1])")
def add_squares(flat, front, shifts, first, last, sums):
    """Add the squared differences of each cell from the cell at each shift, over steps where both are seen.

    Args:
        flat: (T, n) frames as `lay_out` writes them; the last frame is all NaN.
        front: cells before a frame.
        shifts: (P,) distances in memory of the pairs.
        first, last: the steps from `first` up to `last` are added.
        sums: (P, blocks, 2 * BLOCK), in each block sums of squares before numbers of steps.
    """
    nothing = flat.shape[0] - 1
    for block in range(sums.shape[1]):
        start = front + block * BLOCK
        end = start + BLOCK
        for t in range(first, last, FRAMES):
            second = t + 1 if t + 1 < last else nothing
            third = t + 2 if t + 2 < last else nothing
            fourth = t + 3 if t + 3 < last else nothing
            for p in range(shifts.shape[0]):
                to, until = start + shifts[p], end + shifts[p]
                _add_squares(
                    flat[t, start:end],
                    flat[t, to:until],
                    flat[second, start:end],
                    flat[second, to:until],
                    flat[third, start:end],
                    flat[third, to:until],
                    flat[fourth, start:end],
                    flat[fourth, to:until],
                    sums[p, block],
                )


@inlined
def _add_shares(similar, back, after, before, other, other_back, other_after, other_before, sums):
    """Add the values of four neighbours of each cell, weighted by their similarities, and the weights, where seen.

    sums: (2 * BLOCK,), totals before weights.
    """
    for i in range(BLOCK):
        a, b, c, d = after[i], before[i], other_after[i], other_before[i]
        p, q = similar[i] if a == a else ZERO, back[i] if b == b else ZERO
        r, s = other[i] if c == c else ZERO, other_back[i] if d == d else ZERO
        a, b = a if a == a else ZERO, b if b == b else ZERO
        c, d = c if c == c else ZERO, d if d == d else ZERO
        sums[i] += (p * a + q * b) + (r * c + s * d)
        sums[i + BLOCK] += (p + q) + (r + s)


@inlined
def _add_expected(similar, back, after, before, other, other_back, other_after, other_before, sums):
    """Add the `similar` of four neighbours of each cell where they are seen."""
    for i in range(BLOCK):
        a, b, c, d = after[i], before[i], other_after[i], other_before[i]
        p, q = similar[i] if a == a else ZERO, back[i] if b == b else ZERO
        r, s = other[i] if c == c else ZERO, other_back[i] if d == d else ZERO
        sums[i] += (p + q) + (r + s)


@inlined
def _divide(sums, differences, mean, expected, with_expected):
    """Write totals and differences divided by weights; NaN where nothing was added."""
    for i in range(BLOCK):
        mean[i] = sums[i] / sums[i + BLOCK] if sums[i + BLOCK] > 0 else np.float32(np.nan)
    if with_expected:
        for i in range(BLOCK):
            expected[i] = differences[i] / sums[i + BLOCK] if sums[i + BLOCK] > 0 else np.float32(np.nan)


@compiled("void(f4[:, ::1], i8, i8[::1], f4[:, ::1], f4[:, ::1], i8, i8, f4[:, ::1], f4[:, ::1], b1)")
def weighted_means(flat, front, shifts, similarity, share, first, last, mean, expected, with_expected):
    """Write the mean of the neighbours of each cell weighted by similarity, and the mean of their differences.

    Args:
        flat: (T, n) frames as `lay_out` writes them.
        front: cells before a frame.
        shifts: (P,) distances in memory of the pairs; P is even, and no shift is further than `front`.
        similarity, share: (P, n) similarity of each pair at its first cell, and similarity times difference.
        first, last: the steps from `first` up to `last` are written.
        mean, expected: (T, n). NaN is written where no neighbour is seen.
        with_expected: whether `expected` is written.
    """
    sums, differences = np.empty((FRAMES, 2 * BLOCK), np.float32), np.empty((FRAMES, BLOCK), np.float32)
    for start in range(front, flat.shape[1] - front, BLOCK):
        end = start + BLOCK
        for t in range(first, last, FRAMES):
            number = min(FRAMES, last - t)
            for k in range(FRAMES):
                for i in range(BLOCK):
                    sums[k, i], sums[k, i + BLOCK], differences[k, i] = ZERO, ZERO, ZERO
            for p in range(0, shifts.shape[0], 2):
                s, o = shifts[p], shifts[p + 1]
                for k in range(number):
                    row = flat[t + k]
                    after, before = row[start + s : end + s], row[start - s : end - s]
                    other_after, other_before = row[start + o : end + o], row[start - o : end - o]
                    _add_shares(
                        similarity[p, start:end],
                        similarity[p, start - s : end - s],
                        after,
                        before,
                        similarity[p + 1, start:end],
                        similarity[p + 1, start - o : end - o],
                        other_after,
                        other_before,
                        sums[k],
                    )
                    if with_expected:
                        _add_expected(
                            share[p, start:end],
                            share[p, start - s : end - s],
                            after,
                            before,
                            share[p + 1, start:end],
                            share[p + 1, start - o : end - o],
                            other_after,
                            other_before,
                            differences[k],
                        )
            for k in range(number):
                _divide(sums[k], differences[k], mean[t + k, start:end], expected[t + k, start:end], with_expected)
