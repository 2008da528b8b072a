"""The files and scores of a case: the data that a method may see, its scores, and the baselines.

`python -m benchmarks.support.fill_cases CASE.nc FOLDER` runs every baseline on a case and writes a JSON file for each;
baselines that have a file are not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from benchmarks.support.harness import save_json
from model.baselines.library import ANYWHERE, ON_GRIDS, baselines_for
from model.evaluation.metrics.cases import ALL_KINDS, score_case, times_of

SECRET = ("_truth", "_gap")
Measures = dict[str, Any]  # variable -> {kinds: {kind: {measure: value}}, observed_changed, unfilled}


def read_case(path: Path) -> xr.Dataset:
    """Read a case into memory, with decoded times."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened.load()


def names_of(case: xr.Dataset) -> list[str]:
    """Return the names of the case's variables: those that have a `_gap`."""
    return [str(name).removesuffix("_gap") for name in case.data_vars if str(name).endswith("_gap")]


def write_gappy(case_path: Path, target: Path) -> None:
    """Write what a method may see: all of the case except the truth and the kinds of gap."""
    target.parent.mkdir(parents=True, exist_ok=True)
    without_truth(read_case(case_path)).to_netcdf(target, engine="h5netcdf")


def without_truth(case: xr.Dataset) -> xr.Dataset:
    """Return what a method may see: all of the case except the truth and the kinds of gap."""
    return case.drop_vars([str(n) for n in case.data_vars if str(n).endswith(SECRET)])


def measure(case: xr.Dataset, filled: xr.Dataset) -> Measures:
    """Return the measures of a fill by variable and kind of gap, from this library's metrics."""
    scored = score_case(case, filled, {})
    made: Measures = {
        name: {"kinds": {}, "observed_changed": changed, "unfilled": scored.unfilled[name]}
        for name, changed in scored.observed_changed.items()
    }
    for row in scored.rows:
        made[row.variable]["kinds"][row.kind] = asdict(row.scores)
    return made


def measure_files(case_path: Path, filled_path: Path, score: Path | None) -> Measures:
    """Return the measures of a filled file; figures of a scorer, where given, replace the library's.

    Args:
        case_path: the case.
        filled_path: the filled file.
        score: a program that is called as PATH CASE.nc FILLED.nc --json; None uses the library alone.

    Raises:
        ValueError: the RMSE of scorer and library differ.
        CalledProcessError: the scorer refuses the files.
    """
    made = measure(read_case(case_path), read_case(filled_path))
    if score is None:
        return made
    command = [sys.executable, str(score), str(case_path), str(filled_path), "--json"]
    theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, of_variable in theirs.items():
        for kind, figures in of_variable["kinds"].items():
            ours = made[name]["kinds"][kind]
            if figures.get("rmse") is not None and abs(figures["rmse"] - ours["rmse"]) > 1e-3 * figures["rmse"] + 1e-9:
                raise ValueError(f"{case_path.name}, {name}, {kind}: the scorer says {figures}, the library {ours}")
            ours.update({k: v for k, v in figures.items() if k in ours})
        made[name] |= {k: of_variable[k] for k in ("observed_changed", "unfilled")}
    return made


def run_baselines(case_path: Path, folder: Path, labels: Sequence[str] = (*ANYWHERE, *ON_GRIDS)) -> None:
    """Run baselines on every variable that they suit, and write a JSON file of each one's seconds and measures.

    Args:
        case_path: the case.
        folder: of the JSON files; baselines that have one are not run again.
        labels: names of the baselines.
    """
    case = read_case(case_path)
    gappy = {name: case[name] for name in names_of(case)}
    folder.mkdir(parents=True, exist_ok=True)
    for label in labels:
        target = folder / f"{label}.json"
        if target.exists():
            continue
        filled, started = case[list(gappy)].copy(), time.perf_counter()
        for name, variable in gappy.items():
            method = baselines_for(variable.values).get(label)
            if method is None:  # the method is not for series: it stays unfilled and has no figures
                continue
            made = method(variable.values, times_of(case, name))
            filled[name] = variable.copy(data=made.values)
            if made.std is not None:
                filled[f"{name}_std"] = variable.copy(data=made.std)
        seconds = time.perf_counter() - started
        save_json(target, {"seconds": seconds, "scores": measure(case, filled)})


def listed_results(case_path: Path) -> Mapping[str, Measures]:
    """Return the measures of each method in `results.json` in the case's folder; empty where there is no such file."""
    file = case_path.parent / "results.json"
    if not file.exists():
        return {}
    methods = json.loads(file.read_text(encoding="utf-8")).get(case_path.stem, {}).get("methods", {})
    return {name: of["scores"] for name, of in methods.items()}


def figure(measures: Measures, variable: str, kind: str, name: str = "rmse") -> float | None:
    """Return one figure, None where the method has none."""
    value = measures.get(variable, {}).get("kinds", {}).get(kind, {}).get(name)
    return None if value is None else float(value)


def rows_of(measures: Measures) -> list[tuple[str, str]]:
    """Return all pairs of variable and kind of gap, without the row for all kinds together."""
    return [(name, kind) for name, of in measures.items() for kind in of["kinds"] if kind != ALL_KINDS]


if __name__ == "__main__":
    run_baselines(Path(sys.argv[1]), Path(sys.argv[2]))
