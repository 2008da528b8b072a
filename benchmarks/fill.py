"""`python -m benchmarks.fill`: train on files with gaps, fill them, and compare the result with every baseline.

Each case runs the three commands that a user types, in processes of their own. Results are kept as JSON in the folder
--work, so that an interrupted benchmark continues; a changed code needs a new folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.fill_cases import listed_results, measure_files, write_gappy
from benchmarks.support.fill_report import CaseResult, Run, report
from benchmarks.support.harness import machine, save_json

logger = logging.getLogger("benchmarks.fill")
COMMANDS = ("train", "export", "fill")


@dataclass(frozen=True)
class Plan:
    """The plan: minutes of training, number of seeds, scorer (None: this library), folder of files, threads."""

    minutes: float
    seeds: int
    score: Path | None
    work: Path
    threads: int | None


class CommandFailedError(RuntimeError):
    """A command ended with an error; the message holds the end of its output."""


def main(words: Sequence[str] | None = None) -> None:
    """Train on every case, fill it, and write the report."""
    given = _arguments().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cases = find_cases(given.cases)
    threads = 1 if given.parallel > 1 else None
    plan = Plan(given.minutes, given.seeds, given.score, given.work, threads)
    with ThreadPoolExecutor(given.parallel) as pool:
        results = list(pool.map(lambda case: bench_case(case, plan), cases))
    text = report(results, given.minutes, given.seeds, machine())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, encoding="utf-8")
    print(text)


def find_cases(paths: Sequence[Path]) -> list[Path]:
    """Return the given NetCDF files and those in the given folders.

    Raises:
        SystemExit: a file does not exist, or there is none.
    """
    cases = [file for path in paths for file in (sorted(path.glob("*.nc")) if path.is_dir() else [path])]
    missing = [str(case) for case in cases if not case.is_file()]
    if missing or not cases:
        raise SystemExit(f"no case file: {', '.join(missing) or ', '.join(map(str, paths))}")
    return cases


def bench_case(case: Path, plan: Plan) -> CaseResult:
    """Run one case with every seed and every baseline."""
    folder = plan.work / case.stem
    data = folder / "data.nc"
    if not data.exists():
        write_gappy(case, data)
    runs = [bench_run(case, data, folder / f"minutes-{plan.minutes:g}-seed-{s}", s, plan) for s in range(plan.seeds)]
    baselines = folder / "baselines"
    command = [sys.executable, "-m", "benchmarks.support.fill_cases", str(case), str(baselines)]
    logger.info("%s: baselines", case.stem)
    _command("baselines", command, plan)
    known = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(baselines.glob("*.json"))}
    return CaseResult(case.stem, runs, known, listed_results(case))


def bench_run(case: Path, data: Path, folder: Path, seed: int, plan: Plan) -> Run:
    """Train, export, fill and score with one seed, or read the result of an earlier run."""
    kept = folder / "result.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        seconds = _three_commands(case.stem, data, folder, seed, plan)
        save_json(kept, {"seconds": seconds, "scores": measure_files(case, folder / "filled.nc", plan.score)})
    known = json.loads(kept.read_text(encoding="utf-8"))
    return Run(seed, known["seconds"], known["scores"])


def _three_commands(name: str, data: Path, folder: Path, seed: int, plan: Plan) -> dict[str, float]:
    """Run the user's commands and return their seconds; filled.nc is in the folder afterwards."""
    run, bundle, filled = (str(folder / part) for part in ("run", "bundle", "filled.nc"))
    python = [sys.executable, "-m"]
    words = {
        "train": ["model", "train", str(data), "--out", run, "--minutes", f"{plan.minutes:g}", "--seed", str(seed)],
        "export": ["export", run, bundle],
        "fill": ["app", "fill", str(data), filled, "--bundle", bundle],
    }
    for leftover in (folder / "run", folder / "bundle", folder / "filled.nc"):
        if leftover.exists():  # from an interrupted benchmark
            leftover.rename(folder / f"{leftover.name}.{time.time_ns()}.interrupted")
    seconds = {}
    for label in COMMANDS:
        logger.info("%s, seed %d: %s", name, seed, label)
        started = time.perf_counter()
        _command(label, [*python, *words[label]], plan)
        seconds[label] = time.perf_counter() - started
    return seconds


def _command(label: str, command: list[str], plan: Plan) -> None:
    threads = {} if plan.threads is None else {"OMP_NUM_THREADS": str(plan.threads)}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"{label} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill", description=main.__doc__)
    parser.add_argument("cases", nargs="+", type=Path, help="files with V, V_truth and V_gap, or folders of them")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of training for each case and seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--score", type=Path, help="scorer, called as PATH CASE.nc FILLED.nc --json")
    parser.add_argument("--out", type=Path, default=Path("docs/results/fill.md"), help="Markdown file to write")
    parser.add_argument("--work", type=Path, default=Path("out/bench-fill"), help="folder of runs and results")
    parser.add_argument(
        "--parallel", type=int, default=1, help="number of cases at a time; above 1, each on one thread"
    )
    return parser


if __name__ == "__main__":
    main()
