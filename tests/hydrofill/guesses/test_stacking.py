"""Guesses are combined by their errors on hidden cells: an exact guess is kept, and little evidence counts little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.guesses.first_guesses import DISTANCES
from hydrofill.guesses.stacking import (
    MIN_CELLS,
    MIN_ERROR,
    NUM_ERROR_CLASSES,
    PRIOR_ERROR,
    HiddenGuesses,
    Stack,
    class_errors,
    error_classes,
    fit_stack,
)

ROUNDING = 1e-6


def hidden(
    rng: np.random.Generator, errors: list[float], *, cells: int = 600, frames: int = 30, std: float = 1.0
) -> HiddenGuesses:
    """Return hidden cells of one draw whose guesses have these errors."""
    truth = std * rng.standard_normal(cells)
    guesses = truth[:, None] + np.array(errors) * rng.standard_normal((cells, len(errors)))
    distances = rng.uniform(0.05, 1, (cells, len(DISTANCES)))
    distances[::5, DISTANCES.index("frame_seen")] = 0
    return HiddenGuesses(truth, guesses, distances, np.sort(rng.integers(0, frames, cells)))


def rmse(values: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def fitted(draws: list[HiddenGuesses]) -> Stack:
    return fit_stack(draws, draws[0].guesses.shape[1])[0]


@pytest.mark.parametrize("cells", [30, 600])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_an_exact_guess_stays_exact_among_bad_ones(rng: np.random.Generator, place: int, cells: int) -> None:
    errors = [1.0, 0.5, 2.0, 0.8]
    errors.insert(place, 0.0)
    draws = [hidden(rng, errors, cells=cells) for _ in range(3)]
    stack, out_of_fold = fit_stack(draws, len(errors))
    new = hidden(rng, errors)
    assert rmse(stack.predict(new.guesses, new.distances), new.truth) < 2e-3
    assert max(rmse(made, draw.truth) for made, draw in zip(out_of_fold, draws, strict=True)) < 2e-3


def test_the_stacked_guess_is_better_than_each_of_several_that_err_apart(rng: np.random.Generator) -> None:
    errors = [0.5, 0.5, 0.5, 1.0]
    stack = fitted([hidden(rng, errors) for _ in range(3)])
    new = hidden(rng, errors)
    alone = min(rmse(new.guesses[:, g], new.truth) for g in range(len(errors)))
    assert rmse(stack.predict(new.guesses, new.distances), new.truth) < 0.75 * alone


def test_a_guess_with_a_known_bias_is_corrected_by_another(rng: np.random.Generator) -> None:
    """Guess 0 is the truth less half of guess 1's departure from it: only a regression sees that."""
    draws = []
    for _ in range(4):
        draw = hidden(rng, [0.0, 1.0], cells=1000)
        draw.guesses[:, 0] -= 0.5 * (draw.guesses[:, 1] - draw.truth)
        draws.append(draw)
    stack = fitted(draws[:3])
    new = draws[3]
    assert rmse(stack.predict(new.guesses, new.distances), new.truth) < 0.6 * rmse(new.guesses[:, 0], new.truth)


@given(error=st.floats(0.01, 0.9), frames=st.integers(1, 200))
def test_errors_lie_between_what_was_measured_and_the_prior(error: float, frames: int) -> None:
    truth = np.zeros(400)
    values = np.full((400, 1), error)
    made = class_errors(values, truth, np.zeros(400, np.int64), np.arange(400) % frames)
    assert made.shape == (NUM_ERROR_CLASSES, 1)
    assert (made >= error).all()
    assert (made <= PRIOR_ERROR + MIN_ERROR + ROUNDING).all()


def test_the_fewer_the_frames_the_nearer_an_error_is_to_the_prior() -> None:
    truth, values, classes = np.zeros(400), np.full((400, 2), [0.1, 3.0]), np.zeros(400, np.int64)
    made = np.array([class_errors(values, truth, classes, np.arange(400) % n)[0] for n in (1, 2, 5, 20, 100)])
    assert (np.diff(made[:, 0]) < 0).all() and (np.diff(made[:, 1]) > 0).all()
    assert made[0, 0] > 0.4 and made[0, 1] < 1.5
    np.testing.assert_allclose(made[-1] - MIN_ERROR, [0.1, 3.0], rtol=0.05)


def test_a_class_with_few_cells_takes_the_error_of_all() -> None:
    truth, classes = np.zeros(1000), np.zeros(1000, np.int64)
    classes[:3] = 4
    values = np.full((1000, 1), 0.2)
    values[:3] = 5.0
    made = class_errors(values, truth, classes, np.arange(1000))
    assert made[0] < 0.23
    assert 0.2 < made[4] < 2.0


