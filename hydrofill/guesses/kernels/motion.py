"""Motion between frames by local least squares, and frames moved along it (hydrofill/guesses/advection.py).

Several quantities of a frame are smoothed together. They stand side by side in each row, so that loops are long.
"""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
REACH = 13  # largest radius in cells of a window
SMALLEST_PULL = np.float32(1e-6)


@inlined
def _move(frame, down, across, way, out):
    """Write a frame moved by `way` steps of the velocity, bilinearly; beyond its border a frame repeats."""
    height, width = frame.shape
    bottom, right = np.float32(height - 1), np.float32(width - 1)
    for y in range(height):
        vertical, horizontal, into = down[y], across[y], out[y]
        for x in range(width):
            v = min(max(np.float32(y) + way * vertical[x], ZERO), bottom)
            u = min(max(np.float32(x) + way * horizontal[x], ZERO), right)
            row, column = np.uint32(v), np.uint32(u)
            low, left = min(row + np.uint32(1), np.uint32(height - 1)), min(column + np.uint32(1), np.uint32(width - 1))
            b, a = v - np.float32(row), u - np.float32(column)
            first = frame[row, column] + a * (frame[row, left] - frame[row, column])
            second = frame[low, column] + a * (frame[low, left] - frame[low, column])
            into[x] = first + b * (second - first)


@inlined
def _blend(left, right, share, out):
    """Write the values that lie `share` of the way from `left` to `right`."""
    for y in range(out.shape[0]):
        a, b, into = left[y], right[y], out[y]
        for x in range(into.shape[0]):
            into[x] = a[x] + share * (b[x] - a[x])


@compiled("void(f4[:, :, ::1], f4[:, :, :, ::1], i8[::1], i8[::1], b1, f4[:, :, ::1])")
def line(fields, velocity, before, after, moving, out):
    """Write each frame as the line between the frames before and after, moved along the velocity if `moving`.

    Args:
        fields: (T, H, W).
        velocity: (2, T, H, W) in rows and columns per step; read if `moving`.
        before, after: (T,) the steps of the frames; -1 and T where there is none.
        moving: whether frames are moved.
        out: (T, H, W). NaN is written where there is neither.
    """
    n_time, height, width = fields.shape
    left, right = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for t in range(n_time):
        first, second = before[t], after[t]
        if first < 0 and second >= n_time:
            for y in range(height):
                for x in range(width):
                    out[t, y, x] = np.nan
            continue
        past, future = fields[max(first, 0)], fields[min(second, n_time - 1)]
        if moving:
            _move(past, velocity[0, t], velocity[1, t], np.float32(first - t), left)
            _move(future, velocity[0, t], velocity[1, t], np.float32(second - t), right)
            past, future = left, right
        if first < 0:
            _blend(future, future, ZERO, out[t])
        elif second >= n_time:
            _blend(past, past, ZERO, out[t])
        else:
            _blend(past, future, np.float32(t - first) / np.float32(second - first), out[t])


@inlined
def _smooth_row(row, weights, out):
    """Write the weighted means over 2 REACH + 1 values around each value of a row that has REACH more at both ends."""
    a, b, c, d, e, f, g = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5], weights[6]
    h, i, j, k, m, n, o = weights[7], weights[8], weights[9], weights[10], weights[11], weights[12], weights[13]
    for x in range(out.shape[0]):
        near = b * (row[x + 12] + row[x + 14]) + c * (row[x + 11] + row[x + 15]) + d * (row[x + 10] + row[x + 16])
        inner = e * (row[x + 9] + row[x + 17]) + f * (row[x + 8] + row[x + 18]) + g * (row[x + 7] + row[x + 19])
        outer = h * (row[x + 6] + row[x + 20]) + i * (row[x + 5] + row[x + 21]) + j * (row[x + 4] + row[x + 22])
        far = k * (row[x + 3] + row[x + 23]) + m * (row[x + 2] + row[x + 24]) + n * (row[x + 1] + row[x + 25])
        out[x] = a * row[x + 13] + o * (row[x] + row[x + 26]) + ((near + inner) + (outer + far))


@inlined
def _scale(values, weight, out):
    """Write values times a weight."""
    for i in range(out.shape[0]):
        out[i] = weight * values[i]


@inlined
def _add_pairs(a, b, c, d, e, f, g, h, first, second, third, fourth, out):
    """Add four pairs of arrays, each pair with a weight."""
    for i in range(out.shape[0]):
        out[i] += (first * (a[i] + b[i]) + second * (c[i] + d[i])) + (third * (e[i] + f[i]) + fourth * (g[i] + h[i]))


