"""Refuse values that seem to stand for missing values and that nothing declares: far outside all others, and repeated.

A fill that is made from -9999 is wrong without a sign of it, so such values are an error until the user says what they
are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Set

import numpy as np

from hydrofill.errors import ValueRangeError
from hydrofill.specification import VariableInfo, never_negative
from hydrofill.summary import End, Summary

REPEATED = 0.01  # share of the cells
FAR = 10.0  # ranges of the other values
# Numbers that people write where nothing was measured: -99, -999.9, 99999, -8888 and the like.
MARKERS = re.compile(r"-?(9{2,}(\.9+)?|8{3,}(\.8+)?|7{3,}(\.7+)?|6{3,}(\.6+)?)")
LARGE = 1e10  # of 1e20, 1e30, -3.4e38 and the like
INTEGER_ENDS = {float(sign * 2**bits - less) for bits in (15, 16, 31, 32) for sign in (1, -1) for less in (0, 1)}
STRONG = 999.0  # a marker of this size that is far outside needs to occur only twice
LEAST_NEGATIVE = 9.0  # a value below its negative, farther from all others than their range, is a marker


def check_declared(
    variable: VariableInfo, summary: Summary, real: Set[str], shown: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Check that no end of the values of a variable seems to stand for missing values.

    Args:
        variable: its name is the user's.
        summary: of its observed values.
        real: names of variables whose values the user calls real; "" for every variable.
        shown: returns values in the user's units.

    Raises:
        ValueRangeError: names the variable, the value, its count, and the option that declares it.
    """
    if not real.isdisjoint(("", variable.name)) or summary.number == 0:
        return
    for end, other in ((summary.low, summary.high), (summary.high, summary.low)):
        if not _is_marker(end, other, summary.number, never_negative(variable)):
            continue
        text, *rest = (_as_text(v) for v in shown(np.array([end.value, *sorted((end.next, other.value))])))
        name = variable.name
        raise ValueRangeError(
            f"the value {text} is far from all others and repeats, so it seems to stand for missing values: declare it "
            f"with --missing {name}={text} (in Python and in a query: missing), or say that it is real with "
            f"--missing {name}=none",
            where=name,
            got=f"{text} in {end.number:,} of {summary.number:,} cells, {end.number / summary.number:.1%}",
            expected=f"values from {rest[0]} to {rest[1]}, as in the other cells",
        )


def _is_marker(end: End, other: End, number: int, never_below_zero: bool) -> bool:
    """Return whether the value at an end of a variable's values seems to stand for missing values."""
    value = end.value
    if value == 0 or math.isnan(end.next) or end.number < 2:
        return False
    farthest = other.next if _looks_like_marker(other.value) and other.number > 1 else other.value
    if math.isnan(farthest) or farthest == value:
        farthest = end.next
    spread = abs(farthest - end.next)  # of the other values
    looks, whole = _looks_like_marker(value), value == round(value)
    if looks and abs(value) >= STRONG and end.distance > FAR * spread:
        return True
    if end.number <= REPEATED * number:
        return False
    alone_below_zero = value < 0 <= min(end.next, farthest)
    if looks and (end.distance > spread or alone_below_zero or (value < 0 and end.distance > spread / 4)):
        return True
    if value < 0 and whole and alone_below_zero and never_below_zero:
        return True
    if spread == 0:
        return False
    if value < -LEAST_NEGATIVE and end.distance > spread:
        return True
    size = max(abs(end.next), abs(farthest))
    return whole and abs(value) >= STRONG and end.distance > FAR * spread and abs(value) > 2 * FAR * size


def _looks_like_marker(value: float) -> bool:
    return abs(value) >= LARGE or value in INTEGER_ENDS or MARKERS.fullmatch(_as_text(value)) is not None


def _as_text(value: float) -> str:
    """Return the shortest text of a value, as float32."""
    return str(np.float32(value)).removesuffix(".0")
