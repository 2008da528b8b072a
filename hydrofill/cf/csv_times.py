"""Read the times of a CSV, in whichever usual format they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hydrofill.cf.coordinates import check_times
from hydrofill.errors import CoordinateError

DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y%m%d")
CLOCKS = ("", " %H:%M", " %H:%M:%S", "%H%M")


def read_times(cells: Sequence[tuple[int, str]]) -> np.ndarray:
    """Return the times of the first column, (T,) datetime64[ns], in UTC where they have an offset.

    Raises:
        CoordinateError: a time cannot be read, can be read in two ways, is there twice or out of order.
    """
    texts = [text for _, text in cells]
    found = _readings(texts)
    rising = [times for times in found if (np.diff(times) > np.timedelta64(0)).all()]
    if len({times.tobytes() for times in rising}) > 1:
        raise CoordinateError("day and month cannot be told apart", where="time", got=texts[0], expected="2001-02-28")
    if rising:
        return check_times(rising[0])
    if not found:
        number, text = cells[_first_unread(texts)]
        raise CoordinateError(
            f"line {number} of the first column is not a time as in the other lines",
            where="time",
            got=repr(text[:40]),
            expected="such as 2001-02-28 or 2001-02-28 12:00",
        )
    times = found[0]
    at = int(np.argmax(np.diff(times) <= np.timedelta64(0))) + 1
    twice = times[at] == times[at - 1] or times[at] in times[:at]
    raise CoordinateError(
        f"line {cells[at][0]} has {'a time that is there before' if twice else 'an earlier time than the line before'}",
        where="time",
        got=repr(texts[at]),
        expected="each time once, in order",
    )


def _formats(texts: Sequence[str]) -> list[str]:
    """Return the formats that may be those of these times."""
    if any(re.match(r"[0-9]{4}(-|$)|[0-9]{8}T", text) for text in texts[:1]):
        return ["ISO8601"]
    return [date + clock for date in DATES for clock in CLOCKS]


def _in_format(texts: Sequence[str], format_: str) -> np.ndarray:
    """Return what the texts mean as times in a format, (T,) datetime64[ns]; NaT where they are not in the format."""
    read = pd.to_datetime(pd.Index(list(texts), dtype=object), format=format_, utc=True, errors="coerce")
    return np.asarray(read.tz_localize(None).to_numpy("datetime64[ns]"))


def _readings(texts: Sequence[str]) -> list[np.ndarray]:
    """Return what the texts mean as times in each format in which all of them can be read."""
    fitting = [format_ for format_ in _formats(texts) if not np.isnat(_in_format(texts[:1], format_))[0]]
    read = (_in_format(texts, format_) for format_ in fitting)
    return [times for times in read if not np.isnat(times).any()]


def _first_unread(texts: Sequence[str]) -> int:
    """Return the number of the first text that is not in the format of most."""
    unread = [np.isnat(_in_format(texts, format_)) for format_ in _formats(texts)]
    return int(np.argmax(min(unread, key=np.count_nonzero)))
