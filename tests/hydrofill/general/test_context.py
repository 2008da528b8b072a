"""The context of a record: fixed shapes, finite numbers, and rows that move with their variables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrofill.cube import WaterCube
from hydrofill.general.context import (
    CONTEXT_FIELDS,
    CONTEXT_SHAPES,
    DESCRIPTORS,
    Context,
    describe,
    scale_of,
    stack_contexts,
)
from hydrofill.general.guesses import MEASURED_GUESSES, Scale
from hydrofill.general.layout import compose_layout
from hydrofill.guesses.stacking import PRIOR_ERROR, fit_stack
from hydrofill.layout import MAX_VARIABLES
from tests.support.general_run import gauge_cube, grid_cube, smooth_field


def context_of(cube: WaterCube, of: WaterCube | None = None) -> Context:
    """Return the context of `cube`, with the layout of the record `of`, and nothing known of its guesses."""
    layout = compose_layout(of or cube)
    scales = {s.name: scale_of(cube.variables[s.name].values, s.transform == "sqrt") for s in layout.variables}
    stacks = {s.name: fit_stack([], len(MEASURED_GUESSES))[0] for s in layout.variables}
    return describe([cube], layout, stacks, scales, cube.variables)


def descriptor(context: Context, number: int = 0) -> dict[str, float]:
    return dict(zip(DESCRIPTORS, context.descriptor[number].tolist(), strict=True))


def two_variables(rng: np.random.Generator) -> WaterCube:
    field = smooth_field(rng, (12, 8, 9))
    return grid_cube({"a": field, "b": -2 * field + rng.standard_normal(field.shape) * 0.1})


def check_form(context: Context) -> None:
    for name, (dtype, shape) in CONTEXT_SHAPES.items():
        array = getattr(context, name)
        assert array.shape == shape and array.dtype == np.dtype(dtype), name
        assert np.isfinite(array).all(), name
    assert (context.std > 0).all() and (context.error > 0).all()


@given(st.permutations(range(MAX_VARIABLES)))
def test_a_moved_context_is_a_permutation_of_its_variables(order: list[int]) -> None:
    context, slots = context_of(two_variables(np.random.default_rng(0))), np.array(order)
    moved = context.moved(slots)
    for name in CONTEXT_FIELDS:
        before, after = getattr(context, name), getattr(moved, name)
        np.testing.assert_array_equal(after[slots], before[:MAX_VARIABLES])
        np.testing.assert_array_equal(after[MAX_VARIABLES:], before[MAX_VARIABLES:])


def test_rows_of_absent_variables_say_nothing(rng: np.random.Generator) -> None:
    context = context_of(two_variables(rng))
    assert not context.descriptor[2:].any() and not context.center[2:].any()
    assert (context.std[2:] == 1).all() and (context.error[2:] == PRIOR_ERROR).all()


def constant_map() -> WaterCube:
    return grid_cube({"a": np.full((1, 5, 6), 3.0)})


RECORDS = {
    "constant": lambda rng: grid_cube({"a": np.full((6, 5, 4), 7.5)}),
    "constant zero": lambda rng: grid_cube({"a": np.zeros((6, 5, 4))}),
    "single frame": lambda rng: grid_cube({"a": smooth_field(rng, (1, 9, 8))}),
    "constant map": lambda rng: constant_map(),
    "one cell": lambda rng: grid_cube({"a": smooth_field(rng, (30, 1, 1))}),
    "one value": lambda rng: grid_cube({"a": np.where(np.arange(60).reshape(3, 4, 5) == 7, 2.5, np.nan)}),
    "one gauge": lambda rng: gauge_cube({"a": smooth_field(rng, (50, 1, 1))[..., 0]}),
    "one step of gauges": lambda rng: gauge_cube({"a": smooth_field(rng, (1, 1, 9))[:, 0]}),
    "huge values": lambda rng: grid_cube({"a": 1e18 * smooth_field(rng, (8, 6, 6))}),
    "tiny values": lambda rng: grid_cube({"a": 1e-12 * smooth_field(rng, (8, 6, 6))}),
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_context_is_finite_and_of_its_shapes(record: str, rng: np.random.Generator) -> None:
    check_form(context_of(RECORDS[record](rng)))


def test_a_variable_that_is_missing_in_a_part_of_its_record_has_a_finite_context(rng: np.random.Generator) -> None:
    whole = two_variables(rng)
    part = whole.with_values({"b": np.full((12, 8, 9), np.nan, np.float32)})
    context = context_of(part, of=whole)
    check_form(context)
    assert descriptor(context, 1)["seen"] == 0 and context.std[1, 0] == 1


def test_descriptors_tell_what_they_are_named_for(rng: np.random.Generator) -> None:
    rain = np.maximum(rng.gamma(0.3, 2.0, (100, 10, 10)) - 0.2, 0)
    blocks = smooth_field(rng, (100, 10, 5)).repeat(2, axis=2)
    cube = grid_cube({"rain": rain, "blocks": blocks, "copy": 3 * blocks})
    cube.variables["rain"].values[:, :, :3] = np.nan
    cube.variables["rain"].values[:50, :, 3:] = np.nan
    context = context_of(cube)
    rain_is, blocks_are = descriptor(context), descriptor(context, 1)
    assert rain_is["square_root"] == rain_is["floor"] == 1 and blocks_are["square_root"] == 0
    assert rain_is["seen"] == pytest.approx(0.5)  # of cells that have a value at any time
    assert rain_is["zeros"] == pytest.approx(float((rain[50:, :, 3:] == 0).mean()))
    assert blocks_are["equal_x"] == pytest.approx(5 / 9)
    assert blocks_are["lag_time"] > 0.8 and abs(rain_is["lag_time"]) < 0.1
    assert blocks_are["others"] == pytest.approx(1) and rain_is["others"] < 0.5
    assert rain_is["steps"] == pytest.approx(2 / 3) and rain_is["cells"] == pytest.approx(2 / 4)
    assert rain_is["step_length"] == 0 and rain_is["variables"] == pytest.approx(3 / 16)


@given(factor=st.sampled_from([1e-3, 0.5, 1e3]), root=st.booleans())
def test_scores_and_values_are_inverse(factor: float, root: bool) -> None:
    values = factor * np.random.default_rng(0).gamma(2, 3, (6, 5, 4)).astype(np.float32)
    scale = scale_of(values, root)
    np.testing.assert_allclose(scale.values(scale.scores(values)), values, rtol=1e-4)
    scores = scale.scores(values)
    assert abs(scores.mean()) < 1e-5 and scores.std() == pytest.approx(1, abs=1e-5)


def test_square_roots_never_give_a_negative_value() -> None:
    assert Scale(1.0, 2.0, True).values(np.array([-9.0, -0.5, 0.0])).tolist() == [0.0, 0.0, 1.0]


def test_contexts_are_stacked_in_order(rng: np.random.Generator) -> None:
    one, other = context_of(two_variables(rng)), context_of(constant_map())
    both = stack_contexts([one, other])
    for name in CONTEXT_FIELDS:
        np.testing.assert_array_equal(getattr(both, name)[0], getattr(one, name))
        np.testing.assert_array_equal(getattr(both, name)[1], getattr(other, name))
