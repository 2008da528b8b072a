"""Add up the powers of values in the order in which they are given, so that the same values give the same sums.

The sums of a part of a row go on from those of the parts before, however a row is cut.
"""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled, inlined


@inlined
def _end_with(end, z):
    """Return a lower end (value, number, next value, its number) with one more value."""
    value, number, following, following_number = end
    if z < value:
        return z, 1.0, value, number
    if z == value:
        return value, number + 1.0, following, following_number
    if z < following:
        return value, number, z, 1.0
    if z == following:
        return value, number, following, following_number + 1.0
    return end


@compiled("void(f4[:, :, ::1], f8[:, :, ::1], f8[:, :, ::1])", in_order=True)
def add_moments(values, sums, ends):
    """Add values (T, R, C) to the sums (T, R, 9) of rows, and to the ends (T, 2, 4) of steps; NaN is left out.

    Columns are SUMS and the fields of End in hydrofill/summary.py.
    """
    for t in range(values.shape[0]):
        low = (ends[t, 0, 0], ends[t, 0, 1], ends[t, 0, 2], ends[t, 0, 3])
        high = (-ends[t, 1, 0], ends[t, 1, 1], -ends[t, 1, 2], ends[t, 1, 3])  # the lower end of the negative values
        for row in range(values.shape[1]):
            number, z1, z2, z3, dry, r1, r2, ones, hundreds = sums[t, row]
            for column in range(values.shape[2]):
                z = np.float64(values[t, row, column])
                if z != z:
                    continue
                number += 1.0
                square = z * z
                z1 += z
                z2 += square
                z3 += square * z
                if z > 0.0:
                    r1 += np.sqrt(z)
                    r2 += z
                    if z == 1.0:
                        ones += 1.0
                    elif z == 100.0:
                        hundreds += 1.0
                else:
                    dry += 1.0
                if z <= low[2]:
                    low = _end_with(low, z)
                if -z <= high[2]:
                    high = _end_with(high, -z)
            sums[t, row] = (number, z1, z2, z3, dry, r1, r2, ones, hundreds)
        ends[t, 0] = low
        ends[t, 1] = (-high[0], high[1], -high[2], high[3])
