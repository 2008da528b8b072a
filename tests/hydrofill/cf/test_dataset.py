"""Datasets are read as cubes, and written back with only their gaps filled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.fills import write_fill
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnitsError, UnknownVariableError
from hydrofill.layout import Domain, Layout
from hydrofill.reconstruct import FILLED, OBSERVED, reconstruct
from hydrofill.tokens import Queries, Tokens


def constant(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    """Predict a mean of 2 and a standard deviation of 0.5 everywhere."""
    del tokens
    return np.full(queries.requested.shape, 2.0, np.float32), np.full(queries.requested.shape, 0.5, np.float32)


def fill(dataset: xr.Dataset, layout: Layout, *, uncertainty: bool = True, only_gaps: bool = False) -> xr.Dataset:
    reading = read_dataset(dataset, layout)
    filled = reconstruct(reading.cube, layout, constant)
    return write_fill(
        dataset, reading, filled, {"hydrofill_bundle": "test"}, uncertainty=uncertainty, only_gaps=only_gaps
    )


def test_every_kind_of_variable_is_read(dataset: xr.Dataset) -> None:
    cube = read_dataset(dataset).cube
    kinds = {name: v.kind for name, v in cube.variables.items()}
    assert kinds == {
        "precipitation": "grid",
        "pet": "grid",
        "river_flow": "series",
        "slope": "static_grid",
        "area": "static_site",
    }
    assert cube.shape == (20, 7, 5)
    assert list(cube.sites.ids) == ["Y3204040", "Y3204010"]


@pytest.mark.parametrize(
    "rename",
    [
        {"y": "lat", "x": "lon"},
        {"y": "latitude", "x": "longitude", "time": "valid_time"},
        {"y": "northing", "x": "easting", "time": "t", "site": "gauge_id"},
        {"site": "basin"},
        {"site": "station", "site_y": "lat_of", "site_x": "lon_of"},
    ],
)
def test_usual_names_of_dimensions_are_recognised(dataset: xr.Dataset, rename: dict[str, str]) -> None:
    if "site_y" in rename:
        dataset = dataset.assign_coords(
            site_y=dataset.site_y.assign_attrs(standard_name="latitude"),
            site_x=dataset.site_x.assign_attrs(standard_name="longitude"),
        )
    cube = read_dataset(dataset.rename(rename)).cube
    np.testing.assert_array_equal(cube.variables["pet"].values, dataset.pet.values)
    np.testing.assert_array_equal(cube.sites.x, dataset.site_x.values)


def test_dimensions_with_unusual_names_are_recognised_by_attributes(dataset: xr.Dataset) -> None:
    odd = dataset.rename({"time": "frames", "y": "rows", "x": "cols", "site": "n"})
    odd["rows"].attrs["standard_name"] = "projection_y_coordinate"
    odd["cols"].attrs["axis"] = "X"
    assert read_dataset(odd).cube.shape == (20, 7, 5)


def test_a_curvilinear_grid_is_recognised_by_its_two_dimensional_coordinates(dataset: xr.Dataset) -> None:
    plain = dataset.rename(y="line", x="pixel").drop_vars(["line", "pixel"])
    shape = plain.sizes["line"], plain.sizes["pixel"]
    for name, units in (("XLAT", "degrees_north"), ("XLONG", "degrees_east")):
        plain[name] = (("line", "pixel"), np.arange(np.prod(shape)).reshape(shape) * 0.1, {"units": units})
    kinds = {name: v.kind for name, v in read_dataset(plain.set_coords(["XLAT", "XLONG"])).cube.variables.items()}
    expected = {name: v.kind for name, v in read_dataset(dataset).cube.variables.items()}
    assert kinds == expected


def test_bounds_of_a_coordinate_are_not_read_as_a_field(dataset: xr.Dataset) -> None:
    lat = dataset.rename(y="lat")
    lat["lat_bnds"] = (("lat", "bnds"), np.zeros((lat.sizes["lat"], 2)), {"units": "degrees_north"})
    assert "lat_bnds" not in read_dataset(lat).cube.variables


def test_dimensions_in_another_order_read_the_same_and_keep_their_order(dataset: xr.Dataset, layout: Layout) -> None:
    turned = dataset.transpose("x", "site", "y", "time")
    np.testing.assert_array_equal(
        read_dataset(turned).cube.variables["pet"].values, read_dataset(dataset).cube.variables["pet"].values
    )
    filled = fill(turned, layout)
    assert filled.pet.dims == ("x", "y", "time")
    xr.testing.assert_equal(filled.pet.transpose("time", "y", "x"), fill(dataset, layout).pet)


def test_a_dimension_of_length_one_is_ignored_and_kept(dataset: xr.Dataset, layout: Layout) -> None:
    tall = dataset.copy()
    tall["pet"] = dataset.pet.expand_dims(height=[2.0], axis=1)
    assert fill(tall, layout).pet.dims == ("time", "height", "y", "x")


def test_coordinates_that_are_not_named_as_their_dimension_are_found(dataset: xr.Dataset) -> None:
    plain = dataset.drop_vars(["y", "x"]).assign_coords(lat=("y", np.linspace(44, 43, 7)), lon=("x", np.arange(5.0)))
    np.testing.assert_allclose(read_dataset(plain).cube.y, np.linspace(44, 43, 7))


def test_truth_std_gap_and_flag_of_a_variable_are_never_read(dataset: xr.Dataset) -> None:
    case = dataset.assign(
        pet_truth=dataset.pet, pet_gap=dataset.pet.notnull().astype("int8"), pet_std=dataset.pet, pet_flag=dataset.pet
    )
    assert read_dataset(case).cube.variables.keys() == read_dataset(dataset).cube.variables.keys()


def test_a_variable_is_found_by_its_standard_name(dataset: xr.Dataset, layout: Layout) -> None:
    reading = read_dataset(dataset.rename(precipitation="pr"), layout)
    assert reading.source["precipitation"] == "pr"


def test_any_variable_may_be_missing(dataset: xr.Dataset, layout: Layout) -> None:
    reading = read_dataset(dataset[["pet"]], layout)
    assert set(reading.cube.variables) == {"pet"}
    assert len(reading.cube.sites) == 0
    assert set(read_dataset(dataset[["river_flow"]], layout).cube.variables) == {"river_flow"}


def test_a_fill_is_written_in_the_units_of_the_data(dataset: xr.Dataset, layout: Layout) -> None:
    hourly = dataset.copy()
    hourly["pet"] = (dataset.pet / 24).assign_attrs(units="mm h-1").astype(np.float32)
    filled = fill(hourly, layout)
    gap = np.isnan(hourly.pet.values)
    np.testing.assert_allclose(filled.pet.values[gap], 2.0 / 24, rtol=1e-6)
    np.testing.assert_allclose(filled.pet_std.values[gap], 0.5 / 24, rtol=1e-6)
    np.testing.assert_array_equal(filled.pet.values[~gap].view(np.uint32), hourly.pet.values[~gap].view(np.uint32))
    assert filled.pet.attrs["units"] == filled.pet_std.attrs["units"] == "mm h-1"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observed_values_stay_bit_identical(dataset: xr.Dataset, layout: Layout, dtype: type) -> None:
    exact = dataset.astype(dtype, keep_attrs=True)
    exact["pet"] = exact.pet + dtype(1) / dtype(3)
    exact["pet"].attrs["units"] = "mm day-1"
    filled = fill(exact, layout)
    observed = ~np.isnan(exact.pet.values)
    assert filled.pet.dtype == dtype
    assert filled.pet.values[observed].tobytes() == exact.pet.values[observed].tobytes()
    assert (filled.pet_flag.values[observed] == OBSERVED).all()
    assert (filled.pet_std.values[observed] == 0).all()


def test_packed_values_are_written_unpacked_and_unchanged(
    dataset: xr.Dataset, layout: Layout, tmp_path: object
) -> None:
    path = f"{tmp_path}/packed.nc"
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 3.0, "_FillValue": -32768}
    dataset.to_netcdf(path, engine="h5netcdf", encoding={"pet": packing})
    with xr.open_dataset(path, engine="h5netcdf") as packed:
        filled = fill(packed.load(), layout)
        filled.to_netcdf(f"{tmp_path}/filled.nc", engine="h5netcdf")
        with xr.open_dataset(f"{tmp_path}/filled.nc", engine="h5netcdf") as back:
            observed = ~np.isnan(packed.pet.values)
            np.testing.assert_array_equal(back.pet.values[observed], packed.pet.values[observed])
            assert not np.isnan(back.pet.values).any()


def test_the_result_is_the_same_dataset_in_the_same_order_with_std_and_flags_added(
    dataset: xr.Dataset, layout: Layout
) -> None:
    filled = fill(dataset, layout)
    names = list(map(str, filled.data_vars))
    assert names[: len(dataset.data_vars)] == list(map(str, dataset.data_vars))
    assert set(names[len(dataset.data_vars) :]) == {
        f"{v}_{c}" for v in ("precipitation", "pet", "river_flow") for c in ("std", "flag")
    }
    assert filled.pet.attrs == {"units": "mm day-1", "ancillary_variables": "pet_std pet_flag"}
    assert filled.pet_flag.dtype == np.int8
    assert filled.pet_flag.attrs["flag_meanings"] == "observed filled outside refused"
    np.testing.assert_array_equal(filled.pet_flag.attrs["flag_values"], np.arange(4, dtype=np.int8))
    assert filled.attrs["title"] == "a small basin"
    assert filled.attrs["hydrofill_bundle"] == "test"
    assert filled.attrs["history"].startswith("made\n") and "hydrofill" in filled.attrs["history"]
    xr.testing.assert_identical(filled.slope, dataset.slope)


def test_the_input_dataset_is_not_changed(dataset: xr.Dataset, layout: Layout) -> None:
    before = dataset.copy(deep=True)
    fill(dataset, layout)
    xr.testing.assert_identical(dataset, before)


def test_only_gaps_leaves_out_observed_cells(dataset: xr.Dataset, layout: Layout) -> None:
    filled = fill(dataset, layout, only_gaps=True)
    np.testing.assert_array_equal(np.isnan(filled.pet.values), filled.pet_flag.values != FILLED)


def test_without_uncertainty_there_is_no_std(dataset: xr.Dataset, layout: Layout) -> None:
    filled = fill(dataset, layout, uncertainty=False)
    assert "pet_std" not in filled
    assert filled.pet.attrs["ancillary_variables"] == "pet_flag"


def test_a_domain_in_the_dataset_sets_where_gaps_are_filled(dataset: xr.Dataset, layout: Layout) -> None:
    lost = dataset.copy(deep=True)
    lost.pet.values[:, 0, :2] = np.nan
    inside = np.ones((7, 5), np.int8)
    inside[0, 0] = 0
    with_domain = lost.assign(pet_domain=(("y", "x"), inside))
    flags = fill(with_domain, layout).pet_flag.values
    assert (flags[:, 0, 0] == 2).all()
    assert (flags[:, 0, 1] == 1).all()
    assert (fill(lost, layout).pet_flag.values[:, 0, :2] == 2).all()


def test_the_models_domain_is_matched_by_coordinates(dataset: xr.Dataset, layout: Layout) -> None:
    inside = np.ones((7, 5), bool)
    inside[-1, 0] = False  # highest y, lowest x: the first row of this dataset
    known = layout.model_copy(update={"domain": {"pet": Domain.from_array(inside)}})
    lost = dataset.copy(deep=True)
    lost.pet.values[:, 0, :2] = np.nan
    part = lost.isel(y=slice(0, 4), x=slice(0, 3))
    flags = fill(part, known).pet_flag.values
    assert (flags[:, 0, 0] == 2).all()
    assert (flags[:, 0, 1] == 1).all()


def drop_time(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars("time")


def numbered_time(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(time=np.arange(20))


def repeated_time(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(time=[0, 1, 1, 2])


def hourly_time(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(time=ds.time.values[0] + np.arange(20) * np.timedelta64(1, "h"))


def nan_coordinate(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(y=("y", [np.nan, *ds.y.values[1:]], ds.y.attrs))


def degrees(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(y=("y", np.linspace(44, 43, 7), {"units": "degrees_north"}))


def sites_nowhere(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars(["site_y"])


def no_frames(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(time=slice(0, 0))


def flat_pet(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet=ds.pet.isel(time=0, drop=True))


def text_pet(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet=ds.pet.astype(str).assign_attrs(ds.pet.attrs))


def pet_in_kelvin(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet=ds.pet.assign_attrs(units="K"))


def pet_without_units(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet=ds.pet.drop_attrs())


def nothing_known(ds: xr.Dataset) -> xr.Dataset:
    return ds[["slope"]].rename(slope="other")


def text_domain(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet_domain=(("y", "x"), np.full((7, 5), "in")))


def too_many_years(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(time=np.datetime64("999000-01-01", "s") + np.arange(20) * np.timedelta64(1, "D"))


def deep_pet(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(pet=ds.pet.expand_dims(depth=3))


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (drop_time, CoordinateError, "time"),
        (numbered_time, CoordinateError, "time: is not a CF time axis"),
        (repeated_time, CoordinateError, "time: must increase"),
        (hourly_time, CoordinateError, r"time: the time step differs from the model's \(got 3600 s; expected 86400 s"),
        (nan_coordinate, CoordinateError, "y: the coordinate is not finite"),
        (degrees, UnitsError, "y: the units of the grid's coordinates differ from the model's"),
        (sites_nowhere, CoordinateError, "site: the sites have no y coordinate"),
        (no_frames, StructureError, "precipitation: has a dimension of length 0"),
        (flat_pet, StructureError, "pet: has the wrong dimensions"),
        (text_pet, StructureError, "pet: is not numeric"),
        (pet_in_kelvin, UnitsError, "pet: the units cannot be converted .*'K'.*'mm day-1'"),
        (pet_without_units, UnitsError, "pet: has no units"),
        (nothing_known, UnknownVariableError, "no variable that can be used .*precipitation"),
        (text_domain, StructureError, "pet_domain: must be numeric with the dimensions of the grid"),
        (too_many_years, CoordinateError, "time/0: is outside the supported range of years .*years -100000 to 100000"),
        (deep_pet, StructureError, "pet: has the wrong dimensions"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_refused_and_the_variable_named(
    dataset: xr.Dataset,
    layout: Layout,
    spoil: Callable[[xr.Dataset], xr.Dataset],
    error: type[ContractError],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        read_dataset(spoil(dataset), layout)
