"""Patterns, marginals and gauge networks do what their names say, on small cases."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.constants import DAY_S
from model.pretraining.gauge_networks import emptied, river_flow
from model.pretraining.marginals import MAX_LINEAR, quantised, rain, without_outliers
from model.pretraining.patterns import block_means, blocky, few_patterns, land_mask, latent_field, wetting
from model.pretraining.time_steps import draw_time_steps


def test_block_means_leave_missing_cells_out() -> None:
    field = np.array([[[1.0, 3.0, 5.0], [np.nan, 2.0, np.nan]]])
    means = block_means(field, np.array([0, 0]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(means, [[[2.0, 5.0]]])
    assert np.isnan(block_means(field[:, 1:, :1], np.array([0]), np.array([0]))).all()


@pytest.mark.parametrize("seed", range(6))
def test_blocky_fields_have_few_values_and_keep_the_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((3, 24, 30)).astype(np.float32)
    copied = blocky(rng, field)
    assert copied.shape == field.shape
    assert len(np.unique(copied)) <= field.size / 3
    assert copied.mean() == pytest.approx(field.mean(), abs=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_latent_fields_are_standardised(seed: int) -> None:
    field = latent_field(np.random.default_rng(seed), (9, 12, 14))
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0.0, abs=1e-4)
    assert field.std() == pytest.approx(1.0, abs=1e-3)


def test_few_patterns_have_low_rank() -> None:
    field = few_patterns(np.random.default_rng(0), (40, 12, 14))
    assert np.linalg.matrix_rank(field.reshape(40, -1), tol=1e-3) <= 6


def test_a_store_fills_faster_than_it_empties() -> None:
    steps = np.diff(wetting(np.random.default_rng(4), (400, 6, 6)), axis=0)
    assert steps.max() > 2.0 * -steps.min()
    assert (steps < 0).mean() > 0.5


def test_land_leaves_cells_to_observe() -> None:
    shares = [float(land_mask(np.random.default_rng(seed), (20, 25)).mean()) for seed in range(20)]
    assert min(shares) > 0.0 and max(shares) <= 0.71


def test_rain_is_dry_on_10_to_95_percent() -> None:
    field = np.random.default_rng(0).standard_normal(20_000)
    dry = [float((rain(np.random.default_rng(seed), field) == 0).mean()) for seed in range(60)]
    assert 0.09 < min(dry) < 0.25 and 0.8 < max(dry) < 0.96


def test_outliers_keep_their_order_and_become_small() -> None:
    tamed = without_outliers(np.array([-1e6, -2.0, 0.0, 2.0, 10.0, 1e6]))
    assert (np.diff(tamed) > 0).all()
    np.testing.assert_array_equal(tamed[1:4], [-2.0, 0.0, 2.0])
    assert tamed.max() < MAX_LINEAR + 14.0


def test_quantised_values_have_fewer_levels_near_the_values() -> None:
    values = np.random.default_rng(1).standard_normal(5000)
    stepped = quantised(np.random.default_rng(1), values)
    assert len(np.unique(stepped)) < 1000
    assert np.abs(stepped - values).max() <= 0.5


def test_a_store_releases_what_it_received() -> None:
    inflow = np.zeros((300, 1))
    inflow[5] = 7.0
    outflow = emptied(inflow, 10.0)
    assert outflow.sum() == pytest.approx(7.0, rel=1e-6)
    assert (outflow[:5] == 0).all()
    assert outflow[16, 0] == pytest.approx(outflow[6, 0] * np.exp(-1.0))


def test_river_flow_recedes_after_rain_and_stays_positive() -> None:
    rainfall = np.zeros((600, 8))
    rainfall[:50] = np.random.default_rng(0).gamma(0.5, size=(50, 8))
    for seed in range(5):
        flow = river_flow(np.random.default_rng(seed), rainfall)
        assert (flow > 0).all()
        assert (np.diff(flow[120:], axis=0) <= 1e-9).all()


def test_weekly_steps_skip_days_and_stay_in_order() -> None:
    found = [draw_time_steps(np.random.default_rng(seed), 60, DAY_S, DAY_S) for seed in range(60)]
    for steps in found:
        assert len(steps.time) == len(steps.chosen) == 60
        np.testing.assert_array_equal(np.diff(steps.time) / np.timedelta64(1, "D"), np.diff(steps.chosen))
    weekly = [s for s in found if set(np.diff(s.chosen).tolist()) == {1, 5}]
    assert weekly
    assert any(len(set(np.diff(s.chosen).tolist())) == 1 for s in found)
