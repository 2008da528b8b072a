"""First guesses are the estimates of classical methods, and never use the hidden value itself."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.guesses.first_guesses import GUESSES, Guesses, guess

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


def test_an_empty_frame_has_no_guess_in_space_but_one_in_time() -> None:
    field = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 4, 5), np.float32)
    field[1] = NAN
    made = guess(field)
    for name in ("harmonic", "biharmonic", "anomaly", "similar", "few_eofs", "many_eofs"):
        assert np.isnan(named(made, name)[1]).all(), name
    for name in ("in_time", "completed_in_time", "local_mean", "mean"):
        np.testing.assert_allclose(named(made, name)[1], 1, err_msg=name)


def test_a_missing_gauge_gets_the_ratio_of_the_others_to_their_means() -> None:
    flow = np.array([[1, 10], [2, 20], [3, 30], [NAN, 40]], np.float32)
    np.testing.assert_allclose(named(guess(flow), "anomaly")[3, 0], 2 * 40 / 25)


def test_gauges_around_zero_get_the_difference_of_the_others_from_their_means() -> None:
    level = np.array([[-1, 9], [1, 11], [0.3, 10], [NAN, 13]], np.float32)
    mean, others_mean = 0.1, 10.75
    np.testing.assert_allclose(named(guess(level), "anomaly")[3, 0], mean + 13 - others_mean, rtol=1e-5)


def test_a_single_gauge_has_no_guess_from_others() -> None:
    assert np.isnan(named(guess(np.array([[1.0], [NAN]], np.float32)), "anomaly")).all()


@pytest.mark.parametrize("shape", [(6, 5, 4), (1, 3, 3), (4, 1, 1), (5, 2), (1, 1)])
def test_guesses_before_and_after_never_are_the_value_of_the_same_step(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    values = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    made = guess(values)
    for name in ("before", "after"):
        assert not (named(made, name) == values).any()
    assert made.distances.min() >= 0 and made.distances.max() <= 1


def test_without_seen_values_there_are_no_guesses() -> None:
    assert np.isnan(guess(np.full((2, 3, 3), NAN, np.float32)).values).all()


def test_patterns_fill_what_neighbours_in_space_cannot(rng: np.random.Generator) -> None:
    storms = rng.gamma(1, 4, (60, 2)).astype(np.float32)
    blocks = (np.indices((9, 8)).sum(axis=0) // 3 % 2).astype(int)  # cells of two blocks, interleaved
    rain = storms[:, blocks]
    gappy = np.where(rng.random(rain.shape) < 0.4, np.float32(NAN), rain)
    gone = np.isnan(gappy)
    made = guess(gappy, square_root=True)
    error = {
        n: np.sqrt(np.mean((named(made, n)[gone] - rain[gone]) ** 2)) for n in ("few_eofs", "similar", "biharmonic")
    }
    assert max(error["few_eofs"], error["similar"]) < 0.2 * error["biharmonic"]


def test_a_hidden_value_does_not_change_the_guesses(rng: np.random.Generator) -> None:
    values = rng.random((12, 5, 6)).astype(np.float32)
    seen = values.copy()
    seen[3:6, 1:3, 2:4] = NAN
    other = np.where(np.isnan(seen), np.float32(NAN), values * 1)
    assert guess(seen).values.tobytes() == guess(other).values.tobytes()


def test_guesses_are_finite_or_missing_and_distances_are_from_0_to_1(rng: np.random.Generator) -> None:
    for shape in ((1, 1, 1), (2, 1, 7), (30, 6, 5), (9, 1), (30, 4)):
        values = np.where(rng.random(shape) < 0.5, np.float32(NAN), rng.gamma(0.3, 9, shape).astype(np.float32))
        values.flat[0] = 0.0
        for root in (False, True):
            made = guess(values, square_root=root)
            assert not np.isinf(made.values).any()
            assert np.isfinite(made.distances).all()
            assert made.distances.min() >= 0 and made.distances.max() <= 1


def test_part_cuts_guesses_and_distances(rng: np.random.Generator) -> None:
    made = guess(rng.random((9, 4, 4)).astype(np.float32))
    part = made.part((slice(2, 5), slice(0, 2), slice(1, 4)))
    np.testing.assert_array_equal(part.values, made.values[2:5, 0:2, 1:4])
    np.testing.assert_array_equal(part.distances, made.distances[2:5, 0:2, 1:4])


def test_patterns_stay_within_the_range_of_seen_values(rng: np.random.Generator) -> None:
    storms = rng.gamma(0.3, 30, (80, 3)).astype(np.float32)
    rain = storms[:, np.arange(48).reshape(6, 8) % 3] * (rng.random((80, 6, 8)) < 0.8)
    gappy = np.where(rng.random(rain.shape) < 0.9, np.float32(NAN), rain).astype(np.float32)
    made = guess(gappy, square_root=True)
    for name in ("few_eofs", "many_eofs"):
        assert np.nanmax(named(made, name)) <= np.nanmax(gappy) * 1.0001
        assert np.nanmin(named(made, name)) >= 0
