"""Longitudes that are cut at Greenwich or at the date line are continued, and brought to the range of the model."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.axes import recognise
from hydrofill.cf.coordinates import stored_coordinate
from hydrofill.cf.dataset import check_step, read_dataset
from hydrofill.errors import CoordinateError, UnitsError
from hydrofill.layout import Place
from hydrofill.suitability import suits
from tests.support.field_files import stored
from tests.support.tiny import LAYOUT


def at(x: list[float], **attrs: str) -> xr.Dataset:
    data = stored()
    return data.assign_coords(lon=("lon", x, attrs or {"units": "degrees_east"}))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([358, 359, 0, 1, 2], [358, 359, 360, 361, 362]),
        ([178, 179, -180, -179, -178], [178, 179, 180, 181, 182]),
        ([2, 1, 0, 359, 358], [2, 1, 0, -1, -2]),
        ([-2, -1, 0, 1, 2], [-2, -1, 0, 1, 2]),
        ([0, 72, 144, 216, 288], [0, 72, 144, 216, 288]),
        ([180, 252, 324, 36, 108], [180, 252, 324, 396, 468]),
    ],
)
def test_an_axis_continues_beyond_its_cut_and_is_stored_as_it_was(x: list[float], expected: list[float]) -> None:
    data = at(x)
    np.testing.assert_array_equal(read_dataset(data).cube.x, expected)
    np.testing.assert_array_equal(stored_coordinate(data, recognise(data)["lon"], "x"), x)


def test_what_is_no_longitude_is_not_continued() -> None:
    data = at([358, 359, 0, 1, 2]).rename(lon="easting")
    data = data.assign_coords(easting=("easting", data["easting"].values, {"units": "km", "axis": "X"}))
    with pytest.raises(CoordinateError, match=r"easting: must be strictly monotonic .*0 after 359"):
        read_dataset(data)


def with_sites(x: list[float], sites: list[float]) -> xr.Dataset:
    flow = np.ones((6, len(sites)), np.float32)
    places = {"site_lat": ("site", [40.0] * len(sites)), "site_lon": ("site", np.array(sites))}
    return at(x).assign(river_flow=(("time", "site"), flow, {"units": "m3 s-1"})).assign_coords(places)


def test_sites_are_placed_beside_the_cells_of_the_grid() -> None:
    cube = read_dataset(with_sites([358, 359, 0, 1, 2], [-1.0, 1.5, 359.5])).cube
    np.testing.assert_array_equal(cube.sites.x, [359.0, 361.5, 359.5])


def test_sites_alone_are_cut_where_no_site_is() -> None:
    data = with_sites([0, 1, 2, 3, 4], [359.5, 0.5, 1.5])[["river_flow", "site_lat", "site_lon"]]
    np.testing.assert_array_equal(read_dataset(data).cube.sites.x, [359.5, 360.5, 361.5])
    data = data.assign_coords(site_lon=("site", [-100.0, 0.0, 100.0]))  # nothing is nearer across the date line
    np.testing.assert_array_equal(read_dataset(data).cube.sites.x, [-100.0, 0.0, 100.0])


@pytest.mark.parametrize("x", [[356, 357, 358, 359, 0], [-4, -3, -2, -1, 0]])
def test_a_bundle_matches_data_whatever_their_longitudes_begin_with(x: list[float]) -> None:
    place = Place(y_origin=38, x_origin=-6, rows=10, columns=10, units="degrees", step_s=86_400.0)
    layout = LAYOUT.model_copy(update={"place": place})
    cube = read_dataset(at(x), layout).cube
    np.testing.assert_array_equal(cube.x, [-4, -3, -2, -1, 0])
    assert suits(layout, cube)


def test_metres_are_never_turned() -> None:
    place = Place(y_origin=38, x_origin=0, rows=10, columns=10, step_s=86_400.0)
    layout = LAYOUT.model_copy(update={"place": place})
    far = at([720, 721, 722, 723, 724], units="m", standard_name="projection_x_coordinate")
    np.testing.assert_array_equal(read_dataset(far, layout).cube.x, [720, 721, 722, 723, 724])


def test_messages_name_the_coordinates_of_the_data() -> None:
    place = Place(units="m", step_s=86_400.0)
    with pytest.raises(UnitsError, match=r"^lat: the units of the grid's coordinates differ"):
        read_dataset(at([0, 1, 2, 3, 4]), LAYOUT.model_copy(update={"place": place}))
    late = at([0, 1, 2, 3, 4]).rename(time="valid_time")
    cube = read_dataset(late).cube
    with pytest.raises(CoordinateError, match=r"^valid_time: the time step differs"):
        check_step(cube, Place(step_s=3600.0), "valid_time")
    with pytest.raises(CoordinateError, match=r"^valid_time: the time step differs"):
        read_dataset(late, LAYOUT.model_copy(update={"place": Place(step_s=3600.0)}))


@pytest.mark.parametrize("separable", [True, False])
def test_coordinates_of_two_dimensions_named_as_them_are_read(separable: bool) -> None:
    lat, lon = np.meshgrid([40.0, 41, 42, 43], [359.0, 0, 1, 2, 3], indexing="ij")
    lat = lat if separable else lat + 0.01 * lon
    data = stored().drop_vars(["lat", "lon"]).assign(lat=(("lat", "lon"), lat), lon=(("lat", "lon"), lon))
    data["lat"].attrs["units"], data["lon"].attrs["units"] = "degrees_north", "degrees_east"
    cube = read_dataset(data).cube
    assert cube.variables["precipitation"].kind == "grid"
    np.testing.assert_array_equal(cube.y, [40, 41, 42, 43] if separable else [0, 1, 2, 3])
    np.testing.assert_array_equal(cube.x, [359, 360, 361, 362, 363])
