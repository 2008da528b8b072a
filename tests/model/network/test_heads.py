"""Moments and scores in closed form agree with what sampling and quadrature give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.network.heads import Predictive
from model.training.losses import NothingToScoreError, balanced_crps

CASES = [(1.0, 0.5), (0.2, 1.0), (-1.0, 0.7), (4.0, 0.3), (9.0, 0.05)]


def predictive(loc: float, scale: float, censored: bool) -> Predictive:
    """Return a distribution in float64, so that rounding does not matter."""
    loc_, scale_ = (torch.tensor(x, dtype=torch.float64) for x in (loc, scale))
    return Predictive(loc_, scale_, torch.tensor(censored))


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_censored_moments_are_those_of_samples(loc: float, scale: float) -> None:
    z = np.random.default_rng(0).normal(loc, scale, 2_000_000)
    y = np.maximum(z, 0) ** 2
    ours = predictive(loc, scale, censored=True)
    np.testing.assert_allclose(float(ours.mean()), y.mean(), rtol=0.01)
    np.testing.assert_allclose(float(ours.std()), y.std(), rtol=0.01)


@pytest.mark.parametrize("loc", [-3.2, -3.0, -2.0, -1.0, 0.0, 1.0])
def test_single_precision_keeps_the_std_of_a_nearly_dry_cell(loc: float) -> None:
    z = np.linspace(0, 12, 1_200_001)
    density = np.exp(-0.5 * (z - loc) ** 2) / np.sqrt(2 * np.pi)
    mean, square = (np.trapezoid(z**power * density, z) for power in (2, 4))
    ours = Predictive(torch.tensor(loc), torch.tensor(1.0), torch.tensor(True))
    np.testing.assert_allclose(float(ours.std()), np.sqrt(square - mean**2), rtol=1e-3)
    np.testing.assert_allclose(float(ours.mean()), mean, rtol=1e-3)


def test_an_uncensored_cell_is_a_plain_normal() -> None:
    ours = predictive(-3.0, 2.0, censored=False)
    assert (float(ours.mean()), float(ours.std())) == (-3.0, 2.0)


@pytest.mark.parametrize(("loc", "scale"), CASES)
@pytest.mark.parametrize("truth", [0.0, 0.3, 2.0, 16.0])
@pytest.mark.parametrize("censored", [True, False])
def test_the_crps_is_its_defining_integral(loc: float, scale: float, truth: float, censored: bool) -> None:
    z = np.linspace(-30, 60, 900_001)
    distribution = 0.5 * (1 + torch.erf(torch.from_numpy((z - loc) / scale / np.sqrt(2))).numpy())
    if censored:
        distribution = np.where(z < 0, 0, distribution)
    at = np.sqrt(truth) if censored else truth
    integral = np.trapezoid((distribution - (z >= at)) ** 2, z)
    ours = predictive(loc, scale, censored).crps(torch.tensor(truth, dtype=torch.float64))
    np.testing.assert_allclose(float(ours), integral, atol=2e-4)


def test_the_crps_is_proper_for_dry_and_wet_cells() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(np.maximum(rng.normal(0.3, 1.0, 200_000), 0) ** 2)
    right = predictive(0.3, 1.0, censored=True).crps(truth).mean()
    for loc, scale in [(0.0, 1.0), (0.6, 1.0), (0.3, 0.8), (0.3, 1.3)]:
        assert predictive(loc, scale, censored=True).crps(truth).mean() > right


@pytest.mark.parametrize("loc", [-40.0, -5.0, 0.0, 5.0, 300.0])
def test_extreme_cells_stay_finite_and_never_negative(loc: float) -> None:
    ours = Predictive(torch.tensor([loc]), torch.tensor([1e-3]), torch.tensor([True]))
    assert torch.isfinite(ours.mean()).all() and ours.mean() >= 0
    assert torch.isfinite(ours.std()).all() and ours.std() >= 0


def test_every_variable_weighs_the_same_however_many_cells_it_has() -> None:
    loc, scale = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    predicted = Predictive(loc, scale, torch.zeros(1, 3, 1, dtype=torch.bool))
    variable = torch.tensor([[0, 0, 1]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, float("nan")]]])
    loss, by_variable = balanced_crps(predicted, target, variable, torch.ones(2), 2)
    torch.testing.assert_close(loss, by_variable.mean())
    doubled, _ = balanced_crps(predicted, target, variable, torch.tensor([2.0, 1.0]), 2)
    torch.testing.assert_close(doubled, by_variable[0] / 4 + by_variable[1] / 2)


def test_a_variable_without_truth_weighs_nothing() -> None:
    predicted = Predictive(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), torch.zeros(1, 2, 1, dtype=torch.bool))
    target = torch.tensor([[[1.0], [float("nan")]]])
    loss, by_variable = balanced_crps(predicted, target, torch.tensor([[0, 1]]), torch.ones(2), 2)
    assert torch.isnan(by_variable[1])
    torch.testing.assert_close(loss, by_variable[0])


def test_nothing_to_score_is_an_error() -> None:
    predicted = Predictive(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.bool))
    with pytest.raises(NothingToScoreError, match="no cell is both hidden and observed"):
        balanced_crps(
            predicted, torch.full((1, 1, 1), float("nan")), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), 1
        )
