"""Cells hidden in a record are observed ones, half of them at most, by gaps of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.gaps.self_gaps import FRAME, KINDS, MAX_HIDDEN, OUTAGE, OWN, hide_observed

Shapes = st.one_of(
    st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 60), st.integers(1, 8)),
)


def gappy(rng: np.random.Generator, shape: tuple[int, ...], missing: float) -> np.ndarray:
    return np.asarray(rng.random(shape) >= missing)


@settings(max_examples=60, deadline=None)
@given(
    shape=Shapes,
    missing=st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0]),
    number=st.integers(0, 5),
    shift=st.integers(1, 80),
    seed=st.integers(0, 2**32 - 1),
)
def test_only_observed_cells_are_hidden_and_half_of_them_at_most(
    shape: tuple[int, ...], missing: float, number: int, shift: int, seed: int
) -> None:
    seen = gappy(np.random.default_rng(seed), shape, missing)
    before = seen.copy()
    codes = hide_observed(np.random.default_rng(seed), seen, shift, number)
    np.testing.assert_array_equal(seen, before)
    assert codes.shape == shape and codes.dtype == np.int8
    assert not codes[~seen].any()
    assert (codes > 0).sum() <= MAX_HIDDEN * seen.sum()
    assert codes.min() >= 0 and codes.max() < len(KINDS)
    np.testing.assert_array_equal(codes, hide_observed(np.random.default_rng(seed), seen, shift, number))


def kinds_of(shape: tuple[int, ...], missing: float, draws: int = 12) -> set[int]:
    """Return the kinds of gaps that appear in so many draws."""
    seen = gappy(np.random.default_rng(0), shape, missing)
    found = [hide_observed(np.random.default_rng(n), seen, 1 + n, n) for n in range(draws)]
    return {int(code) for codes in found for code in np.unique(codes) if code}


@pytest.mark.parametrize("steps", [2, 3, 7, 40])
def test_every_kind_of_gap_of_grids_appears_over_draws(steps: int) -> None:
    assert kinds_of((steps, 20, 20), 0.2) == set(range(OWN, OUTAGE))


def test_a_single_map_has_drawn_gaps_and_is_never_hidden_whole() -> None:
    """A cell without a value at any time is no gap, so that a map has no own gaps to move."""
    assert kinds_of((1, 20, 20), 0.2) == set(range(OWN + 1, FRAME))


def test_gauges_have_outages_and_their_own_gaps() -> None:
    assert kinds_of((200, 6), 0.2) == {OWN, OUTAGE}
    assert kinds_of((200, 1), 0.2) == {OWN, OUTAGE}


@pytest.mark.parametrize("shape", [(30, 10, 10), (100, 5)])
def test_a_record_without_gaps_has_no_own_gaps(shape: tuple[int, ...]) -> None:
    assert OWN not in kinds_of(shape, 0.0)
    assert kinds_of(shape, 0.0)


@pytest.mark.parametrize(
    "shape", [(1, 20, 20), (2, 8, 8), (30, 1, 1), (30, 1, 12), (60, 20, 20), (60, 1), (60, 8), (400, 3)]
)
def test_something_is_hidden_in_most_draws_and_something_is_kept(shape: tuple[int, ...]) -> None:
    seen = gappy(np.random.default_rng(1), shape, 0.1)
    shares = [
        float((hide_observed(np.random.default_rng(n), seen, 1 + n, n) > 0).sum() / seen.sum()) for n in range(20)
    ]
    assert np.mean(np.array(shares) > 0) >= 0.8
    assert max(shares) <= MAX_HIDDEN


def test_most_frames_keep_what_they_have() -> None:
    seen = gappy(np.random.default_rng(1), (200, 12, 12), 0.2)
    for number in range(5):
        untouched = ~(hide_observed(np.random.default_rng(number), seen, 7, number) > 0).any(axis=(1, 2))
        assert 0.35 <= untouched.mean() <= 0.65


def test_own_gaps_of_gauges_are_those_of_other_steps() -> None:
    """Gauge 0 lacks a run of 10 steps, which is hidden 40 steps later where its own gaps are moved."""
    seen = np.ones((100, 2), bool)
    seen[20:30, 0] = False
    moved = [np.flatnonzero(hide_observed(np.random.default_rng(n), seen, 40, 0)[:, 0] == OWN) for n in range(20)]
    assert all(set(at) <= set(range(60, 70)) for at in moved)
    assert any(len(at) for at in moved)


def test_nothing_observed_hides_nothing() -> None:
    for shape in ((5, 4, 4), (1, 1, 1), (9, 2)):
        assert not hide_observed(np.random.default_rng(0), np.zeros(shape, bool), 1, 0).any()
