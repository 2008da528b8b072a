"""Patterns through time give a lost frame what is to be expected from the frames around."""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.patterns_in_time import plain_eofs, smoothed_patterns
from hydrofill.guesses.space_time import from_neighbours

NAN = np.nan


def slow_pattern(rng: np.random.Generator) -> np.ndarray:
    """Return one pattern with a slow score, under noise, (80, 30)."""
    score = np.sin(np.arange(80) / 6)
    return (score[:, None] * rng.standard_normal(30) + 0.3 * rng.standard_normal((80, 30))).astype(np.float32)


def test_a_lost_step_of_a_slow_pattern_is_closer_than_the_mean_of_its_neighbours(rng: np.random.Generator) -> None:
    truth = slow_pattern(rng)
    completed, lost = truth.copy(), slice(10, 70, 6)
    completed[lost] = NAN
    share = np.where(np.isnan(completed[:, 0]), 0, 1).astype(np.float32)
    made = smoothed_patterns(completed, np.zeros_like(truth), share)[lost]
    neighbours = (truth[9:69:6] + truth[11:71:6]) / 2
    assert np.mean((made - truth[lost]) ** 2) < 0.8 * np.mean((neighbours - truth[lost]) ** 2)


def test_lost_steps_of_fields_without_memory_are_near_the_usual_value(rng: np.random.Generator) -> None:
    completed = rng.standard_normal((90, 12)).astype(np.float32)
    completed[::5] = NAN
    made = smoothed_patterns(
        completed, np.full((90, 12), 7, np.float32), np.isfinite(completed[:, 0]).astype(np.float32)
    )
    assert np.std(made[::5] - 7) < 0.3


def test_long_after_the_last_seen_step_the_estimate_is_the_usual_value(rng: np.random.Generator) -> None:
    completed = np.full((400, 30), NAN, np.float32)
    completed[:80] = slow_pattern(rng)
    usual = np.full((400, 30), 5, np.float32)
    made = smoothed_patterns(completed + 5, usual, (np.arange(400) < 80).astype(np.float32))
    assert np.abs(made[-1] - 5).max() < 0.1


def test_too_few_steps_for_a_pattern_still_give_values() -> None:
    one = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(smoothed_patterns(one, np.zeros_like(one), np.ones(1, np.float32)), 0)
    assert np.isfinite(plain_eofs(one, np.zeros_like(one)).mean).all()


def test_neighbours_count_by_their_distance_and_the_value_itself_does_not_count() -> None:
    series = np.cos(np.arange(40) / 8).astype(np.float32)[:, None]
    made = from_neighbours(series)
    changed = series.copy()
    changed[20] = NAN
    assert abs(made[20, 0] - series[20, 0]) < 0.1
    far = np.concatenate([series, np.full((2000, 1), NAN, np.float32)])
    assert abs(from_neighbours(far)[-1, 0]) < 1e-3
    assert np.isfinite(from_neighbours(changed)).all()


def test_eofs_recover_hidden_values_of_a_network_with_several_patterns(rng: np.random.Generator) -> None:
    truth = (rng.standard_normal((300, 6)) @ rng.standard_normal((6, 25))).astype(np.float32)
    values = truth.copy()
    hidden = rng.random(truth.shape) < 0.3
    values[hidden] = NAN
    made = plain_eofs(values, np.zeros_like(truth))
    assert np.sqrt(np.mean((made.mean - truth)[hidden] ** 2)) < 0.15 * truth.std()
