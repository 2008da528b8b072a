"""Fills of fields and series whose neighbours in space and time are correlated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from hydrofill.guesses.space_time import autoregressive, lag_one, space_time

NAN = np.nan


def persistent(rng: np.random.Generator, shape: tuple[int, ...], last: float, wide: float) -> np.ndarray:
    """Return a field of unit variance with lag-one correlation `last`, smooth over `wide` cells."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), (0, wide, wide), mode="wrap")
    noise /= noise.std()
    field = [noise[0]]
    for step in noise[1:]:
        field.append(last * field[-1] + np.sqrt(1 - last**2) * step)
    return np.array(field, np.float32)


def rmse(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sqrt(np.mean((left - right) ** 2)))


def test_a_missing_frame_of_a_persistent_field_lies_between_its_neighbours(rng: np.random.Generator) -> None:
    field = persistent(rng, (60, 16, 16), 0.9, 2.0)
    gappy = field.copy()
    gappy[5::9] = NAN
    gone = np.isnan(gappy)
    filled = space_time(gappy)
    line = 0.5 * (field[4::9][:6] + field[6::9][:6])
    assert rmse(filled[gone], field[gone]) < 0.6
    assert rmse(filled[5::9][:6], field[5::9][:6]) < 1.15 * rmse(line, field[5::9][:6])
    np.testing.assert_array_equal(filled[~gone], field[~gone])


def test_a_missing_frame_of_a_field_without_persistence_is_near_zero(rng: np.random.Generator) -> None:
    field = persistent(rng, (200, 12, 12), 0.0, 2.0)
    gappy = field.copy()
    gappy[5::9] = NAN
    gone = np.isnan(gappy)
    assert rmse(space_time(gappy)[gone], field[gone]) < 1.05 * rmse(np.zeros(gone.sum()), field[gone])


def test_a_hole_in_a_smooth_frame_is_filled_from_its_surroundings(rng: np.random.Generator) -> None:
    field = persistent(rng, (40, 20, 20), 0.0, 3.0)
    gappy = field.copy()
    gappy[:, 8:11, 8:11] = NAN
    gone = np.isnan(gappy)
    assert rmse(space_time(gappy)[gone], field[gone]) < 0.35


def test_the_fill_solves_the_fields_equations(rng: np.random.Generator) -> None:
    """Compare with the conditional mean of the same Gaussian field by dense linear algebra."""
    field = persistent(rng, (5, 4, 4), 0.6, 1.0)
    gappy = np.where(rng.random(field.shape) < 0.4, np.float32(NAN), field)
    correlation = [lag_one(gappy, axis) for axis in range(3)]
    precision = min((1 - r) / (1 + r) for r in correlation) * np.eye(field.size)
    cells = np.arange(field.size).reshape(field.shape)
    for axis, r in enumerate(correlation):
        here, there = (
            np.take(cells, np.arange(s, n), axis).ravel()
            for s, n in ((0, field.shape[axis] - 1), (1, field.shape[axis]))
        )
        for a, b in zip(here, there, strict=True):  # each tie pulls two neighbours towards each other
            precision[np.ix_([a, b], [a, b])] += r / (1 - r * r) * np.array([[1, -1], [-1, 1]])
    gone = np.isnan(gappy).ravel()
    known = gappy.ravel()[~gone]
    expected = np.linalg.solve(precision[np.ix_(gone, gone)], -precision[np.ix_(gone, ~gone)] @ known)
    np.testing.assert_allclose(space_time(gappy).ravel()[gone], expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 3), (4, 1, 1), (3, 1, 5)])
def test_small_and_constant_records_stay_finite(shape: tuple[int, ...]) -> None:
    for value in (0.0, 2.5):
        values = np.full(shape, value, np.float32)
        values.flat[-1] = NAN
        assert np.isfinite(space_time(values)).all()


def test_a_series_falls_back_to_zero_far_from_seen_values(rng: np.random.Generator) -> None:
    process = persistent(rng, (3000, 1, 1), 0.8, 0.0)[:, :, 0]
    gappy = process.copy()
    gappy[100:140] = NAN
    filled = autoregressive(gappy)
    assert abs(filled[120, 0]) < 0.02
    np.testing.assert_allclose(filled[100, 0], 0.8 * process[99, 0], atol=0.05)
    np.testing.assert_array_equal(filled[~np.isnan(gappy)], gappy[~np.isnan(gappy)])


def test_a_series_is_filled_by_its_conditional_mean(rng: np.random.Generator) -> None:
    process = persistent(rng, (4000, 1, 1), 0.9, 0.0)[:, :, 0]
    gappy = process.copy()
    gappy[10::8] = NAN
    gone = np.isnan(gappy)
    best = np.sqrt((1 - 0.9**2) / (1 + 0.9**2))  # of an autoregressive process of order one, both neighbours known
    assert rmse(autoregressive(gappy)[gone], process[gone]) == pytest.approx(best, rel=0.06)
