"""Totals: numbers that are known by hand, what holds for all areas, and clear errors."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import hydrofill
from hydrofill.cli import cli
from hydrofill.constants import EARTH_RADIUS_M
from hydrofill.errors import ContractError

STEPS, ROWS, COLUMNS, MEMBERS = 60, 4, 6, 40
DIMS = ("time", "y", "x")


def record(*, units: str = "mm day-1", value: float = 2.0, degrees: bool = False, calendar: str = "") -> xr.Dataset:
    """A constant record of 60 days from 2021-01-01 on, half of each frame filled, cells of 1000 m or 1 degree."""
    values = np.full((STEPS, ROWS, COLUMNS), value, np.float32)
    flag = np.zeros(values.shape, np.int8)
    flag[..., 3:] = 1
    scale, names = (1.0, ("degrees_north", "degrees_east")) if degrees else (1000.0, ("m", "m"))
    since = {"units": "days since 2021-01-01", **({"calendar": calendar} if calendar else {})}
    return xr.Dataset(
        {"rain": (DIMS, values, {"units": units}), "rain_flag": (DIMS, flag, {"flag_values": [0, 1, 2, 3]})},
        {
            "time": ("time", np.arange(STEPS), since),
            "y": ("y", scale * np.arange(ROWS), {"units": names[0]}),
            "x": ("x", scale * np.arange(COLUMNS), {"units": names[1]}),
        },
    )


def with_members(dataset: xr.Dataset, *, together: bool) -> xr.Dataset:
    """Members whose filled cells differ from V by standard normal errors, the same in all cells or independent."""
    rng = np.random.default_rng(3)
    shape = (MEMBERS, 1, 1, 1) if together else (MEMBERS, STEPS, ROWS, COLUMNS)
    filled = dataset["rain_flag"].values == 1
    values = np.where(filled, dataset["rain"].values + rng.normal(size=shape), dataset["rain"].values)
    members = xr.Variable(("member", *DIMS), values.astype(np.float32), dataset["rain"].attrs)
    return dataset.assign(rain_members=members).assign_coords(member=np.arange(MEMBERS))


def polygon(points: list[tuple[float, float]], name: str = "a") -> dict[str, Any]:
    ring = [list(point) for point in [*points, points[0]]]
    return {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def value(totals: xr.Dataset, name: str, area: int = 0, period: int = 0) -> float:
    return float(totals[name].isel(area=area, period=period))


def test_a_rate_is_integrated_over_months_and_the_area() -> None:
    totals = hydrofill.total(record())
    assert totals["rain_sum"].values.tolist() == [[62.0, 56.0, 2.0]]
    assert value(totals, "rain_volume") == pytest.approx(62e-3 * ROWS * COLUMNS * 1e6)
    assert totals["period"].values.astype("datetime64[D]").astype(str).tolist()[1] == "2021-02-01"
    assert totals["covered"].values.tolist() == pytest.approx([1.0, 1.0, 1 / 31])
    assert [value(totals, f"rain_{share}") for share in ("observed", "filled", "missing")] == [0.5, 0.5, 0.0]
    assert "members" in totals["rain_sum"].attrs["hydrofill_uncertainty"]
    assert "rain_sum_std" not in totals


@pytest.mark.parametrize(
    ("units", "how", "name", "expected"),
    [
        ("kg m-2 s-1", None, "rain_sum", 2 * 86_400 * 60.0),
        ("mm", None, "rain_sum", 120.0),
        ("m", "sum", "rain_sum", 120_000.0),
        ("degC", None, "rain_mean", 2.0),
        ("mm day-1", "mean", "rain_mean", 2.0),
        ("m3 s-1", None, "rain_sum", 2 * 86_400 * 60.0),
        ("m s-1", None, "rain_sum", 2 * 86_400 * 60_000.0),
    ],
)
def test_units_say_what_is_summed(units: str, how: Any, name: str, expected: float) -> None:
    totals = hydrofill.total(record(units=units), every="all", how=how)
    assert value(totals, name) == pytest.approx(expected, rel=1e-6)


def test_speeds_and_extremes_are_not_water() -> None:
    wind = record(units="m s-1").rename(rain="u10", rain_flag="u10_flag")
    assert "u10_mean" in hydrofill.total(wind, every="all")
    most = record()
    most["rain"].attrs["cell_methods"] = "time: maximum"
    assert "rain_mean" in hydrofill.total(most, every="all")


def test_the_share_of_a_polygon_on_the_grid_is_said() -> None:
    half = polygon([(-3.5, -0.5), (2.5, -0.5), (2.5, 3.5), (-3.5, 3.5)])
    totals = hydrofill.total(record(degrees=True), over=collection(half))
    assert totals["area_within"].values.tolist() == [0.5]


@pytest.mark.parametrize(
    ("every", "calendar", "number", "first"),
    [
        ("month", "360_day", 2, 60.0),
        ("season", "", 2, 118.0),
        ("year", "noleap", 1, 120.0),
        ("week", "", 10, 6.0),
        ("10d", "", 6, 20.0),
        ("day", "", 60, 2.0),
        ("all", "", 1, 120.0),
    ],
)
def test_periods_follow_the_calendar_of_the_data(every: str, calendar: str, number: int, first: float) -> None:
    totals = hydrofill.total(record(calendar=calendar), every=every)
    assert totals.sizes["period"] == number
    assert value(totals, "rain_sum") == pytest.approx(first)


def test_seasons_begin_in_december() -> None:
    data = record()
    shifted = data.assign_coords(time=("time", np.arange(STEPS), {"units": "days since 2020-11-15"}))
    starts = hydrofill.total(shifted, every="season")["period"].values.astype("datetime64[D]").astype(str)
    assert starts.tolist() == ["2020-09-01", "2020-12-01"]


def test_steps_last_as_long_as_their_bounds() -> None:
    data = record()
    data["time"].attrs["bounds"] = "time_bounds"
    bounds = np.stack([np.arange(STEPS), np.arange(STEPS) + 0.5], axis=1)
    totals = hydrofill.total(data.assign(time_bounds=(("time", "two"), bounds)), every="all")
    assert value(totals, "rain_sum") == pytest.approx(60.0)


def test_a_polygon_has_the_share_of_each_cell_that_it_cuts() -> None:
    data = record(degrees=True)
    values = data["rain"].values.copy()
    values[:, 0, 0], values[:, 0, 1], values[:, 1, 0] = 8.0, 4.0, 6.0
    data = data.assign(rain=(DIMS, values, {"units": "degC"}))
    triangle = polygon([(-0.5, -0.5), (1.5, -0.5), (-0.5, 1.5)])  # half of (0, 1) and (1, 0), the whole of (0, 0)
    totals = hydrofill.total(data, over=collection(triangle), every="all")
    assert value(totals, "rain_mean") == pytest.approx((8 + 0.5 * 4 + 0.5 * 6) / 2, rel=1e-3)
    around = polygon([(359.5, -0.5), (361.5, -0.5), (359.5, 1.5)])
    turned = hydrofill.total(data, over=collection(around), every="all")
    assert value(turned, "rain_mean") == pytest.approx(value(totals, "rain_mean"))


def test_cells_of_degrees_are_zones_of_a_sphere() -> None:
    data = record(degrees=True)
    size = float(hydrofill.total(data)["area_size"][0])
    band = np.sin(np.radians(3.5)) - np.sin(np.radians(-0.5))
    assert size == pytest.approx(EARTH_RADIUS_M**2 * band * np.radians(6.0))


@pytest.mark.parametrize("descending", [False, True])
def test_areas_that_tile_the_grid_sum_to_the_whole(descending: bool) -> None:
    data = record(degrees=True)
    data = data.isel(y=slice(None, None, -1)) if descending else data
    rng = np.random.default_rng(1)
    data["rain"].values[:] = rng.gamma(1, 2, data["rain"].shape)
    cuts = [-0.5, 0.3, 2.9, 5.5]
    tiles = [
        polygon([(west, -0.5), (east, -0.5), (east, 3.5), (west, 3.5)], str(west)) for west, east in pairwise(cuts)
    ]
    totals, whole = hydrofill.total(data, over=collection(*tiles)), hydrofill.total(data)
    summed = totals["rain_volume"].sum("area").values
    assert summed == pytest.approx(whole["rain_volume"].values[0], rel=1e-6)


def test_a_map_of_numbers_is_named_by_its_flags_and_brought_into_the_order_of_the_data() -> None:
    data = record()
    data["rain"].values[:, 0] = 5.0
    numbers = np.zeros((ROWS, COLUMNS), np.int16)
    numbers[0], numbers[1:, :2] = 7, 9
    attributes = {"flag_values": [7, 9], "flag_meanings": "north south"}
    areas = xr.Dataset({"basin": (("y", "x"), numbers, attributes)}, {"y": data["y"], "x": data["x"]})
    for given in (areas, areas.isel(y=slice(None, None, -1))):
        totals = hydrofill.total(data, over=given, every="all")
        assert totals["area"].values.tolist() == ["north", "south"]
        assert totals["rain_sum"].values.ravel().tolist() == [300.0, 120.0]
    with pytest.raises(ContractError, match="another grid"):
        hydrofill.total(data, over=areas.assign_coords(y=areas["y"] + 500.0))


def test_what_stays_missing_is_left_out_and_said() -> None:
    data = record()
    data["rain"].values[:30, 0] = np.nan
    data["rain_flag"].values[:30, 0] = 3
    totals = hydrofill.total(data, every="all")
    assert value(totals, "rain_missing") == pytest.approx(0.125)
    assert value(totals, "rain_sum") == pytest.approx(120.0)  # of the cells with values, never zero for the others
    assert value(totals, "rain_volume") == pytest.approx(0.875 * 0.12 * ROWS * COLUMNS * 1e6)


def test_the_spread_of_members_knows_what_hangs_together() -> None:
    together, apart = (hydrofill.total(with_members(record(), together=t), every="all") for t in (True, False))
    cells = STEPS * ROWS * 3
    of_one = STEPS * 0.5  # a standard deviation of 1 mm day-1 in half of the cells, over 60 days
    assert value(together, "rain_sum_std") == pytest.approx(of_one, rel=0.4)
    assert value(apart, "rain_sum_std") == pytest.approx(of_one / np.sqrt(cells), rel=0.4)
    assert value(together, "rain_sum_q05") < value(together, "rain_sum") < value(together, "rain_sum_q95")
    assert "hydrofill_uncertainty" not in together["rain_sum"].attrs


def test_reading_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_members(record(), together=False)
    whole = hydrofill.total(data)
    monkeypatch.setattr("hydrofill.totals.totals.READ_VALUES", 1)
    xr.testing.assert_allclose(hydrofill.total(data), whole)


def gauges() -> xr.Dataset:
    flow = np.outer(np.ones(STEPS), [1.0, 2.0, 4.0]).astype(np.float32)
    places = {"lat": ("site", [0.0, 1.0, 9.0]), "lon": ("site", [0.0, 1.0, 9.0])}
    return xr.Dataset(
        {"flow": (("time", "site"), flow, {"units": "m3 s-1"})},
        {"time": record()["time"], "site": ["a", "b", "c"], **places},
    )


def test_each_gauge_is_an_area_of_its_own_or_lies_in_a_polygon() -> None:
    totals = hydrofill.total(gauges(), every="all")
    assert totals["area"].values.tolist() == ["a", "b", "c"]
    assert totals["flow_sum"].values.ravel().tolist() == [60 * 86_400 * flow for flow in (1.0, 2.0, 4.0)]
    square = polygon([(-1, -1), (2, -1), (2, 2), (-1, 2)], "near")
    near = hydrofill.total(gauges(), over=collection(square), every="all", how="mean")
    assert value(near, "flow_mean") == pytest.approx(1.5)


def test_polygons_are_projected_to_the_grid() -> None:
    data = record()
    mapping = {"grid_mapping_name": "transverse_mercator", "latitude_of_projection_origin": 0.0}
    mapping |= {"longitude_of_central_meridian": 0.0, "scale_factor_at_central_meridian": 1.0}
    mapping |= {"false_easting": 0.0, "false_northing": 0.0}
    data["rain"].attrs["grid_mapping"] = "crs"
    small = polygon([(0, 0), (0.009, 0), (0.009, 0.009), (0, 0.009)])  # about 1 km
    given = collection(small)
    with pytest.raises(ContractError, match="projection"):
        hydrofill.total(data, over=given)
    with_crs = data.assign(crs=((), 0, mapping))
    size = float(hydrofill.total(with_crs, over=given)["area_size"][0])
    assert size == pytest.approx(1e6, rel=0.02)
    own = polygon([(500, 500), (1500, 500), (1500, 1500), (500, 1500)])
    assert float(hydrofill.total(data, over=collection(own))["area_size"][0]) == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("over", "options", "said"),
    [
        (collection(polygon([(50, 50), (51, 50), (51, 51)], "far")), {}, "far.*does not meet the grid"),
        (collection(polygon([(0, 0), (1, 0), (1, 1)])), {"name_property": "river"}, "river"),
        ({"type": "Point", "coordinates": [0, 0]}, {}, "no polygon"),
        (collection(polygon([(0, 0), (1, 1)], "line")), {}, "line.*four points"),
        (None, {"every": "fortnight"}, "every.*fortnight"),
        (None, {"variables": ["snow"]}, "snow"),
        (None, {"variables": ["rain_flag"]}, "rain_flag"),
    ],
)
def test_what_is_wrong_is_named(over: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        hydrofill.total(record(degrees=True), over=over, **options)


def test_the_command_prints_a_table_and_writes_what_is_asked_for(tmp_path: Path) -> None:
    source, areas = tmp_path / "filled.nc", tmp_path / "areas.geojson"
    with_members(record(degrees=True), together=True).to_netcdf(source, engine="h5netcdf")
    areas.write_text(json.dumps(collection(polygon([(0, 0), (3, 0), (3, 2), (0, 2)], "Upper"))))
    command = ["total", str(source), "--over", str(areas), "--every", "month"]
    for name in ("t.csv", "t.json", "t.nc"):
        done = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / name), "--picture", str(tmp_path / "t.png")])
        assert done.exit_code == 0, done.output
    assert "Upper" in done.output
    assert "a rate, summed over time" in done.output
    assert (tmp_path / "t.csv").read_text().splitlines()[1].startswith("rain,Upper,2021-01-01,2021-02-01,1.0,sum,62.0,")
    assert len(json.loads((tmp_path / "t.json").read_text())["rows"]) == 6
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as written:
        assert value(written, "rain_sum") == pytest.approx(62.0)
    assert (tmp_path / "t.png").stat().st_size > 10_000
    wrong = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "t.xlsx")])
    assert (wrong.exit_code, ".csv" in wrong.output) == (2, True)
