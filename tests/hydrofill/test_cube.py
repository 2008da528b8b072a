"""A cube refuses arrays that do not match, and knows its gaps."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from hydrofill.cube import Sites, Variable, WaterCube, nearest_cells
from hydrofill.errors import ContractError, CoordinateError, StructureError, ValueRangeError


def test_a_missing_value_inside_the_domain_is_a_gap(cube: WaterCube) -> None:
    assert cube.gaps("rain").sum() == 1
    assert cube.gaps("rain")[1, 1, 2]


def test_a_cell_without_any_value_is_outside_the_domain(cube: WaterCube) -> None:
    values = cube.variables["rain"].values.copy()
    values[:, 0, 0] = np.nan
    dry = cube.with_values({"rain": values})
    assert not dry.inside("rain")[0, 0]
    assert not dry.gaps("rain")[:, 0, 0].any()


def test_a_given_domain_includes_cells_without_any_value(cube: WaterCube) -> None:
    values = cube.variables["rain"].values.copy()
    values[:, 0, 0] = np.nan
    with_domain = replace(cube.with_values({"rain": values}), domain={"rain": np.ones((2, 3), bool)})
    assert with_domain.gaps("rain")[:, 0, 0].all()


def test_a_window_takes_the_sites_that_lie_in_it(cube: WaterCube) -> None:
    assert len(cube.window(slice(0, 1), slice(0, 1), slice(2, 3)).sites) == 1
    assert len(cube.window(slice(0, 1), slice(0, 1), slice(0, 2)).sites) == 0


def test_windows_that_tile_the_grid_contain_every_site_once(cube: WaterCube) -> None:
    far = replace(
        cube,
        sites=Sites(np.array(["a", "b", "c"]), np.array([0.0, 1.4, 99.0]), np.array([-5.0, 2.6, 99.0])),
        variables={"rain": cube.variables["rain"]},
    )
    taken = [far.sites_in(slice(y, y + 1), slice(x, x + 1)) for y in range(2) for x in range(3)]
    assert (np.sum(taken, axis=0) == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_the_cell_of_a_site_is_the_first_of_the_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = np.unique(rng.integers(-6, 6, 9).astype(float)) * 10.0 ** rng.integers(-2, 17)
    axis = axis[:: -1 if seed % 2 else 1]
    places = rng.integers(-30, 30, 50) / 4 * 10.0 ** rng.integers(-2, 17)
    assert (nearest_cells(axis, places) == np.abs(axis[:, None] - places).argmin(axis=0)).all()


def test_sites_of_a_long_column_are_found_in_memory_that_grows_with_rows_plus_sites() -> None:
    number = 3000
    places = np.linspace(0, 2999, number)
    sites = Sites(places.astype(str), places, np.zeros(number))
    column = WaterCube(np.array(["2012-08-01"], "datetime64[ns]"), np.arange(number) * 1.0, np.zeros(1), sites)
    tracemalloc.start()
    taken = column.sites_in(slice(1000, 1010), slice(0, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.flatnonzero(taken).tolist() == list(range(1000, 1010))
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"time": np.array(["2012-08-02", "2012-08-01"], "datetime64[ns]")}, CoordinateError, "time: must increase"),
        ({"time": np.array(["2012-08-02", "NaT"], "datetime64[ns]")}, CoordinateError, "has a missing time"),
        ({"time": np.array([], "datetime64[ns]")}, CoordinateError, "at least one time"),
        ({"time": np.array([1, 2])}, CoordinateError, "not a CF time axis"),
        ({"y": np.array([1.0, np.nan])}, CoordinateError, "y: must be one-dimensional and finite"),
        ({"x": np.array([1.0, 3.0, 2.0])}, CoordinateError, "x: must be strictly monotonic"),
        ({"y": np.array([1.0])}, StructureError, "rain: the shape does not match"),
        ({"sites": Sites(np.array(["a"]), np.array([np.inf]), np.array([3.0]))}, CoordinateError, "sites/y"),
        ({"domain": {"rain": np.ones((1, 3), bool)}}, StructureError, "rain_domain: the domain must be boolean"),
    ],
)
def test_arrays_that_do_not_match_are_refused_and_named(
    cube: WaterCube, change: dict[str, object], error: type[ContractError], says: str
) -> None:
    with pytest.raises(error, match=says):
        replace(cube, **change)  # type: ignore[arg-type]


def test_an_infinite_value_is_refused_and_the_variable_named(cube: WaterCube) -> None:
    values = cube.variables["rain"].values.copy()
    values[0, 0, 0] = np.inf
    with pytest.raises(ValueRangeError, match="rain: has an infinite value"):
        cube.with_values({"rain": values})


def test_values_that_are_not_float32_are_refused_and_the_variable_named(cube: WaterCube) -> None:
    wide = Variable("rain", "grid", cube.variables["rain"].values.astype(np.float64), "mm day-1")
    with pytest.raises(StructureError, match="rain: the values must be float32"):
        replace(cube, variables={"rain": wide})


def test_an_error_has_a_json_pointer_into_the_request() -> None:
    error = CoordinateError("is wrong", where="sites/0/y", got=1, expected=2)
    assert error.pointer == "/sites/0/y"
    assert str(error) == "sites/0/y: is wrong (got 1; expected 2)"
