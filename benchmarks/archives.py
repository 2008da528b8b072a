"""`python -m benchmarks archives`: whole files filled by hydrofill and by other tools; docs/results/archives.md.

Every fill is a process of its own, from file to file. Its memory is that of all its processes together.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fill import find_cases
from benchmarks.support.archive_cases import Case, given_case, score, simulated_case, some_frames
from benchmarks.support.archive_report import (
    DINEOF,
    Measured,
    Result,
    Sized,
    page_head,
    size_section,
    tool_section,
)
from benchmarks.support.archive_tools import HYDROFILL, Tool, hydrofill_tool, tools
from benchmarks.support.dineof_steps import SITES
from benchmarks.support.harness import run_module
from hydrofill.archives.memory import parse_bytes

logger = logging.getLogger("benchmarks.archives")

SHARES = (16, 8, 4)  # the records of the table of sizes are 1/16, 1/8 and 1/4 of the size
DINEOF_STEPS = (10_000, 20_000, 40_000)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "HYDROFILL_THREADS")  # all 1 in a fill
LIMIT_S = 600.0


def main(arguments: Sequence[str]) -> str:
    """Measure, and return the page docs/results/archives.md."""
    given = _arguments().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work: Path = given.work
    cases = [simulated_case(work / "simulated", given.cells)]
    for path in find_cases(given.cases) if given.cases else []:
        made = given_case(path, work / "given")
        if made is not None:
            cases.append(made)
    chosen = [tool for tool in tools() if not tool.missing()]
    absent = [f"{tool.name} (`{tool.missing()}`)" for tool in tools() if tool.missing()]
    results = [result for case in cases for result in bench_case(case, chosen, work, given.repeats, given.limit)]
    sizes = bench_sizes(given.size, given.memory, given.memory_workers, work, given.repeats)
    return "\n\n".join([page_head(cases, absent, given.repeats), tool_section(results), size_section(sizes)]) + "\n"


def bench_case(case: Case, chosen: Sequence[Tool], work: Path, repeats: int, limit_s: float) -> list[Result]:
    """Fill a case by every tool, in turns, and score the last fills. The first tool is compared with the others.

    A tool that failed is not run again.
    """
    runs: dict[str, list[Measured]] = {tool.name: [] for tool in chosen}
    for _ in range(repeats):
        for tool in chosen:
            if not any(run.failed for run in runs[tool.name]):
                logger.info("%s: %s", case.name, tool.name)
                runs[tool.name].append(run_tool(tool, case, work, limit_s))
    reference = None if any(run.failed for run in runs[chosen[0].name]) else _target(work, case, chosen[0])
    results = []
    for tool in chosen:
        measured = _median(runs[tool.name])
        frames = None if tool.frames is None else some_frames(case.shape[0], tool.frames)
        target = _target(work, case, tool)
        scores = {} if measured.failed else {n: score(case, target, reference, n, frames) for n in case.names}
        results.append(Result(case, tool, measured, scores))
    return results


def run_tool(tool: Tool, case: Case, work: Path, limit_s: float | None = None) -> Measured:
    """Fill a case by a tool in processes of their own, which are ended after `limit_s` seconds, if given."""
    target = _target(work, case, tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    report = target.with_suffix(".json")
    words = tool.words(case.data, target, case.names)
    command = [sys.executable, "-m", "benchmarks.support.measured_command", str(report), *words]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            out, errors = running.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return Measured(failed=f"did not end in {limit_s:g} s")
    if running.returncode or not target.exists():
        lines = (errors or out).strip().splitlines()
        return Measured(failed=f"failed: {lines[-1][:120] if lines else running.returncode}")
    known = json.loads(report.read_text(encoding="utf-8"))
    seconds = float(known["wall_s"])
    if tool.frames is not None:
        of_frames = float(json.loads(out.splitlines()[-1])["fill_s"])
        filled = len(some_frames(case.shape[0], tool.frames))
        seconds += of_frames * (case.shape[0] / filled - 1)
    return Measured(seconds, float(known["tree_mib"]))


def bench_sizes(size: int, memory: str, workers: int, work: Path, repeats: int) -> list[Sized]:
    """Measure fills of records of 1/16, 1/8 and 1/4 of `size` cells, with and without a limit of memory, and DINEOF."""
    cases = [simulated_case(work / f"size-{share}", size // share) for share in SHARES]
    alone = hydrofill_tool("--workers", "1")
    runs: list[list[Measured]] = [[] for _ in cases]
    for _ in range(repeats):
        for case, known in zip(cases, runs, strict=True):
            logger.info("%d values: hydrofill", case.num_values)
            known.append(run_tool(alone, case, work / "sizes"))
    rows = [Sized(HYDROFILL, case.num_values, _median(known)) for case, known in zip(cases, runs, strict=True)]
    bounded = hydrofill_tool("--workers", str(workers), "--memory", memory)
    what = f"{HYDROFILL} --memory {memory} --workers {workers}"
    rows.append(Sized(what, cases[-1].num_values, run_tool(bounded, cases[-1], work / "bounded")))
    long = run_module("benchmarks.support.dineof_steps", *map(str, DINEOF_STEPS))
    for steps, found in zip(DINEOF_STEPS, long, strict=True):
        rows.append(Sized(DINEOF, steps * SITES, Measured(found["seconds"], found["arrays_mib"])))
    return rows


def _median(runs: Sequence[Measured]) -> Measured:
    """Return the median seconds and the largest memory of runs; the failure of any that failed."""
    failed = next((run for run in runs if run.failed), None)
    return failed or Measured(statistics.median(r.seconds for r in runs), max(r.tree_mib for r in runs))


def _target(work: Path, case: Case, tool: Tool) -> Path:
    return work / "filled" / case.name / f"{tool.name.replace(' ', '_')}.nc"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks archives", description=main.__doc__)
    parser.add_argument("cases", nargs="*", type=Path, help="files with V, V_truth and V_gap, or folders of them")
    parser.add_argument("--cells", type=int, default=200_000, help="cells of each variable of the simulated file")
    parser.add_argument("--size", type=int, default=800_000, help="cells of which records of 1/16, 1/8, 1/4 are filled")
    parser.add_argument("--memory", default="2GiB", type=_size, help="limit of memory of one more fill of 1/4")
    parser.add_argument("--memory-workers", type=int, default=2, help="most processes of that fill")
    parser.add_argument("--repeats", type=int, default=1, help="fills of each file by each tool")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds after which a tool is ended")
    parser.add_argument("--work", type=Path, default=Path("out/bench-archives"), help="folder of files")
    return parser


def _size(text: str) -> str:
    parse_bytes(text)
    return text
