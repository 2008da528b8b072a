"""Surfaces, kriging and modes recover fields that meet their assumptions, and state their own error."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.gaps.masks import clouds
from model.baselines import in_space as in_space_module
from model.baselines import kriging as kriging_module
from model.baselines import stacked as stacked_module
from model.baselines.in_space import biharmonic_in_space, harmonic_in_space, inverse_distance, nearest_cells
from model.baselines.kriging import kriging, kriging_of_anomalies
from model.baselines.stacked import StackedUnavailableError, stacked
from model.baselines.variogram import Variogram, experimental, fit_variogram, roughness

NAN = np.nan


def random_fields(rng: np.random.Generator, steps: int, side: int, range_cells: float) -> np.ndarray:
    """(T, side, side) of unit variance and exponential covariance."""
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    distance = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))
    root = np.linalg.cholesky(np.exp(-distance / range_cells) + 1e-9 * np.eye(len(at)))
    return (rng.standard_normal((steps, len(at))) @ root.T).reshape(steps, side, side).astype(np.float32)


def test_inverse_distance_weighs_by_the_square() -> None:
    row = np.array([[[0.0, NAN, NAN, 9.0]]], np.float32)
    np.testing.assert_allclose(inverse_distance(row)[0, 0, 1:3], [9 * 0.25 / 1.25, 9 * 1 / 1.25], rtol=1e-6)


def test_nearest_observed_cells_are_those_a_plain_search_finds(rng: np.random.Generator) -> None:
    field = rng.random((1, 9, 8), np.float32)
    field[rng.random(field.shape) < 0.5] = NAN
    (near,) = nearest_cells(field, 3)
    there = np.argwhere(~np.isnan(field[0]))
    for cell, distance in zip(near.missing, near.distance, strict=True):
        np.testing.assert_allclose(distance, np.sort(np.hypot(*(there - cell).T))[:3])


def test_neighbours_found_in_parts_are_those_found_at_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = rng.random((2, 9, 8), np.float32)
    field[rng.random(field.shape) < 0.5] = NAN
    whole = kriging(field)
    monkeypatch.setattr(in_space_module, "MAX_GAPS", 5)
    assert max(len(near.missing) for near in nearest_cells(field)) == 5
    np.testing.assert_allclose(kriging(field).values, whole.values, rtol=1e-6)


@pytest.mark.parametrize("method", [harmonic_in_space, biharmonic_in_space, lambda v: kriging(v).values])
def test_a_plane_is_continued_into_a_hole(method: object) -> None:
    rows, columns = np.mgrid[0:12, 0:10].astype(np.float32)
    plane = (rows + 2 * columns)[None]
    gappy = plane.copy()
    gappy[0, 4:7, 4:6] = NAN
    np.testing.assert_allclose(method(gappy), plane, atol=0.4)  # type: ignore[operator]


def test_variogram_of_a_known_field_is_found(rng: np.random.Generator) -> None:
    found = fit_variogram(random_fields(rng, 300, 16, 4.0))
    assert found.nugget + found.sill == pytest.approx(1.0, rel=0.15)
    far = np.array([1.0, 2.0, 4.0, 8.0])
    np.testing.assert_allclose(found.covariance(far), np.exp(-far / 4), atol=0.08)


def test_experimental_variogram_of_two_cells_is_half_their_squared_difference() -> None:
    lags, halves, pairs = experimental(np.array([[[1.0, 4.0]]], np.float32))
    assert (lags.tolist(), halves.tolist(), pairs.tolist()) == ([1.0], [4.5], [1.0])


def test_a_field_that_never_differs_has_a_variogram_all_the_same() -> None:
    assert fit_variogram(np.ones((2, 5, 5), np.float32)).sill > 0


def test_rough_frames_are_distinguished_from_calm_ones() -> None:
    calm, rough = np.zeros((1, 20, 20)), np.random.default_rng(0).normal(size=(1, 20, 20))
    of_calm, of_rough = roughness(np.concatenate([calm, rough]))
    assert of_calm < 0.1 < 1.5 < of_rough


def test_kriging_of_one_gap_between_two_cells_has_its_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of 1/2 and a multiplier m = c1 - (c0 + c2) / 2; the variance is c0 - c1 - m."""
    monkeypatch.setattr(kriging_module, "fit_variogram", lambda _values: Variogram("exponential", 0.0, 1.0, 2.0))
    made = kriging(np.array([[[1.0, NAN, 3.0]]], np.float32))
    c1, c2 = np.exp(-0.5), np.exp(-1.0)
    multiplier = c1 - (1 + c2) / 2
    assert made.values[0, 0, 1] == pytest.approx(2.0)
    assert made.std is not None
    ratio = made.std[0, 0, 1] ** 2 / (1 - c1 - multiplier)
    assert ratio == pytest.approx(1.0, rel=1e-4)  # no two neighbours are observed: the frame counts as usually rough


def test_kriging_intervals_hold_about_the_share_they_state(rng: np.random.Generator) -> None:
    truth = random_fields(rng, 40, 16, 4.0)
    hidden = clouds(rng, (40, 16, 16), 0.3)
    made = kriging(np.where(hidden, NAN, truth).astype(np.float32))
    assert made.std is not None
    at = hidden & ~np.isnan(made.std)
    inside = np.abs(made.values - truth)[at] <= 1.645 * made.std[at]
    assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_kriging_of_anomalies_uses_each_cells_mean(rng: np.random.Generator) -> None:
    usual = rng.normal(0, 5, (12, 12))
    truth = (usual + random_fields(rng, 30, 12, 6.0)).astype(np.float32)
    hidden = clouds(rng, truth.shape, 0.4)
    gappy = np.where(hidden, np.float32(NAN), truth)
    at = hidden & (~np.isnan(gappy)).any(axis=(1, 2), keepdims=True)
    errors = [np.abs(m(gappy).values - truth)[at].mean() for m in (kriging, kriging_of_anomalies)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.slow
def test_stacked_is_better_than_its_best_surface(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked_module, "TREES", 80)
    modes = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 81))).reshape(60, 9, 9) + 3.0
    truth = (modes + rng.normal(0, 0.05, modes.shape)).astype(np.float32)
    gappy = np.where(clouds(rng, truth.shape, 0.35), np.float32(NAN), truth)
    at = np.isnan(gappy) & (~np.isnan(gappy)).any(axis=(1, 2), keepdims=True)
    error = np.sqrt(np.mean((stacked(gappy) - truth)[at] ** 2))
    harmonic = np.sqrt(np.mean((harmonic_in_space(gappy) - truth)[at] ** 2))
    assert error < 0.8 * harmonic


def test_stacked_names_the_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(StackedUnavailableError, match="scikit-learn"):
        stacked_module.stacked(np.array([[1.0], [NAN], [2.0], [NAN], [4.0], [5.0]], np.float32))
