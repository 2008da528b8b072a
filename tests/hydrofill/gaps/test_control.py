"""Gap control: which gaps are refused and why, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill.blocks import Box, whole
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.netcdf import read_netcdf
from hydrofill.cli import cli
from hydrofill.constants import EARTH_RADIUS_M
from hydrofill.cube import WaterCube
from hydrofill.errors import OptionError
from hydrofill.gaps.control import Distance, GapControl
from hydrofill.gaps.distances import box_near, near_cells
from hydrofill.gaps.refusals import Refuser, gap_durations
from hydrofill.inference.model import Model

STEPS, SIDE = 30, 7
HOURS = np.datetime64("2024-03-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "h")
SHORT, EDGE, LONG, FAR = (8, 1, 1), (0, 1, 5), (15, 5, 1), (25, 5, 5)  # a cell of each kind of gap
FILLED, REFUSED, TOO_FAR, NOT_INTERIOR, NOT_SELECTED, LOW_SUPPORT = 1, 3, 4, 5, 6, 7
# The table of docs/gap-control.md: options, and the flags of an interior, an edge, a long and a far cell.
TABLE: list[tuple[dict[str, Any], tuple[int, int, int, int]]] = [
    ({}, (FILLED, FILLED, FILLED, FILLED)),
    ({"max_gap": 4}, (FILLED, FILLED, REFUSED, FILLED)),
    ({"max_gap": "5h"}, (FILLED, FILLED, REFUSED, FILLED)),
    ({"max_distance": 2}, (FILLED, FILLED, FILLED, TOO_FAR)),
    ({"max_distance": "25 km"}, (FILLED, FILLED, FILLED, TOO_FAR)),
    ({"interior_only": True}, (FILLED, NOT_INTERIOR, FILLED, FILLED)),
    ({"where": "mask"}, (NOT_SELECTED, FILLED, FILLED, FILLED)),
    ({"support": 0.96}, (FILLED, FILLED, FILLED, LOW_SUPPORT)),
]


def hourly() -> xr.Dataset:
    """Values (30, 7, 7) every 10 km: gaps of one cell, at the start, of ten hours, and of a frame but for a corner."""
    rng = np.random.default_rng(3)
    values = rng.normal(10, 2, (STEPS, SIDE, SIDE)).astype(np.float32)
    values[8, 1, 1] = values[0:2, 1, 5] = values[10:20, 5, 1] = np.nan
    values[25, 2:, 2:] = np.nan
    mask = np.ones((SIDE, SIDE), np.int8)
    mask[1, 1] = 0
    place = 10_000.0 * np.arange(SIDE)
    data = {"level": (("time", "y", "x"), values, {"units": "m"}), "mask": (("y", "x"), mask)}
    return xr.Dataset(data, {"time": HOURS, "y": ("y", place, {"units": "m"}), "x": ("x", place, {"units": "m"})})


@pytest.fixture(scope="module")
def general() -> Model:
    return hydrofill.open_bundle("general", threads=1)


@pytest.fixture(scope="module")
def plain(general: Model) -> xr.Dataset:
    return hydrofill.fill(hourly(), bundle=general, variables=["level"])


@pytest.mark.parametrize(("options", "expected"), TABLE, ids=lambda given: str(given))
def test_each_option_refuses_its_kind_of_gap_and_changes_no_value(
    general: Model, plain: xr.Dataset, options: dict[str, Any], expected: tuple[int, ...]
) -> None:
    filled = hydrofill.fill(hourly(), bundle=general, variables=["level"], **options)
    flag = filled["level_flag"].values
    assert tuple(int(flag[cell]) for cell in (SHORT, EDGE, LONG, FAR)) == expected
    kept = flag <= FILLED
    for name in ("level", "level_std"):
        assert filled[name].values[kept].tobytes() == plain[name].values[kept].tobytes()
        assert np.isnan(filled[name].values[~kept]).all()
    known = filled["level_flag"].attrs
    assert set(np.unique(flag)) <= set(known["flag_values"].tolist())
    assert len(known["flag_meanings"].split()) == len(known["flag_values"])
    if not options or "max_gap" in options:
        assert known["flag_meanings"] == "observed filled outside refused"


def cube_of(values: np.ndarray, time: np.ndarray | None = None) -> WaterCube:
    time = HOURS[: len(values)] if time is None else time
    coords = {"time": time, "y": np.arange(float(values.shape[1])), "x": np.arange(float(values.shape[2]))}
    return read_dataset(xr.Dataset({"v": (("time", "y", "x"), values.astype(np.float32))}, coords)).cube


def test_a_duration_is_the_time_between_the_values_at_both_ends(rng: np.random.Generator) -> None:
    minutes = np.cumsum(rng.integers(1, 300, 60))
    values = rng.normal(size=(60, 3, 2))
    values[rng.random(values.shape) < 0.5] = np.nan
    cube = cube_of(values, HOURS[0] + minutes * np.timedelta64(1, "m"))
    lengths = gap_durations(cube.gaps("v"), cube.time) / np.timedelta64(1, "m")
    for step, row, column in np.ndindex(values.shape):
        seen = np.flatnonzero(~np.isnan(values[:, row, column]))
        before, after = max(seen[seen <= step], default=0), min(seen[seen >= step], default=59)
        assert lengths[step, row, column] == minutes[after] - minutes[before]


@pytest.mark.parametrize("longitudes", [np.arange(-20.0, 20.0, 2.5), np.arange(360.0, 0.0, -20.0)])
def test_great_circles_are_those_of_every_pair(rng: np.random.Generator, longitudes: np.ndarray) -> None:
    latitudes = np.arange(88.0, 40.0, -6.0)
    seen = rng.random((4, len(latitudes), len(longitudes))) < 0.05
    seen[3] = False
    limit = Distance(metres=700_000.0)
    y, x = (np.radians(a) for a in np.meshgrid(latitudes, longitudes, indexing="ij"))
    points = np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1).reshape(-1, 3)
    angle = np.arccos(np.clip(points @ points.T, -1, 1))
    within = EARTH_RADIUS_M * angle <= limit.metres
    expected = np.stack([(within & frame.ravel()).any(axis=1).reshape(frame.shape) for frame in seen])
    np.testing.assert_array_equal(near_cells(seen, latitudes, longitudes, limit, "degrees"), expected)
    assert expected[:3].any()
    assert not expected.all()
    axes = replace(cube_of(np.zeros(seen.shape)), y=latitudes, x=longitudes, variables={})
    core = Box(slice(0, 4), slice(3, 5), slice(6, 8))
    near = box_near(axes, core, limit, "degrees", of_sites=False)
    numbers = np.arange(len(points)).reshape(seen.shape[1:])
    reached = within[numbers[core.y, core.x].ravel()].any(axis=0)
    assert set(np.flatnonzero(reached)) <= set(numbers[near.y, near.x].ravel())


def gauges() -> xr.Dataset:
    """Four gauges at 0, 10, 20 and 100 km; the last but one and the last have a gap each."""
    values = np.random.default_rng(5).normal(3, 1, (STEPS, 4)).astype(np.float32)
    values[5:8, 2:] = np.nan
    place = {"site_x": ("site", [0.0, 10.0, 20.0, 100.0], {"units": "km"})}
    return xr.Dataset(
        {"flow": (("time", "site"), values, {"units": "m3 s-1"})},
        {"time": HOURS, "site": list("abcd"), "site_y": ("site", np.zeros(4), {"units": "km"}), **place},
    )


def test_a_gauge_is_too_far_from_the_nearest_that_observes(general: Model) -> None:
    flag = hydrofill.fill(gauges(), bundle=general, max_distance="12 km")["flow_flag"].values
    assert (flag[5:8, 2] == FILLED).all()
    assert (flag[5:8, 3] == TOO_FAR).all()


def test_a_frame_without_any_value_is_too_far_from_all() -> None:
    values = np.ones((5, 3, 3))
    values[2] = np.nan
    codes = Refuser(GapControl.of(max_distance=100)).codes(cube_of(values), "v")
    assert (codes[2] == TOO_FAR).all()
    assert not codes[[0, 1, 3, 4]].any()


def test_support_is_the_share_of_observed_cells_around() -> None:
    values = np.full((11, 2, 1), np.nan)
    values[:8, 0] = 1
    values[0, 1] = 1
    cube = cube_of(values)
    codes = {share: Refuser(GapControl.of(support=share)).codes(cube, "v") for share in (9 / 22, 9 / 22 + 1e-9)}
    assert not codes[9 / 22][5].any()  # the whole record is within 5 steps: 9 of 22 cells are observed
    assert codes[9 / 22 + 1e-9][5, 1, 0] == LOW_SUPPORT


def test_of_several_reasons_the_first_is_given() -> None:
    values = np.ones((STEPS, 3, 3))
    values[:9] = np.nan
    cube = cube_of(values)
    control = GapControl.of(4, 1, True, None, 0.9)
    assert (Refuser(control).codes(cube, "v")[:9] == REFUSED).all()
    assert (Refuser(replace(control, max_gap=None)).codes(cube, "v")[:9] == NOT_INTERIOR).all()
    assert Refuser().reach(cube, whole(cube.shape), of_sites=True) == whole(cube.shape)


@pytest.mark.parametrize("dims", [("time",), ("time", "x"), ("x", "y", "time")])
def test_a_mask_may_have_any_dimensions_of_the_variable(
    plain: xr.Dataset, general: Model, dims: tuple[str, ...]
) -> None:
    dataset = hourly()
    shape = [dataset.sizes[d] for d in dims]
    mask = xr.DataArray(np.random.default_rng(1).random(shape) < 0.5, dims=dims)
    flag = hydrofill.fill(dataset, bundle=general, variables=["level"], where=mask)["level_flag"]
    before = plain["level_flag"]
    expected = before.where((before != FILLED) | mask, NOT_SELECTED)
    np.testing.assert_array_equal(flag.values, expected.transpose(*flag.dims).values)


def test_slices_and_single_series_have_their_part_of_the_mask(general: Model) -> None:
    dataset = hourly()
    levels = xr.concat([dataset["level"], dataset["level"] + 1], "depth")
    mask = xr.DataArray([True, False], dims="depth")
    flag = hydrofill.fill(levels.to_dataset(), bundle=general, where=mask)["level_flag"].transpose("depth", ...).values
    assert set(np.unique(flag[0])) == {0, FILLED}
    assert set(np.unique(flag[1])) == {0, NOT_SELECTED}
    one = dataset["level"][:, 5, 1].drop_vars(["y", "x"]).to_dataset()
    chosen = xr.DataArray(np.arange(STEPS) < 15, dims="time")
    flag = hydrofill.fill(one, bundle=general, where=chosen)["level_flag"].values
    assert flag[10:20].tolist() == [FILLED] * 5 + [NOT_SELECTED] * 5


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("max_gap", 6, 6),
        ("max_gap", "6", 6),
        ("max_gap", "6h", np.timedelta64(6, "h")),
        ("max_gap", "6H", np.timedelta64(6, "h")),
        ("max_gap", "3D", np.timedelta64(3, "D")),
        ("max_gap", "PT6H", np.timedelta64(6, "h")),
        ("max_gap", "P3D", np.timedelta64(3, "D")),
        ("max_gap", timedelta(hours=6), np.timedelta64(6, "h")),
        ("max_gap", np.timedelta64(90, "m"), np.timedelta64(90, "m")),
        ("max_distance", 3, Distance(3.0)),
        ("max_distance", "3", Distance(3.0)),
        ("max_distance", "2.5 cells", Distance(2.5)),
        ("max_distance", "20 km", Distance(0.0, 20_000.0)),
        ("max_distance", "500m", Distance(0.0, 500.0)),
        ("support", 1, 1.0),
    ],
)
def test_values_are_read_in_all_their_forms(option: str, value: Any, read: object) -> None:
    assert getattr(GapControl.of(**{option: value}), option) == read


WRONG = [
    ("max_gap", "6 parsecs"),
    ("max_gap", "-3"),
    ("max_gap", "0"),
    ("max_gap", "-6h"),
    ("max_gap", "1M"),
    ("max_gap", ""),
    ("max_distance", "20 parsecs"),
    ("max_distance", "-1"),
    ("max_distance", "0 km"),
    ("max_distance", "nan"),
    ("support", "1.5"),
    ("support", "-0.1"),
    ("where", "nowhere"),
]


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_a_wrong_value_is_named_in_python_and_in_the_command(option: str, value: str, tmp_path: Path) -> None:
    given = float(value) if option == "support" else value
    with pytest.raises(OptionError, match=option) as caught:
        hydrofill.fill(hourly(), **{option: given})  # type: ignore[arg-type]
    assert value in str(caught.value)
    hourly().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    name = f"--{option.replace('_', '-')}={value}"
    result = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc"), name])
    assert result.exit_code == 2
    assert f"error: {option}: " in result.output
    assert value in result.output
    assert not (tmp_path / "out.nc").exists()


def test_options_that_do_not_suit_the_data_are_named() -> None:
    dataset, nameless = hourly(), hourly().assign_coords(y=np.arange(7.0), x=np.arange(7.0))
    placeless = gauges().drop_vars(["site_x", "site_y"])
    ones = np.ones(SIDE)
    cases: list[tuple[xr.Dataset, dict[str, Any], str]] = [
        (dataset, {"where": xr.DataArray(ones[:3], dims="x")}, "where: has another shape"),
        (dataset, {"where": xr.DataArray(ones, dims="z")}, "where: has another shape"),
        (dataset, {"where": xr.DataArray(ones, coords={"x": ones.cumsum()}, dims="x")}, "where: has other coordinates"),
        (dataset, {"where": "time"}, "where: has values that are not numbers"),
        (dataset.assign(depth=("z", ones)), {"where": "depth"}, "where: has a dimension that level does not have"),
        (nameless, {"max_distance": "20 km"}, "max_distance: has no meaning for the grid"),
        (gauges(), {"max_distance": 3}, "max_distance: has no meaning for the sites"),
        (placeless, {"max_distance": "3 km"}, "max_distance: has no meaning for the sites"),
    ]
    for data, options, words in cases:
        with pytest.raises(OptionError, match=words):
            hydrofill.fill(data, **options)


def test_the_command_counts_each_reason(tmp_path: Path) -> None:
    hourly().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    options = ["--max-gap", "5h", "--max-distance", "25 km", "--interior-only", "--where", "mask"]
    result = CliRunner().invoke(cli, ["fill", str(tmp_path / "in.nc"), str(tmp_path / "out.nc"), *options])
    assert result.exit_code == 0, result.output
    heads, counts = result.output.splitlines()[:2]
    assert "too far" in heads
    assert "not interior" in heads
    assert "not selected" in heads
    assert "low support" not in heads
    flag = read_netcdf(tmp_path / "out.nc")["level_flag"]
    assert flag.attrs["flag_meanings"] == "observed filled outside refused too_far not_interior not_selected"
    numbers = [int(word) for word in counts.replace(",", "").split() if word.isdigit()]
    assert numbers[:7] == [int((flag.values == code).sum()) for code in (0, 1, 3, 4, 5, 6, 2)]
