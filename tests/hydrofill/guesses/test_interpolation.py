"""Interpolations compared with exact solutions."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.guesses.interpolation import (
    between,
    biharmonic,
    cell_means,
    distance_in_space,
    gap_lengths,
    harmonic,
    local_mean,
    neighbours_in_time,
)

NAN = np.nan


def test_a_harmonic_fill_restores_a_plane(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[0:12, 0:9].astype(np.float32)
    plane = (2 * rows - columns)[None]
    gappy = plane.copy()
    gappy[0, 4:6, 3:6] = NAN
    np.testing.assert_allclose(harmonic(gappy), plane, atol=0.05)


def test_a_harmonic_fill_stays_within_the_range_of_seen_values(rng: np.random.Generator) -> None:
    field = rng.random((3, 13, 7), np.float32)
    gappy = np.where(rng.random(field.shape) < 0.8, np.float32(NAN), field)
    filled = harmonic(gappy)
    assert np.isfinite(filled).all()
    for frame, seen in zip(filled, gappy, strict=True):
        assert np.nanmin(seen) - 1e-6 <= frame.min() and frame.max() <= np.nanmax(seen) + 1e-6
    np.testing.assert_array_equal(filled[~np.isnan(gappy)], gappy[~np.isnan(gappy)])


@pytest.mark.parametrize("degree", [1, 2])
def test_a_biharmonic_fill_restores_a_smooth_surface(degree: int) -> None:
    rows, columns = np.mgrid[0:24, 0:20].astype(np.float32) / 20
    surface = (rows**degree - 0.5 * rows * columns)[None]
    gappy = surface.copy()
    gappy[0, 8:14, 7:13] = NAN
    error = np.abs(biharmonic(gappy) - surface)[np.isnan(gappy)].max()
    assert error < 0.004
    assert error <= np.abs(harmonic(gappy) - surface)[np.isnan(gappy)].max() + 1e-4


def test_a_biharmonic_fill_keeps_seen_values_and_empty_frames(rng: np.random.Generator) -> None:
    field = rng.random((4, 9, 13), np.float32)
    gappy = np.where(rng.random(field.shape) < 0.5, np.float32(NAN), field)
    gappy[1] = NAN
    gappy[2] = field[2]
    filled = biharmonic(gappy)
    np.testing.assert_array_equal(filled[~np.isnan(gappy)], gappy[~np.isnan(gappy)])
    assert np.isnan(filled[1]).all()
    assert np.isfinite(filled[[0, 2, 3]]).all()


def test_the_line_between_neighbours_in_time() -> None:
    values = np.array([[NAN], [1], [NAN], [NAN], [4], [NAN]], np.float32)
    before, after, steps_before, steps_after = neighbours_in_time(values, ~np.isnan(values))
    np.testing.assert_allclose(between(before, after, steps_before, steps_after)[:, 0], [1, 4, 2, 3, 1, 4])


def test_a_local_mean_does_not_include_its_own_step() -> None:
    values = np.zeros((9, 1), np.float32)
    values[4] = 100
    assert local_mean(values)[4, 0] == pytest.approx(0, abs=1e-5)
    assert local_mean(np.full((9, 1), 3, np.float32))[2, 0] == pytest.approx(3, abs=1e-5)
    assert np.isnan(local_mean(np.full((9, 1), NAN, np.float32))).all()


def test_a_cell_that_is_never_seen_gets_its_neighbours_mean() -> None:
    values = np.ones((3, 3, 3), np.float32)
    values[:, 1, 1] = NAN
    np.testing.assert_allclose(cell_means(values, ~np.isnan(values)), 1, atol=1e-6)


def test_distance_counts_cells_and_is_infinite_in_an_empty_frame() -> None:
    seen = np.zeros((2, 1, 4), bool)
    seen[0, 0, 0] = True
    np.testing.assert_array_equal(distance_in_space(seen)[0, 0], [0, 1, 2, 3])
    assert np.isinf(distance_in_space(seen)[1]).all()


def test_each_missing_value_has_the_length_of_its_gap() -> None:
    missing = np.array([1, 0, 1, 1, 1, 0, 1, 1], bool)[:, None]
    np.testing.assert_array_equal(gap_lengths(missing)[:, 0], [1, 0, 3, 3, 3, 0, 2, 2])
