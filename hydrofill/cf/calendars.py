"""Read times in any calendar as an axis of elapsed time.

The axis counts microseconds from 1970-01-01 in the data's own calendar, as datetime64[us]. So steps are differences in
that calendar, and a whole number of its years after 1970 begins on its first of January. In the standard calendar these
are the dates themselves.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import cftime
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from hydrofill.constants import CALENDAR_YEAR_DAYS, STANDARD
from hydrofill.errors import CoordinateError

Microseconds = npt.NDArray[np.int64]

SINCE = re.compile(r"^\s*(?P<unit>[a-z_]+)\s+since\s+(?P<start>\S.*?)\s*$", re.IGNORECASE)
AXIS_UNITS = "microseconds since 1970-01-01"
SECOND_US = 10**6
DAY_US = 86_400 * SECOND_US
# Names of units, as UDUNITS and cftime spell them.
UNIT_US: Mapping[str, float] = {
    **dict.fromkeys(("nanosecond", "nanosec", "ns"), 1e-3),
    **dict.fromkeys(("microsecond", "microsec", "us"), 1),
    **dict.fromkeys(("millisecond", "millisec", "msec", "ms"), 1000),
    **dict.fromkeys(("second", "sec", "s"), SECOND_US),
    **dict.fromkeys(("minute", "min"), 60 * SECOND_US),
    **dict.fromkeys(("hour", "hr", "h"), 3600 * SECOND_US),
    **dict.fromkeys(("day", "d"), DAY_US),
    **dict.fromkeys(("week",), 7 * DAY_US),
    **dict.fromkeys(("common_year",), 365 * DAY_US),
}
UNIT_MONTHS: Mapping[str, int] = {"month": 1, "mon": 1, "year": 12, "yr": 12}
# Other names of the calendars; the IRI Data Library writes 360, and old files nothing or none of the CF names.
CALENDAR_NAMES: Mapping[str, str] = {
    **{name: name for name in CALENDAR_YEAR_DAYS},
    **dict.fromkeys(("", "gregorian", "utc", "tai"), STANDARD),
    **dict.fromkeys(("365_day", "365"), "noleap"),
    **dict.fromkeys(("366_day", "366"), "all_leap"),
    **dict.fromkeys(("360",), "360_day"),
}
MAX_YEAR = 100_000  # before or after year 0; microseconds in 64 bits reach three times as far


class Times(NamedTuple):
    """A time axis: elapsed time (T,) datetime64[us], see the module, and the calendar, a key of CALENDAR_YEAR_DAYS."""

    elapsed: np.ndarray
    calendar: str


def holds_times(variable: xr.Variable) -> bool:
    """Return whether a variable holds times: dates, or numbers whose units are such as `days since 2000-01-01`."""
    if variable.dtype.kind == "M":
        return True
    if variable.dtype == object:
        return variable.size > 0 and isinstance(variable[(0,) * variable.ndim].values.item(), cftime.datetime)
    return variable.dtype.kind in "iuf" and SINCE.match(str(variable.attrs.get("units", ""))) is not None


def read_times(variable: xr.Variable, where: str) -> Times:
    """Return the times of a variable (T,) that holds times.

    Args:
        variable: dates (datetime64 or cftime), or numbers with units since a date and a calendar.
        where: the name of the variable, for errors.

    Raises:
        CoordinateError: the variable holds no times, the units, the calendar or the start of the units cannot be
            understood, or a time is outside the supported range of years.
    """
    if variable.dtype.kind == "M":
        return Times(as_microseconds(variable.values, where), STANDARD)
    if variable.dtype == object and variable.size:
        return _of_dates(variable.values, where)
    units = SINCE.match(str(variable.attrs.get("units", "")))
    if units is None or variable.dtype.kind not in "iuf":
        raise CoordinateError(
            "is not a CF time axis",
            where=where,
            got=variable.dtype,
            expected="numbers with units such as 'days since 2000-01-01'",
        )
    calendar = _calendar(variable, where)
    us = _elapsed(variable.values, units["unit"], units["start"], calendar, where)
    return Times(us.view("datetime64[us]"), calendar)


def as_microseconds(times: np.ndarray, where: str) -> np.ndarray:
    """Return times, datetime64 of any unit, as datetime64[us], to the nearest microsecond.

    Raises:
        CoordinateError: a time is outside the supported range of years; names its number.
    """
    missing = np.isnat(times)
    _check_years(np.where(missing, 0, times.astype("datetime64[Y]").astype(np.int64) + 1970), where)
    if times.dtype != np.dtype("datetime64[ns]"):
        return times.astype("datetime64[us]")
    us = (times.astype(np.int64) // 500 + 1) // 2
    return np.where(missing, np.datetime64("NaT", "us"), us.view("datetime64[us]"))


def date_text(time: np.datetime64, calendar: str) -> str:
    """Return a time of an axis as a date in its own calendar, such as 2001-02-30T00:00:00."""
    us = int(time.astype("datetime64[us]").astype(np.int64))
    with _dates_before_year_1():
        return str(cftime.num2date(us, AXIS_UNITS, calendar).isoformat())


def with_dates(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose time coordinates are dates, so that files can be joined; other calendars stay numbers."""
    dates = {}
    for name, variable in dataset.variables.items():
        if name in dataset.coords and variable.dims == (name,) and holds_times(variable) and variable.dtype.kind != "M":
            times = read_times(variable, str(name))
            if times.calendar in (STANDARD, "proleptic_gregorian"):
                attrs = {key: value for key, value in variable.attrs.items() if key not in ("units", "calendar")}
                dates[name] = xr.Variable(variable.dims, times.elapsed, attrs)
    return dataset.assign_coords(dates)


