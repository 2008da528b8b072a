"""Frames are moved along the motion of the field, and stay in place where nothing moves."""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.advection import advected

NAN = np.nan


def blobs(rows_per_step: float, columns_per_step: float) -> np.ndarray:
    """Return two smooth blobs that move together, (9, 40, 40) float32."""
    y, x = np.mgrid[:40, :40]
    field = np.zeros((9, 40, 40))
    for step in range(9):
        for row, column, size in ((10, 8, 2.5), (22, 14, 3.5)):
            down, across = y - row - rows_per_step * step, x - column - columns_per_step * step
            field[step] += np.exp(-(down**2 + across**2) / (2 * size**2))
    return field.astype(np.float32)


def rmse(values: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def test_a_lost_frame_of_a_moving_field_is_far_closer_than_the_line_between_its_neighbours() -> None:
    truth = blobs(0.7, 1.6)
    visible = truth.copy()
    visible[4] = NAN
    line = (truth[3] + truth[5]) / 2
    assert rmse(advected(visible, visible)[4], truth[4]) < 0.4 * rmse(line, truth[4])


def test_motion_in_rows_is_not_mistaken_for_motion_in_columns() -> None:
    truth = blobs(1.6, 0)
    visible = truth.copy()
    visible[4] = NAN
    mirrored = visible.transpose(0, 2, 1).copy()
    np.testing.assert_allclose(advected(mirrored, mirrored), advected(visible, visible).transpose(0, 2, 1), atol=1e-4)
    assert rmse(advected(visible, visible)[4], truth[4]) < 0.5 * rmse((truth[3] + truth[5]) / 2, truth[4])


def test_without_motion_a_lost_frame_is_nearly_the_line_between_its_neighbours(rng: np.random.Generator) -> None:
    truth = (blobs(0, 0) * (1 + 0.3 * rng.standard_normal((9, 1, 1)))).astype(np.float32)
    truth += 0.05 * rng.standard_normal(truth.shape).astype(np.float32)
    visible = truth.copy()
    visible[4] = NAN
    line = (truth[3] + truth[5]) / 2
    assert rmse(advected(visible, visible)[4], truth[4]) < 1.02 * rmse(line, truth[4])


def test_the_frame_itself_does_not_count_where_nothing_of_it_is_visible() -> None:
    completed = blobs(0.5, 1)
    visible = completed.copy()
    visible[4] = NAN
    other = completed.copy()
    other[4] = completed[4, ::-1]
    lost = advected(visible, np.where(np.isnan(visible), NAN, completed))[4]
    assert np.isfinite(lost).all()
    assert rmse(lost, completed[4]) < rmse(lost, other[4])


def test_ends_of_the_record_have_the_one_neighbour_and_a_single_frame_has_none() -> None:
    constant = np.broadcast_to(np.arange(30, dtype=np.float32).reshape(5, 6), (3, 5, 6)).copy()
    np.testing.assert_allclose(advected(constant, constant), constant, atol=1e-5)
    assert np.isnan(advected(constant[:1], constant[:1])).all()


def test_values_stay_within_the_range_of_the_frames_around(rng: np.random.Generator) -> None:
    values = rng.random((6, 9, 13)).astype(np.float32)
    made = advected(values, values, square_root=True)
    assert made.min() >= values.min() - 1e-6 and made.max() <= values.max() + 1e-6
