"""The fill benchmark: what methods may see, the report's figures, and a benchmark that continues after a stop."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmarks import fill
from benchmarks.fill import CommandFailedError, Plan, bench_run, find_cases
from benchmarks.support.fill_cases import (
    figure,
    listed_results,
    measure,
    measure_files,
    read_case,
    run_baselines,
    write_gappy,
)
from benchmarks.support.fill_report import CaseResult, Run, geometric_mean, report
from model.baselines.library import ANYWHERE, ON_GRIDS
from model.gaps.withhold import withhold

SCORER = """
import json, sys
cloud = {"n": 1, "rmse": %s, "crps": 0.125}
print(json.dumps({"pet": {"kinds": {"cloud": cloud}, "observed_changed": 0, "unfilled": 0}}))
"""


@pytest.fixture
def case(dataset: xr.Dataset, tmp_path: Path) -> Path:
    withhold(dataset, 3).to_netcdf(tmp_path / "basin.nc", engine="h5netcdf")
    return tmp_path / "basin.nc"


@pytest.fixture
def filled(case: Path, tmp_path: Path) -> Path:
    """Return a fill that is the truth plus one."""
    made = read_case(case)
    for name in ("precipitation", "pet", "river_flow"):
        made[name] = made[name].where(made[f"{name}_gap"] == 0, made[f"{name}_truth"] + 1)
    made[["precipitation", "pet", "river_flow"]].to_netcdf(tmp_path / "filled.nc", engine="h5netcdf")
    return tmp_path / "filled.nc"


def test_a_method_sees_no_truth(case: Path, tmp_path: Path) -> None:
    write_gappy(case, tmp_path / "work" / "data.nc")
    data = read_case(tmp_path / "work" / "data.nc")
    assert not [n for n in data.data_vars if str(n).endswith(("_truth", "_gap"))]
    assert {"precipitation", "pet", "river_flow", "slope", "area"} <= set(data.data_vars)
    assert data["pet"].isnull().sum() > read_case(case)["pet_truth"].isnull().sum()


def test_measures_are_by_variable_and_kind(case: Path, filled: Path) -> None:
    made = measure(read_case(case), read_case(filled))
    assert figure(made, "pet", "cloud") == pytest.approx(1.0, rel=1e-5)
    assert figure(made, "pet", "cloud", "crps") is None
    assert figure(made, "river_flow", "outage", "bias") == pytest.approx(1.0, rel=1e-5)
    assert made["pet"]["observed_changed"] == made["pet"]["unfilled"] == 0


def test_the_scorers_figures_count_where_it_agrees(case: Path, filled: Path, tmp_path: Path) -> None:
    scorer = tmp_path / "score.py"
    scorer.write_text(SCORER % "1.0")
    assert figure(measure_files(case, filled, scorer), "pet", "cloud", "crps") == 0.125
    scorer.write_text(SCORER % "1.1")
    with pytest.raises(ValueError, match="the scorer says"):
        measure_files(case, filled, scorer)


def test_every_baseline_is_run_once_and_kept(
    dataset: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withhold(dataset[["river_flow"]], 3).to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    folder = tmp_path / "found"
    run_baselines(tmp_path / "flow.nc", folder)
    assert {p.stem for p in folder.iterdir()} == {*ANYWHERE, *ON_GRIDS}
    found = json.loads((folder / "linear_in_time.json").read_text())
    assert figure(found["scores"], "river_flow", "outage") is not None
    assert figure(json.loads((folder / "kriging.json").read_text())["scores"], "river_flow", "outage") is None
    monkeypatch.setattr("benchmarks.support.fill_cases.baselines_for", lambda values: pytest.fail("run again"))
    run_baselines(tmp_path / "flow.nc", folder)


def test_a_benchmark_continues_where_it_stopped(
    case: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def command(label: str, words: list[str], plan: Plan) -> None:
        commands.append(words[2:])
        if label == "fill":
            Path(words[5]).write_bytes(filled.read_bytes())

    monkeypatch.setattr(fill, "_command", command)
    plan = Plan(minutes=0.5, seeds=1, score=None, work=tmp_path, threads=None)
    first = bench_run(case, tmp_path / "data.nc", tmp_path / "run0", 7, plan)
    assert [words[:2] for words in commands] == [
        ["model", "train"],
        ["export", str(tmp_path / "run0" / "run")],
        ["app", "fill"],
    ]
    assert commands[0][-4:] == ["--minutes", "0.5", "--seed", "7"]
    assert bench_run(case, tmp_path / "data.nc", tmp_path / "run0", 7, plan) == first
    assert len(commands) == 3


def test_a_command_that_fails_ends_the_benchmark_with_its_output(tmp_path: Path) -> None:
    plan = Plan(1.0, 1, None, tmp_path, threads=1)
    with pytest.raises(CommandFailedError, match="train ended with 3: no data"):
        fill._command("train", [sys.executable, "-c", "import sys; print('no data'); sys.exit(3)"], plan)


def test_cases_are_files_or_folders_of_them(case: Path, tmp_path: Path) -> None:
    assert find_cases([tmp_path]) == find_cases([case]) == [case]
    with pytest.raises(SystemExit, match=r"none\.nc"):
        find_cases([tmp_path / "none.nc"])


def scored(rmse: float, **more: float) -> dict[str, Any]:
    kinds = {"cloud": {"n": 9, "rmse": rmse, **more}, "all": {"n": 9, "rmse": rmse}}
    return {"rain": {"kinds": kinds, "observed_changed": 0, "unfilled": 0}}


def test_the_report_lists_missed_targets() -> None:
    runs = [Run(s, {"train": 60.0}, scored(r, coverage90=0.8, crps=0.3, wet_bias=1.0)) for s, r in ((0, 1.0), (1, 1.4))]
    baselines = {
        "kriging": {"seconds": 2.0, "scores": scored(1.1, crps=0.2)},
        "stacked": {"seconds": 9.0, "scores": scored(0.8)},
    }
    result = CaseResult("basin", runs, baselines, {"kriging": scored(1.0), "saits": scored(3.0)})
    assert result.ratio("rain", "cloud") == pytest.approx(1.2)
    text = report([result], 1.0, 2, "a machine")
    assert "Rows above 1.05: basin rain cloud 1.20." in text
    assert "behind `stacked`, with the ratio: basin rain cloud 1.50." in text
    assert "outside (0.87, 0.93): basin rain cloud 0.80 (1 of 1 rows)." in text
    assert "CRPS not below kriging's: basin rain cloud 0.3 to 0.2." in text
    assert "outside (0.9, 1.1): none of 1 rows." in text
    assert "| **hydrofill** | **1.2 ± 0.28** |" in text
    assert "`unfilled`: 0" in text


def test_without_a_list_the_best_is_one_of_the_baselines() -> None:
    baselines = {"kriging": {"seconds": 2.0, "scores": scored(0.5)}, "mean": {"seconds": 2.0, "scores": scored(0.8)}}
    assert CaseResult("x", [Run(0, {}, scored(1.0))], baselines, {}).best("rain", "cloud") == ("kriging", 0.5)


def test_listed_results_are_read_from_the_folder_of_the_case(case: Path) -> None:
    assert listed_results(case) == {}
    listed = {"basin": {"methods": {"saits": {"seconds": 1, "scores": scored(2.0)}}}}
    (case.parent / "results.json").write_text(json.dumps(listed))
    assert figure(listed_results(case)["saits"], "rain", "cloud") == 2.0


def test_geometric_mean_of_two_and_eight_is_four() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert np.isclose(geometric_mean([0.5]), 0.5)
