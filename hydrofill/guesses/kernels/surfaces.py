"""Surfaces through the seen cells of frames, frame by frame, so that a frame stays in the cache of the processor.

Each frame is scaled by a power of two before its equations are solved. A record in other units of a power of two
therefore has the same surfaces to the last bit, and no sum overflows.
"""

from __future__ import annotations

import math

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

ZERO, QUARTER, ONE, FOUR = np.float32(0), np.float32(0.25), np.float32(1), np.float32(4)
NEAR, FAR = np.float32(0.75), np.float32(0.25)  # weights of the coarse cells around the centre of a fine cell


@inlined
def _exponent(frame):
    """Return the exponent of two above the largest seen size of a frame, and the numbers of seen and missing cells."""
    largest, seen = ZERO, 0
    for y in range(frame.shape[0]):
        row = frame[y]
        for x in range(row.shape[0]):
            size = abs(row[x])
            seen += row[x] == row[x]
            largest = size if size > largest else largest
    return math.frexp(largest)[1], seen, frame.shape[0] * frame.shape[1] - seen


@inlined
def _load(frame, unit, known, missing):
    """Write a frame in units of `unit` into the inside of `known`, 0 where missing, and where values are missing."""
    for y in range(frame.shape[0]):
        row, into, gone = frame[y], known[y + 1], missing[y]
        for x in range(row.shape[0]):
            there = row[x] == row[x]
            into[x + 1] = np.float32(row[x] * unit) if there else ZERO
            gone[x] = not there


@inlined
def _copy(frame, into):
    """Copy a frame."""
    for y in range(frame.shape[0]):
        row, out = frame[y], into[y]
        for x in range(row.shape[0]):
            out[x] = row[x]


@inlined
def _border(padded):
    """Give the border of a padded frame the values beside the border."""
    height, width = padded.shape
    top, first, last, bottom = padded[0], padded[1], padded[height - 2], padded[height - 1]
    for x in range(width):
        top[x], bottom[x] = first[x], last[x]
    for y in range(height):
        padded[y, 0] = padded[y, 1]
        padded[y, width - 1] = padded[y, width - 2]


@inlined
def _levels(height, width, border, smallest):
    """Return the rows and columns of each level from fine to coarse, and where each starts in flat memory.

    A level has half the rows and columns of the one before, rounded up, and `border` more in memory at each side. The
    last has at most `smallest` rows and columns.
    """
    number, h, w = 1, height, width
    while max(h, w) > smallest:
        number, h, w = number + 1, (h + 1) // 2, (w + 1) // 2
    rows, columns, starts = np.empty(number, np.int64), np.empty(number, np.int64), np.zeros(number + 1, np.int64)
    for level in range(number):
        rows[level], columns[level] = height, width
        starts[level + 1] = starts[level] + (height + 2 * border) * (width + 2 * border)
        height, width = (height + 1) // 2, (width + 1) // 2
    return rows, columns, starts