def counted_like(variable: xr.Variable, other: xr.Variable, where: str) -> xr.Variable:
    """Return times as numbers of the units and since the date of another variable; both hold such numbers.

    Raises:
        CoordinateError: the calendars differ, or the units are of months or years and differ.
    """
    if all(variable.attrs.get(key) == other.attrs.get(key) for key in ("units", "calendar")):
        return variable
    times, units = read_times(variable, where), SINCE.match(str(other.attrs.get("units", "")))
    name = units["unit"].lower() if units else ""
    unit_us = UNIT_US.get(name) or UNIT_US.get(name.removesuffix("s"))
    calendar = _calendar(other, where)
    if units is None or unit_us is None or times.calendar != calendar:
        raise CoordinateError(
            "has other units or another calendar than the first file",
            where=where,
            got=f"{variable.attrs.get('units')}, {times.calendar}",
            expected=f"{other.attrs.get('units')}, {calendar}",
        )
    us = times.elapsed.astype(np.int64) - _microseconds(_start(units["start"], calendar, where))
    whole = unit_us >= 1 and not (us % int(unit_us)).any() and other.dtype.kind in "iu"
    return xr.Variable(variable.dims, us // int(unit_us) if whole else us / unit_us, other.attrs)


def _of_dates(dates: np.ndarray, where: str) -> Times:
    if not all(isinstance(date, cftime.datetime) and date.calendar in CALENDAR_NAMES for date in dates.flat):
        raise CoordinateError("is not a CF time axis", where=where, got=type(dates.flat[0]).__name__, expected="dates")
    calendar = CALENDAR_NAMES[dates.flat[0].calendar]
    _check_years(np.array([date.year for date in dates.flat]), where)
    with _dates_before_year_1():
        us = np.asarray(cftime.date2num(dates, AXIS_UNITS, dates.flat[0].calendar)).astype(np.int64)
    return Times(us.view("datetime64[us]"), calendar)


def _calendar(variable: xr.Variable, where: str) -> str:
    given = str(variable.attrs.get("calendar", STANDARD)).strip().lower()
    if given not in CALENDAR_NAMES:
        raise CoordinateError(
            "the calendar is not known", where=where, got=repr(given), expected=", ".join(CALENDAR_YEAR_DAYS)
        )
    return CALENDAR_NAMES[given]


def _elapsed(numbers: np.ndarray, unit: str, start: str, calendar: str, where: str) -> Microseconds:
    """Return numbers of a unit since a date as microseconds of elapsed time; missing numbers as NaT."""
    with _dates_before_year_1():
        first = _start(start, calendar, where)
        return _since(first, numbers, unit, where)


def _since(first: cftime.datetime, numbers: np.ndarray, unit: str, where: str) -> Microseconds:
    name = unit.lower()
    name = name if name in UNIT_US or name in UNIT_MONTHS else name.removesuffix("s")
    missing = ~np.isfinite(numbers.astype(np.float64))
    known = np.where(missing, 0, numbers)
    if name in UNIT_US:
        _check_years(first.year + known * (UNIT_US[name] / (DAY_US * 365.0)), where)
        whole = np.floor(known)
        us = _microseconds(first) + _scaled(whole, UNIT_US[name]) + _scaled(known - whole, UNIT_US[name])
    elif name in UNIT_MONTHS:
        _check_years(first.year + known * (UNIT_MONTHS[name] / 12), where)
        us = _after_months(known.astype(np.float64) * UNIT_MONTHS[name], first)
    else:
        raise CoordinateError(
            "the units of time are not known", where=where, got=repr(unit), expected="days, hours, months or such"
        )
    return np.where(missing, np.iinfo(np.int64).min, us)  # the least number is NaT


def _scaled(numbers: np.ndarray, unit_us: float) -> Microseconds:
    if numbers.dtype.kind in "iu" and unit_us >= 1:
        return numbers.astype(np.int64) * int(unit_us)
    return np.rint(numbers.astype(np.float64) * unit_us).astype(np.int64)


def _start(text: str, calendar: str, where: str) -> cftime.datetime:
    """Return the date since which units count."""
    whole = text + ("-01-01" if re.fullmatch(r"\d{4}", text) else "-01" if re.fullmatch(r"\d+-\d+", text) else "")
    try:
        return cftime.num2date(0, f"days since {whole}", calendar)
    except (ValueError, TypeError, OverflowError) as error:
        reason = error
    try:  # pandas reads more ways to write a date of the standard calendar
        stamp = pd.Timestamp(text).tz_localize(None).isoformat(" ")
        return cftime.num2date(0, f"days since {stamp}", calendar)
    except (ValueError, TypeError, OverflowError):
        raise CoordinateError(
            "the times cannot be decoded", where=where, got=repr(f"since {text}"), expected=f"a date, {calendar}"
        ) from reason


def _after_months(months: np.ndarray, first: cftime.datetime) -> Microseconds:
    """Return elapsed time at a number of calendar months after `first`.

    A whole number of months after a date is the same day of another month, or its last day if the month is shorter. A
    fraction of a month is that fraction of the month's length.
    """
    since_zero = months + (first.year * 12 + first.month - 1)
    whole = np.floor(since_zero).astype(np.int64)
    needed = np.unique(np.concatenate([whole, whole + 1]))
    begins = np.array([_microseconds(_month(first, number)) for number in needed.tolist()], np.int64)
    begin, end = (begins[np.searchsorted(needed, at)] for at in (whole, whole + 1))
    into = _microseconds(first) - _microseconds(_month(first, first.year * 12 + first.month - 1))
    last_day = end - begin - DAY_US + into % DAY_US
    return begin + np.minimum(into, last_day) + np.rint((since_zero - whole) * (end - begin)).astype(np.int64)


def _month(like: cftime.datetime, number: int) -> cftime.datetime:
    """Return the first day of a month, numbered from January of year 0, in the calendar of `like`."""
    year, month = divmod(number, 12)
    if not like.has_year_zero and like.year > 0 >= year:
        year -= 1
    return like.replace(year=year, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


def _microseconds(date: cftime.datetime) -> int:
    epoch: Any = cftime.datetime(1970, 1, 1, calendar=date.calendar, has_year_zero=date.has_year_zero)
    return int((date - epoch) // timedelta(microseconds=1))


@contextmanager
def _dates_before_year_1() -> Iterator[None]:
    """Do without cftime's warning that the CF conventions do not define such dates in every calendar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cftime.CFWarning)
        yield


def _check_years(years: np.ndarray, where: str) -> None:
    """Raise CoordinateError if a year is outside the supported range; names its number."""
    outside = np.abs(years) > MAX_YEAR
    if outside.any():
        number = int(np.argmax(outside))
        raise CoordinateError(
            "is outside the supported range of years",
            where=f"{where}/{number}",
            got=f"year {years[number]:.6g}",
            expected=f"years {-MAX_YEAR} to {MAX_YEAR}",
        )
