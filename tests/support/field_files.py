"""Small files laid out as people have them: calendars, longitudes, groups. Two gridded variables of the tiny bundle."""

from __future__ import annotations

import io
from collections.abc import Callable

import h5py
import numpy as np
import xarray as xr

STEPS, ROWS, COLUMNS = 6, 4, 5


def field(seed: int = 5) -> np.ndarray:
    """Values (STEPS, ROWS, COLUMNS) float32 with a quarter missing; every cell has a value at some time."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 3.0, (STEPS, ROWS, COLUMNS)).astype(np.float32)
    hidden = rng.random(values.shape) < 0.25
    hidden[0] = False
    values[hidden] = np.nan
    return values


def stored(
    time: np.ndarray | None = None,
    time_attrs: dict[str, str] | None = None,
    *,
    names: tuple[str, str, str] = ("time", "lat", "lon"),
    y: np.ndarray | None = None,
    x: np.ndarray | None = None,
) -> xr.Dataset:
    """Rain as it is stored, not decoded: times are numbers with units and a calendar."""
    t, rows, columns = names
    attrs = {"standard_name": "time", "units": "days since 2001-01-01", "calendar": "standard"} | (time_attrs or {})
    dataset = xr.Dataset(
        {"precipitation": (names, field(), {"units": "mm day-1", "_FillValue": np.float32(np.nan)})},
        {
            t: (t, np.arange(STEPS, dtype=np.float64) if time is None else time, attrs),
            rows: (rows, 40.0 + np.arange(ROWS) if y is None else y, {"units": "degrees_north"}),
            columns: (columns, 3.0 + np.arange(COLUMNS) if x is None else x, {"units": "degrees_east"}),
        },
        {"title": "made up"},
    )
    return _without_fill(dataset)


def _without_fill(dataset: xr.Dataset) -> xr.Dataset:
    """Keep xarray from declaring a fill value of coordinates."""
    for name in dataset.variables:
        if name != "precipitation":
            dataset[name].encoding["_FillValue"] = None
    return dataset


def as_netcdf4(dataset: xr.Dataset, group: str | None = None, root: xr.Dataset | None = None) -> bytes:
    """The bytes of a NetCDF-4 file, with the dataset in a group where one is named."""
    content = io.BytesIO()
    if group is None:
        dataset.to_netcdf(content, engine="h5netcdf")
    else:
        top = root if root is not None else xr.Dataset(attrs={"title": "the whole"})
        xr.DataTree.from_dict({"/": top, f"/{group}": dataset}).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def as_classic(dataset: xr.Dataset) -> bytes:
    """The bytes of a classic NetCDF file."""
    return bytes(dataset.to_netcdf(engine="scipy"))


def _two_dimensional(separable: bool) -> xr.Dataset:
    data = stored().drop_vars(["lat", "lon"])
    lat, lon = np.meshgrid(40.0 + np.arange(ROWS), 3.0 + np.arange(COLUMNS), indexing="ij")
    if not separable:
        lat, lon = lat + 0.1 * lon, lon - 0.1 * lat
    placed = data.assign(
        lat=(("lat", "lon"), lat, {"units": "degrees_north"}), lon=(("lat", "lon"), lon, {"units": "degrees_east"})
    )
    return _without_fill(placed)


# Files that are filled: all of them hold rain of one step a day, or of one a month.
FILLED: dict[str, Callable[[], bytes]] = {
    "360_day": lambda: as_netcdf4(stored(57.5 + np.arange(STEPS), {"calendar": "360_day"})),
    "360": lambda: as_classic(stored(np.float32(57.5) + np.arange(STEPS, dtype=np.float32), {"calendar": "360"})),
    "noleap": lambda: as_netcdf4(stored(np.arange(56, 62), {"calendar": "noleap"})),
    "365_day upper case": lambda: as_netcdf4(stored(np.arange(56, 62), {"calendar": "365_DAY"})),
    "all_leap": lambda: as_netcdf4(stored(np.arange(57, 63), {"calendar": "366_day"})),
    "julian": lambda: as_netcdf4(stored(np.arange(6) * 24, {"calendar": "julian", "units": "hours since 1900-02-27"})),
    "year 1": lambda: as_netcdf4(stored(None, {"calendar": "noleap", "units": "days since 0001-01-01"})),
    "year 5000": lambda: as_netcdf4(stored(None, {"units": "days since 5000-01-01"})),
    "greenwich": lambda: as_netcdf4(stored(x=np.array([358.0, 359.0, 0.0, 1.0, 2.0]))),
    "date line": lambda: as_netcdf4(stored(x=np.array([178.0, 179.0, -180.0, -179.0, -178.0]))),
    "two dimensions": lambda: as_netcdf4(_two_dimensional(separable=False)),
    "two regular dimensions": lambda: as_netcdf4(_two_dimensional(separable=True)),
    "rotated": lambda: as_netcdf4(stored(names=("time", "rlat", "rlon"), x=np.array([359.0, 359.5, 0.0, 0.5, 1.0]))),
    "group": lambda: as_netcdf4(stored(), "Grid"),
    "group below coordinates": lambda: as_netcdf4(
        stored()[["precipitation"]].drop_vars(["time", "lat", "lon"]), "Grid/rain", stored().drop_vars("precipitation")
    ),
}


def _with_second_group() -> bytes:
    content = io.BytesIO()
    xr.DataTree.from_dict({"/AM": stored(), "/PM": stored()}).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def _plain_hdf5() -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("Retrieval/soil_moisture", data=field()).attrs["units"] = np.bytes_("m3 m-3")
    return content.getvalue()


# Files that are refused, and what the message says.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "columns in disorder": (
        lambda: as_netcdf4(
            stored(names=("time", "northing", "easting"), x=np.array([3.0, 5.0, 4.0, 6.0, 7.0])).assign_coords(
                northing=("northing", np.arange(4.0), {"units": "m"}),
                easting=("easting", [3.0, 5.0, 4.0, 6.0, 7.0], {"units": "m"}),
            )
        ),
        "easting: must be strictly monotonic (got 4 after 5",
    ),
    "one time twice": (
        lambda: as_netcdf4(
            stored(np.array([57.0, 58, 59, 59, 60, 61]), {"calendar": "360_day"}, names=("T", "lat", "lon"))
        ),
        "T: must increase (got 2001-02-30T00:00:00 after 2001-02-30T00:00:00",
    ),
    "months backwards": (
        lambda: as_netcdf4(
            stored(-np.arange(6.0), {"units": "months since 2001-01-01"}, names=("valid_time", "lat", "lon"))
        ),
        "valid_time: must increase (got 2000-12-01T00:00:00 after 2001-01-01T00:00:00",
    ),
    "no such calendar": (
        lambda: as_netcdf4(stored(None, {"calendar": "none"})),
        "time: the calendar is not known (got 'none'",
    ),
    "two groups": (_with_second_group, "several groups of the file hold data (got ['AM', 'PM']"),
    "no dimension scales": (_plain_hdf5, "it is HDF5 without dimension scales"),
    "HDF4": (lambda: b"\x0e\x03\x13\x01" + bytes(100), "is HDF4, not NetCDF"),
}


def cdf5() -> bytes:
    """A file in classic NetCDF's form of 64-bit sizes: one number in one variable."""

    def text(name: bytes) -> bytes:
        return len(name).to_bytes(8, "big") + name + bytes(-len(name) % 4)

    def number(value: int, size: int = 8) -> bytes:
        return value.to_bytes(size, "big")

    nothing = number(0, 4) + number(0)
    dims = number(10, 4) + number(1) + text(b"n") + number(1)
    head = b"CDF\x05" + number(0) + dims + nothing + number(11, 4) + number(1)
    variable = text(b"v") + number(1) + number(0) + nothing + number(5, 4) + number(4)
    start = len(head) + len(variable) + 8
    return head + variable + number(start) + np.array([2.5], ">f4").tobytes()
