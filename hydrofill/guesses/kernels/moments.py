"""Add up the powers of values in the order in which they are given, so that the same values give the same sums.

The sums of a part of a row go on from those of the parts before, however a row is cut.
"""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.kernels.compiled import compiled


@compiled("void(f4[:, :, ::1], f8[:, :, ::1], f8[:, :, ::1])", in_order=True)
def add_moments(values, sums, ends):
    """Add values (T, R, C) to the sums (T, R, 9) of rows, and to the ends (T, 2, 4) of steps; NaN is left out.

    Columns are SUMS and the fields of End in hydrofill/summary.py.
    """
    for t in range(values.shape[0]):
        for row in range(values.shape[1]):
            number, z1, z2, z3, dry, r1, r2, ones, hundreds = sums[t, row]
            for value in values[t, row]:
                if value != value:
                    continue
                z = np.float64(value)
                positive = max(z, 0.0)
                number += 1.0
                z1 += z
                z2 += z * z
                z3 += z * z * z
                dry += z <= 0.0
                r1 += np.sqrt(positive)
                r2 += positive
                ones += z == 1.0
                hundreds += z == 100.0
                for side in range(2):
                    end = ends[t, side]
                    beyond = z < end[0] if side == 0 else z > end[0]
                    if beyond:
                        end[2], end[3] = end[0], end[1]
                        end[0], end[1] = z, 1.0
                    elif z == end[0]:
                        end[1] += 1.0
                    elif (z < end[2]) if side == 0 else (z > end[2]):
                        end[2], end[3] = z, 1.0
                    elif z == end[2]:
                        end[3] += 1.0
            sums[t, row] = (number, z1, z2, z3, dry, r1, r2, ones, hundreds)
