"""The distribution of the truth around a fill: its mean, its bounds, and its dry share."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.members.distribution import Distribution, fit_distribution

CELLS = 4000
Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def rain() -> Cells:
    """Truth, fill, standard deviation and group of hidden cells of rain, about half of them dry."""
    rng = np.random.default_rng(0)
    mean = rng.gamma(0.5, 4, CELLS)
    truth = np.where(rng.random(CELLS) < 0.5, 0.0, 2 * mean * rng.gamma(4, 0.25, CELLS))
    return truth, mean, mean * rng.uniform(1.0, 1.2, CELLS), np.arange(CELLS) // 10


def draw(of: Distribution, mean: float, std: float, number: int = 20_000) -> np.ndarray:
    score = np.random.default_rng(1).standard_normal(number)
    return of.values(np.full(number, mean), np.full(number, std), score)


def test_rain_keeps_its_mean_its_dry_share_and_its_floor(rain: Cells) -> None:
    fitted = fit_distribution(*rain, 0.0, None)
    drawn = draw(fitted, 3.0, 3.3)
    assert drawn.mean() == pytest.approx(3.0, rel=0.03)
    assert (drawn == 0).mean() == pytest.approx(0.5, abs=0.06)
    assert drawn.min() == 0


def test_a_dry_fill_stays_dry(rain: Cells) -> None:
    assert not draw(fit_distribution(*rain, 0.0, None), 0.0, 1.0).any()


def test_the_prior_keeps_mean_and_standard_deviation() -> None:
    nothing = np.zeros(0)
    for lower, mean, std in ((None, -2.0, 3.0), (0.0, 2.0, 1.0)):
        drawn = draw(fit_distribution(nothing, nothing, nothing, np.zeros(0, np.int64), lower, None), mean, std)
        assert drawn.mean() == pytest.approx(mean, abs=0.06)
        assert drawn.std() == pytest.approx(std, rel=0.06)


def test_values_near_a_ceiling_stay_below_it() -> None:
    rng = np.random.default_rng(2)
    truth = rng.beta(8, 1, CELLS)
    fitted = fit_distribution(
        truth, np.full(CELLS, truth.mean()), np.full(CELLS, 0.1), np.arange(CELLS) // 10, lower=0.0, upper=1.0
    )
    drawn = draw(fitted, 0.9, 0.1)
    assert drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.9, abs=0.01)


def test_scores_undo_values(rain: Cells) -> None:
    fitted = fit_distribution(*rain, 0.0, None)
    score = np.linspace(0.5, 2, 7)
    mean, std = np.full(7, 2.0), np.full(7, 2.2)
    found = fitted.scores(fitted.values(mean, std, score), mean, std)
    np.testing.assert_allclose(found, score, atol=1e-6)


def test_errors_without_bound_keep_their_shape() -> None:
    rng = np.random.default_rng(3)
    error = rng.exponential(1, CELLS) - 1
    fitted = fit_distribution(error, np.zeros(CELLS), np.ones(CELLS), np.arange(CELLS) // 10, None, None)
    drawn = draw(fitted, 0.0, 1.0)
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert np.quantile(drawn, 0.95) == pytest.approx(np.quantile(error, 0.95), rel=0.1)