@inlined
def _add_pair(a, b, weight, out):
    """Add a pair of arrays with a weight."""
    for i in range(out.shape[0]):
        out[i] += weight * (a[i] + b[i])


@inlined
def _smooth_rows(rows, middle, weights, out):
    """Write the weighted mean of the rows around row `middle`; weights are by distance."""
    _scale(rows[middle], weights[0], out)
    k = 1
    while k < weights.shape[0] and weights[k] > 0:
        if k + 3 >= weights.shape[0]:
            _add_pair(rows[middle - k], rows[middle + k], weights[k], out)
            k += 1
            continue
        _add_pairs(
            rows[middle - k],
            rows[middle + k],
            rows[middle - k - 1],
            rows[middle + k + 1],
            rows[middle - k - 2],
            rows[middle + k + 2],
            rows[middle - k - 3],
            rows[middle + k + 3],
            weights[k],
            weights[k + 1],
            weights[k + 2],
            weights[k + 3],
            out,
        )
        k += 4


@inlined
def _smooth_frame(planes, weights, repeating, number, smooth, rows, out):
    """Write the means of the planes of a frame over the window in space, weighted by distance.

    Args:
        planes: (H, number * (W + 2 REACH)) the planes side by side; REACH values beside each plane are overwritten.
        weights: (REACH + 1,) by distance in cells.
        repeating: whether borders repeat; otherwise all is zero beyond.
        number: of planes.
        smooth: scratch of one row.
        rows: scratch, (H + 2 REACH, number * W).
        out: (H * number * W,).
    """
    height, width = planes.shape[0], planes.shape[1] // number - 2 * REACH
    for y in range(height):
        row = planes[y]
        for p in range(number):
            start = p * (width + 2 * REACH)
            first, last = row[start + REACH], row[start + REACH + width - 1]
            for x in range(REACH):
                row[start + x] = first if repeating else ZERO
                row[start + REACH + width + x] = last if repeating else ZERO
        _smooth_row(row, weights, smooth)
        into = rows[REACH + y]
        for p in range(number):
            _scale(
                smooth[p * (width + 2 * REACH) : p * (width + 2 * REACH) + width],
                ONE,
                into[p * width : (p + 1) * width],
            )
    for y in range(REACH):
        _scale(rows[REACH], ONE if repeating else ZERO, rows[y])
        _scale(rows[REACH + height - 1], ONE if repeating else ZERO, rows[REACH + height + y])
    length = number * width
    for y in range(height):
        _smooth_rows(rows, REACH + y, weights, out[y * length : (y + 1) * length])


@inlined
def _slopes(middle, down, across, y, factor):
    """Write the central differences of row `y` of a padded frame in rows and columns, times `factor`."""
    above, here, below = middle[y], middle[y + 1], middle[y + 2]
    for x in range(down.shape[0]):
        down[x] = factor * (below[x + 1] - above[x + 1])
    for x in range(down.shape[0]):
        across[x] = factor * (here[x + 2] - here[x])


@inlined
def _multiply(a, b, out):
    for x in range(out.shape[0]):
        out[x] = a[x] * b[x]


@inlined
def _pad(padded):
    """Give the border of a padded frame the values beside the border."""
    height, width = padded.shape
    top, first, last, bottom = padded[0], padded[1], padded[height - 2], padded[height - 1]
    for x in range(width):
        top[x], bottom[x] = first[x], last[x]
    for y in range(height):
        padded[y, 0], padded[y, width - 1] = padded[y, 1], padded[y, width - 2]


@inlined
def _products(left, right, way, middle, difference, down, across, planes):
    """Write the products of slopes and differences of two moved frames, six planes side by side."""
    height, width = left.shape
    for y in range(height):
        a, b, mean, away = left[y], right[y], middle[y + 1], difference[y]
        for x in range(width):
            mean[x + 1] = HALF * (a[x] + b[x])
        for x in range(width):
            away[x] = b[x] - a[x]
    _pad(middle)
    step = width + 2 * REACH
    for y in range(height):
        row, away = planes[y], difference[y]
        _slopes(middle, down, across, y, HALF * way)
        _multiply(down, down, row[REACH : REACH + width])
        _multiply(down, across, row[REACH + step : REACH + step + width])
        _multiply(across, across, row[REACH + 2 * step : REACH + 2 * step + width])
        _multiply(down, away, row[REACH + 3 * step : REACH + 3 * step + width])
        _multiply(across, away, row[REACH + 4 * step : REACH + 4 * step + width])
        _multiply(away, away, row[REACH + 5 * step : REACH + 5 * step + width])


@inlined
def _pull(dd, aa, ee, variance):
    """Add to both diagonal elements what draws velocities towards zero."""
    for x in range(ee.shape[0]):
        pull = ee[x] / variance + SMALLEST_PULL
        dd[x] += pull
        aa[x] += pull


