"""Real samples as CF datasets, built from the data files in the wheel of the Python package hydro-smash.

The wheel is read as a zip archive; its code is never imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import platformdirs
import xarray as xr

from hydrofill.cf.on_disk import hdf5_on_disk
from hydrofill.paths import written_whole
from model.datasets.rasters import quiet_tifffile
from model.datasets.smash_files import Progress, SampleFiles, read_date, write_date

Fetch = Callable[[Path], None]

REQUIREMENT = "hydro-smash==1.3.0"
WHEEL_NAME = "hydro_smash-1.3.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "bfcd1dadf60f8ebe0979a5adfb82e93464d576743710e5734370f267b05722fd"
WHEEL_DATA = "smash/factory/dataset"
# One fixed platform, so that every machine gets the same file.
PIP_DOWNLOAD = [
    *("pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "20"),
    *("--no-deps", "--only-binary=:all:"),
    *("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64"),
]
PIP_LIMIT_S = 600


class SampleUnavailableError(RuntimeError):
    """A sample that cannot be built; the message is one line and says what failed."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The properties of one sample.

    Attributes:
        folder: name of its folder in the wheel.
        title: title of the dataset.
        step: numpy's unit of the time step.
        rain_units: units of precipitation.
        rain_scale: factor from the files' values to `rain_units`.
        daily_normals: whether PET has one file for each calendar day, the mean of many years.
        descriptors: file stems and the variables that they hold.
    """

    folder: str
    title: str
    step: Literal["D", "h"]
    rain_units: str
    rain_scale: float
    daily_normals: bool
    descriptors: Mapping[str, str]


SAMPLES: Mapping[str, Sample] = {
    "lez": Sample(
        folder="Lez",
        title="Lez at Lattes (France): daily precipitation, potential evapotranspiration and river flow",
        step="D",
        rain_units="mm day-1",
        rain_scale=1.0,
        daily_normals=False,
        descriptors={n: n for n in ("drainage_density", "karst", "slope", "soil_water_storage", "urban", "woodland")},
    ),
    "cance": Sample(
        folder="Cance",
        title="Cance at Sarras (France): hourly precipitation and river flow, normals of potential evapotranspiration",
        step="h",
        rain_units="mm h-1",
        rain_scale=0.1,  # prcp_conversion_factor of the package's setup_Cance.yaml
        daily_normals=True,
        descriptors={"dd": "drainage_density", "slope": "slope"},
    ),
}

GLOBAL_ATTRIBUTES: Mapping[str, str] = {
    "Conventions": "CF-1.10",
    "institution": "INRAE RECOVER RHAX team (publisher of hydro-smash)",
    "source": f"data files of the Python package {REQUIREMENT}, wheel sha256 {WHEEL_SHA256}",
    "license": "hydro-smash is GPL-3.0; it states no other terms and no provider for its data files",
    "references": "Colleoni et al. 2025, Geosci. Model Dev. 18, 7003-7034, https://doi.org/10.5194/gmd-18-7003-2025",
    "history": "hydrofill: files stacked on one regular time axis; missing codes, absent files are NaN; nothing filled",
}
LAMBERT_93: Mapping[str, Any] = {  # EPSG:2154
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": np.array([44.0, 49.0]),
    "latitude_of_projection_origin": 46.5,
    "longitude_of_central_meridian": 3.0,
    "false_easting": 700_000.0,
    "false_northing": 6_600_000.0,
    "semi_major_axis": 6_378_137.0,
    "inverse_flattening": 298.257222101,
    "spatial_ref": "EPSG:2154",
}
NO_UNIT = "the package states no unit"
ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "precipitation": {
        "long_name": "precipitation",
        "standard_name": "lwe_precipitation_rate",
        "cell_methods": "time: mean",
    },
    "pet": {
        "long_name": "potential evapotranspiration",
        "standard_name": "water_potential_evaporation_flux",
        "units": "mm day-1",
        "cell_methods": "time: mean",
        "comment": "1 mm day-1 of liquid water stands for a flux of 1 kg m-2 day-1",
    },
    "river_flow": {
        "long_name": "river flow",
        "standard_name": "water_volume_transport_in_river_channel",
        "units": "m3 s-1",
        "cell_methods": "time: mean",
    },
    "site_area": {"long_name": "drained area", "units": "km2"},
    "drainage_density": {"long_name": "drainage density", "units": "1", "comment": NO_UNIT},
    "karst": {"long_name": "share of karst", "units": "1"},
    "slope": {"long_name": "slope", "units": "1", "comment": NO_UNIT},
    "soil_water_storage": {"long_name": "soil water storage", "units": "mm", "comment": f"{NO_UNIT}: read as mm"},
    "urban": {"long_name": "share of urban land", "units": "1"},
    "woodland": {"long_name": "share of woodland", "units": "1"},
    "catchment": {"long_name": "1 where water drains to the lowest gauge, 0 elsewhere", "units": "1"},
    "flow_accumulation": {"long_name": "upstream area inside the catchment", "units": "km2"},
    "time": {"standard_name": "time", "long_name": "time as in the files' names", "axis": "T"},
    "y": {"standard_name": "projection_y_coordinate", "long_name": "northing, Lambert-93", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "long_name": "easting, Lambert-93", "units": "m", "axis": "X"},
    "site": {"long_name": "gauge code", "cf_role": "timeseries_id"},
    "site_y": {"standard_name": "projection_y_coordinate", "long_name": "northing of the gauge", "units": "m"},
    "site_x": {"standard_name": "projection_x_coordinate", "long_name": "easting of the gauge", "units": "m"},
}
NORMALS_COMMENT = (
    "mean of many years for the calendar day, not a measurement of this one; each hour carries the mean rate of its "
    "day, without a daily cycle; 1 mm day-1 of liquid water stands for a flux of 1 kg m-2 day-1"
)


def build_sample(
    name: str, cache_dir: Path | None = None, progress: Progress | None = None, fetch: Fetch | None = None
) -> xr.Dataset:
    """Build a sample as a CF dataset in memory: `precipitation`, `pet`, `river_flow`, static fields and gauges.

    Args:
        name: a key of `SAMPLES`.
        cache_dir: folder that keeps the wheel between calls; the user's cache folder by default.
        progress: called with (what, done, total) while files are fetched and read.
        fetch: puts the wheel into a folder; pip by default.

    Raises:
        SampleUnavailableError: no sample has that name, or its wheel cannot be fetched.
    """
    if name not in SAMPLES:
        raise SampleUnavailableError(f"no sample is called {name!r}; there are {', '.join(sorted(SAMPLES))}")
    report = progress or _no_report
    report("fetch the wheel", 0, 1)
    wheel = cached_wheel(cache_dir or platformdirs.user_cache_path("hydrofill"), fetch or download_wheel)
    report("fetch the wheel", 1, 1)
    with zipfile.ZipFile(wheel) as archive, quiet_tifffile():
        return read_sample(archive, SAMPLES[name], report)


def write_sample(dataset: xr.Dataset, path: Path) -> None:
    """Write the dataset as NetCDF-4, compressed as its encodings say; completely or not at all."""
    with written_whole(path) as partial, hdf5_on_disk(partial) as file:
        dataset.to_netcdf(file, engine="h5netcdf")


def cached_wheel(cache_dir: Path, fetch: Fetch, sha256: str = WHEEL_SHA256) -> Path:
    """Return the path of the wheel, its hash checked; fetch it if the cache lacks it or holds another file.

    Args:
        cache_dir: folder of the cache; it is created if needed.
        fetch: puts `WHEEL_NAME` into the folder that it is given.
        sha256: the expected hash of the file.

    Raises:
        SampleUnavailableError: fetching fails, or the fetched file has another hash.
    """
    wheel = cache_dir / WHEEL_NAME
    try:
        if wheel.is_file() and _sha256(wheel) == sha256:
            return wheel
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as folder:
            fetch(Path(folder))
            fetched = Path(folder) / WHEEL_NAME
            if (got := _sha256(fetched)) != sha256:
                raise SampleUnavailableError(f"{WHEEL_NAME} is refused: got sha256 {got}, expected {sha256}")
            fetched.replace(wheel)  # atomic: the cache never holds a partial wheel
    except OSError as error:
        raise SampleUnavailableError(f"cannot get {WHEEL_NAME} into {cache_dir}: {error}") from error
    return wheel


def download_wheel(folder: Path) -> None:
    """Download the wheel into `folder` with this Python's pip.

    Raises:
        SampleUnavailableError: pip fails or is not installed; quotes the last line of pip's output.
    """
    tried = f"pip download {REQUIREMENT}"
    command = [sys.executable, "-m", *PIP_DOWNLOAD, "--dest", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SampleUnavailableError(f"{tried} took longer than {PIP_LIMIT_S} s") from error
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise SampleUnavailableError(f"{tried} failed: {said[-1] if said else f'exit code {done.returncode}'}")


def read_sample(archive: zipfile.ZipFile, sample: Sample, progress: Progress) -> xr.Dataset:
    """Read a sample from an open wheel onto a regular time axis; a step without a file is a missing frame."""
    files = SampleFiles(archive, f"{WHEEL_DATA}/{sample.folder}")
    rain_files = files.dated("prcp")
    stamps = np.array([read_date(date) for date in rain_files])  # ascending
    time = np.arange(stamps[0], stamps[-1] + np.timedelta64(1, "m"), np.timedelta64(1, sample.step))
    dates = [write_date(t) for t in time]
    grid = files.raster(rain_files[dates[0]]).grid
    rain = files.frames("prcp", dates, grid, progress) * np.float32(sample.rain_scale)
    pet = files.frames("pet", [d[4:8] for d in dates] if sample.daily_normals else dates, grid, progress)
    gauges = files.gauges()
    fields = {**files.descriptors(sample.descriptors, grid), **files.catchment(grid)}
    dataset = xr.Dataset(
        {
            "precipitation": (("time", "y", "x"), rain),
            "pet": (("time", "y", "x"), pet),
            "river_flow": (("time", "site"), np.stack([files.flow(code, time) for code in gauges.codes], axis=1)),
            **{name: (("y", "x"), field) for name, field in fields.items()},
            "site_area": ("site", gauges.area_km2),
        },
        {"time": time.astype("datetime64[ns]"), "y": grid.y, "x": grid.x, "site": gauges.codes},
    )
    return _described(dataset.assign_coords(site_y=("site", gauges.y), site_x=("site", gauges.x)), sample)


def _described(dataset: xr.Dataset, sample: Sample) -> xr.Dataset:
    """Return the dataset with its attributes, its projection and its encodings for files."""
    for name, variable in dataset.variables.items():
        variable.attrs.update(ATTRIBUTES[str(name)])
        if {"y", "x"} <= set(variable.dims):
            variable.attrs["grid_mapping"] = "crs"
        if variable.ndim > 1:
            variable.encoding = {"zlib": True, "complevel": 4, "shuffle": True}
    dataset["precipitation"].attrs["units"] = sample.rain_units
    if sample.daily_normals:
        dataset["pet"].attrs["comment"] = NORMALS_COMMENT
    start = np.datetime_as_string(dataset["time"].values[0], unit="s").replace("T", " ")
    since = {"D": f"days since {start}", "h": f"hours since {start}"}[sample.step]
    dataset["time"].encoding = {"units": since, "calendar": "proleptic_gregorian", "dtype": "int64"}
    dataset["crs"] = xr.Variable((), np.int32(0), dict(LAMBERT_93))
    return dataset.assign_attrs(title=sample.title, **GLOBAL_ATTRIBUTES)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_report(what: str, done: int, total: int) -> None:
    """Report nothing."""