@inlined
def _sum_blocks(fine, rows, columns, coarse):
    """Write the sums of 2 x 2 blocks of a flat frame (rows, columns) into a flat frame of half the size, rounded up."""
    half, pairs = (columns + 1) // 2, columns // 2
    for y in range((rows + 1) // 2):
        first = fine[2 * y * columns : (2 * y + 1) * columns]
        out = coarse[y * half : (y + 1) * half]
        for x in range(pairs):
            out[x] = first[2 * x] + first[2 * x + 1]
        if pairs < half:
            out[pairs] = first[columns - 1]
        if 2 * y + 1 < rows:
            second = fine[(2 * y + 1) * columns : (2 * y + 2) * columns]
            for x in range(pairs):
                out[x] += second[2 * x] + second[2 * x + 1]
            if pairs < half:
                out[pairs] += second[columns - 1]


@inlined
def _mean_or_coarser(total, weight, coarse):
    """Divide the totals of a row by their weights; where nothing was seen, take the value of the coarser row."""
    for x in range(total.shape[0]):
        total[x] = total[x] / weight[x] if weight[x] > 0 else coarse[x // 2]


@inlined
def _pull_push(padded, missing, total, weight):
    """Give each missing cell the mean of the smallest block around the cell that holds a seen value.

    total, weight: flat scratch of as many values as all levels have. Source: Gortler et al. 1996 (pull-push).
    """
    height, width = missing.shape
    for y in range(height):
        row, gone = padded[y + 1], missing[y]
        sums, numbers = total[y * width : (y + 1) * width], weight[y * width : (y + 1) * width]
        for x in range(width):
            sums[x] = row[x + 1]
            numbers[x] = ZERO if gone[x] else ONE
    rows, columns, starts = _levels(height, width, 0, 1)
    for level in range(1, rows.shape[0]):
        fine, start = starts[level - 1], starts[level]
        _sum_blocks(total[fine:start], rows[level - 1], columns[level - 1], total[start:])
        _sum_blocks(weight[fine:start], rows[level - 1], columns[level - 1], weight[start:])
    top = starts[rows.shape[0] - 1]
    total[top] /= weight[top]
    for level in range(rows.shape[0] - 2, -1, -1):
        w, coarse = columns[level], columns[level + 1]
        for y in range(rows[level]):
            start, above = starts[level] + y * w, starts[level + 1] + (y // 2) * coarse
            _mean_or_coarser(total[start : start + w], weight[start : start + w], total[above : above + coarse])
    for y in range(height):
        row, gone, means = padded[y + 1], missing[y], total[y * width : (y + 1) * width]
        for x in range(width):
            row[x + 1] = means[x] if gone[x] else row[x + 1]


@compiled("void(f4[:, :, ::1], i8, f4[:, :, ::1])")
def harmonic(values, sweeps, filled):
    """Write `values` (T, H, W) into `filled`, with the missing cells of partly seen frames by Laplace's equation.

    A start by `_pull_push` is followed by Jacobi sweeps. Borders reflect.
    """
    n_time, height, width = values.shape
    now, following = np.empty((height + 2, width + 2), np.float32), np.empty((height + 2, width + 2), np.float32)
    missing = np.empty((height, width), np.bool_)
    gappy = np.empty(height, np.bool_)
    total, weight = (
        np.empty(2 * (height + 2) * (width + 2), np.float32),
        np.empty(2 * (height + 2) * (width + 2), np.float32),
    )
    for t in range(n_time):
        exponent, n_seen, n_missing = _exponent(values[t])
        _copy(values[t], filled[t])
        if n_seen == 0 or n_missing == 0:
            continue
        _load(values[t], math.ldexp(1.0, -exponent), now, missing)
        _pull_push(now, missing, total, weight)
        _border(now)
        _copy(now, following)
        for y in range(height):
            gappy[y] = False
            for x in range(width):
                gappy[y] |= missing[y, x]
        for _ in range(sweeps):
            for y in range(height):
                if not gappy[y]:
                    continue
                above, here, below, out, gone = now[y], now[y + 1], now[y + 2], following[y + 1], missing[y]
                for x in range(width):
                    mean = QUARTER * (above[x + 1] + below[x + 1] + here[x] + here[x + 2])
                    out[x + 1] = mean if gone[x] else here[x + 1]
            _border(following)
            now, following = following, now
        unit = math.ldexp(1.0, exponent)
        for y in range(height):
            row, out, gone = now[y + 1], filled[t, y], missing[y]
            for x in range(width):
                if gone[x]:
                    out[x] = np.float32(row[x + 1] * unit)


@inlined
def _laplacian(padded, out):
    """Write the sums of differences to the four neighbours into the inside of `out`; borders of both are set."""
    _border(padded)
    for y in range(padded.shape[0] - 2):
        above, here, below, into = padded[y], padded[y + 1], padded[y + 2], out[y + 1]
        for x in range(padded.shape[1] - 2):
            into[x + 1] = above[x + 1] + below[x + 1] + here[x] + here[x + 2] - FOUR * here[x + 1]
    _border(out)


@inlined
def _curvature(padded, once, missing, out):
    """Write the Laplacian of the Laplacian at missing cells, 0 elsewhere; return its product with the frame."""
    _laplacian(padded, once)
    product = 0.0
    for y in range(missing.shape[0]):
        above, here, below, into, gone, with_row = once[y], once[y + 1], once[y + 2], out[y], missing[y], padded[y + 1]
        row = ZERO
        for x in range(missing.shape[1]):
            twice = above[x + 1] + below[x + 1] + here[x] + here[x + 2] - FOUR * here[x + 1]
            twice = twice if gone[x] else ZERO
            into[x] = twice
            row += twice * with_row[x + 1]
        product += row
    return product


@inlined
def _smooth(surface, missing, steps, tolerance, direction, once, curved, residual):
    """Minimise the squared Laplacian of a padded frame over its missing cells by conjugate gradients."""
    height, width = missing.shape
    _curvature(surface, once, missing, curved)
    energy = 0.0
    for y in range(height):
        row = ZERO
        for x in range(width):
            rest = -curved[y, x]
            residual[y, x] = rest
            direction[y + 1, x + 1] = rest
            row += rest * rest
        energy += row
    enough = tolerance * energy
    for _ in range(steps):
        if energy <= enough:
            break
        product = _curvature(direction, once, missing, curved)
        length = np.float32(energy / max(product, 1e-30))
        previous, energy = energy, 0.0
        for y in range(height):
            values, way, rest, bent = surface[y + 1], direction[y + 1], residual[y], curved[y]
            row = ZERO
            for x in range(width):
                values[x + 1] += length * way[x + 1]
                left = rest[x] - length * bent[x]
                rest[x] = left
                row += left * left
            energy += row
        keep = np.float32(energy / max(previous, 1e-30))
        for y in range(height):
            way, rest = direction[y + 1], residual[y]
            for x in range(width):
                way[x + 1] = keep * way[x + 1] + rest[x]


@inlined
def _level(flat, start, rows, columns):
    """Return the level that starts there in flat memory, (rows, columns)."""
    return flat[start : start + rows * columns].reshape(rows, columns)


@inlined
def _halve(known, missing, coarse, gone):
    """Write the means of the seen cells of 2 x 2 blocks of a padded frame into `coarse`, and which blocks have none."""
    height, width = missing.shape
    for y in range(gone.shape[0]):
        for x in range(gone.shape[1]):
            total, number = ZERO, ZERO
            for v in range(2 * y, min(2 * y + 2, height)):
                for u in range(2 * x, min(2 * x + 2, width)):
                    if not missing[v, u]:
                        total += known[v + 1, u + 1]
                        number += ONE
            coarse[y + 1, x + 1] = total / max(number, ONE)
            gone[y, x] = number == 0


@inlined
def _start_from(coarse, missing, surface):
    """Interpolate a padded coarse frame linearly between the centres of its cells, at the missing cells of a finer."""
    _border(coarse)
    for y in range(missing.shape[0]):
        v = y // 2 + 1
        other = coarse[v - 1 if y % 2 == 0 else v + 1]
        same, into, gone = coarse[v], surface[y + 1], missing[y]
        for x in range(missing.shape[1]):
            if gone[x]:
                u = x // 2 + 1
                beside = u - 1 if x % 2 == 0 else u + 1
                into[x + 1] = NEAR * (NEAR * same[u] + FAR * other[u]) + FAR * (
                    NEAR * same[beside] + FAR * other[beside]
                )


@inlined
def _store(surface, missing, exponent, frame, filled):
    """Write the missing cells of a padded surface into `filled`, clipped to the range of the seen values of `frame`."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for y in range(frame.shape[0]):
        row = frame[y]
        for x in range(row.shape[0]):
            low = row[x] if row[x] < low else low
            high = row[x] if row[x] > high else high
    unit = math.ldexp(1.0, exponent)
    for y in range(frame.shape[0]):
        row, out, gone = surface[y + 1], filled[y], missing[y]
        for x in range(out.shape[0]):
            if gone[x]:
                out[x] = np.float32(min(max(row[x + 1] * unit, np.float64(low)), np.float64(high)))


@compiled("void(f4[:, :, ::1], i8, f8, f4[:, :, ::1])")
def biharmonic(values, steps, tolerance, filled):
    """Write `values` (T, H, W) into `filled`, with the missing cells of partly seen frames of least squared Laplacian.

    Conjugate gradients take `steps` steps on each level from coarse to fine, or stop where the residual's energy is
    `tolerance` of that at the start of the level. The surface is clipped to the range of the frame's seen values.
    """
    n_time, height, width = values.shape
    rows, columns, starts = _levels(height, width, 1, 2)
    levels, gaps = np.zeros(starts[-1], np.float32), np.empty(starts[-1], np.bool_)
    direction, once, curved, residual = (
        np.zeros(starts[1], np.float32),
        np.empty(starts[1], np.float32),
        np.empty(starts[1], np.float32),
        np.empty(starts[1], np.float32),
    )
    known, missing = _level(levels, 0, height + 2, width + 2), _level(gaps, 0, height, width)
    for t in range(n_time):
        exponent, n_seen, n_missing = _exponent(values[t])
        _copy(values[t], filled[t])
        if n_seen == 0 or n_missing == 0:
            continue
        _load(values[t], math.ldexp(1.0, -exponent), known, missing)
        for level in range(1, rows.shape[0]):
            fine, start = level - 1, starts[level]
            _halve(
                _level(levels, starts[fine], rows[fine] + 2, columns[fine] + 2),
                _level(gaps, starts[fine], rows[fine], columns[fine]),
                _level(levels, start, rows[level] + 2, columns[level] + 2),
                _level(gaps, start, rows[level], columns[level]),
            )
        for level in range(rows.shape[0] - 1, -1, -1):
            h, w = rows[level], columns[level]
            surface, gone = _level(levels, starts[level], h + 2, w + 2), _level(gaps, starts[level], h, w)
            if level + 1 < rows.shape[0]:
                coarse = _level(levels, starts[level + 1], rows[level + 1] + 2, columns[level + 1] + 2)
                _start_from(coarse, gone, surface)
            _smooth(
                surface,
                gone,
                steps,
                tolerance,
                _level(direction, 0, h + 2, w + 2),
                _level(once, 0, h + 2, w + 2),
                _level(curved, 0, h, w),
                _level(residual, 0, h, w),
            )
        _store(known, missing, exponent, values[t], filled[t])
