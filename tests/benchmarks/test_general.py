"""The leave-one-kind-out benchmark: cases of a kind, resumed runs, and the page's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from benchmarks import general
from benchmarks.general import Score, bench_case, chosen_bundles, main, report
from benchmarks.support.fill_cases import read_case
from benchmarks.support.general_cases import MAX_SITES, MAX_VALUES, crop, files_of_kinds, make_case


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a folder with a radar, gauges of rain and warmth, and a library of masks."""
    path = tmp_path / "real"
    path.mkdir()
    time = np.datetime64("2020-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D")
    space = {"y": ("y", 1e3 * np.arange(12.0)), "x": ("x", 1e3 * np.arange(15.0))}
    rain = rng.gamma(0.5, 2.0, (30, 12, 15)).astype(np.float32)
    radar = xr.Dataset({"rainfall_rate": (("time", "y", "x"), rain, {"units": "mm h-1"})}, {"time": time, **space})
    radar.to_netcdf(path / "radar.nc", engine="h5netcdf")
    sites = {
        "site": [f"s{n}" for n in range(60)],
        "lat": ("site", rng.random(60), {"units": "degrees_north"}),
        "lon": ("site", rng.random(60), {"units": "degrees_east"}),
    }
    values = rng.normal(10, 3, (30, 60)).astype(np.float32)
    gauges = {
        "precipitation": (("time", "site"), np.abs(values), {"units": "mm"}),
        "tmax": (("time", "site"), values, {"units": "degC"}),
    }
    xr.Dataset(gauges, {"time": time, **sites}).to_netcdf(path / "gauges.nc", engine="h5netcdf")
    mask = xr.Dataset({"cloud": (("step", "y", "x"), np.ones((3, 4, 5), np.int8))})
    mask.to_netcdf(path / "masks.nc", engine="h5netcdf")
    return path


def test_variables_are_found_by_the_kind_of_their_data(folder: Path) -> None:
    found = files_of_kinds(folder)
    names = {kind: {path.stem: of for path, of in files.items()} for kind, files in found.items()}
    assert names == {
        "rain": {"gauges": ["precipitation"], "radar": ["rainfall_rate"]},
        "temperature": {"gauges": ["tmax"]},
    }


def test_a_case_holds_one_kind_and_is_the_same_again(folder: Path) -> None:
    case = make_case(folder / "gauges.nc", ["precipitation"], 1)
    again = make_case(folder / "gauges.nc", ["precipitation"], 1)
    other = make_case(folder / "gauges.nc", ["precipitation"], 2)
    assert case is not None and again is not None and other is not None
    assert {str(name) for name in case.data_vars} == {
        "precipitation", "precipitation_truth", "precipitation_gap"
    }  # fmt: skip
    xr.testing.assert_identical(case, again)
    assert case.sizes["site"] == MAX_SITES
    assert not np.array_equal(case["precipitation_gap"].values, other["precipitation_gap"].values)


def test_a_file_without_enough_values_gives_no_case(folder: Path) -> None:
    radar = read_case(folder / "radar.nc")
    radar["rainfall_rate"] = radar["rainfall_rate"].where(radar["x"] < 1e3)
    radar.to_netcdf(folder / "sparse.nc", engine="h5netcdf")
    assert make_case(folder / "sparse.nc", ["rainfall_rate"], 0) is None


@pytest.mark.parametrize("shape", [(12, 500, 900), (2000, 30, 20), (1, 2000, 2000), (5000, 500)])
def test_crops_are_as_large_as_they_may_be(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    dims = ("time", "lat", "lon") if len(shape) == 3 else ("time", "site")
    coords: dict[str, np.ndarray] = {
        "time": np.datetime64("2000-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(1, "D")
    }
    if len(shape) == 3:
        coords |= {"lat": np.arange(shape[1]) / 10, "lon": np.arange(shape[2]) / 10}
    values = xr.DataArray(np.broadcast_to(np.float32(1), shape), dims=dims)
    part = crop(rng, xr.Dataset({"a": values, "b": values}, coords), ["a", "b"])
    assert 0.85 * MAX_VALUES < 2 * part["a"].size <= MAX_VALUES


def test_a_run_is_resumed_and_its_page_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def fill(dataset: xr.Dataset, bundle: object) -> xr.Dataset:
        filled = dataset[["tmax"]].fillna(10.0)
        filled["tmax_std"] = filled["tmax"] * 0 + 3.0
        return filled

    monkeypatch.setattr(general, "fill", fill)
    monkeypatch.setattr(general, "open_bundle", lambda bundle, threads: opened.append(bundle))
    words = [str(folder), "--bundle-for", "temperature=lez-daily", "--draws", "2"]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "general.md")]
    main(words)
    page = (tmp_path / "general.md").read_text(encoding="utf-8")
    assert opened == ["lez-daily"]  # once for both draws
    assert "temperature: `lez-daily`" in page
    assert "| outage | 2 |" in page and "| gauges | 2 |" in page
    monkeypatch.setattr(general, "fill", lambda *_, **__: pytest.fail("filled again"))
    main(words)
    assert (tmp_path / "general.md").read_text(encoding="utf-8") == page


def test_kriging_is_left_out_of_large_cases(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(folder / "radar.nc", ["rainfall_rate"], 0)
    assert case is not None
    case.to_netcdf(tmp_path / "case.nc", engine="h5netcdf")
    monkeypatch.setattr(general, "MAX_KRIGED", 10)
    monkeypatch.setattr(general, "METHODS", ("kriging", "linear_in_time"))
    monkeypatch.setattr(general, "fill", lambda dataset, bundle: dataset.fillna(1.0))
    monkeypatch.setattr(general, "open_bundle", lambda bundle, threads: None)
    assert set(bench_case("rain", "radar", tmp_path / "case.nc", "lez-daily", []).others) == {"linear_in_time"}


def test_the_page_tells_ratios_by_kind_gap_and_file() -> None:
    others = {"stacked": 1.0, "linear_in_time": 4.0, "dineof": 2.0}
    scores = [
        Score("rain", "radar", "rain", "cloud", 1.0, 0.90, others),
        Score("rain", "radar", "rain", "frame", 4.0, 0.80, others),
        Score("wind", "winds", "uwind", "cloud", 0.0, 0.90, others),
    ]
    text = report(scores, {"rain": "bundles/no-rain", "wind": "bundles/no-wind"}, 3, "a machine")
    assert "| rain | 2 | 1.00 | 2.00 | 0.50 |  | 1.00 |  |  | 0.85 |" in text  # of 0.5 and 2 the mean is 1
    assert "| cloud | 1 | 0.50 | 1.00 | 0.25 |" in text
    assert "outside (0.87, 0.93), mean over cases: rain frame 0.80." in text
    assert "no error at all: 1." in text


def test_a_bundle_for_an_unknown_kind_is_refused() -> None:
    assert chosen_bundles(["soil moisture=a=b"], ["soil moisture"]) == {"soil moisture": "a=b"}
    for word in ("rain", "rain=", "snow=x"):
        with pytest.raises(SystemExit, match="expected KIND=BUNDLE, with a kind of rain, wind"):
            chosen_bundles([word], ["wind", "rain"])
