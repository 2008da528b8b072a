"""Filling records with gaps by empirical orthogonal functions."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.guesses.eof import eof_fill

NAN = np.nan


def low_rank(rng: np.random.Generator, n_time: int, n_cells: int, rank: int) -> np.ndarray:
    return (rng.standard_normal((n_time, rank)) @ rng.standard_normal((rank, n_cells))).astype(np.float32)


@pytest.mark.parametrize(("n_time", "n_cells"), [(80, 40), (30, 120)])
def test_a_record_of_few_patterns_is_recovered(rng: np.random.Generator, n_time: int, n_cells: int) -> None:
    truth = low_rank(rng, n_time, n_cells, 3)
    gappy = np.where(rng.random(truth.shape) < 0.4, np.float32(NAN), truth)
    found = eof_fill(gappy, np.zeros(n_cells, np.float32), 3)
    gone = np.isnan(gappy)
    assert np.sqrt(np.mean((found.mean[gone] - truth[gone]) ** 2)) < 0.1 * truth.std()


def test_patterns_that_the_data_do_not_support_do_not_harm(rng: np.random.Generator) -> None:
    truth = low_rank(rng, 120, 60, 2)
    noisy = truth + 0.3 * rng.standard_normal(truth.shape).astype(np.float32)
    gappy = np.where(rng.random(truth.shape) < 0.5, np.float32(NAN), noisy)
    gone = np.isnan(gappy)
    few, many = (eof_fill(gappy, np.zeros(60, np.float32), rank).mean for rank in (2, 8))
    error = [float(np.sqrt(np.mean((fill[gone] - truth[gone]) ** 2))) for fill in (few, many)]
    assert error[1] < 2 * error[0] < 0.25 * truth.std()


def test_a_step_without_values_gets_the_mean_and_the_largest_standard_deviation(rng: np.random.Generator) -> None:
    truth = low_rank(rng, 50, 30, 2)
    truth[7] = NAN
    mean = np.linspace(1, 2, 30).astype(np.float32)
    found = eof_fill(truth + mean, mean, 2)
    np.testing.assert_allclose(found.mean[7], mean, atol=1e-5)
    assert found.std[7].mean() > 3 * found.std[:7].mean()


def test_the_standard_deviation_matches_the_error(rng: np.random.Generator) -> None:
    truth = low_rank(rng, 150, 40, 2)
    noisy = truth + 0.2 * rng.standard_normal(truth.shape).astype(np.float32)
    gappy = np.where(rng.random(truth.shape) < 0.4, np.float32(NAN), noisy)
    found, gone = eof_fill(gappy, np.zeros(40, np.float32), 2), np.isnan(gappy)
    assert np.mean(np.abs(found.mean - noisy)[gone] <= 1.645 * found.std[gone]) == pytest.approx(0.9, abs=0.05)
