"""`python -m benchmarks.fill`: fill files with gaps in several ways, and compare the results with every baseline.

The systems are the general bundle as it is (zero-shot), the general bundle tuned on the case, and a network trained
from nothing on the case. Each runs the commands that a user types, in processes of their own. Results are kept as JSON
in the folder --work, so that an interrupted benchmark continues; a changed code needs a new folder.
"""

from __future__ import annotations

import argparse
import hashlib
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

from benchmarks.support.coverage_range import coverage_events
from benchmarks.support.fill_cases import listed_results, measure_files, read_case, write_gappy
from benchmarks.support.fill_report import CaseResult, Run, report
from benchmarks.support.fill_systems import CHOICES, PARTS, System, chosen_systems
from benchmarks.support.harness import machine, save_json, write_page
from hydrofill.bundle import MANIFEST, find_bundle

logger = logging.getLogger("benchmarks.fill")


@dataclass(frozen=True)
class Plan:
    """The plan: the systems, the scorer (None: this library), the folder of files, and threads (None: all)."""

    systems: tuple[System, ...]
    score: Path | None
    work: Path
    threads: int | None


class CommandFailedError(RuntimeError):
    """A command ended with an error; the message holds the end of its output."""


def main(words: Sequence[str] | None = None) -> None:
    """Fill every case by every system and every baseline, and write the report."""
    given = _arguments().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cases = find_cases(given.cases)
    threads = 1 if given.parallel > 1 else None
    systems = chosen_systems(
        given.systems, given.minutes, given.seeds, given.general, given.untrained, given.trained_seeds
    )
    plan = Plan(systems, given.score, given.work, threads)
    with ThreadPoolExecutor(given.parallel) as pool:
        results = list(pool.map(lambda case: bench_case(case, plan), cases))
    text = report(results, systems, machine())
    write_page(given.out, text)


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
    """Run one case with every system, every seed and every baseline."""
    folder = plan.work / case.stem
    data = folder / "data.nc"
    if not data.exists():
        write_gappy(case, data)
    runs = {
        system.name: [bench_run(case, data, folder, system, s, plan) for s in system.seeds] for system in plan.systems
    }
    baselines = folder / "baselines"
    command = [sys.executable, "-m", "benchmarks.support.fill_cases", str(case), str(baselines)]
    logger.info("%s: baselines", case.stem)
    _command("baselines", command, plan)
    known = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(baselines.glob("*.json"))}
    return CaseResult(case.stem, runs, known, listed_results(case))


def bench_run(case: Path, data: Path, parent: Path, system: System, seed: int, plan: Plan) -> Run:
    """Run a system's commands with one seed and score the fill, or read the result of an earlier run."""
    folder = parent / system.folder(seed, "" if system.minutes is not None else fingerprint(system.bundle))
    kept = folder / "result.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        seconds = _run_commands(f"{case.stem}, {system.name}", data, folder, system, seed, plan)
        peak = json.loads((folder / "fill-memory.json").read_text(encoding="utf-8"))
        save_json(kept, {"seconds": seconds, **peak, "scores": measure_files(case, folder / "filled.nc", plan.score)})
    known = json.loads(kept.read_text(encoding="utf-8"))
    events = folder / "events.json"
    if not events.exists():
        save_json(events, coverage_events(read_case(case), read_case(folder / "filled.nc")))
    inside = json.loads(events.read_text(encoding="utf-8"))
    return Run(seed, known["seconds"], known["scores"], known.get("peak_mib"), inside)


def fingerprint(bundle: str | None) -> str:
    """Return a short checksum of a bundle's manifest, which is another for every bundle."""
    return hashlib.sha256((find_bundle(bundle) / MANIFEST).read_bytes()).hexdigest()[:8]


def _run_commands(name: str, data: Path, folder: Path, system: System, seed: int, plan: Plan) -> dict[str, float]:
    """Run the user's commands and return their seconds; filled.nc is in the folder afterwards."""
    for leftover in (folder / part for part in PARTS):
        if leftover.exists():  # from an interrupted benchmark
            leftover.rename(folder / f"{leftover.name}.{time.time_ns()}.interrupted")
    seconds = {}
    for label, words in system.commands(data, folder, seed).items():
        logger.info("%s, seed %d: %s", name, seed, label)
        measured = ["-m", "benchmarks.support.measured_command", str(folder / f"{label}-memory.json")]
        started = time.perf_counter()
        _command(label, [sys.executable, *measured, sys.executable, "-m", "hydrofill.cli", *words], plan)
        seconds[label] = time.perf_counter() - started
    return seconds


def _command(label: str, command: list[str], plan: Plan) -> None:
    one = str(plan.threads)
    threads = {} if plan.threads is None else {"OMP_NUM_THREADS": one, "HYDROFILL_THREADS": one}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"{label} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill", description=main.__doc__)
    parser.add_argument("cases", nargs="+", type=Path, help="files with V, V_truth and V_gap, or folders of them")
    parser.add_argument("--systems", default=",".join(CHOICES), help="which of zero-shot,tuned,trained to run")
    parser.add_argument("--general", help="bundle that fills zero-shot; by default the one that `hydrofill fill` uses")
    parser.add_argument("--untrained", help="general bundle of an untrained network, for the system `mix of guesses`")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of training from nothing, case and seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of tuned and trained networks")
    parser.add_argument("--trained-seeds", type=int, help="number of seeds of trained networks, if not as many")
    parser.add_argument("--score", type=Path, help="scorer, called as PATH CASE.nc FILLED.nc --json")
    parser.add_argument("--out", type=Path, default=Path("docs/results/fill.md"), help="Markdown file to write")
    parser.add_argument("--work", type=Path, default=Path("out/bench-fill"), help="folder of runs and results")
    parser.add_argument(
        "--parallel", type=int, default=1, help="number of cases at a time; above 1, each on one thread"
    )
    return parser


if __name__ == "__main__":
    main()
