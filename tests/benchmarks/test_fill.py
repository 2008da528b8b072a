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
from benchmarks.fill import CommandFailedError, Plan, bench_run, find_cases, fingerprint
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
from benchmarks.support.fill_systems import MIX, TRAINED, TUNED, ZERO_SHOT, System, chosen_systems
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


@pytest.mark.parametrize(
    ("system", "labels", "ends"),
    [
        (System(ZERO_SHOT), ["fill"], ["filled.nc"]),
        (System(ZERO_SHOT, bundle="lez-daily"), ["fill"], ["filled.nc", "--bundle", "lez-daily"]),
        (System(TUNED, 1.0), ["tune", "fill"], ["--minutes", "1", "--seed", "7"]),
        (System(TRAINED, 0.5), ["train", "export", "fill"], ["--minutes", "0.5", "--seed", "7"]),
        (System(MIX, bundle="lez-daily"), ["fill"], ["filled.nc", "--bundle", "lez-daily"]),
    ],
)
def test_a_benchmark_continues_where_it_stopped(
    system: System,
    labels: list[str],
    ends: list[str],
    case: Path,
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []

    def command(label: str, words: list[str], plan: Plan) -> None:
        memory, user = Path(words[3]), words[words.index("hydrofill.cli") + 1 :]
        commands.append(user)
        memory.write_text('{"peak_mib": 12.5}')
        if label == "fill":
            Path(user[2]).write_bytes(filled.read_bytes())

    monkeypatch.setattr(fill, "_command", command)
    plan = Plan((system,), score=None, work=tmp_path, threads=None)
    first = bench_run(case, tmp_path / "data.nc", tmp_path / "runs", system, 7, plan)
    assert [words[0] for words in commands] == labels
    found = [Path(word).name if word.endswith(".nc") else word for word in commands[0]]
    assert found[-len(ends) :] == ends
    assert (first.peak_mib, list(first.seconds)) == (12.5, labels)
    assert bench_run(case, tmp_path / "data.nc", tmp_path / "runs", system, 7, plan) == first
    assert len(commands) == len(labels)


def test_runs_of_one_case_have_folders_of_their_own() -> None:
    systems = chosen_systems("trained,tuned,zero-shot", 5.0, 2, None, "lez-daily")
    assert [system.name for system in systems] == [ZERO_SHOT, TUNED, TRAINED, MIX]
    assert [len(system.seeds) for system in systems] == [1, 2, 2, 1]
    folders = [system.folder(seed, fingerprint("lez-daily")) for system in systems for seed in system.seeds]
    assert len(set(folders)) == len(folders)
    assert systems[0].folder(0, "a") != systems[0].folder(0, "b")
    fewer = chosen_systems("trained,tuned", 5.0, 3, None, None, 1)
    assert [len(system.seeds) for system in fewer] == [3, 1]


def test_unknown_systems_are_refused() -> None:
    with pytest.raises(SystemExit, match="no system is called 'magic'"):
        chosen_systems("zero-shot,magic", 1.0, 1, None, None)


def test_the_peak_memory_of_a_command_is_its_own(tmp_path: Path) -> None:
    work = "x = bytearray(200 * 2**20); print(len(x))"
    held = bytearray(400 * 2**20)  # of the process that starts the command, which must not count
    plan = Plan((), None, tmp_path, threads=1)
    words = ["-m", "benchmarks.support.measured_command", str(tmp_path / "memory.json"), sys.executable, "-c", work]
    fill._command("fill", [sys.executable, *words], plan)
    assert 200 < json.loads((tmp_path / "memory.json").read_text())["peak_mib"] < 300 < len(held)


def test_a_command_that_fails_ends_the_benchmark_with_its_output(tmp_path: Path) -> None:
    plan = Plan((), None, tmp_path, threads=1)
    with pytest.raises(CommandFailedError, match="train ended with 3: no data"):
        fill._command("train", [sys.executable, "-c", "import sys; print('no data'); sys.exit(3)"], plan)


def test_cases_are_files_or_folders_of_them(case: Path, tmp_path: Path) -> None:
    assert find_cases([tmp_path]) == find_cases([case]) == [case]
    with pytest.raises(SystemExit, match=r"none\.nc"):
        find_cases([tmp_path / "none.nc"])


def scored(rmse: float, **more: float) -> dict[str, Any]:
    kinds = {"cloud": {"n": 9, "rmse": rmse, **more}, "all": {"n": 9, "rmse": rmse}}
    return {"rain": {"kinds": kinds, "observed_changed": 0, "unfilled": 0}}


def test_the_report_lists_missed_targets_of_each_system() -> None:
    trained = [
        Run(s, {"train": 60.0}, scored(r, coverage90=0.8, crps=0.3, wet_bias=1.0)) for s, r in ((0, 1.0), (1, 1.4))
    ]
    events = {"rain": {"cloud": {"cells": [3, 3, 3], "inside": [3, 2, 3]}}}
    zero_shot = [Run(0, {"fill": 5.0}, scored(1.08, coverage90=0.9, crps=0.1, wet_bias=1.2), 321.0, events)]
    baselines = {
        "kriging": {"seconds": 2.0, "scores": scored(1.1, crps=0.2)},
        "stacked": {"seconds": 9.0, "scores": scored(0.8)},
    }
    mix = [Run(0, {"fill": 4.0}, scored(1.0))]
    runs = {ZERO_SHOT: zero_shot, TRAINED: trained, MIX: mix}
    result = CaseResult("basin", runs, baselines, {"kriging": scored(1.0), "saits": scored(3.0)})
    assert result.ratio(TRAINED, "rain", "cloud") == pytest.approx(1.2)
    text = report([result], chosen_systems("zero-shot,trained", 1.0, 2, None, "x"), "a machine")
    zero_block, rest = text.split("### trained")
    assert "Rows above 1.10: none." in zero_block
    assert "behind `stacked`, with the ratio: basin rain cloud 1.35." in zero_block
    assert "behind the mix of guesses, with the ratio: basin rain cloud 1.08." in zero_block
    assert "outside (0.87, 0.93): none of 1 rows." in zero_block
    assert "outside (0.9, 1.1): basin rain cloud 1.20 (1 of 1 rows)." in zero_block
    assert "CRPS not below kriging's: none." in zero_block
    trained_block, rest = rest.split("### mix of guesses")
    assert "Rows above 1.05: basin rain cloud 1.20." in trained_block
    assert "behind `stacked`, with the ratio: basin rain cloud 1.50." in trained_block
    assert "outside (0.87, 0.93): basin rain cloud 0.80 (1 of 1 rows)." in trained_block
    assert "CRPS not below kriging's: basin rain cloud 0.3 to 0.2." in trained_block
    assert "`unfilled`: 0" in trained_block
    assert "behind the mix" not in rest
    assert "| **zero-shot** | **1.08** |" in rest
    lines = [line.split(" | ") for line in text.splitlines()]
    assert ["| zero-shot", "1", "1.080", "1.08 (basin rain cloud)", "1.350", "1 of 1", "0.889 (0.89 to 0.89)"] in [
        line[:7] for line in lines
    ]
    assert "with so few events does not explain it: none (0 of 1 rows)." in zero_block
    assert "| rain cloud | zero-shot | 0.889 | 0.78 to 1.00 | 3 | 0.75 to 1.00 |" in rest
    assert "| **trained** | **1.2 ± 0.28** |" in rest
    assert "Peak memory of the fill, MiB: zero-shot 321." in rest
    assert "1 min a case, 2 seeds" in zero_block


def test_without_a_list_the_best_is_one_of_the_baselines() -> None:
    baselines = {"kriging": {"seconds": 2.0, "scores": scored(0.5)}, "mean": {"seconds": 2.0, "scores": scored(0.8)}}
    result = CaseResult("x", {ZERO_SHOT: [Run(0, {}, scored(1.0))]}, baselines, {})
    assert result.best("rain", "cloud") == ("kriging", 0.5)


def test_listed_results_are_read_from_the_folder_of_the_case(case: Path) -> None:
    assert listed_results(case) == {}
    listed = {"basin": {"methods": {"saits": {"seconds": 1, "scores": scored(2.0)}}}}
    (case.parent / "results.json").write_text(json.dumps(listed))
    assert figure(listed_results(case)["saits"], "rain", "cloud") == 2.0


def test_geometric_mean_of_two_and_eight_is_four() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert np.isclose(geometric_mean([0.5]), 0.5)
