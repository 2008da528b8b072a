"""The factor that makes an interval hold what it says, and the fill below which a cell is dry."""

from __future__ import annotations

import numpy as np
import pytest

from export.contract.cube import WaterCube
from export.contract.layout import Layout
from export.contract.tokens import Queries, Tokens
from model.calibration import calibrate, dry_threshold, stretch
from model.config import MaskingConfig
from model.metrics.measures import Z90


def test_a_spread_half_too_small_is_doubled(rng: np.random.Generator) -> None:
    truth, std = rng.standard_normal(20_000), np.full(20_000, 0.5)
    assert stretch(truth, np.zeros(20_000), std) == pytest.approx(2, rel=0.03)


def test_the_stretched_interval_holds_nine_in_ten_of_any_distribution(rng: np.random.Generator) -> None:
    truth = rng.standard_t(2, 5_000)
    factor = stretch(truth, np.zeros(5_000), np.ones(5_000))
    assert np.mean(np.abs(truth) <= Z90 * factor) == pytest.approx(0.9, abs=0.002)


def test_the_smallest_fills_are_dried_as_far_as_it_costs_little(rng: np.random.Generator) -> None:
    truth = np.where(rng.random(10_000) < 0.7, 0.0, rng.gamma(2, 3, 10_000))
    blurred = 0.6 + 0.8 * truth + 0.1 * rng.random(10_000)
    below = dry_threshold(truth, blurred, wet=0.5)
    assert (blurred >= below).mean() == pytest.approx((truth >= 0.5).mean(), abs=0.03)
    costly = 3 + 0.1 * rng.random(10_000)  # nothing is known: zero would be worse than the mean anywhere
    assert dry_threshold(truth, costly, wet=0.5) < 3.0
    assert dry_threshold(truth, truth, wet=0.5) == 0.0


def test_a_network_too_sure_of_itself_is_stretched(water: WaterCube, layout: Layout) -> None:
    spread = float(np.nanstd(water.variables["pet"].values))

    def sure(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        assert tokens.length > 0
        return np.zeros(queries.asked.shape, np.float32), np.full(queries.asked.shape, 1e-3 * spread, np.float32)

    found = calibrate(water, layout, sure, MaskingConfig(), seed=0)
    assert found["pet"].std_factor[0] == 20.0