@inlined
def _invert(dd, da, aa, out):
    for x in range(out.shape[0]):
        out[x] = ONE / (dd[x] * aa[x] - da[x] * da[x])


@inlined
def _turn(da, other, own, along, inverse, limit, velocity):
    """Change one component of the velocity by the solution of the two equations, at most by `limit`."""
    for x in range(velocity.shape[0]):
        change = (da[x] * other[x] - own[x] * along[x]) * inverse[x]
        change = min(max(change, -limit), limit)
        velocity[x] += change if change == change else ZERO


@compiled("void(f4[:, :, ::1], f4[:, :, :, ::1], i8[::1], i8[::1], f4[::1], f4[::1], f4, f4, i8)")
def improve(fields, velocity, before, after, in_space, in_time, variance, max_change, max_apart):
    """Change the velocity so that it better maps the frame before each step onto the frame after.

    Args:
        fields: (T, H, W).
        velocity: (2, T, H, W) in rows and columns per step, changed.
        before, after: (T,) the steps of the frames; -1 and T where there is none.
        in_space: (REACH + 1,) weights of the window by distance in cells.
        in_time: (5,) weights of the window by distance in steps; the last is zero.
        variance: number of independent differences in a window, times the variance of velocities.
        max_change: cells by which the way between two frames changes at most.
        max_apart: frames further apart than so many steps are left out.
    """
    n_time, height, width = fields.shape
    left, right = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    middle, difference = np.empty((height + 2, width + 2), np.float32), np.empty((height, width), np.float32)
    down, across = np.empty(width, np.float32), np.empty(width, np.float32)
    planes = np.zeros((height, 6 * (width + 2 * REACH)), np.float32)
    smooth = np.empty(6 * (width + 2 * REACH) - 2 * REACH, np.float32)
    rows = np.empty((height + 2 * REACH, 6 * width), np.float32)
    size = 6 * height * width
    ring, mean = (
        np.zeros((9, size), np.float32),
        np.empty(size, np.float32),
    )  # frame t is in row t % 8; the last is zero
    around = np.empty(9, np.int64)
    for ahead in range(n_time + 3):
        if ahead < n_time:
            first, second = before[ahead], after[ahead]
            if first >= 0 and second < n_time and second - first <= max_apart:
                _move(fields[first], velocity[0, ahead], velocity[1, ahead], np.float32(first - ahead), left)
                _move(fields[second], velocity[0, ahead], velocity[1, ahead], np.float32(second - ahead), right)
                _products(left, right, np.float32(second - first), middle, difference, down, across, planes)
                _smooth_frame(planes, in_space, True, 6, smooth, rows, ring[ahead % 8])
            else:
                _scale(ring[8], ONE, ring[ahead % 8])
        t = ahead - 3
        if t < 0:
            continue
        for k in range(9):
            step = t + k - 4
            around[k] = step % 8 if abs(k - 4) < 4 and 0 <= step < n_time else 8
        _scale(ring[around[4]], in_time[0], mean)
        _add_pairs(
            ring[around[3]],
            ring[around[5]],
            ring[around[2]],
            ring[around[6]],
            ring[around[1]],
            ring[around[7]],
            ring[8],
            ring[8],
            in_time[1],
            in_time[2],
            in_time[3],
            ZERO,
            mean,
        )
        way = np.float32((t - before[t] if before[t] >= 0 else 0) + (after[t] - t if after[t] < n_time else 0))
        limit = max_change / max(way, ONE)
        for y in range(height):
            start = 6 * width * y
            dd, da = mean[start : start + width], mean[start + width : start + 2 * width]
            aa, de = mean[start + 2 * width : start + 3 * width], mean[start + 3 * width : start + 4 * width]
            ae, ee = mean[start + 4 * width : start + 5 * width], mean[start + 5 * width : start + 6 * width]
            _pull(dd, aa, ee, variance)
            _invert(dd, da, aa, ee)
            _turn(da, ae, aa, de, ee, limit, velocity[0, t, y])
            _turn(da, de, dd, ae, ee, limit, velocity[1, t, y])


@inlined
def _usable(change, wanted, product, square):
    """Write the products of changes with what is wanted, and the squares of changes; zero where either is missing."""
    for x in range(change.shape[0]):
        both = change[x] * wanted[x]
        product[x] = both if both == both else ZERO
    for x in range(change.shape[0]):
        square[x] = change[x] * change[x] if wanted[x] == wanted[x] and change[x] == change[x] else ZERO


