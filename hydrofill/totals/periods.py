"""Periods of a time axis: months, seasons, years, weeks or runs of days, in the calendar of the data."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cftime
import numpy as np

from hydrofill.cf.calendars import AXIS_UNITS, DAY_US, Times
from hydrofill.constants import STANDARD
from hydrofill.errors import ValueRangeError

PROLEPTIC = "proleptic_gregorian"
EVERY = ("day", "week", "month", "season", "year", "all")
MONDAY_US = 4 * DAY_US  # 1970-01-05 in the standard calendar
DAYS = re.compile(r"(?P<number>[1-9][0-9]{0,5}) ?d(ays?)?", re.IGNORECASE)
MONTHS = {"month": 1, "season": 3, "year": 12}  # in a period


@dataclass(frozen=True, eq=False)
class Periods:
    """The periods of a time axis of T steps.

    of_step: (T,) int, number of the period that a step begins in. start, end: (P,) int64, microseconds as of a time
    axis. step_us: (T,) int64, how long a step lasts. calendar: of the axis.
    """

    of_step: np.ndarray
    start: np.ndarray
    end: np.ndarray
    step_us: np.ndarray
    calendar: str

    @property
    def covered(self) -> np.ndarray:
        """The share of each period that steps of the data cover, (P,)."""
        covered = np.bincount(self.of_step, self.step_us, len(self.start))
        return np.minimum(covered / np.maximum(self.end - self.start, 1), 1.0)

    def dates(self, us: np.ndarray) -> np.ndarray:
        """Return microseconds of the axis as dates: datetime64[ns] in the standard calendar, else cftime objects."""
        if self.calendar == PROLEPTIC:
            return us.astype("datetime64[us]").astype("datetime64[ns]")
        return np.asarray(cftime.num2date(us, AXIS_UNITS, self.calendar), dtype=object)


def periods_of(times: Times, every: str, bounds: np.ndarray | None = None) -> Periods:
    """Return the periods of a time axis.

    Args:
        times: the time axis, of at least one step.
        every: one of EVERY, or a number of days such as "10d", counted from the first day of the data. A season is
            three months from December, March, June or September on.
        bounds: (T, 2) int64, the bounds of the steps in microseconds of the axis; without them a step lasts until the
            next one.

    Raises:
        ValueRangeError: `every` is none of these.
    """
    calendar = PROLEPTIC if times.calendar == STANDARD else times.calendar  # the axis counts as numpy does
    elapsed = times.elapsed.astype("datetime64[us]").astype(np.int64)
    begin, step = (elapsed, _lengths(elapsed)) if bounds is None else (bounds[:, 0], bounds[:, 1] - bounds[:, 0])
    if every == "all":
        return Periods(np.zeros(len(begin), int), begin[:1], begin[-1:] + step[-1:], step, calendar)
    if every in MONTHS:
        starts, ends = _months(begin, MONTHS[every], calendar)
    else:
        days = 7 if every == "week" else _days(every)
        origin = MONDAY_US if every == "week" else begin[0] // DAY_US * DAY_US
        starts = origin + (begin - origin) // (days * DAY_US) * (days * DAY_US)
        ends = starts + days * DAY_US
    unique, first, of_step = np.unique(starts, return_index=True, return_inverse=True)
    return Periods(of_step, unique, ends[first], step, calendar)


def _days(every: str) -> int:
    found = DAYS.fullmatch("1d" if every == "day" else every.strip())
    if found is None:
        raise ValueRangeError(
            "is not a period",
            where="every",
            got=repr(every),
            expected=f"one of {', '.join(EVERY)}, or days such as 10d",
        )
    return int(found["number"])


def _lengths(elapsed: np.ndarray) -> np.ndarray:
    """Return how long each step lasts: until the next, and the last one as long as most; a day where there is one."""
    if len(elapsed) == 1:
        return np.array([DAY_US])
    steps = np.diff(elapsed)
    return np.append(steps, np.int64(np.median(steps)))


def _months(begin: np.ndarray, number: int, calendar: str) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the run of so many months around each time; runs of three begin in December."""
    shift = 1 if number == 3 else 0
    dates = cftime.num2date(begin, AXIS_UNITS, calendar)
    months = np.array([12 * date.year + date.month - 1 + shift for date in dates]) // number * number - shift
    known = {month: _start_of(month, calendar) for month in {*months.tolist(), *(months + number).tolist()}}
    return tuple(np.array([known[month] for month in of]) for of in (months.tolist(), (months + number).tolist()))  # type: ignore[return-value]


def _start_of(month: int, calendar: str) -> int:
    """Return the first moment of a month, counted from January of year 0, in microseconds of an axis."""
    date = cftime.datetime(month // 12, month % 12 + 1, 1, calendar=calendar, has_year_zero=True)
    return int(cftime.date2num(date, AXIS_UNITS, calendar, has_year_zero=True))
