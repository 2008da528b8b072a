"""Estimates from similar cells and sites."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from hydrofill.guesses import similarity
from hydrofill.guesses.similarity import MAX_LAG, similar_neighbours, similar_sites

NAN = np.nan


def test_a_value_is_estimated_from_the_similar_cell_and_not_the_nearest(rng: np.random.Generator) -> None:
    signal = rng.standard_normal((50, 2)).astype(np.float32)
    values = signal[:, [0, 1, 0, 1]][:, None, :]  # cells 0 and 2, and 1 and 3, are the same
    gappy = values.copy()
    gappy[7, 0, 2] = NAN
    filled, std = similar_neighbours(gappy)
    assert filled[7, 0, 2] == pytest.approx(values[7, 0, 0], abs=0.02)
    assert std[7, 0, 2] < 0.5


def test_a_cell_without_seen_neighbours_has_no_estimate() -> None:
    alone, std = similar_neighbours(np.ones((3, 1, 1), np.float32))
    assert np.isnan(alone).all() and np.isnan(std).all()
    far = np.full((2, 1, 12), NAN, np.float32)
    far[:, 0, 0] = 1
    assert np.isnan(similar_neighbours(far)[0][:, 0, 6:]).all()


@pytest.mark.parametrize("lag", [0, 1, 3, MAX_LAG])
def test_a_gauge_downstream_is_filled_from_earlier_values_upstream(rng: np.random.Generator, lag: int) -> None:
    river = rng.gamma(0.5, 4, 300).astype(np.float32)
    upstream, downstream, other = river[MAX_LAG:], river[MAX_LAG - lag : len(river) - lag], rng.gamma(0.5, 4, 292)
    values = np.stack([upstream, downstream, other], axis=1).astype(np.float32)
    gappy = values.copy()
    gappy[50:120, 1] = NAN
    gappy[200:230, 0] = NAN
    filled, std = similar_sites(gappy)
    inner = slice(200, 230 - lag)
    np.testing.assert_allclose(filled[50:120, 1], values[50:120, 1], atol=0.1)
    np.testing.assert_allclose(filled[inner, 0], values[inner, 0], atol=0.1)
    assert np.nanmedian(std[:, 1]) < 0.2 * np.nanmedian(std[:, 2])


def test_noise_does_not_cause_a_lag_between_gauges(rng: np.random.Generator) -> None:
    values = np.repeat(rng.standard_normal((400, 1)), 2, axis=1) + 0.1 * rng.standard_normal((400, 2))
    filled, _ = similar_sites(values.astype(np.float32))
    np.testing.assert_allclose(filled[:, 0], values[:, 1], atol=1e-4)


def test_a_single_site_and_sites_never_seen_together_have_no_estimate() -> None:
    alone, std = similar_sites(np.ones((4, 1), np.float32))
    assert np.isnan(alone).all() and np.isnan(std).all()
    apart = np.full((40, 2), NAN, np.float32)
    apart[0, 0], apart[39, 1] = 1, 5
    filled, _ = similar_sites(apart)
    assert np.isnan(filled[5:30]).all()


def test_sites_that_are_never_seen_change_nothing_and_take_no_memory() -> None:
    rng = np.random.default_rng(0)
    values = np.full((6, 2500), np.nan, np.float32)
    values[:, [7, 2100]] = rng.normal(size=(6, 2))
    values[2, 7] = np.nan
    tracemalloc.start()
    filled, std = similar_sites(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    alone, alone_std = similar_sites(values[:, [7, 2100]])
    assert filled[:, [7, 2100]] == pytest.approx(alone, rel=1e-5, nan_ok=True)
    assert std[:, [7, 2100]] == pytest.approx(alone_std, rel=1e-2, nan_ok=True)
    assert filled[0, 0] == pytest.approx(np.nanmean(values[0]), rel=1e-5)  # all sites are told the same
    assert peak < 4 * values.nbytes * 2


def test_sites_compared_in_blocks_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, 24)).astype(np.float32).cumsum(axis=0)
    values[rng.random(values.shape) < 0.3] = np.nan
    whole = similar_sites(values)
    monkeypatch.setattr(similarity, "BLOCK_PAIRS", 24 * 5)
    for of_blocks, of_all in zip(similar_sites(values), whole, strict=True):
        assert of_blocks == pytest.approx(of_all, rel=0.02, nan_ok=True)  # the median is that of a sample
