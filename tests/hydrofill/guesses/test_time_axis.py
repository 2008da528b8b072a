"""Frames on an even time axis."""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.first_guesses import DISTANCES, GUESSES, guess
from hydrofill.guesses.time_axis import MAX_AXIS_RATIO, even_steps

DAY_S = 86_400.0
NAN = np.nan


def test_calendar_months_and_small_delays_are_one_step_each() -> None:
    months = np.arange("2000-01", "2010-01", dtype="datetime64[M]").astype("datetime64[s]").astype(np.float64)
    np.testing.assert_array_equal(even_steps(months), np.arange(120))
    np.testing.assert_array_equal(even_steps(np.array([0.0, 1.2, 1.9, 3.3])), np.arange(4))


def test_missing_frames_take_their_time_on_the_axis() -> None:
    np.testing.assert_array_equal(even_steps(np.array([0, 1, 2, 5, 6, 7]) * DAY_S), [0, 1, 2, 5, 6, 7])


def test_long_waits_are_shortened_and_a_single_frame_is_step_0() -> None:
    seconds = np.concatenate([np.arange(20), 10_000 + np.arange(20), 20_000 + np.arange(20)]) * DAY_S
    steps = even_steps(seconds)
    assert (np.diff(steps) >= 1).all()
    assert steps[-1] + 1 <= MAX_AXIS_RATIO * len(seconds)
    np.testing.assert_array_equal(even_steps(seconds[:1]), [0])


def test_a_guess_in_time_is_weighted_by_time_and_not_by_frames() -> None:
    values = np.array([0, 1, 2, NAN, 6, 7], np.float32)[:, None]
    seconds = np.array([0, 1, 2, 5, 6, 7]) * DAY_S
    made = guess(values, seconds=seconds)
    assert made.values.shape == (6, 1, len(GUESSES))
    np.testing.assert_allclose(made.values[3, 0, GUESSES.index("in_time")], 5)
    before, after = (made.distances[3, 0, DISTANCES.index(name)] for name in ("steps_before", "steps_after"))
    np.testing.assert_allclose(before / after, np.sqrt(3))