def test_without_hidden_cells_every_error_is_the_prior_and_guesses_count_the_same() -> None:
    stack, out_of_fold = fit_stack([], 3)
    np.testing.assert_allclose(stack.error, PRIOR_ERROR + MIN_ERROR)
    assert len(out_of_fold) <= 1 and not any(map(len, out_of_fold))
    guesses = np.array([[1.0, 2.0, 6.0], [1.0, np.nan, 3.0]])
    np.testing.assert_allclose(stack.predict(guesses, np.full((2, len(DISTANCES)), 0.5)), [3.0, 2.0])


def test_a_draw_without_hidden_cells_changes_nothing(rng: np.random.Generator) -> None:
    draws = [hidden(rng, [0.2, 0.6]) for _ in range(2)]
    nothing = hidden(rng, [0.2, 0.6], cells=0)
    (one, _), (other, parts) = fit_stack(draws, 2), fit_stack([draws[0], nothing, draws[1]], 2)
    np.testing.assert_array_equal(one.error, other.error)
    assert [len(part) for part in parts] == [600, 0, 600]


def test_a_guess_that_is_always_missing_has_the_prior_error_and_no_say(rng: np.random.Generator) -> None:
    draws = [hidden(rng, [0.1, 0.4]) for _ in range(3)]
    wider = [
        HiddenGuesses(d.truth, np.column_stack([d.guesses, np.full(len(d.truth), np.nan)]), d.distances, d.frames)
        for d in draws
    ]
    stack, other = fitted(wider), fitted(draws)
    np.testing.assert_allclose(stack.error[:, 2], PRIOR_ERROR + MIN_ERROR)
    new = hidden(rng, [0.1, 0.4])
    np.testing.assert_allclose(
        stack.predict(np.column_stack([new.guesses, np.full(600, np.nan)]), new.distances),
        other.predict(new.guesses, new.distances),
        rtol=1e-6,
    )


def test_a_cell_is_missing_only_where_all_guesses_are(rng: np.random.Generator) -> None:
    stack = fitted([hidden(rng, [0.1, 0.4]) for _ in range(3)])
    guesses = np.array([[np.nan, np.nan], [np.nan, 0.5], [0.5, np.nan]])
    made = stack.predict(guesses, np.full((3, len(DISTANCES)), 0.5))
    assert np.isnan(made).tolist() == [True, False, False]


def test_a_stacked_guess_does_not_see_the_truths_of_its_own_draw(rng: np.random.Generator) -> None:
    """The truth of each draw is told by another guess, which is noise in the other draws."""
    draws = []
    for number in range(3):
        draw = hidden(rng, [0.0] * 8, cells=2 * MIN_CELLS)
        guesses = rng.standard_normal(draw.guesses.shape)
        truth = guesses[:, number] - guesses.mean(axis=1)
        draws.append(HiddenGuesses(truth, guesses, draw.distances, draw.frames))
    stack, out_of_fold = fit_stack(draws, 8)
    told = [np.corrcoef(stack.predict(d.guesses, d.distances), d.truth)[0, 1] for d in draws]
    made = [np.corrcoef(made, d.truth)[0, 1] for made, d in zip(out_of_fold, draws, strict=True)]
    assert min(told) > 0.3
    assert max(made) < 0.1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cells=st.integers(0, 500), missing=st.floats(0, 1))
def test_a_fit_is_finite_within_its_guesses_and_the_same_every_time(seed: int, cells: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    draws = [hidden(rng, [0.3, 0.8, 1.5], cells=cells, frames=1 + cells // 50) for _ in range(2)]
    for draw in draws:
        draw.guesses[rng.random(draw.guesses.shape) < missing] = np.nan
    (stack, parts), (again, parts_again) = (fit_stack(draws, 3) for _ in range(2))
    assert np.isfinite(stack.error).all() and (stack.error > 0).all()
    np.testing.assert_allclose(stack.blend.sum(axis=1), 1)
    new = draws[0]
    made = stack.predict(new.guesses, new.distances)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(new.guesses).all(axis=1))
    np.testing.assert_array_equal(made, again.predict(new.guesses, new.distances))
    for one, other in zip(parts, parts_again, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.integers(0, 2**32 - 1))
def test_every_cell_has_a_class(seed: int) -> None:
    distances = np.random.default_rng(seed).uniform(0, 1, (7, 3, len(DISTANCES)))
    classes = error_classes(distances)
    assert classes.shape == (7, 3)
    assert classes.min() >= 0 and classes.max() < NUM_ERROR_CLASSES
