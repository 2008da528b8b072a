"""The factor with which an interval holds its nominal share, and the fill below which a cell is dry."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.conformal import calibration_of, dry_threshold, stretch_by_size
from hydrofill.constants import Z90
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout, VariableSpec
from hydrofill.tokens import Queries, Tokens
from model.config import MaskingConfig
from model.evaluation.calibration import calibrate


def test_a_standard_deviation_half_too_small_is_doubled(rng: np.random.Generator) -> None:
    truth, std = rng.standard_normal(20_000), np.full(20_000, 0.5)
    found = stretch_by_size(truth, np.zeros(20_000), std, frame=np.zeros(20_000))
    assert found.std == (0.5,)
    assert found.factor[0] == pytest.approx(2, rel=0.03)


def test_the_stretched_interval_holds_nine_in_ten_of_any_distribution(rng: np.random.Generator) -> None:
    truth = rng.standard_t(2, 5_000)
    found = stretch_by_size(truth, np.zeros(5_000), np.ones(5_000), frame=np.arange(5_000))
    assert np.mean(np.abs(truth) <= Z90 * found.apply(np.ones(5_000))) == pytest.approx(0.9, abs=0.005)


def test_the_interval_holds_nine_in_ten_at_every_size_of_standard_deviation(rng: np.random.Generator) -> None:
    std = rng.uniform(0.1, 4, 40_000)
    truth = rng.standard_normal(40_000) * std**2  # large standard deviations are too small, small ones too large
    stretched = stretch_by_size(truth, np.zeros(40_000), std, frame=np.arange(40_000)).apply(std)
    inside = np.abs(truth) <= Z90 * stretched
    for low, high in ((0.3, 1), (1, 2), (2, 3), (3, 4)):
        assert inside[(std > low) & (std < high)].mean() == pytest.approx(0.9, abs=0.02)


def test_few_frames_support_few_sizes(rng: np.random.Generator) -> None:
    std, truth = rng.uniform(0.1, 4, 4_000), rng.standard_normal(4_000)
    assert len(stretch_by_size(truth, np.zeros(4_000), std, frame=rng.integers(0, 9, 4_000)).std) == 2
    assert len(stretch_by_size(truth, np.zeros(4_000), std, frame=rng.integers(0, 3, 4_000)).std) == 1
    assert len(stretch_by_size(truth, np.zeros(4_000), std, frame=np.arange(4_000)).std) == 8


def test_the_smallest_fills_are_dried_while_it_costs_little(rng: np.random.Generator) -> None:
    truth = np.where(rng.random(10_000) < 0.7, 0.0, rng.gamma(2, 3, 10_000))
    blurred = 0.6 + 0.8 * truth + 0.1 * rng.random(10_000)
    below = dry_threshold(truth, blurred, wet=0.5, cost=1.005)
    assert (blurred >= below).mean() == pytest.approx((truth >= 0.5).mean(), abs=0.03)
    costly = 3 + 0.1 * rng.random(10_000)  # nothing is known: zero would be worse than the mean everywhere
    assert dry_threshold(truth, costly, wet=0.5, cost=1.005) < 3.0
    assert dry_threshold(truth, truth, wet=0.5, cost=1.005) == 0.0


@pytest.mark.parametrize(("dry_share", "dried"), [(0.5, True), (0.02, False)])
def test_rain_is_dried_and_a_river_is_not(rng: np.random.Generator, dry_share: float, dried: bool) -> None:
    truth = np.where(rng.random(4_000) < dry_share, 0.0, 0.2 + rng.gamma(1, 3, 4_000))
    mean = 0.5 + 0.8 * truth + 0.1 * rng.random(4_000)
    rows = np.stack([truth, mean, np.ones(4_000), np.zeros(4_000), np.arange(4_000)])
    spec = VariableSpec(name="water", kind="grid", units="mm", transform="sqrt", lower=0.0)
    assert (max(calibration_of(rows, spec).dry_below) > 0.5) == dried


def test_an_overconfident_network_is_stretched(water: WaterCube, layout: Layout) -> None:
    std = float(np.nanstd(water.variables["pet"].values))

    def overconfident(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        assert tokens.length > 0
        return np.zeros(queries.requested.shape, np.float32), np.full(queries.requested.shape, 1e-3 * std, np.float32)

    found = calibrate(water, layout, overconfident, MaskingConfig(), seed=0)
    assert found["pet"].stretch[0].factor == (20.0,)