@inlined
def _add_gain(product, square, share, prior, power, change, still):
    """Add the change to `still`, times the power of the factor by which the change explains what is wanted."""
    for x in range(still.shape[0]):
        gain = min(max((product[x] + prior * share) / (square[x] + prior), ZERO), ONE)
        factor = gain
        for _ in range(power - 1):
            factor *= gain
        still[x] += factor * change[x]


@compiled("void(f4[:, :, ::1], f4[:, :, ::1], i8[::1], f4[::1], f4[::1], f8, f8, f4[:, :, ::1])")
def add_gained(change, wanted, powers, in_space, in_time, prior_share, floor, still):
    """Add to `still` the change times the factor from 0 to 1 by which the change explains `wanted` nearby.

    The factor of a window is drawn towards that of the record.

    Args:
        change, wanted: (T, H, W); `wanted` is NaN where nothing is seen.
        powers: (T,) the factor is taken to this power, at least 1.
        in_space: (REACH + 1,) weights of the window by distance in cells.
        in_time: (9,) weights of the window by distance in steps.
        prior_share: weight of the whole record, as a share of its mean squared change.
        floor: smallest such weight.
        still: (T, H, W), changed.
    """
    n_time, height, width = change.shape
    reach, size = in_time.shape[0] - 1, 2 * height * width
    planes = np.zeros((height, 2 * (width + 2 * REACH)), np.float32)
    smooth = np.empty(2 * (width + 2 * REACH) - 2 * REACH, np.float32)
    rows, mean = np.empty((height + 2 * REACH, 2 * width), np.float32), np.empty(size, np.float32)
    period = 2 * reach + 1
    ring, first, second = np.zeros((period + 1, size), np.float32), REACH, 3 * REACH + width
    products = squares = 0.0
    for t in range(n_time):
        for y in range(height):
            a, b = planes[y, first : first + width], planes[y, second : second + width]
            _usable(change[t, y], wanted[t, y], a, b)
            total, square = ZERO, ZERO
            for x in range(width):
                total += a[x]
                square += b[x]
            products += total
            squares += square
    usual = squares / (n_time * height * width)
    overall = np.float32(products / (n_time * height * width) / max(usual, floor))
    prior = np.float32(max(prior_share * usual, floor))
    at = np.empty(2 * reach + 1, np.int64)
    for ahead in range(n_time + reach):
        if ahead < n_time:
            for y in range(height):
                _usable(
                    change[ahead, y],
                    wanted[ahead, y],
                    planes[y, first : first + width],
                    planes[y, second : second + width],
                )
            _smooth_frame(planes, in_space, False, 2, smooth, rows, ring[ahead % period])
        t = ahead - reach
        if t < 0:
            continue
        for k in range(2 * reach + 1):
            step = t + k - reach
            at[k] = step % period if 0 <= step < n_time else period
        _scale(ring[at[reach]], in_time[0], mean)
        for k in range(1, reach, 4):
            _add_pairs(
                ring[at[reach - k]],
                ring[at[reach + k]],
                ring[at[reach - k - 1]],
                ring[at[reach + k + 1]],
                ring[at[reach - k - 2]],
                ring[at[reach + k + 2]],
                ring[at[reach - k - 3]],
                ring[at[reach + k + 3]],
                in_time[k],
                in_time[k + 1],
                in_time[k + 2],
                in_time[k + 3],
                mean,
            )
        for y in range(height):
            start = 2 * width * y
            _add_gain(
                mean[start : start + width],
                mean[start + width : start + 2 * width],
                overall,
                prior,
                powers[t],
                change[t, y],
                still[t, y],
            )


@compiled("void(f4[:, :, ::1], f4[:, :, ::1])")
def halve(values, out):
    """Write the means of 2 x 2 blocks, (T, H, W) -> (T, H // 2, W // 2); an odd last row or column is left out."""
    for t in range(out.shape[0]):
        for y in range(out.shape[1]):
            first, second, into = values[t, 2 * y], values[t, 2 * y + 1], out[t, y]
            for x in range(into.shape[0]):
                into[x] = np.float32(0.25) * (first[2 * x] + first[2 * x + 1] + second[2 * x] + second[2 * x + 1])


@compiled("void(f4[:, :, :, ::1], f4[:, :, :, ::1])")
def double(velocity, out):
    """Write twice the velocity of blocks of 2 x 2 cells; an odd last row or column repeats its neighbour."""
    for k in range(2):
        for t in range(out.shape[1]):
            for y in range(out.shape[2]):
                coarse, into = velocity[k, t, min(y // 2, velocity.shape[2] - 1)], out[k, t, y]
                for x in range(into.shape[0]):
                    into[x] = TWO * coarse[min(x // 2, velocity.shape[3] - 1)]
