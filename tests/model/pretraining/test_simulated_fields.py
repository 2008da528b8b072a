"""Simulated cubes are valid, repeat by seed, and hold the variety that water data have."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hydrofill.cube import Variable, WaterCube
from model.pretraining.gaussian_fields import Covariance, gaussian_field, site_field
from model.pretraining.simulated_fields import KIND_SHARES, KINDS, MAX_VALUES, simulate_cube

SEEDS = range(60)


@pytest.fixture(scope="module")
def cubes() -> list[WaterCube]:
    return [simulate_cube(np.random.default_rng(seed)) for seed in SEEDS]


def dynamic(cubes: list[WaterCube]) -> list[Variable]:
    return [v for cube in cubes for v in cube.of_kind("grid", "series").values()]


def grids(cubes: list[WaterCube]) -> list[Variable]:
    return [v for cube in cubes for v in cube.of_kind("grid").values()]


def dry_share(values: np.ndarray) -> float:
    return float((values == 0.0).sum() / (~np.isnan(values)).sum()) if np.nanmin(values) == 0.0 else 0.0


def copied_share(values: np.ndarray) -> float:
    """Share of neighbours in a row that are the same and not the lowest or highest value."""
    left, right = values[..., :-1], values[..., 1:]
    inner = (left > np.nanmin(values)) & (left < np.nanmax(values))
    return float((left == right)[inner].mean()) if inner.any() else 0.0


def test_cubes_are_complete_apart_from_land(cubes: list[WaterCube]) -> None:
    for cube in cubes:
        assert cube.of_kind("grid", "series")
        for name, variable in cube.variables.items():
            assert variable.name == name
            valid = variable.valid
            assert valid.any()
            if variable.kind in ("grid", "series"):
                assert (valid == valid[0]).all()  # NaN at all times or never


def test_cubes_stay_within_their_number_of_values(cubes: list[WaterCube]) -> None:
    assert max(sum(v.values.size for v in cube.variables.values()) for cube in cubes) <= MAX_VALUES


@pytest.mark.parametrize("seed", range(8))
def test_a_seed_gives_one_cube(seed: int) -> None:
    first, again = (simulate_cube(np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first.time, again.time)
    assert list(first.variables) == list(again.variables)
    for name, variable in first.variables.items():
        assert variable.units == again.variables[name].units
        np.testing.assert_array_equal(variable.values, again.variables[name].values)


def test_names_say_nothing(cubes: list[WaterCube]) -> None:
    for cube in cubes:
        assert list(cube.variables) == [f"v{n}" for n in range(len(cube.variables))]


def test_every_kind_of_cube_has_a_share() -> None:
    assert len(KIND_SHARES) == len(KINDS)
    assert sum(KIND_SHARES) == pytest.approx(1.0)


def test_some_rain_is_nearly_always_dry_and_some_often_wet(cubes: list[WaterCube]) -> None:
    shares = [s for s in (dry_share(v.values) for v in dynamic(cubes)) if s > 0.05]
    assert len(shares) >= 10
    assert min(shares) < 0.4
    assert max(shares) > 0.8


def test_some_variables_pile_up_at_both_bounds(cubes: list[WaterCube]) -> None:
    def piled(values: np.ndarray) -> bool:
        ends = [np.mean(values == end) for end in (np.nanmin(values), np.nanmax(values))]
        return min(ends) > 0.01 and len(np.unique(values)) > 50

    assert sum(piled(v.values) for v in dynamic(cubes)) >= 2


def test_some_grids_are_copies_of_a_coarser_one(cubes: list[WaterCube]) -> None:
    smooth = [v for v in grids(cubes) if len(np.unique(v.values)) > 200]
    assert sum(copied_share(v.values) > 0.4 for v in smooth) >= 3


def test_sizes_go_from_one_map_to_a_thousand_frames(cubes: list[WaterCube]) -> None:
    steps = [len(cube.time) for cube in cubes]
    assert steps.count(1) >= 3
    assert sum(2 <= n <= 12 for n in steps) >= 4
    assert sum(n >= 400 and c.of_kind("grid") != {} for n, c in zip(steps, cubes, strict=True)) >= 2


def test_some_cubes_have_series_alone_and_some_have_both(cubes: list[WaterCube]) -> None:
    series, gridded = ([bool(cube.of_kind(kind)) for cube in cubes] for kind in ("series", "grid"))
    assert sum(s and not g for s, g in zip(series, gridded, strict=True)) >= 5
    assert sum(s and g for s, g in zip(series, gridded, strict=True)) >= 5
    assert all(s or g for s, g in zip(series, gridded, strict=True))


def test_some_cubes_have_several_variables_and_statics(cubes: list[WaterCube]) -> None:
    assert sum(len(cube.of_kind("grid", "series")) > 1 for cube in cubes) >= 15
    assert max(len(cube.of_kind("grid")) for cube in cubes) >= 3
    assert sum(bool(cube.of_kind("static_grid", "static_site")) for cube in cubes) >= 10


def test_variables_of_a_cube_are_independent_or_linked_or_nearly_the_same(cubes: list[WaterCube]) -> None:
    links = []
    for cube in cubes:
        for a, b in pairwise(cube.of_kind("grid").values()):
            both = a.valid & b.valid
            ranks = [v.values[both].argsort().argsort() for v in (a, b)]
            links.append(abs(float(np.corrcoef(*ranks)[0, 1])))
    assert min(links) < 0.1
    assert max(links) > 0.6


def test_steps_are_minutes_to_months_and_some_are_uneven(cubes: list[WaterCube]) -> None:
    steps = [np.diff(cube.time) / np.timedelta64(1, "m") for cube in cubes if len(cube.time) > 2]
    assert min(s.min() for s in steps) <= 15
    assert max(s.max() for s in steps) >= 28 * 24 * 60
    assert sum(len(np.unique(s)) > 1 for s in steps) >= 5


def test_scales_range_over_many_orders_of_magnitude(cubes: list[WaterCube]) -> None:
    stds = [float(np.nanstd(v.values)) for v in dynamic(cubes)]
    stds = [std for std in stds if std > 0]
    assert max(stds) / min(stds) > 1e6


def test_some_grids_have_land(cubes: list[WaterCube]) -> None:
    assert sum(bool((~v.valid).any()) for v in grids(cubes)) >= 5


def test_some_fields_are_nearly_static_and_some_forget_at_once(cubes: list[WaterCube]) -> None:
    def kept(values: np.ndarray) -> float:
        anomaly = values - np.nanmean(values)
        return float(np.nanmean(anomaly[1:] * anomaly[:-1]) / np.nanmean(anomaly**2))

    memories = [kept(v.values.astype(float)) for v in dynamic(cubes) if len(v.values) > 20 and np.nanstd(v.values) > 0]
    assert min(memories) < 0.2
    assert max(memories) > 0.98


@pytest.mark.parametrize("smoothness", [0.5, 2.5, np.inf])
def test_gaussian_fields_have_variance_one_and_their_length_scale(smoothness: float) -> None:
    covariance = Covariance(range_cells=4.0, smoothness=smoothness)
    field = gaussian_field(np.random.default_rng(1), (400, 24, 24), covariance)
    assert field.dtype == np.float32
    assert field.var() == pytest.approx(1.0, abs=0.05)
    at_range = float((field[:, :, 4:] * field[:, :, :-4]).mean())
    expected = {0.5: np.exp(-1.0), 2.5: 0.524, np.inf: np.exp(-0.5)}[smoothness]
    assert at_range == pytest.approx(expected, abs=0.07)


def test_fields_move_with_the_wind() -> None:
    covariance = Covariance(range_cells=3.0, smoothness=1.5, memory_steps=1e3, wind=(0.0, 2.0))
    field = gaussian_field(np.random.default_rng(2), (6, 32, 32), covariance)
    moved = np.corrcoef(field[0, :, :-2].ravel(), field[1, :, 2:].ravel())[0, 1]
    stayed = np.corrcoef(field[0, :, 2:].ravel(), field[1, :, 2:].ravel())[0, 1]
    assert moved > 0.98
    assert moved > stayed + 0.1


def test_memory_in_time_is_kept_at_sites_as_on_grids() -> None:
    covariance = Covariance(range_cells=1.0, memory_steps=5.0)
    distance = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    series = site_field(np.random.default_rng(3), distance, 4000, covariance)
    grid = gaussian_field(np.random.default_rng(3), (4000, 3, 3), covariance)
    for field in (series, grid):
        assert float((field[5:] * field[:-5]).mean()) == pytest.approx(np.exp(-1.0), abs=0.08)
