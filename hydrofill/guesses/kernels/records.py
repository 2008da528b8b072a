"""Passes over a whole record that look at each value once or a few times; arrays are (T, n) or flat."""

from __future__ import annotations

import math

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
BLOCK = 256  # cells whose sums are kept in the cache of the processor


@compiled("f4(f4[::1])")
def largest(values):
    """Return the largest finite size of values; NaN and infinity do not count."""
    most = ZERO
    for i in range(values.shape[0]):
        size = abs(values[i])
        most = size if most < size < np.inf else most
    return most


@inlined
def _pass_on(row, state, age, out, steps):
    """Write the value and the age that a state holds, then let the state hold the values of a row that are seen."""
    for i in range(row.shape[0]):
        out[i] = state[i]
        state[i] = row[i] if row[i] == row[i] else state[i]
    for i in range(row.shape[0]):
        steps[i] = age[i]
        age[i] = ONE if row[i] == row[i] else age[i] + ONE


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def neighbours(values, before, after, steps_before, steps_after):
    """Write the nearest seen values before and after each step and the steps to them, (T, n); NaN, infinite if none."""
    n_time, n = values.shape
    state, age = np.empty(n, np.float32), np.empty(n, np.float32)
    for backwards in range(2):
        for i in range(n):
            state[i], age[i] = np.nan, np.inf
        for number in range(n_time):
            t = n_time - 1 - number if backwards else number
            if backwards:
                _pass_on(values[t], state, age, after[t], steps_after[t])
            else:
                _pass_on(values[t], state, age, before[t], steps_before[t])


@compiled("void(f4[::1], f4[::1], f4[::1], f4[::1], f4[::1])")
def between(before, after, steps_before, steps_after, line):
    """Write the line between the neighbours in time; where only one exists, that one."""
    for i in range(line.shape[0]):
        share = steps_before[i] / (steps_before[i] + steps_after[i])
        straight = before[i] + share * (after[i] - before[i])
        one = before[i] if before[i] == before[i] else after[i]
        line[i] = straight if straight == straight else one


@inlined
def _remember(row, state, weight, keep, out, weights):
    """Write the value that a state holds and its weight; then take the seen values of a row, or let weights fall."""
    for i in range(row.shape[0]):
        out[i] = state[i]
        state[i] = row[i] if row[i] == row[i] else state[i]
    for i in range(row.shape[0]):
        weights[i] = weight[i]
        weight[i] = keep * (ONE if row[i] == row[i] else weight[i])


@inlined
def _expect(before, after, of_before, of_after, out):
    """Write the value to expect between two neighbours with these correlations."""
    for i in range(out.shape[0]):
        p, q = of_before[i], of_after[i]
        total = p * (ONE - q * q) * before[i] + q * (ONE - p * p) * after[i]
        out[i] = total / (ONE - (p * q) * (p * q))


