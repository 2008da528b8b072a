"""Cell mean and linear interpolation in time, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.baselines import BASELINES, cell_mean, linear_in_time

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_cell_mean_is_the_mean_of_what_was_observed_there() -> None:
    values = np.array([[1.0, 10.0, NAN], [NAN, NAN, NAN], [3.0, 20.0, NAN]], np.float32)
    np.testing.assert_array_equal(cell_mean(values), [[1.0, 10.0, NAN], [2.0, 15.0, NAN], [3.0, 20.0, NAN]])


def test_linear_holds_the_nearest_value_at_the_ends() -> None:
    filled = linear_in_time(column(NAN, NAN, 2.0, NAN, 4.0, NAN), np.arange(6))
    np.testing.assert_array_equal(filled, [2.0, 2.0, 2.0, 3.0, 4.0, 4.0])


def test_linear_follows_the_clock_and_not_the_row_number() -> None:
    time = np.array(["2012-08-01", "2012-08-02", "2012-08-05"], "datetime64[ns]")
    np.testing.assert_allclose(linear_in_time(column(0.0, NAN, 8.0), time), [0.0, 2.0, 8.0])


@pytest.mark.parametrize(
    ("max_gap", "expected"),
    [
        (None, [1, 1, 1, 1.5, 2, 3, 4, 5, 5, 5, 5]),
        (2, [1, 1, 1, 1.5, 2, 3, 4, 5, NAN, NAN, NAN]),
        (1, [NAN, NAN, 1, 1.5, 2, NAN, NAN, 5, NAN, NAN, NAN]),
        (0, [NAN, NAN, 1, NAN, 2, NAN, NAN, 5, NAN, NAN, NAN]),
    ],
)
def test_longer_gaps_than_max_gap_stay_missing(max_gap: int | None, expected: list[float]) -> None:
    values = column(NAN, NAN, 1.0, NAN, 2.0, NAN, NAN, 5.0, NAN, NAN, NAN)
    np.testing.assert_allclose(linear_in_time(values, np.arange(11), max_gap), expected)


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


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 3, 2), (1, 3, 2)])
def test_baselines_keep_observed_bits_and_leave_empty_cells_missing(name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    values.reshape(len(values), -1)[1:3, 0] = NAN
    if values.ndim > 1:
        values[..., -1] = NAN
    before = values.copy()
    filled = BASELINES[name](values, np.arange(len(values)))
    np.testing.assert_array_equal(values, before)
    there = ~np.isnan(values)
    np.testing.assert_array_equal(filled[there].view(np.uint32), values[there].view(np.uint32))
    assert filled.dtype == np.float32
    if values.ndim > 1:
        assert np.isnan(filled[..., -1]).all()
        assert not np.isnan(filled[..., 0]).any()
