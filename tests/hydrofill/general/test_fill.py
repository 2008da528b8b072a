"""A record is measured and filled by what it says of itself: alike in all units, and honest where it says little.

The stacked guess with its measured error stands in for a network.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hydrofill.constants import Z90
from hydrofill.cube import WaterCube
from hydrofill.errors import NothingObservedError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.gaps.self_gaps import KINDS
from hydrofill.general.calibrate import ExpectedSkill, calibrate_record, few_values_factor
from hydrofill.general.guesses import GENERAL_GUESSES, MEASURED_GUESSES
from hydrofill.layout import GENERAL
from hydrofill.reconstruct import FILLED, OBSERVED
from tests.support.general_run import GeneralFill, StackedPredictor, fill_generally, gauge_cube, grid_cube, smooth_field


def with_gaps(rng: np.random.Generator, field: np.ndarray, missing: float = 0.3) -> np.ndarray:
    """Return the field with a lost frame, where it has several, and cells missing at random."""
    gappy = np.where(rng.random(field.shape) < missing, np.nan, field)
    if len(field) > 4:
        gappy[len(field) // 2] = np.nan
    return gappy.astype(np.float32)


def rain_field(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return np.maximum(smooth_field(rng, shape) - 10, 0).astype(np.float32) ** 2


@pytest.fixture(scope="module")
def record() -> WaterCube:
    """Twenty days of a smooth field and of rain, with gaps."""
    rng = np.random.default_rng(4)
    field, rain = smooth_field(rng, (20, 10, 9)), rain_field(rng, (20, 10, 9))
    return grid_cube({"field": with_gaps(rng, field), "rain": with_gaps(rng, rain)})


@pytest.fixture(scope="module")
def filled(record: WaterCube) -> GeneralFill:
    return fill_generally(record)


def check_whole(cube: WaterCube, fill: GeneralFill) -> None:
    """Check that every gap of cells with a value at any time is filled, with a standard deviation."""
    for name, made in fill.filled.items():
        gaps = cube.gaps(name)
        np.testing.assert_array_equal(made.flag == FILLED, gaps)
        np.testing.assert_array_equal(made.flag == OBSERVED, cube.variables[name].valid)
        assert np.isfinite(made.mean[gaps]).all() and np.isfinite(made.std[gaps]).all()
        assert (made.std[gaps] > 0).all()


def test_all_gaps_are_filled(record: WaterCube, filled: GeneralFill) -> None:
    check_whole(record, filled)


def test_a_fill_is_the_same_every_time(record: WaterCube, filled: GeneralFill) -> None:
    again = fill_generally(record)
    for name, made in filled.filled.items():
        np.testing.assert_array_equal(again.filled[name].mean, made.mean)
        np.testing.assert_array_equal(again.filled[name].std, made.std)
    assert again.use.skill == filled.use.skill


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_values_times_a_factor_give_the_fill_times_the_factor(
    record: WaterCube, filled: GeneralFill, factor: float
) -> None:
    scaled = record.with_values({n: (factor * v.values).astype(np.float32) for n, v in record.variables.items()})
    again = fill_generally(scaled)
    for name, made in filled.filled.items():
        std = float(np.nanstd(record.variables[name].values))
        gaps = record.gaps(name)
        np.testing.assert_allclose(again.filled[name].mean[gaps] / factor, made.mean[gaps], atol=0.01 * std)
        np.testing.assert_allclose(again.filled[name].std[gaps] / factor, made.std[gaps], rtol=0.02, atol=0.01 * std)


def test_values_in_kelvin_give_the_fill_of_degrees_celsius(record: WaterCube, filled: GeneralFill) -> None:
    """Of the field alone: rain has a floor at zero."""
    only = replace(record, variables={"field": record.variables["field"]})
    celsius = fill_generally(only)
    kelvin = fill_generally(only.with_values({"field": only.variables["field"].values + np.float32(273.15)}))
    gaps, std = only.gaps("field"), float(np.nanstd(only.variables["field"].values))
    np.testing.assert_allclose(
        kelvin.filled["field"].mean[gaps] - 273.15, celsius.filled["field"].mean[gaps], atol=0.03 * std
    )
    np.testing.assert_allclose(kelvin.filled["field"].std[gaps], celsius.filled["field"].std[gaps], rtol=0.1)


@pytest.mark.parametrize("hours", [3, -11])
def test_another_time_zone_gives_about_the_same_fill(record: WaterCube, filled: GeneralFill, hours: int) -> None:
    again = fill_generally(replace(record, time=record.time + np.timedelta64(hours, "h")))
    for name, made in filled.filled.items():
        gaps, std = record.gaps(name), float(np.nanstd(record.variables[name].values))
        np.testing.assert_allclose(again.filled[name].mean[gaps], made.mean[gaps], atol=0.01 * std)


def test_the_order_of_the_variables_changes_nothing(record: WaterCube, filled: GeneralFill) -> None:
    turned = replace(record, variables={n: record.variables[n] for n in ("rain", "field")})
    again = fill_generally(turned)
    assert again.use.cells == filled.use.cells
    for name, made in filled.filled.items():
        gaps, std = record.gaps(name), float(np.nanstd(record.variables[name].values))
        np.testing.assert_allclose(again.filled[name].mean[gaps], made.mean[gaps], atol=0.01 * std)


def test_rain_is_never_negative(record: WaterCube, filled: GeneralFill) -> None:
    assert filled.check.layout.spec("rain").transform == "sqrt"
    assert filled.filled["rain"].mean[record.gaps("rain")].min() >= 0


def test_hidden_cells_are_observed_and_their_own_values_are_not_seen(filled: GeneralFill, record: WaterCube) -> None:
    for draw in filled.check.draws:
        for name, codes in draw.codes.items():
            hidden = codes > 0
            assert hidden.any() and draw.truth.variables[name].valid[hidden].all()
            assert np.isnan(draw.gappy.variables[name].values[hidden]).all()
            assert draw.guesses[name].values.shape[-1] == len(GENERAL_GUESSES)


def test_draws_differ(filled: GeneralFill) -> None:
    first, *others = (draw.codes["field"] for draw in filled.check.draws)
    assert others and all((first != other).any() for other in others)


def test_the_expected_skill_is_valid_json_with_its_keys(filled: GeneralFill) -> None:
    for name in filled.filled:
        text, longest = filled.use.attributes(name).values()
        assert int(longest) >= 1
        rows = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not valid JSON"))
        assert rows and set(rows) <= set(KINDS[1:])
        for row in rows.values():
            assert row.keys() == ExpectedSkill.__dataclass_fields__.keys()
            assert row["cells"] >= 20 and row["rmse"] >= 0 and 0 <= row["coverage90"] <= 1
            assert row["best_guess"] in MEASURED_GUESSES
            assert row["best_guess_rmse"] >= 0


def test_the_expected_skill_is_about_the_error_of_the_fill() -> None:
    rng = np.random.default_rng(8)
    field = smooth_field(rng, (40, 20, 20))
    cube = grid_cube({"field": with_gaps(rng, field)})
    fill = fill_generally(cube)
    gaps = cube.gaps("field")
    error = fill.filled["field"].mean[gaps] - field[gaps]
    rows = fill.use.skill["field"]
    assert min(r.rmse for r in rows.values()) / 2 < np.sqrt(np.mean(error**2)) < 2 * max(r.rmse for r in rows.values())
    inside = np.abs(error) <= Z90 * fill.filled["field"].std[gaps]
    assert 0.8 < inside.mean() <= 1.0


def seen_in(field: np.ndarray, order: np.ndarray, number: int) -> WaterCube:
    """Return a cube with so many values of the field, in a domain of all cells."""
    cube = grid_cube({"field": np.where(order < number, field, np.nan)})
    return replace(cube, domain={"field": np.ones(field.shape[1:], bool)})


def test_the_fewer_the_observations_the_wider_the_fill_up_to_the_climatology() -> None:
    rng = np.random.default_rng(0)
    field = smooth_field(rng, (20, 12, 12))
    order = rng.permutation(field.size).reshape(field.shape)
    widths = []
    for number in (1700, 300, 30, 12):
        cube = seen_in(field, order, number)
        widths.append(float(fill_generally(cube).filled["field"].std[cube.gaps("field")].mean()))
    assert widths == sorted(widths)
    assert widths[0] < 0.3 * field.std()
    assert 0.7 * field.std() < widths[-1] < 2.5 * field.std()


def test_a_few_observations_do_not_make_a_fill_sure_of_itself() -> None:
    """Two values may be near each other by chance; the t distribution allows for that."""
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        field = smooth_field(rng, (12, 8, 8))
        order = rng.permutation(field.size).reshape(field.shape)
        for number in (1, 2, 4, 8):
            cube = seen_in(field, order, number)
            made, gaps = fill_generally(cube).filled["field"], cube.gaps("field")
            inside.append(np.mean(np.abs(made.mean[gaps] - field[gaps]) <= Z90 * made.std[gaps]))
    assert np.mean(inside) > 0.85


@pytest.mark.parametrize("value", [1e-3, 2.0, 101_325.0, -40.0])
def test_a_single_value_says_nothing_of_how_far_others_may_be(value: float) -> None:
    cube = grid_cube({"a": np.where(mask_of_cells((4, 5, 5), (1, 2, 2)), value, np.nan)})
    made = fill_generally(replace(cube, domain={"a": np.ones((5, 5), bool)})).filled["a"]
    assert np.nanmin(made.std[made.flag == FILLED]) > 0.5 * abs(value)


def test_the_factor_of_few_values_falls_to_one() -> None:
    factors = [few_values_factor(number) for number in (2, 3, 5, 20, 100, 100_000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == pytest.approx(6.3138 * np.sqrt(3) / 1.6449, rel=1e-3)
    assert factors[-1] == pytest.approx(1, abs=1e-4)
    assert few_values_factor(1) == few_values_factor(0) == 1


def mask_of_cells(shape: tuple[int, int, int], *cells: tuple[int, int, int]) -> np.ndarray:
    seen = np.zeros(shape, bool)
    for cell in cells:
        seen[cell] = True
    return seen


RNG = np.random.default_rng(11)
FIELD = smooth_field(RNG, (12, 8, 8))
HOLES = RNG.random((12, 8, 8)) < 0.3
SERIES = smooth_field(RNG, (80, 1, 3))[:, 0]
FEW = {
    "constant": grid_cube({"a": np.where(HOLES, np.nan, 4.0)}),
    "constant zero": grid_cube({"a": np.where(HOLES, np.nan, 0.0)}),
    "one observed value": grid_cube({"a": np.where(mask_of_cells((12, 8, 8), (5, 3, 3)), 2.0, np.nan)}),
    "two observed values": grid_cube({"a": np.where(mask_of_cells((12, 8, 8), (5, 3, 3), (9, 3, 3)), FIELD, np.nan)}),
    "one frame": grid_cube({"a": np.where(HOLES, np.nan, FIELD)[:1]}),
    "two frames": grid_cube({"a": np.where(HOLES, np.nan, FIELD)[:2]}),
    "one cell": grid_cube({"a": np.where(HOLES, np.nan, FIELD)[:, :1, :1]}),
    "one row": grid_cube({"a": np.where(HOLES, np.nan, FIELD)[:, :1]}),
    "every second frame": grid_cube({"a": np.where(np.arange(12)[:, None, None] % 2, np.nan, FIELD)}),
    "one gauge": gauge_cube({"a": np.where(RNG.random((80, 1)) < 0.3, np.nan, SERIES[:, :1])}),
    "one step of gauges": gauge_cube({"a": np.array([[1.0, 2.0, np.nan, 4.0, 3.0]])}),
    "three values of a gauge": gauge_cube({"a": np.array([[1.0], [np.nan], [2.0], [np.nan], [5.0]])}),
    "a variable without gaps": grid_cube({"a": np.where(HOLES, np.nan, FIELD), "whole": 2 * FIELD}),
    "a constant beside another": grid_cube({"a": np.where(HOLES, np.nan, FIELD), "c": np.where(HOLES, np.nan, 1.0)}),
    "a variable with one value": grid_cube(
        {"a": np.where(HOLES, np.nan, FIELD), "one": np.where(mask_of_cells((12, 8, 8), (2, 2, 2)), 1.0, np.nan)}
    ),
}


@pytest.mark.parametrize("name", FEW)
def test_records_that_say_little_are_filled_with_a_std_and_without_a_warning(name: str) -> None:
    cube = replace(FEW[name], domain={n: np.ones(cube_shape(FEW[name]), bool) for n in FEW[name].of_kind("grid")})
    fill = fill_generally(cube)
    check_whole(cube, fill)
    json.loads(fill.use.attributes("a").get("hydrofill_expected_skill", "{}"))
    assert fill.use.summary


def cube_shape(cube: WaterCube) -> tuple[int, int]:
    return len(cube.y), len(cube.x)


@pytest.mark.parametrize("value", [4.0, 0.0, -2.5, 287.3, 0.1])
def test_a_constant_stays_constant(value: float) -> None:
    cube = grid_cube({"a": np.where(HOLES, np.nan, value)})
    made = fill_generally(cube).filled["a"]
    np.testing.assert_array_equal(made.mean[cube.gaps("a")], np.float32(value))
    assert made.std[cube.gaps("a")].max() <= 0.05 * max(abs(value), 1)


def test_all_gaps_are_refused_in_clear_words() -> None:
    with pytest.raises(NothingObservedError, match="all values of all variables are missing"):
        fill_generally(grid_cube({"a": np.full((5, 4, 4), np.nan)}))


def test_observed_values_are_bit_identical_in_the_filled_dataset() -> None:
    rng = np.random.default_rng(3)
    values = with_gaps(rng, 1e3 * rain_field(rng, (10, 8, 8)) + np.float32(1 / 3))
    dataset = xr.Dataset(
        {"rain": (("time", "y", "x"), values, {"units": "mm"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(10) * np.timedelta64(1, "h"),
            "y": 1e3 * np.arange(8.0),
            "x": 1e3 * np.arange(8.0),
        },
    )
    prepared = prepare_fill(dataset, GENERAL, FillOptions())
    written = prepared.write(fill_generally(prepared.reading.cube).filled, {})
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(written["rain"].values[seen].view(np.int32), values[seen].view(np.int32))
    assert not np.isnan(written["rain"].values).any()


def test_a_large_record_is_measured_on_parts_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydrofill.general.self_check.MAX_DRAW_VALUES", 2000)
    monkeypatch.setattr("hydrofill.general.self_check.MIN_PART_CELLS", 10)
    rng = np.random.default_rng(5)
    cube = grid_cube({"field": with_gaps(rng, smooth_field(rng, (30, 20, 20)))})
    fill = fill_generally(cube)
    assert all(draw.truth.variables["field"].values.size <= 4000 for draw in fill.check.draws)
    check_whole(cube, fill)


def test_a_widening_multiplies_the_standard_deviations_of_its_variable_alone(
    record: WaterCube, filled: GeneralFill
) -> None:
    use = calibrate_record(filled.check, StackedPredictor(filled.check), widening={"rain": 1.5, "elsewhere": 3.0})
    for name, factor in (("field", 1.0), ("rain", 1.5)):
        before, after = filled.use.calibration[name], use.calibration[name]
        for one, other in zip(before.stretch, after.stretch, strict=True):
            assert other.factor == pytest.approx([factor * f for f in one.factor])
        assert before.dry_below == after.dry_below
    assert set(use.calibration) == {"field", "rain"}
