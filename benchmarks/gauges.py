"""`python -m benchmarks.gauges`: series of gauges filled zero-shot, beside ImputeGAP's algorithms on its own data.

ImputeGAP (Nater, Khayati and Pasquier 2025) needs other versions of many packages, so it has a Python environment of
its own, whose interpreter is given. It hides values in its data sets by its own patterns, and recovers them. hydrofill
fills the same matrices as NetCDF. Results are kept as JSON in the folder --work, so that an interrupted benchmark
continues; a changed code needs a new folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.fill import fingerprint
from benchmarks.support.harness import machine, save_json, write_page
from export.markdown import markdown_table
from hydrofill import fill
from hydrofill.bundle import find_bundle
from model.baselines.library import baselines_for

logger = logging.getLogger("benchmarks.gauges")
RUNNER = Path(__file__).parent / "support" / "imputegap_runner.py"
STEP = {"temperature": np.timedelta64(1, "D"), "meteo": np.timedelta64(10, "m")}  # data sets, and their time steps
PATTERNS = ("mcar", "aligned", "scattered", "blackout")
ALGORITHMS = (
    "MeanImputeBySeries", "Interpolation", "KNNImpute", "CDRec", "SoftImpute", "IterativeSVD", "SVT", "ROSL", "GROUSE",
    "TRMF", "DynaMMo", "STMVL", "MICE", "MissForest",
)  # fmt: skip
BASELINES = ("linear_in_time", "dineof", "dct_pls", "stacked")
OURS = "hydrofill, zero-shot"
START = np.datetime64("2000-01-01", "ns")  # the data sets have no dates

Filler = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Score:
    """The RMSE of a method on the hidden values, None if it leaves one missing or takes too long, and its seconds."""

    rmse: float | None
    seconds: float | None


@dataclass(frozen=True)
class Matrix:
    """A data set under one pattern: `gappy` and `truth`, (steps, series) standard scores, and the file of both."""

    dataset: str
    pattern: str
    gappy: np.ndarray
    truth: np.ndarray
    file: Path

    @property
    def name(self) -> str:
        """The data set and the pattern."""
        return f"{self.dataset} {self.pattern}"

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return self.file.parent / f"{self.dataset}-{self.pattern}"

    def score(self, filled: np.ndarray, seconds: float) -> Score:
        """Score a fill on the hidden values."""
        error = (filled - self.truth)[np.isnan(self.gappy)]
        rmse = float(np.sqrt(np.mean(error**2)))
        return Score(rmse if math.isfinite(rmse) else None, seconds)


def main(words: Sequence[str] | None = None) -> None:
    """Fill the data sets of ImputeGAP under its patterns by every method, and write the page."""
    given = _arguments().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given.work.mkdir(parents=True, exist_ok=True)
    scores = {}
    for matrix in matrices(given.imputegap, given.steps, given.work):
        logger.info("%s", matrix.name)
        scores[matrix.name] = bench_matrix(matrix, given.imputegap, given.bundle, given.limit)
    where = f"{machine()}; {version_of_imputegap(given.imputegap)}; bundle `{find_bundle(given.bundle).name}`"
    text = report(scores, given.steps, given.limit, where)
    write_page(given.out, text)


def matrices(python: Path, steps: int, work: Path) -> Iterable[Matrix]:
    """Yield every data set under every pattern, as ImputeGAP hides values in it."""
    for dataset in STEP:
        file = work / f"{dataset}.npz"
        if not file.exists():
            subprocess.run([python, RUNNER, "contaminate", dataset, str(steps), file], check=True, capture_output=True)
        with np.load(file) as kept:
            arrays = dict(kept)
        for pattern in PATTERNS:
            yield Matrix(dataset, pattern, arrays[pattern], arrays["truth"], file)


def bench_matrix(matrix: Matrix, python: Path, bundle: str | None, limit_s: float) -> dict[str, Score]:
    """Return the score of every method on one matrix; those that were scored before are read."""
    matrix.folder.mkdir(parents=True, exist_ok=True)
    dataset = as_dataset(matrix.gappy, STEP[matrix.dataset])
    dataset.to_netcdf(matrix.folder / "gappy.nc", engine="h5netcdf")

    def ours(_gappy: np.ndarray) -> np.ndarray:
        return np.asarray(fill(dataset, bundle=find_bundle(bundle))["value"].values)

    def baseline(name: str, gappy: np.ndarray) -> np.ndarray:
        return np.asarray(baselines_for(gappy)[name](gappy, dataset["time"].values).values)

    fills: dict[str, Filler] = {OURS: ours, **{f"`{name}`": partial(baseline, name) for name in BASELINES}}
    files = [f"zero-shot-{fingerprint(bundle)}.json", *(f"{name}.json" for name in BASELINES)]
    scores = {
        name: _kept(matrix.folder / file, partial(_timed, matrix, method))
        for (name, method), file in zip(fills.items(), files, strict=True)
    }
    for name in ALGORITHMS:
        kept = matrix.folder / f"imputegap-{name}.json"
        scores[name] = _kept(kept, partial(recovered, matrix, name, python, limit_s))
    return scores


def as_dataset(gappy: np.ndarray, step: np.timedelta64) -> xr.Dataset:
    """Return a matrix (steps, series) as a dataset (time, site); all sites lie at one place, since none is known."""
    steps, sites = gappy.shape
    values = (("time", "site"), gappy.astype(np.float32), {"units": "1"})
    return xr.Dataset(
        {"value": values},
        {
            "time": START + np.arange(steps) * step,
            "site": np.arange(sites).astype(str),
            "site_y": ("site", np.zeros(sites)),
            "site_x": ("site", np.zeros(sites)),
        },
    )


def recovered(matrix: Matrix, algorithm: str, python: Path, limit_s: float) -> Score:
    """Return the score of an algorithm of ImputeGAP, which runs in a process of its own."""
    target = matrix.folder / f"imputegap-{algorithm}.npz"
    command = [str(part) for part in (python, RUNNER, "recover", algorithm, matrix.file, matrix.pattern, target)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=limit_s, text=True)
    except subprocess.TimeoutExpired:
        return Score(None, limit_s)
    except subprocess.CalledProcessError as error:
        logger.warning("%s, %s: %s", matrix.name, algorithm, (error.stderr or "").strip().splitlines()[-1:])
        return Score(None, None)
    with np.load(target) as kept:
        return matrix.score(kept["recovered"], float(kept["seconds"]))


def _timed(matrix: Matrix, method: Filler) -> Score:
    started = time.perf_counter()
    filled = method(matrix.gappy)
    return matrix.score(filled, time.perf_counter() - started)


def _kept(path: Path, make: Callable[[], Score]) -> Score:
    if not path.exists():
        score = make()
        save_json(path, {"rmse": score.rmse, "seconds": score.seconds})
    return Score(**json.loads(path.read_text(encoding="utf-8")))


def version_of_imputegap(python: Path) -> str:
    """Return the name and version of ImputeGAP in its environment."""
    code = "from importlib.metadata import version; print('ImputeGAP', version('imputegap'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def report(scores: Mapping[str, Mapping[str, Score]], steps: int, limit_s: float, where: str) -> str:
    """Return the whole page."""
    methods = list(next(iter(scores.values())))
    rows = [[name, *(_number(of[name].rmse) for of in scores.values()), _rank(scores, name)] for name in methods]
    best = [min(s.rmse for name, s in of.items() if name != OURS and s.rmse is not None) for of in scores.values()]
    own = [of[OURS].rmse for of in scores.values()]
    ratios = [f"{a / b:.2f}" if a is not None and b else "" for a, b in zip(own, best, strict=True)]
    rows.append([f"{OURS}, over the best of the others", *ratios, ""])
    seconds = [[name, *(_number(of[name].seconds) for of in scores.values())] for name in methods]
    return "\n\n".join(
        [
            "# Series of gauges",
            f"Written by `python -m benchmarks.gauges`. {where}.",
            f"RMSE on hidden values of the first {steps:,} steps of the data sets `temperature` (daily, 25 stations) "
            "and `meteo` (every 10 minutes, 4 series) of ImputeGAP, each series as standard scores. Values are hidden "
            "by ImputeGAP: in `mcar`, `aligned` and `scattered` a fifth of the values of 40 % of the series, in "
            "`blackout` a fifth of the steps of all series. hydrofill fills without training. The data sets have no "
            "dates and no places: hydrofill is told a date to start from and one place for all series. Names in code "
            "style are baselines of hydrofill; the other methods are those of ImputeGAP with its default parameters. "
            f"An empty cell: a hidden value was left missing, or {limit_s:g} s were not enough.",
            markdown_table(["RMSE", *scores, "mean rank"], rows),
            markdown_table(["seconds", *scores], seconds),
        ]
    ) + "\n"  # fmt: skip


def _rank(scores: Mapping[str, Mapping[str, Score]], name: str) -> str:
    """Return the mean over matrices of a method's rank by RMSE, 1 for the best; a method without a value is last."""
    ranks = []
    for of in scores.values():
        order = {n: math.inf if s.rmse is None else s.rmse for n, s in of.items()}
        ranks.append(1 + sum(rmse < order[name] for rmse in order.values()) if order[name] < math.inf else len(order))
    return f"{np.mean(ranks):.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gauges", description=main.__doc__)
    parser.add_argument("imputegap", type=Path, help="Python interpreter of an environment with ImputeGAP")
    parser.add_argument("--bundle", help="bundle that fills; by default the one that `hydrofill fill` uses")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each data set")
    parser.add_argument("--limit", type=float, default=300.0, help="most seconds of one algorithm")
    parser.add_argument("--out", type=Path, default=Path("docs/results/gauges.md"), help="Markdown file to write")
    parser.add_argument("--work", type=Path, default=Path("out/bench-gauges"), help="folder of matrices and results")
    return parser


if __name__ == "__main__":
    main()
