"""Conversion between times in ISO 8601 and datetime64."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from hydrofill.cf.calendars import date_text
from hydrofill.cf.coordinates import check_times
from hydrofill.constants import STANDARD
from hydrofill.errors import CoordinateError

UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
MAX_COUNT = 1_000  # of a unit such as 15 minutes; with larger ones, numpy overflows


def read_times(texts: Sequence[str]) -> np.ndarray:
    """Convert ISO 8601 texts to datetime64[us] in UTC; a text without a time zone is taken as UTC.

    Raises:
        CoordinateError: there is no time, or a time is not ISO 8601 or outside the range of years; names
            its index.
    """
    times = np.empty(len(texts), "datetime64[us]")
    for number, text in enumerate(texts):
        try:
            time = datetime.fromisoformat(text)
            times[number] = np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "us")
        except (ValueError, OverflowError) as error:
            where, expected = f"time/{number}", "such as 2012-08-01T00:00:00Z"
            raise CoordinateError(
                "is not an ISO 8601 time", where=where, got=repr(text[:40]), expected=expected
            ) from error
    return check_times(times)


def read_datetimes(times: np.ndarray) -> np.ndarray:
    """Convert datetime64 of any unit, (T,), to datetime64[us].

    Raises:
        CoordinateError: there is no time, the unit is none, too small or too large, or a time is outside the supported
            range of years.
    """
    unit, count = np.datetime_data(times.dtype)
    if unit not in UNITS or not 0 < count <= MAX_COUNT:
        expected = f"one of {list(UNITS)}, at most {MAX_COUNT} of it"
        raise CoordinateError("is in an unsupported unit", where="time", got=str(times.dtype), expected=expected)
    return check_times(times)


def as_dates(times: np.ndarray, calendar: str) -> np.ndarray:
    """Return the times of a cube as datetime64[us], or as texts such as 2001-02-30T00:00:00 in other calendars."""
    if calendar in (STANDARD, "proleptic_gregorian"):
        return times
    return np.array([date_text(time, calendar) for time in times])


def write_times(times: np.ndarray, calendar: str = STANDARD) -> list[str]:
    """Convert the times of a cube to ISO 8601 texts in UTC; with fractions of a second if any time has them."""
    dates = as_dates(times, calendar)
    if dates.dtype.kind == "U":
        return [f"{text}Z" for text in dates]
    whole = (times == times.astype("datetime64[s]")).all()
    return [f"{text}Z" for text in np.datetime_as_string(times, unit="s" if whole else "us")]
