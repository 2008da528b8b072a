"""Fills from a cell's own values, against values calculated by hand; what holds for every baseline."""

from __future__ import annotations

import numpy as np
import pytest

from model.baselines.fill import completed, is_rain_like
from model.baselines.in_time import cell_mean, linear_in_time, seasonal_mean
from model.baselines.library import ANYWHERE, ON_GRIDS, baselines_for

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_cell_mean_is_the_mean_of_what_was_observed_there() -> None:
    values = np.array([[1.0, 10.0, NAN], [NAN, NAN, NAN], [3.0, 20.0, NAN]], np.float32)
    np.testing.assert_array_equal(cell_mean(values), [[1.0, 10.0, NAN], [2.0, 15.0, NAN], [3.0, 20.0, NAN]])


def test_linear_keeps_the_nearest_value_at_the_ends() -> None:
    filled = linear_in_time(column(NAN, NAN, 2.0, NAN, 4.0, NAN), np.arange(6))
    np.testing.assert_array_equal(filled, [2.0, 2.0, 2.0, 3.0, 4.0, 4.0])


def test_linear_follows_the_clock_and_not_the_row_number() -> None:
    time = np.array(["2012-08-01", "2012-08-02", "2012-08-05"], "datetime64[ns]")
    np.testing.assert_allclose(linear_in_time(column(0.0, NAN, 8.0), time), [0.0, 2.0, 8.0])


def test_linear_equals_numpy_interp_cell_by_cell() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.6] = NAN
    time = np.cumsum(rng.integers(1, 5, 40)).astype(float)
    filled = linear_in_time(values, time)
    for row, col in np.ndindex(5, 3):
        there = ~np.isnan(values[:, row, col])
        expected = np.interp(time, time[there], values[there, row, col])
        np.testing.assert_allclose(filled[:, row, col], expected, rtol=1e-5, atol=1e-6)  # float32 in and out


def test_the_season_is_found_where_a_record_spans_years() -> None:
    time = np.datetime64("2012-01-01", "ns") + np.arange(3 * 365) * np.timedelta64(1, "D")
    season = 10 + 5 * np.sin(2 * np.pi * np.arange(len(time)) / 365.2425)
    gappy = np.where(np.arange(len(time)) % 4 == 1, NAN, season).astype(np.float32)[:, None]
    error = np.abs(seasonal_mean(gappy, time)[:, 0] - season)
    assert error.max() < 0.5  # of an amplitude of 5: half-months, smoothed
    assert np.abs(cell_mean(gappy)[:, 0] - season).max() > 4


def test_a_short_record_has_no_season() -> None:
    time = np.datetime64("2012-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    np.testing.assert_array_equal(seasonal_mean(column(1, NAN, 3, NAN, 5), time), [1, 3, 3, 3, 5])
    np.testing.assert_array_equal(seasonal_mean(column(1, NAN, 3, NAN, 5), np.arange(5)), [1, 3, 3, 3, 5])


@pytest.mark.parametrize(
    ("values", "rain_like"),
    [([0, 0, 0, 1, 9], True), ([-1, 0, 0, 0, 1], False), ([9, 10, 11, 12, 10], False), ([NAN, NAN], False)],
)
def test_rain_is_recognised_by_its_zeros(values: list[float], rain_like: bool) -> None:
    assert is_rain_like(column(*values)) is rain_like


def test_a_record_without_any_value_stays_missing() -> None:
    assert np.isnan(completed(np.full((3, 2, 2), NAN, np.float32), np.arange(3))).all()


@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("shape", [(24, 3), (24, 6, 5), (1, 3, 2)])
def test_baselines_keep_observed_bits_and_fill_every_gap(name: str, shape: tuple[int, ...]) -> None:
    check(name, shape)


@pytest.mark.parametrize("name", ON_GRIDS)
@pytest.mark.parametrize("shape", [(24, 6, 5), (1, 3, 2), (4, 1, 7)])
def test_baselines_on_grids_keep_observed_bits_and_fill_every_gap(name: str, shape: tuple[int, ...]) -> None:
    check(name, shape)


def check(name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    values.reshape(len(values), -1)[1:3, 0] = NAN
    values[3:5] = NAN  # whole frames
    values[..., -1] = NAN  # a cell never seen
    before = values.copy()
    made = baselines_for(values)[name](values, np.arange(len(values)))
    np.testing.assert_array_equal(values, before)
    there = ~np.isnan(values)
    np.testing.assert_array_equal(made.values[there].view(np.uint32), values[there].view(np.uint32))
    assert made.values.dtype == np.float32
    assert np.isfinite(made.values).all()
    if made.std is not None:
        assert made.std.shape == shape
        assert (made.std[there] == 0).all()
        assert not (made.std < 0).any()