@compiled("void(f4[:, ::1], f4, f4[:, ::1])")
def expected_between(values, correlation, out):
    """Write the value to expect from the nearest seen values before and after in time, (T, n); 0 far from them.

    Each cell is an autoregressive process of order one with this correlation from step to step.
    """
    n_time, n = values.shape
    state, weight = np.zeros(n, np.float32), np.zeros(n, np.float32)
    of_before, after, of_after = np.empty((n_time, n), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for t in range(n_time):
        _remember(values[t], state, weight, correlation, out[t], of_before[t])
    for i in range(n):
        state[i], weight[i] = ZERO, ZERO
    for t in range(n_time - 1, -1, -1):
        _remember(values[t], state, weight, correlation, after, of_after)
        _expect(out[t], after, of_before[t], of_after, out[t])


@inlined
def _add_seen(a, b, c, d, near, far, sums):
    """Add four rows to totals, and their weights where seen; the first two have the weight `near`, the others `far`.

    sums: (2 * BLOCK,), totals before weights.
    """
    for i in range(a.shape[0]):
        p, q, r, s = a[i], b[i], c[i], d[i]
        first = (p if p == p else ZERO) + (q if q == q else ZERO)
        second = (r if r == r else ZERO) + (s if s == s else ZERO)
        number = (ONE if p == p else ZERO) + (ONE if q == q else ZERO)
        other = (ONE if r == r else ZERO) + (ONE if s == s else ZERO)
        sums[i] += near * first + far * second
        sums[i + BLOCK] += near * number + far * other


@compiled("void(f4[:, ::1], f4[::1], f4, i8, i8, f4[:, ::1])")
def local_mean(values, weights, enough, first, last, out):
    """Write the weighted mean of the steps around each step without the step itself, (T, n).

    Args:
        values: (T, n), NaN where nothing is seen.
        weights: (K,) by distance in steps, from one step on; K is even.
        enough: NaN is written where the weights of seen values add up to less.
        first, last: the steps from `first` up to `last` are written.
        out: (T, n).
    """
    n_time, n = values.shape
    sums, nothing = np.empty(2 * BLOCK, np.float32), np.full(BLOCK, np.nan, np.float32)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        for t in range(first, last):
            for i in range(2 * BLOCK):
                sums[i] = ZERO
            for k in range(0, weights.shape[0], 2):
                _add_seen(
                    values[t - k - 1, start:end] if t - k - 1 >= 0 else nothing[: end - start],
                    values[t + k + 1, start:end] if t + k + 1 < n_time else nothing[: end - start],
                    values[t - k - 2, start:end] if t - k - 2 >= 0 else nothing[: end - start],
                    values[t + k + 2, start:end] if t + k + 2 < n_time else nothing[: end - start],
                    weights[k],
                    weights[k + 1],
                    sums,
                )
            into = out[t, start:end]
            for i in range(into.shape[0]):
                into[i] = sums[i] / sums[i + BLOCK] if sums[i + BLOCK] > enough else np.float32(np.nan)


@compiled("void(f4[::1], f4[::1], f4[::1], f4[::1])")
def median_of_three(first, second, third, out):
    """Write the median of those of three values that are not NaN; of two, their mean."""
    for i in range(out.shape[0]):
        a, b, c = first[i], second[i], third[i]
        low, high = min(a, b), max(a, b)
        middle = max(low, min(high, c))
        number = (ONE if a == a else ZERO) + (ONE if b == b else ZERO) + (ONE if c == c else ZERO)
        total = (a if a == a else ZERO) + (b if b == b else ZERO) + (c if c == c else ZERO)
        out[i] = middle if number == 3 else total / number


@inlined
def _add_products(here, there):
    """Return the sums of products and of both squares over pairs that are both seen."""
    products = left = right = 0.0
    for i in range(here.shape[0]):
        a, b = np.float64(here[i]), np.float64(there[i])
        both = a * b == a * b
        products += a * b if both else 0.0
        left += a * a if both else 0.0
        right += b * b if both else 0.0
    return products, left, right


@compiled("UniTuple(f8, 3)(f4[:, :, ::1])")
def pair_sums(values):
    """Return the sums of products and of both squares over neighbours along the middle axis that are both seen."""
    products = left = right = 0.0
    outer, number, inner = values.shape
    for o in range(outer):
        if inner == 1:
            row = values[o].reshape(number)
            p, a, b = _add_products(row[: number - 1], row[1:])
            products, left, right = products + p, left + a, right + b
        else:
            for k in range(number - 1):
                p, a, b = _add_products(values[o, k], values[o, k + 1])
                products, left, right = products + p, left + a, right + b
    return products, left, right


@inlined
def _add_row(row, total, count):
    for i in range(row.shape[0]):
        total[i] += row[i] if row[i] == row[i] else ZERO
    for i in range(row.shape[0]):
        count[i] += 1.0 if row[i] == row[i] else 0.0


@compiled("void(f4[:, ::1], f8[::1], f8[::1])")
def sums_over_time(values, total, count):
    """Add the seen values of each cell and their number, (n,), to totals and counts."""
    for t in range(values.shape[0]):
        _add_row(values[t], total, count)


@compiled("UniTuple(f8, 4)(f4[::1])")
def moments(values):
    """Return the least, the largest, the mean and the variance of the values that are seen."""
    number = total = squares = 0.0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(values.shape[0]):
        there = values[i] == values[i]
        number += 1.0 if there else 0.0
        total += np.float64(values[i]) if there else 0.0
    for i in range(values.shape[0]):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    mean = total / max(number, 1.0)
    for i in range(values.shape[0]):
        away = np.float64(values[i]) - mean
        squares += away * away if away == away else 0.0
    return np.float64(low), np.float64(high), mean, squares / max(number, 1.0)


@inlined
def _column_distances(seen, distance, far):
    """Write the distance of each cell to the nearest seen cell of its column, `far` if none."""
    height, width = seen.shape
    for backwards in range(2):
        for number in range(height):
            y = height - 1 - number if backwards else number
            row, out = seen[y], distance[y]
            if number == 0:
                for x in range(width):
                    reached = far if backwards == 0 else out[x]
                    out[x] = ZERO if row[x] else reached
            else:
                previous = distance[y + 1] if backwards else distance[y - 1]
                for x in range(width):
                    reached = min(previous[x] + ONE, far)
                    reached = min(reached, out[x]) if backwards else reached
                    out[x] = ZERO if row[x] else reached


@compiled("void(b1[:, :, ::1], i8, i8, f4[:, :, ::1])")
def distances(seen, first, last, out):
    """Write the distance in cells of each cell to the nearest seen cell of its frame, (T, H, W); infinite if none.

    The lower envelope of parabolas gives the squares. Source: Felzenszwalb and Huttenlocher 2012. The steps from
    `first` up to `last` are written.
    """
    height, width = seen.shape[1:]
    far = np.float32(height + width)
    columns, square = np.empty((height, width), np.float32), np.empty(width, np.float64)
    places, bounds = np.empty(width, np.int64), np.empty(width + 1, np.float64)
    for t in range(first, last):
        number = 0
        for y in range(height):
            for x in range(width):
                number += seen[t, y, x]
        if number == 0 or number == height * width:
            for y in range(height):
                for x in range(width):
                    out[t, y, x] = ZERO if number else np.inf
            continue
        _column_distances(seen[t], columns, far)
        for y in range(height):
            row, into = columns[y], out[t, y]
            for x in range(width):
                square[x] = row[x] * row[x]
            last_place = -1
            for x in range(width):
                if row[x] >= far:
                    continue
                own, start = square[x] + x * x, -1.0
                while last_place >= 0:
                    place = places[last_place]
                    start = (own - square[place] - place * place) / (2.0 * (x - place))
                    if start > bounds[last_place]:
                        break
                    last_place -= 1
                last_place += 1
                places[last_place] = x
                bounds[last_place] = start if last_place > 0 else -1.0
            bounds[last_place + 1] = np.inf
            k = 0
            for x in range(width):
                while bounds[k + 1] < x:
                    k += 1
                away = x - places[k]
                into[x] = np.float32(math.sqrt(square[places[k]] + away * away))


@compiled("void(f4[::1], f4)")
def scale_distances(values, largest):
    """Change distances to the square roots of their shares of `largest`; greater distances count as that one."""
    for i in range(values.shape[0]):
        values[i] = math.sqrt(min(values[i], largest) / largest)
