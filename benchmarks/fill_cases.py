"""A case's files and measures: what a method may see, what it is scored by, and the baselines run beside it.

`python -m benchmarks.fill_cases CASE.nc FOLDER` runs every baseline on a case, a JSON each, those done before left.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from hydrofill.paths import written_whole
from model.baselines.library import ANYWHERE, ON_GRIDS, baselines_for
from model.evaluation.metrics.cases import ALL_KINDS, score_case, times_of

SECRET = ("_truth", "_gap")
Measures = dict[str, Any]  # variable -> {kinds: {kind: {measure: value}}, observed_changed, unfilled}


def read_case(path: Path) -> xr.Dataset:
    """The case in memory; times decoded."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        return opened.load()


def names_of(case: xr.Dataset) -> list[str]:
    """The case's variables: those with a `_gap` beside them."""
    return [str(name).removesuffix("_gap") for name in case.data_vars if str(name).endswith("_gap")]


def write_gappy(case_path: Path, target: Path) -> None:
    """Writes what a method may see: everything but truths and kinds of gap."""
    case = read_case(case_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    case.drop_vars([str(n) for n in case.data_vars if str(n).endswith(SECRET)]).to_netcdf(target, engine="h5netcdf")


def measure(case: xr.Dataset, filled: xr.Dataset) -> Measures:
    """Measures by variable and kind of gap, by this library's metrics."""
    scored = score_case(case, filled, {})
    made: Measures = {
        name: {"kinds": {}, "observed_changed": changed, "unfilled": scored.unfilled[name]}
        for name, changed in scored.observed_changed.items()
    }
    for row in scored.rows:
        made[row.variable]["kinds"][row.kind] = asdict(row.scores)
    return made


def measure_files(case_path: Path, filled_path: Path, score: Path | None) -> Measures:
    """`measure` of files; where a scorer is given, its figures stand in the place of ours, which must agree.

    Raises:
        ValueError: scorer and library differ. CalledProcessError: the scorer refuses the files.
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


def run_baselines(case_path: Path, folder: Path) -> None:
    """Every baseline on every variable that it suits, one JSON of seconds and measures each."""
    case = read_case(case_path)
    gappy = {name: case[name] for name in names_of(case)}
    folder.mkdir(parents=True, exist_ok=True)
    for label in (*ANYWHERE, *ON_GRIDS):
        target = folder / f"{label}.json"
        if target.exists():
            continue
        filled, started = case[list(gappy)].copy(), time.perf_counter()
        for name, variable in gappy.items():
            method = baselines_for(variable.values).get(label)
            if method is None:  # no method for series: left as it is, so without figures
                continue
            made = method(variable.values, times_of(case, name))
            filled[name] = variable.copy(data=made.values)
            if made.std is not None:
                filled[f"{name}_std"] = variable.copy(data=made.std)
        seconds = time.perf_counter() - started
        save(target, {"seconds": seconds, "scores": measure(case, filled)})


def listed_results(case_path: Path) -> Mapping[str, Measures]:
    """By method, the measures that `results.json` beside the case lists for it; none where there is no such file."""
    file = case_path.parent / "results.json"
    if not file.exists():
        return {}
    methods = json.loads(file.read_text(encoding="utf-8")).get(case_path.stem, {}).get("methods", {})
    return {name: of["scores"] for name, of in methods.items()}


def figure(measures: Measures, variable: str, kind: str, name: str = "rmse") -> float | None:
    """One figure; None where a method has none."""
    value = measures.get(variable, {}).get("kinds", {}).get(kind, {}).get(name)
    return None if value is None else float(value)


def rows_of(measures: Measures) -> list[tuple[str, str]]:
    """Every variable and kind of gap, all kinds together left out."""
    return [(name, kind) for name, of in measures.items() for kind in of["kinds"] if kind != ALL_KINDS]


def save(path: Path, content: object) -> None:
    """Writes JSON in one step: a file that is there is whole."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_baselines(Path(sys.argv[1]), Path(sys.argv[2]))
