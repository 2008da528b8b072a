"""What is written: other programs read it, and its header differs from that of the input in what was added alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hydrofill.cli import cli
from tests.support.headers import changes, make_file, needs_programs, run

pytestmark = [needs_programs, pytest.mark.slow]

HEADER = """netcdf made {
dimensions:
  time = UNLIMITED ; lat = 5 ; lon = 6 ; nv = 2 ; letters = 3 ;
variables:
  int time(time) ;
    time:units = "hours since 1900-01-01 00:00:0.0" ; time:calendar = "gregorian" ; time:bounds = "time_bnds" ;
    time:standard_name = "time" ; time:_ChunkSizes = 64 ;
  int time_bnds(time, nv) ;
  float lat(lat) ; lat:units = "degrees_north" ; lat:standard_name = "latitude" ;
  double lon(lon) ; lon:units = "degrees_east" ; lon:standard_name = "longitude" ; lon:valid_range = -180., 360. ;
  ushort lst(time, lat, lon) ;
    lst:_FillValue = 0US ; lst:missing_value = 0US ; lst:scale_factor = 0.02f ; lst:valid_range = 7500US, 65535US ;
    lst:units = "K" ; lst:standard_name = "surface_temperature" ; lst:long_name = "land surface temperature" ;
    lst:ancillary_variables = "lst_qc" ; lst:grid_mapping = "crs" ; lst:coordinates = "height" ; lst:comment = "" ;
    lst:_ChunkSizes = 1, 5, 6 ; lst:_DeflateLevel = 5 ; lst:_Shuffle = "true" ;
  float rain(time, lat, lon) ;
    rain:_FillValue = -9999.f ; rain:missing_value = -8888.f ; rain:valid_min = 0.f ; rain:units = "mm h-1" ;
  byte lst_qc(time, lat, lon) ;
    lst_qc:_FillValue = -1b ; lst_qc:flag_values = 0b, 1b, 2b ; lst_qc:flag_meanings = "good fair poor" ;
    lst_qc:valid_range = 0b, 2b ; lst_qc:_DeflateLevel = 1 ;
  short old(lat) ; old:missing_value = -5s, -6s ; old:flag_values = 1s, 2s ; old:flag_meanings = "a b" ;
  byte unsigned(lat) ; unsigned:_Unsigned = "true" ; unsigned:_FillValue = -1b ; unsigned:flag_masks = 1b, -128b ;
  int crs ; crs:grid_mapping_name = "latitude_longitude" ; crs:semi_major_axis = 6378137. ;
  double height ; height:units = "m" ;
  char letters_of(lat, letters) ; letters_of:long_name = "letters" ;
// global attributes:
  :title = "made" ; :version = 3s ; :limits = 1.f, 2.f ; :note = "" ;
"""
STEPS, ROWS, COLUMNS = 24, 5, 6


def values() -> dict[str, np.ndarray]:
    """Stored values of the file, with gaps in both fields."""
    rng = np.random.default_rng(3)
    shape = (STEPS, ROWS, COLUMNS)
    t, y, x = np.ogrid[:STEPS, :ROWS, :COLUMNS]
    lst = np.round(14_500 + 300 * np.sin(t / 4) + 20 * y + 10 * x + rng.normal(0, 5, shape)).astype(np.uint16)
    lst[rng.random(shape) < 0.2] = 0
    rain = np.maximum(np.sin(t / 3 + x / 4) * 3 + 0.1 * y, 0).astype(np.float32)
    rain[rng.random(shape) < 0.1], rain[rng.random(shape) < 0.1] = -9999, -8888
    return {
        "time": np.arange(STEPS),
        "time_bnds": np.arange(STEPS)[:, None] + [0, 1],
        "lat": 50.0 - np.arange(ROWS) / 4,
        "lon": 3.0 + np.arange(COLUMNS) / 4,
        "lst": lst,
        "rain": rain,
        "lst_qc": rng.integers(-1, 3, shape),
        "old": np.array([1, 2, -5, -6, 1]),
        "unsigned": np.array([0, 1, -128, -1, 127]),
        "crs": np.array(0),
        "height": np.array(2.0),
    }


def made(path: Path) -> Path:
    """Write the file."""
    data = "".join(f"  {n} = {', '.join(f'{v:.9g}' for v in vs.ravel().tolist())} ;\n" for n, vs in values().items())
    return make_file(path, f'{HEADER}data:\n{data}  letters_of = "abc", "def", "g", "h i", "jkl" ;\n}}\n')


def fill(source: Path, target: Path) -> str:
    """Fill a file through the command line; return what is printed."""
    result = CliRunner().invoke(cli, ["fill", str(source), str(target)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the file and its fill."""
    folder = tmp_path_factory.mktemp("files")
    source, target = made(folder / "in.nc"), folder / "out.nc"
    fill(source, target)
    return source, target


def test_headers_differ_in_what_was_added_alone(files: tuple[Path, Path]) -> None:
    lost, added = changes(*files)
    assert lost == ['lst:ancillary_variables = "lst_qc" ;']
    assert 'lst:ancillary_variables = "lst_qc lst_std lst_flag" ;' in added
    assert {line for line in added if line.startswith(("float", "byte"))} == {
        "float lst_std(time, lat, lon) ;",
        "byte lst_flag(time, lat, lon) ;",
        "float rain_std(time, lat, lon) ;",
        "byte rain_flag(time, lat, lon) ;",
    }
    assert 'lst_std:standard_name = "surface_temperature standard_error" ;' in added
    assert not any(line.startswith("string ") or "rain_std:standard_name" in line for line in added)
    assert 'rain:ancillary_variables = "rain_std rain_flag" ;' in added
    assert {line.split(" = ")[0] for line in added if line.startswith(":")} == {
        ":history",
        ":hydrofill_bundle",
        ":hydrofill_bundle_sha256",
        ":hydrofill_bundle_version",
        ":hydrofill_calibration",
        ":hydrofill_version",
    }


def test_stored_values_differ_in_filled_cells_alone(files: tuple[Path, Path]) -> None:
    code = """
import sys, netCDF4, numpy as np
before, after = (netCDF4.Dataset(path) for path in sys.argv[1:])
filled = {}
for name in ("lst", "rain"):
    gone, left = before[name][:].mask, after[name][:].mask
    assert gone.any() and not left.any(), name
    assert not (after[name + "_std"][:] <= 0)[gone].any()
    filled[name] = after[name + "_flag"][:] == 1
for dataset in (before, after):
    dataset.set_auto_maskandscale(False)
for name, variable in before.variables.items():
    old, new = np.asarray(variable[:]), np.asarray(after[name][:])
    assert old.dtype == new.dtype and variable.filters() == after[name].filters(), name
    kept = ~filled.get(name, np.zeros(old.shape, bool))
    assert old[kept].tobytes() == new[kept].tobytes(), name
assert after.dimensions["time"].isunlimited()
"""
    run(python_with_netcdf4(), "-W", "error", "-c", code, *files)


def python_with_netcdf4() -> str:
    """Return a Python that has netCDF4: in a process of its own, because two copies of HDF5 in one may crash."""
    for python in (sys.executable, "/usr/bin/python3"):
        known = [python, "-c", "import netCDF4"]
        if Path(python).exists() and subprocess.run(known, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("needs netCDF4, as of the package python3-netcdf4")


def test_nco_and_cdo_read_the_output_without_a_warning(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = files
    run("ncrcat", target, target, tmp_path / "twice.nc")  # joins along the unlimited dimension
    assert "time = UNLIMITED ; // (48 currently)" in run("ncdump", "-h", tmp_path / "twice.nc")
    run("ncks", "-v", "lst,lst_std,lst_flag", "-d", "time,0,1", target, tmp_path / "part.nc")
    infon = ("cdo", "-s", "infon", "-selname,lst,lst_std,rain")
    before = subprocess.run([*infon[:-1], source], capture_output=True, text=True, check=True)  # of its characters
    lines = run(*infon, target, warnings=before.stderr).splitlines()
    shown = [line for line in lines if "Parameter name" not in line]
    assert len(shown) == 3 * STEPS
    missing = [int(line.split()[6]) for line in shown if line.rstrip().endswith((" lst", " rain"))]
    assert sum(missing) == 0
    assert "1900-01-01" in shown[0]
