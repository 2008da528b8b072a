"""DCT-PLS: smooth fields come back, observed values stay, series are apart from each other."""

from __future__ import annotations

import numpy as np
import pytest

from model.baselines.dct_pls import dct_pls
from model.baselines.library import baselines_for


def cosines(steps: int, rows: int, columns: int) -> np.ndarray:
    """Return a field of slow cosines in time and space, mean 300 and standard deviation about 1, float32."""
    t, y, x = (
        (np.arange(n) + 0.5).reshape(shape) / n for n, shape in ((steps, (-1, 1, 1)), (rows, (-1, 1)), (columns, (-1,)))
    )
    field = 2 * np.cos(2 * np.pi * t) * np.cos(np.pi * y) + np.cos(np.pi * t) * np.cos(2 * np.pi * x)
    return (300 + field).astype(np.float32)


def test_a_smooth_field_comes_back_from_half_of_its_cells(rng: np.random.Generator) -> None:
    truth = cosines(20, 24, 18)
    hidden = rng.random(truth.shape) < 0.5
    filled = dct_pls(np.where(hidden, np.float32(np.nan), truth))
    assert np.sqrt(np.mean((filled - truth)[hidden] ** 2)) < 0.01 * truth.std()


def test_an_empty_frame_and_a_wide_gap_are_filled_from_the_frames_around() -> None:
    truth = cosines(20, 24, 18)
    gappy = truth.copy()
    gappy[7] = np.nan
    gappy[12:15, 4:16, 3:12] = np.nan
    filled = dct_pls(gappy)
    assert not np.isnan(filled).any()
    np.testing.assert_allclose(filled, truth, atol=0.02 * truth.std())


@pytest.mark.parametrize("shape", [(9, 6, 5), (30, 4), (1, 12, 10)])
def test_observed_values_keep_their_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    values = (1e4 + rng.normal(size=shape)).astype(np.float32)
    gappy = np.where(rng.random(shape) < 0.4, np.float32(np.nan), values)
    filled = dct_pls(gappy)
    seen = ~np.isnan(gappy)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[seen], gappy[seen])
    assert not np.isnan(filled).any()


def test_series_are_smooth_in_time_and_apart_from_each_other(rng: np.random.Generator) -> None:
    wave = np.cos(np.pi * 3 * (np.arange(60) + 0.5) / 60)
    series = np.stack([wave, rng.normal(100, 50, 60), np.full(60, np.nan)], axis=1).astype(np.float32)
    series[20:26, 0] = np.nan
    series[5, 1] = np.nan
    filled = dct_pls(series)
    np.testing.assert_allclose(filled[20:26, 0], wave[20:26], atol=0.02)
    other = dct_pls(series[:, [0]])
    np.testing.assert_allclose(filled[:, 0], other[:, 0], atol=1e-5)
    assert np.isnan(filled[:, 2]).all()


def test_a_shift_of_all_values_shifts_the_fill(rng: np.random.Generator) -> None:
    values = rng.normal(size=(8, 7, 6))
    values[rng.random(values.shape) < 0.3] = np.nan
    np.testing.assert_allclose(dct_pls(values + 1000.0), dct_pls(values) + 1000.0, atol=1e-3)


def test_nothing_observed_and_nothing_missing_are_returned_as_they_are() -> None:
    whole, empty = np.ones((3, 4, 5), np.float32), np.full((3, 4, 5), np.nan, np.float32)
    np.testing.assert_array_equal(dct_pls(whole), whole)
    assert np.isnan(dct_pls(empty)).all()


def test_the_method_is_among_the_baselines_of_grids_and_of_series() -> None:
    assert "dct_pls" in baselines_for(np.zeros((2, 3, 4)))
    assert "dct_pls" in baselines_for(np.zeros((2, 3)))
