"""The benchmark of archives: simulated files, scores, processes and their memory, tools, tables."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from benchmarks import archives
from benchmarks.archives import bench_case, run_tool
from benchmarks.support import archive_tools, dineof_steps, measured_command
from benchmarks.support.archive_cases import (
    SIMULATED,
    Case,
    Score,
    given_case,
    score,
    shape_of,
    simulated_case,
    some_frames,
)
from benchmarks.support.archive_report import DINEOF, Measured, Result, Sized, doublings, size_section, tool_section
from benchmarks.support.archive_tools import FILES, Tool, fill_frames, hydrofill_tool, tools
from model.gaps.withhold import GapKind, withhold

COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
COPYING = Tool("copying", (sys.executable, "-c", COPY, *FILES))
FAILING = Tool("failing", (sys.executable, "-c", "raise SystemExit('no such grid')", *FILES))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return simulated_case(tmp_path / "simulated", 10_000)


def read(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened.load()


@pytest.mark.parametrize("num_cells", [10_000, 200_000, 12_345_678])
def test_a_simulated_record_has_about_the_cells_requested(num_cells: int) -> None:
    assert math.prod(shape_of(num_cells)) == pytest.approx(num_cells, rel=0.05)


def test_a_simulated_record_has_cloud_gaps_lost_frames_and_their_truth(case: Case) -> None:
    data, truth = read(case.data), read(case.truth)
    for name in SIMULATED:
        kind, right = truth[f"{name}_gap"].values, truth[f"{name}_truth"].values
        np.testing.assert_array_equal(data[name].values, np.where(kind == GapKind.OBSERVED, right, np.nan))
        assert 0.15 < np.mean(kind == GapKind.CLOUD) < 0.5
        lost = (kind == GapKind.FRAME).all(axis=(1, 2))
        assert 0 < lost.sum() == (kind == GapKind.FRAME).any(axis=(1, 2)).sum()
        assert data[name].attrs["units"] == SIMULATED[name]
    rain = truth["precipitation_truth"].values
    assert rain.min() == 0 and 0.5 < np.mean(rain == 0) < 0.9 and rain.max() > 5


def test_neighbours_of_simulated_temperature_are_alike_and_opposite_borders_are_not(tmp_path: Path) -> None:
    sst = read(simulated_case(tmp_path, 60_000).truth)["sst_truth"].values
    sst = sst - sst.mean(axis=0)
    near, far = (np.abs(a - b).mean() for a, b in ((sst[..., 1:], sst[..., :-1]), (sst[..., :1], sst[..., -1:])))
    assert near < 0.5 * far


def test_a_simulated_record_is_the_same_for_a_seed(tmp_path: Path, case: Case) -> None:
    again, other = (simulated_case(tmp_path / str(seed), 10_000, seed) for seed in (0, 1))
    assert read(again.data).equals(read(case.data)) and not read(other.data).equals(read(case.data))


def test_only_gridded_variables_of_a_case_file_are_filled(dataset: xr.Dataset, tmp_path: Path) -> None:
    withhold(dataset, 3).to_netcdf(tmp_path / "basin.nc", engine="h5netcdf")
    made = given_case(tmp_path / "basin.nc", tmp_path / "work")
    assert made is not None and set(made.names) == {"precipitation", "pet"}
    assert made.shape == dataset["pet"].shape and made.num_values == 2 * dataset["pet"].size
    assert not [name for name in read(made.data).data_vars if str(name).endswith("_truth")]


def test_a_score_compares_on_the_cells_that_a_tool_fills(case: Case, tmp_path: Path) -> None:
    truth = read(case.truth)
    right, withheld = truth["sst_truth"].values, truth["sst_gap"].values > GapKind.NATURAL
    half = np.arange(len(right)) % 2 == 0
    fills = {"other": right + np.where(half, 1.0, 100.0)[:, None, None], "some": np.where(withheld, right + 2, right)}
    fills["some"][~half] = np.nan
    for name, values in fills.items():
        xr.Dataset({"sst": (("time", "lat", "lon"), values)}).to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
    made = score(case, tmp_path / "some.nc", tmp_path / "other.nc", "sst")
    assert made.rmse == pytest.approx(2.0, rel=1e-5)
    assert made.other_rmse == pytest.approx(1.0, rel=1e-5)
    assert made.missing == pytest.approx(withheld[~half].sum() / withheld.sum())
    assert score(case, tmp_path / "some.nc", None, "sst", [0]).missing == 0
    unfilled = score(case, case.data, None, "sst")
    assert unfilled.missing == 1 and math.isnan(unfilled.rmse)


def test_some_frames_are_spread_over_the_record() -> None:
    assert some_frames(10, 2) == [2, 7] and some_frames(1, 3) == [0]


def test_frames_are_filled_where_they_have_both_values_and_gaps() -> None:
    values = np.ones((4, 2, 2), np.float32)
    values[0, 0, 0] = values[2, 1, 1] = np.nan
    values[1] = np.nan
    known = xr.Dataset({"sst": (("time", "lat", "lon"), values)})
    made = fill_frames(known, lambda frame: np.full_like(frame, 7))["sst"].values
    assert made[0].tolist() == [[7, 1], [1, 1]] and np.isnan(made[1]).all() and (made[3] == 1).all()
    first = fill_frames(known, lambda frame: np.full_like(frame, 7), 1)["sst"].values  # the frame in the middle
    assert np.isnan(first[0, 0, 0]) and first[2, 1, 1] == 7


def test_a_tool_names_its_files_and_what_is_not_installed() -> None:
    words = hydrofill_tool("--memory", "2GiB").words(Path("in.nc"), Path("out.nc"), ("a", "b"))
    assert words[-8:] == ["fill", "in.nc", "out.nc", "--variables", "a,b", "--overwrite", "--memory", "2GiB"]
    cdo = next(tool for tool in tools() if tool.needs == "cdo")
    assert "-selname,a,b" in cdo.words(Path("in.nc"), Path("out.nc"), ("a", "b"))
    assert Tool("none", (), "no_such_package").missing() == "no_such_package" and COPYING.missing() == ""


@pytest.mark.parametrize(("name", "needs"), [("_gdal", "rasterio"), ("_pyinterp", "pyinterp"), ("_pykrige", "pykrige")])
def test_other_libraries_continue_a_plane_into_a_hole(name: str, needs: str) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    rows, columns = np.mgrid[0:12, 0:10].astype(np.float32)
    plane = rows + 2 * columns
    gappy = plane.copy()
    gappy[4:7, 4:6] = np.nan
    np.testing.assert_allclose(getattr(archive_tools, name)(gappy), plane, atol=2.0)


def test_dineof_fills_a_file(case: Case, tmp_path: Path) -> None:
    archive_tools.main("dineof", str(case.data), str(tmp_path / "filled.nc"), "sst")
    made = score(case, tmp_path / "filled.nc", None, "sst")
    assert made.missing == 0 and made.rmse < 0.9 * read(case.truth)["sst_truth"].values.std()


@pytest.mark.skipif(shutil.which("cdo") is None, reason="CDO is not installed")
@pytest.mark.parametrize("name", ["CDO setmisstodis", "CDO fillmiss2"])
def test_cdo_fills_a_file(case: Case, tmp_path: Path, name: str) -> None:
    tool = next(tool for tool in tools() if tool.name == name)
    made = run_tool(tool, case, tmp_path)
    assert not made.failed and made.tree_mib > 1
    assert score(case, tmp_path / "filled" / case.name / f"{name.replace(' ', '_')}.nc", None, "sst").missing < 0.5


def test_a_tool_that_fails_or_does_not_end_says_so(case: Case, tmp_path: Path) -> None:
    assert run_tool(FAILING, case, tmp_path).failed == "failed: no such grid"
    endless = Tool("endless", (sys.executable, "-c", "import time; time.sleep(60)"))
    assert run_tool(endless, case, tmp_path, 0.5).failed == "did not end in 0.5 s"


def test_the_time_of_some_frames_is_extrapolated_to_all(case: Case, tmp_path: Path) -> None:
    printing = COPY + "; print('{{\"fill_s\": 100}}')"
    made = run_tool(Tool("few", (sys.executable, "-c", printing, *FILES), frames=2), case, tmp_path)
    whole = 100 * (case.shape[0] / 2 - 1)
    assert whole < made.seconds < whole + 10


def test_a_case_is_scored_against_the_first_tool(case: Case, tmp_path: Path) -> None:
    results = bench_case(case, [COPYING, FAILING], tmp_path, 2, 60)
    assert [r.measured.failed for r in results] == ["", "failed: no such grid"]
    assert results[0].scores["sst"].missing == 1 and not results[1].scores
    failed_first = bench_case(case, [FAILING, COPYING], tmp_path, 1, 60)
    assert math.isnan(failed_first[1].scores["sst"].other_rmse)


def test_memory_of_a_command_is_that_of_all_its_processes(tmp_path: Path) -> None:
    holds = "import time; held = bytearray(60_000_000); time.sleep(0.8)"
    starts = f"import subprocess, sys; held = bytearray(60_000_000); subprocess.run([sys.executable, '-c', {holds!r}])"
    command = [sys.executable, "-c", starts]
    assert measured_command.main(str(tmp_path / "report.json"), *command) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tree_mib"] > 110 and report["wall_s"] > 0.8


def test_doublings_are_those_of_a_power_of_the_size() -> None:
    values = [100, 200, 800]
    assert doublings(values, [v**1.5 for v in values]) == pytest.approx([2**1.5] * 2)


def test_the_table_of_sizes_says_how_cost_grows() -> None:
    rows = [Sized("hydrofill", n, Measured(1 + n / 1e5, 300)) for n in (100_000, 200_000, 400_000)]
    rows += [Sized(DINEOF, n, Measured(failed="failed: x")) for n in (1, 2)]
    text = size_section(rows)
    assert "hydrofill: 1.00 s and 10 µs a value, r² 1.0000; twice the values take 1.50, 1.67 times the time." in text
    assert "DINEOF, 10 sites: a size was not filled." in text and "failed: x" in text


def test_the_table_of_tools_compares_each_with_the_first(case: Case, tmp_path: Path) -> None:
    _, bad = bench_case(case, [COPYING, FAILING], tmp_path, 1, 60)
    scored = Result(case, COPYING, Measured(2.0, 50.0), {"sst": Score(3.0, 2.0, 0.25)})
    text = tool_section([scored, bad])
    assert f"| copying | 1 of 1 | {float(f'{case.num_values / 2:.3g}'):,.0f} | 50 | 1.5 | 25.0 % |" in text
    assert "| failing | 0 of 1 |" in text and "failed: no such grid" in text and "sst 3 (2)" in text


def test_long_series_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dineof_steps, "REPEATS", 1)
    short, long = dineof_steps.measure([100, 400])
    assert short["seconds"] > 0 and long["seconds"] > 0
    assert short["arrays_mib"] < long["arrays_mib"] < 5 * short["arrays_mib"]


@pytest.mark.slow
def test_the_page_holds_both_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "tools", lambda: (COPYING, Tool("absent", (), "no_such_package")))
    monkeypatch.setattr(archives, "hydrofill_tool", lambda *_options: COPYING)
    monkeypatch.setattr(archives, "DINEOF_STEPS", (100, 200))
    page = archives.main(["--cells", "6000", "--size", "200000", "--work", str(tmp_path)])
    assert "Left out, because they are not installed: absent (`no_such_package`)." in page
    assert "| hydrofill --memory 2GiB --workers 2 |" in page and "## Tools" in page and "## Size" in page
