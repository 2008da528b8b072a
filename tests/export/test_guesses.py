"""First guesses are what the classical methods say, and never the truth itself."""

from __future__ import annotations

import numpy as np
import pytest

from export.contract.guesses import GUESSES, Guesses, guess, harmonic

NAN = np.nan


def named(guesses: Guesses, name: str) -> np.ndarray:
    return guesses.values[..., GUESSES.index(name)]


def test_neighbours_in_time_and_the_line_between_them() -> None:
    series = np.array([[1], [NAN], [NAN], [4]], np.float32)
    made = guess(series)
    np.testing.assert_array_equal(named(made, "before")[:, 0], [NAN, 1, 1, 1])
    np.testing.assert_array_equal(named(made, "after")[:, 0], [4, 4, 4, NAN])
    np.testing.assert_allclose(named(made, "in_time")[1:3, 0], [2, 3])
    np.testing.assert_allclose(named(made, "mean")[:, 0], 2.5)


def test_distances_grow_with_the_gap() -> None:
    steps_before, steps_after = np.moveaxis(guess(np.array([[1], [NAN], [NAN], [4]], np.float32)).distances, -1, 0)[:2]
    assert steps_before[1, 0] < steps_before[2, 0] < steps_before[0, 0] == 1
    assert steps_after[2, 0] < steps_after[1, 0] < steps_after[3, 0] == 1


def test_a_plane_is_harmonic(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[0:12, 0:9].astype(np.float32)
    plane = (2 * rows - columns)[None]
    gappy = plane.copy()
    gappy[0, 4:6, 3:6] = NAN
    np.testing.assert_allclose(harmonic(gappy), plane, atol=0.05)


def test_a_harmonic_fill_stays_within_what_is_seen(rng: np.random.Generator) -> None:
    field = rng.random((3, 13, 7), np.float32)
    gappy = np.where(rng.random(field.shape) < 0.8, np.float32(NAN), field)
    filled = harmonic(gappy)
    assert np.isfinite(filled).all()
    for frame, seen in zip(filled, gappy, strict=True):
        assert np.nanmin(seen) - 1e-6 <= frame.min() and frame.max() <= np.nanmax(seen) + 1e-6
    np.testing.assert_array_equal(filled[~np.isnan(gappy)], gappy[~np.isnan(gappy)])


def test_an_empty_frame_has_no_guess_in_space_but_one_in_time() -> None:
    field = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 4, 5), np.float32)
    field[1] = NAN
    made = guess(field)
    assert np.isnan(named(made, "in_space")[1]).all()
    np.testing.assert_allclose(named(made, "space_then_time")[1], 1)


def test_a_silent_gauge_takes_the_others_share_of_their_means() -> None:
    flow = np.array([[1, 10], [2, 20], [3, 30], [NAN, 40]], np.float32)
    np.testing.assert_allclose(named(guess(flow), "in_space")[3, 0], 2 * 40 / 25)


def test_one_gauge_alone_has_no_neighbours() -> None:
    assert np.isnan(named(guess(np.array([[1.0], [NAN]], np.float32)), "in_space")).all()


@pytest.mark.parametrize("shape", [(6, 5, 4), (1, 3, 3), (4, 1, 1), (5, 2), (1, 1)])
def test_a_value_never_guesses_another_time_of_itself_as_before_or_after(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    values = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    made = guess(values)
    for name in ("before", "after"):
        assert not (named(made, name) == values).any()
    assert made.distances.min() >= 0 and made.distances.max() <= 1


def test_nothing_seen_guesses_nothing() -> None:
    assert np.isnan(guess(np.full((2, 3, 3), NAN, np.float32)).values).all()
