"""Gaps of every kind hide the share wanted, in their shape; edge cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from hydrofill.gaps import masks
from hydrofill.gaps.masks import (
    Hidden,
    clouds,
    count_hidden,
    gauge_outages,
    random_patches,
    squares,
    swaths,
    whole_frames,
)

GridMask = Callable[[np.random.Generator, tuple[int, int, int], float], Hidden]
SHAPES = [(1, 1, 1), (1, 27, 14), (7, 1, 1), (5, 3, 8), (16, 27, 14)]
EXACT: dict[str, GridMask] = {"clouds": clouds, "swaths": swaths}
GRID_MASKS: dict[str, GridMask] = {**EXACT, "squares": squares, "patches": partial(random_patches, patch=(4, 3))}


def run_lengths(hidden: Hidden) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hidden, [False]]).astype(int)))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize(
    ("n", "ratio", "hidden"), [(100, 0.9, 90), (100, 0.29, 29), (10, 0.0, 0), (10, 1.0, 10), (3, 0.5, 2), (0, 0.5, 0)]
)
def test_hidden_count_is_the_nearest_whole_number(n: int, ratio: float, hidden: int) -> None:
    assert count_hidden(n, ratio) == hidden


@pytest.mark.parametrize("ratio", [-0.01, 1.01, float("nan")])
def test_ratio_outside_zero_to_one_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        count_hidden(10, ratio)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GRID_MASKS)
def test_ratio_zero_hides_nothing_and_one_everything(name: str, shape: tuple[int, int, int]) -> None:
    nothing, everything = (GRID_MASKS[name](np.random.default_rng(0), shape, ratio) for ratio in (0.0, 1.0))
    assert nothing.shape == everything.shape == shape
    assert nothing.dtype == everything.dtype == np.bool_
    assert not nothing.any()
    assert everything.all()


@pytest.mark.parametrize("ratio", [0.01, 0.24, 0.5, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EXACT)
def test_clouds_and_swaths_hide_exactly_their_share(name: str, shape: tuple[int, int, int], ratio: float) -> None:
    for seed in range(5):
        hidden = EXACT[name](np.random.default_rng(seed), shape, ratio)
        assert hidden.sum() == count_hidden(hidden.size, ratio)


@pytest.mark.parametrize("name", GRID_MASKS)
def test_a_seed_gives_one_mask_and_seeds_differ(name: str) -> None:
    first, again, other = (GRID_MASKS[name](np.random.default_rng(s), (16, 27, 14), 0.3) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("rows", "columns"), [(4, 7), (5, 7), (1, 1)])
def test_patches_are_hidden_whole_and_their_number_is_exact(rows: int, columns: int) -> None:
    hidden = random_patches(np.random.default_rng(0), (6, 13, 22), 0.75, (rows, columns))
    down, across = -(-13 // rows), -(-22 // columns)
    blocks = [hidden[:, i : i + rows, j : j + columns] for i in range(0, 13, rows) for j in range(0, 22, columns)]
    assert all(np.all(b == b[:, :1, :1]) for b in blocks)
    assert sum(int(b[:, 0, 0].sum()) for b in blocks) == count_hidden(6 * down * across, 0.75)


def test_clouds_are_blobs_that_last() -> None:
    """At 30 % hidden, 42 % of neighbours would differ if cells were drawn alone."""
    hidden = clouds(np.random.default_rng(0), (60, 40, 30), 0.3)
    along_y, along_x, along_time = (np.mean(np.diff(hidden.astype(int), axis=axis) != 0) for axis in (1, 2, 0))
    assert max(along_y, along_x) < 0.15
    assert along_time < 0.3


def test_clouds_do_not_run_over_the_edge() -> None:
    """Opposite edges agree no more often than chance: 0.58 at 30 % hidden."""
    masks = [clouds(np.random.default_rng(seed), (20, 40, 30), 0.3) for seed in range(20)]
    assert np.mean([m[:, 0] == m[:, -1] for m in masks]) < 0.7
    assert np.mean([m[:, :, 0] == m[:, :, -1] for m in masks]) < 0.7


def test_clouds_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shift by one cell or more fits the next frame better than none does."""
    monkeypatch.setattr(masks, "CLOUD_PERSISTENCE", 20.0)
    monkeypatch.setattr(masks, "MAX_DRIFT", 3.0)
    hidden = clouds(np.random.default_rng(5), (40, 60, 60), 0.3)
    inner = hidden[1:, 5:-5, 5:-5]
    shifts = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)]
    agreement = {s: np.mean(inner == hidden[:-1, 5 + s[0] : 55 + s[0], 5 + s[1] : 55 + s[1]]) for s in shifts}
    assert max(agreement, key=lambda s: agreement[s]) != (0, 0)
    assert max(agreement.values()) > agreement[0, 0] + 0.02


