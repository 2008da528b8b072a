"""A general layout suits its cube: patches and windows within the data, and limits that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.cube import Variable
from hydrofill.errors import NothingObservedError, StructureError
from hydrofill.general.layout import MAX_SITES, compose_layout
from hydrofill.layout import MAX_TOKEN_SIZE, MAX_VARIABLES
from tests.support.general_run import gauge_cube, grid_cube, smooth_field


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 80),
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    number=st.integers(1, 4),
)
def test_windows_are_no_larger_than_the_data_and_patches_no_larger_than_a_token(
    steps: int, rows: int, columns: int, number: int
) -> None:
    field = np.arange(steps * rows * columns, dtype=np.float32).reshape(steps, rows, columns)
    layout = compose_layout(grid_cube({f"v{n}": field for n in range(number)}))
    window, patch = layout.window, layout.patch
    assert 1 <= window.steps <= steps and 1 <= window.rows <= rows and 1 <= window.columns <= columns
    assert 1 <= patch.rows <= rows and 1 <= patch.columns <= columns and 1 <= patch.steps <= steps
    assert patch.rows * patch.columns <= MAX_TOKEN_SIZE and patch.steps <= MAX_TOKEN_SIZE
    assert layout.general and layout.token_size == MAX_TOKEN_SIZE and layout.first_static_type == MAX_VARIABLES


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 300), sites=st.integers(1, 200))
def test_windows_of_gauges_are_no_longer_than_the_data(steps: int, sites: int) -> None:
    series = np.arange(steps * sites, dtype=np.float32).reshape(steps, sites)
    layout = compose_layout(gauge_cube({"flow": series}))
    assert 1 <= layout.window.steps <= steps
    assert 1 <= layout.patch.steps <= steps
    assert layout.place.y_spacing > 0 and layout.place.x_spacing > 0


def test_variables_without_a_value_are_left_out() -> None:
    field = smooth_field(np.random.default_rng(0), (4, 5, 6))
    layout = compose_layout(grid_cube({"a": field, "empty": np.full_like(field, np.nan)}))
    assert [spec.name for spec in layout.variables] == ["a"]


def test_a_record_without_a_value_is_refused() -> None:
    with pytest.raises(NothingObservedError, match="all values of all variables are missing"):
        compose_layout(grid_cube({"a": np.full((3, 4, 5), np.nan)}))


def test_the_limits_of_variables_and_sites_are_kept() -> None:
    field = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    many = grid_cube({f"v{n}": field for n in range(MAX_VARIABLES)})
    assert len(compose_layout(many).variables) == MAX_VARIABLES
    with pytest.raises(StructureError, match="too many variables"):
        compose_layout(grid_cube({f"v{n}": field for n in range(MAX_VARIABLES + 1)}))
    assert compose_layout(gauge_cube({"a": np.arange(MAX_SITES)[None]})).variables
    with pytest.raises(StructureError, match="too many sites"):
        compose_layout(gauge_cube({"a": np.ones((1, MAX_SITES + 1))}))


def test_static_fields_that_do_not_vary_are_left_out_and_the_others_are_limited() -> None:
    cube = grid_cube({"a": smooth_field(np.random.default_rng(0), (4, 5, 6))})
    flat = {f"s{n}": np.full((5, 6), np.float32(n)) for n in range(3)}
    varying = {f"t{n}": np.arange(30, dtype=np.float32).reshape(5, 6) for n in range(MAX_TOKEN_SIZE + 3)}
    statics = {n: Variable(n, "static_grid", v, "1") for n, v in (flat | varying).items()}
    layout = compose_layout(replace(cube, variables={**cube.variables, **statics}))
    assert [spec.name for spec in layout.static] == list(varying)[:MAX_TOKEN_SIZE]


@pytest.mark.parametrize(
    ("units", "values", "floor"),
    [("mm", "rain", True), ("degC", "rain", False), ("K", "temperature", False), ("mm", "negative", False)],
)
def test_zero_is_the_floor_of_values_that_reach_it_and_have_no_other_scale(
    units: str, values: str, floor: bool
) -> None:
    rng = np.random.default_rng(0)
    drawn = {
        "rain": np.maximum(rng.gamma(0.3, 2.0, (9, 6, 6)) - 0.2, 0),
        "temperature": 280 + rng.standard_normal((9, 6, 6)),
        "negative": rng.standard_normal((9, 6, 6)),
    }[values]
    (spec,) = compose_layout(grid_cube({"a": drawn}, units)).variables
    assert (spec.lower == 0) is floor
    assert spec.transform == ("sqrt" if floor else "identity")


def test_a_constant_is_bounded_by_itself() -> None:
    (spec,) = compose_layout(grid_cube({"a": np.full((3, 4, 5), 2.5)})).variables
    assert spec.lower == spec.upper == 2.5
