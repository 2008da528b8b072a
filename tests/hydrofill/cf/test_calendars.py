"""Times of any calendar become elapsed time of that calendar."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.calendars import counted_like, date_text, read_times
from hydrofill.cf.coordinates import time_values
from hydrofill.cf.dataset import read_dataset
from hydrofill.constants import CALENDAR_YEAR_DAYS, DAY_S
from hydrofill.errors import CoordinateError
from hydrofill.guesses.seasonal_cycle import seasonal
from hydrofill.guesses.time_axis import even_steps, seconds_since_1970
from hydrofill.layout import GENERAL
from hydrofill.places import PLACE_FEATURES, WindowPlaces


def numbers(values: object, units: str, calendar: str | None = None) -> xr.Variable:
    attrs = {"units": units} | ({} if calendar is None else {"calendar": calendar})
    return xr.Variable("t", np.asarray(values), attrs)


def dates(values: object, units: str, calendar: str | None = None) -> list[str]:
    times = read_times(numbers(values, units, calendar), "t")
    return [date_text(time, times.calendar) for time in times.elapsed]


@pytest.mark.parametrize(
    ("values", "units", "calendar", "expected"),
    [
        ([0, 59, 360], "days since 2001-01-01", "360_day", ["2001-01-01", "2001-02-30", "2002-01-01"]),
        (np.array([252.5, 253], np.float32), "months since 1960-01-01", "360", ["1981-01-16", "1981-02-01"]),
        ([0, 1, 13], "months since 1960-01-01", "standard", ["1960-01-01", "1960-02-01", "1961-02-01"]),
        ([1, 2], "months since 2000-01-31", "noleap", ["2000-02-28", "2000-03-31"]),
        ([-1, 1], "years since 1950", "julian", ["1949-01-01", "1951-01-01"]),
        ([58, 59], "days since 2000-01-01", "365_day", ["2000-02-28", "2000-03-01"]),
        ([58, 59], "days since 2001-01-01", "ALL_LEAP", ["2001-02-28", "2001-02-29"]),
        ([0, 1], "days since 1900-02-28", "julian", ["1900-02-28", "1900-02-29"]),
        ([0, 1], "days since 1582-10-04", None, ["1582-10-04", "1582-10-15"]),
        ([0, 1], "days since 1582-10-04", "proleptic_gregorian", ["1582-10-04", "1582-10-05"]),
        ([0, 24], "hours since 0001-01-01", "noleap", ["0001-01-01", "0001-01-02"]),
        ([0, 1], "weeks since 9000-01-01", "standard", ["9000-01-01", "9000-01-08"]),
        ([0, 1], "days since 20000101", None, ["2000-01-01", "2000-01-02"]),
    ],
)
def test_numbers_are_read_as_dates_of_their_calendar(
    values: object, units: str, calendar: str | None, expected: list[str]
) -> None:
    assert dates(values, units, calendar) == [f"{day}T00:00:00" for day in expected]


def test_half_a_month_is_its_middle_whatever_its_length() -> None:
    found = dates([0.5, 1.5], "months since 2001-01-01", "standard")
    assert found == ["2001-01-16T12:00:00", "2001-02-15T00:00:00"]


@pytest.mark.parametrize("calendar", CALENDAR_YEAR_DAYS)
@pytest.mark.parametrize("unit", ["days", "hours", "seconds"])
def test_numbers_and_the_dates_that_xarray_makes_of_them_are_the_same_axis(calendar: str, unit: str) -> None:
    variable = numbers(np.linspace(0, 1e5, 41).round(), f"{unit} since 1899-12-30 06:00", calendar)
    decoder = xr.coders.CFDatetimeCoder(use_cftime=True)
    decoded = xr.conventions.decode_cf_variable("t", variable, decode_times=decoder)
    ours, theirs = read_times(variable, "t"), read_times(decoded, "t")
    assert ours.calendar == theirs.calendar == calendar
    np.testing.assert_array_equal(ours.elapsed, theirs.elapsed)


def test_dates_of_the_standard_calendar_are_themselves_to_the_microsecond() -> None:
    time = np.array(["2001-01-01T00:00:00.000001600", "1500-01-01", "NaT"], "datetime64[s]").astype("datetime64[us]")
    times = read_times(xr.Variable("t", time), "t")
    np.testing.assert_array_equal(times.elapsed, time)
    fine = np.array(["2001-01-01T00:00:00.000001600"], "datetime64[ns]")
    assert read_times(xr.Variable("t", fine), "t").elapsed[0] == np.datetime64("2001-01-01T00:00:00.000002")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (numbers([0], "days since long ago"), "since long ago"),
        (numbers([0], "fortnights since 2000-01-01"), "units of time are not known .*'fortnights'"),
        (numbers([0], "days since 2000-01-01", "of saints"), "calendar is not known .*'of saints'.*360_day"),
        (numbers([0, 1e300], "days since 2000-01-01"), "when/1: is outside the supported range of years"),
        (numbers([0], "m"), "is not a CF time axis"),
        (xr.Variable("t", np.array(["yesterday"], dtype=object)), "is not a CF time axis"),
    ],
)
def test_what_is_no_time_is_refused_by_its_own_name(variable: xr.Variable, message: str) -> None:
    with pytest.raises(CoordinateError, match=message) as refused:
        read_times(variable, "when")
    assert refused.value.where.startswith("when")


def test_times_that_are_missing_or_repeat_are_refused_with_their_date() -> None:
    twice = xr.Dataset(coords={"T": numbers([57, 59, 59], "days since 2001-01-01", "360_day").values})
    twice["T"].attrs = {"units": "days since 2001-01-01", "calendar": "360_day"}
    with pytest.raises(CoordinateError, match=r"T: must increase .*2001-02-30T00:00:00 after 2001-02-30T00:00:00"):
        time_values(twice, "T")
    with pytest.raises(CoordinateError, match=r"T: has a missing time .*step 1"):
        time_values(twice.assign_coords(T=("T", [57.0, np.nan, 60.0], twice["T"].attrs)), "T")


def test_times_are_counted_anew_from_another_date() -> None:
    first, second = (numbers([0, 1], f"days since 2001-02-{day}", "360_day") for day in ("28", "30"))
    np.testing.assert_array_equal(counted_like(second, first, "t").values, [2, 3])
    with pytest.raises(CoordinateError, match="has other units or another calendar"):
        counted_like(second, numbers([0], "days since 2001-02-28", "noleap"), "t")


def with_time(dataset: xr.Dataset, time: np.ndarray, **attrs: str) -> xr.Dataset:
    return dataset.assign_coords(time=("time", time, {"standard_name": "time", **attrs}))


def test_a_lost_frame_takes_its_step_in_any_calendar(dataset: xr.Dataset) -> None:
    days = np.delete(np.arange(50.0, 71.0), 5)
    cube = read_dataset(with_time(dataset, days, units="days since 2001-01-01", calendar="360_day")).cube
    np.testing.assert_array_equal(even_steps(seconds_since_1970(cube.time)), days - 50)


@pytest.mark.parametrize("calendar", CALENDAR_YEAR_DAYS)
def test_the_phase_of_the_year_follows_the_calendar(dataset: xr.Dataset, calendar: str) -> None:
    years = with_time(dataset, 10.0 * np.arange(20), units="years since 1850-01-01", calendar=calendar)
    window = read_dataset(years).cube
    places = WindowPlaces.of(window, GENERAL)
    cosine = places.phases[:, PLACE_FEATURES.index("year_cos") - PLACE_FEATURES.index("year_sin")]
    np.testing.assert_allclose(cosine, 1, atol=0.02)  # the first of January, in every year


def test_seasons_of_360_day_years_do_not_drift() -> None:
    days = np.arange(0, 360 * 40, 15)
    course = 10 + 8 * np.sin(2 * np.pi * days / 360)
    values = np.repeat(course[:, None], 3, axis=1).astype(np.float32)
    seconds, mean = (days * DAY_S).astype(np.float64), np.full((1, 3), 10, np.float32)
    found, drifting = seasonal(values, mean, seconds, 360 * DAY_S), seasonal(values, mean, seconds)
    assert found is not None
    assert drifting is not None
    assert np.abs(found - values).max() < 0.5
    assert np.abs(drifting - values).max() > 5