def test_a_swath_cuts_a_row_in_at_most_two_pieces() -> None:
    for seed in range(10):
        hidden = swaths(np.random.default_rng(seed), (12, 1, 40), 0.3)
        assert all(len(run_lengths(frame[0])) <= 2 for frame in hidden)


def test_swaths_move_between_frames() -> None:
    hidden = swaths(np.random.default_rng(0), (12, 20, 30), 0.3)
    assert all((a != b).any() for a, b in pairwise(hidden))


@pytest.mark.parametrize("ratio", [0.01, 0.06, 0.3, 0.8])
def test_squares_exceed_their_share_by_less_than_one_square(ratio: float) -> None:
    for seed in range(5):
        hidden = squares(np.random.default_rng(seed), (16, 27, 14), ratio)
        assert 0 <= hidden.sum() - count_hidden(hidden.size, ratio) < 9


def test_every_hidden_cell_lies_in_a_hidden_square() -> None:
    hidden = squares(np.random.default_rng(0), (16, 27, 14), 0.06)
    beyond = np.pad(hidden, ((0, 0), (2, 2), (2, 2)), constant_values=True)  # a square may be cut by the edge
    windows = np.lib.stride_tricks.sliding_window_view(beyond, (3, 3), axis=(1, 2))  # (T, H + 2, W + 2, 3, 3)
    whole = np.asarray(windows.all(axis=(3, 4)))
    covered = np.zeros_like(hidden)
    for i in range(3):
        for j in range(3):
            covered |= whole[:, i : i + 27, j : j + 14]
    assert covered[hidden].all()


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("n_time", [1, 2, 16, 365])
def test_number_of_whole_frames_is_exact(n_time: int, ratio: float) -> None:
    for seed in range(5):
        hidden = whole_frames(np.random.default_rng(seed), n_time, ratio, 3.0)
        assert hidden.shape == (n_time,)
        assert hidden.sum() == count_hidden(n_time, ratio)


def test_runs_of_whole_frames_have_the_mean_length_requested() -> None:
    runs = np.concatenate([run_lengths(whole_frames(np.random.default_rng(s), 3650, 0.1, 4.0)) for s in range(20)])
    assert runs.mean() == pytest.approx(4.0, rel=0.05)
    assert runs.min() == 1


def test_runs_stay_apart_while_there_is_room() -> None:
    hidden = whole_frames(np.random.default_rng(0), 20, 0.5, 1.0)
    assert run_lengths(hidden).tolist() == [1] * 10


def test_whole_frames_fall_anywhere() -> None:
    often = np.mean([whole_frames(np.random.default_rng(s), 20, 0.25, 2.0) for s in range(2000)], axis=0)
    assert often.min() > 0.15
    assert often.max() < 0.35


@pytest.mark.parametrize("ratio", [0.0, 0.22, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (365, 3), (16, 1), (5, 671)])
def test_share_of_outages_is_exact(shape: tuple[int, int], ratio: float) -> None:
    hidden = gauge_outages(np.random.default_rng(0), shape, ratio, 10.0)
    assert hidden.shape == shape
    assert hidden.sum() == count_hidden(hidden.size, ratio)


def test_outages_differ_by_gauge_and_last() -> None:
    hidden = gauge_outages(np.random.default_rng(0), (365, 3), 0.22, 15.0)
    assert len({tuple(site) for site in hidden.T}) == 3
    assert np.concatenate([run_lengths(site) for site in hidden.T]).mean() > 10.0


def test_a_mean_run_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="mean_run"):
        whole_frames(np.random.default_rng(0), 10, 0.5, 0.5)
