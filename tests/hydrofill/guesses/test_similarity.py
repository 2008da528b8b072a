"""What usually similar cells and sites say of each other."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.guesses.similarity import MAX_LAG, similar_neighbours, similar_sites

NAN = np.nan


def test_similar_cells_speak_for_each_other_and_not_the_nearest(rng: np.random.Generator) -> None:
    signal = rng.standard_normal((50, 2)).astype(np.float32)
    values = signal[:, [0, 1, 0, 1]][:, None, :]  # cells 0 and 2, and 1 and 3, are the same
    gappy = values.copy()
    gappy[7, 0, 2] = NAN
    filled, spread = similar_neighbours(gappy)
    assert filled[7, 0, 2] == pytest.approx(values[7, 0, 0], abs=0.02)
    assert spread[7, 0, 2] < 0.5


def test_a_cell_without_neighbours_has_no_similar_one() -> None:
    alone, spread = similar_neighbours(np.ones((3, 1, 1), np.float32))
    assert np.isnan(alone).all() and np.isnan(spread).all()
    far = np.full((2, 1, 12), NAN, np.float32)
    far[:, 0, 0] = 1
    assert np.isnan(similar_neighbours(far)[0][:, 0, 6:]).all()


@pytest.mark.parametrize("lag", [0, 1, 3, MAX_LAG])
def test_a_gauge_downstream_is_filled_from_what_passed_upstream_before(rng: np.random.Generator, lag: int) -> None:
    river = rng.gamma(0.5, 4, 300).astype(np.float32)
    upstream, downstream, other = river[MAX_LAG:], river[MAX_LAG - lag : len(river) - lag], rng.gamma(0.5, 4, 292)
    values = np.stack([upstream, downstream, other], axis=1).astype(np.float32)
    gappy = values.copy()
    gappy[50:120, 1] = NAN
    gappy[200:230, 0] = NAN
    filled, spread = similar_sites(gappy)
    inner = slice(200, 230 - lag)
    np.testing.assert_allclose(filled[50:120, 1], values[50:120, 1], atol=0.1)
    np.testing.assert_allclose(filled[inner, 0], values[inner, 0], atol=0.1)
    assert np.nanmedian(spread[:, 1]) < 0.2 * np.nanmedian(spread[:, 2])


def test_chance_does_not_make_one_gauge_follow_another(rng: np.random.Generator) -> None:
    values = np.repeat(rng.standard_normal((400, 1)), 2, axis=1) + 0.1 * rng.standard_normal((400, 2))
    filled, _ = similar_sites(values.astype(np.float32))
    np.testing.assert_allclose(filled[:, 0], values[:, 1], atol=1e-4)


def test_one_site_alone_and_sites_never_seen_together_say_nothing_false() -> None:
    alone, spread = similar_sites(np.ones((4, 1), np.float32))
    assert np.isnan(alone).all() and np.isnan(spread).all()
    apart = np.full((40, 2), NAN, np.float32)
    apart[0, 0], apart[39, 1] = 1, 5
    filled, _ = similar_sites(apart)
    assert np.isnan(filled[5:30]).all()
