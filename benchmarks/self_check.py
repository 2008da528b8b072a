"""`python -m benchmarks.self_check CASE...`: time and memory of general fills with and without their self-measurement.

Every fill runs in a process of its own. Without self-measurement nothing is hidden, so that the fill falls back on the
bundle's priors; the gaps are filled all the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.fill_cases import read_case, without_truth
from benchmarks.support.harness import machine, memory_mib, run_module, table_of, write_page
from hydrofill import fill, open_bundle
from hydrofill.general import self_check

TURNS = 3


def main(words: Sequence[str] | None = None) -> None:
    """Fill every case by turns with and without self-measurement, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.self_check", description=main.__doc__)
    parser.add_argument("cases", nargs="+", type=Path, help="files with V, V_truth and V_gap")
    parser.add_argument("--bundle", default="general", help="the general bundle")
    parser.add_argument("--out", type=Path, default=Path("docs/results/self_check.md"), help="Markdown file to write")
    given = parser.parse_args(words)
    write_page(given.out, report([row_of(case, given.bundle) for case in given.cases]))


def row_of(case: Path, bundle: str) -> dict[str, str]:
    """Return a row of the table: medians over turns of seconds and of peak memory."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    peaks: dict[bool, list[float]] = {True: [], False: []}
    values = 0
    for _ in range(TURNS):
        for measured in (True, False):
            found = run_module("benchmarks.self_check", "--one", str(case), bundle, str(int(measured)))
            seconds[measured].append(found["seconds"])
            peaks[measured].append(found["peak_mib"])
            values = found["values"]
    ratio = statistics.median(a / b for a, b in zip(seconds[True], seconds[False], strict=True))
    return {
        "case": case.stem,
        "values": f"{values:,}",
        "seconds": f"{statistics.median(seconds[True]):.1f}",
        "seconds without": f"{statistics.median(seconds[False]):.1f}",
        "ratio": f"{ratio:.2f}",
        "peak MiB": f"{statistics.median(peaks[True]):.0f}",
        "peak MiB without": f"{statistics.median(peaks[False]):.0f}",
    }


def report(rows: Sequence[dict[str, str]]) -> str:
    """Return the page."""
    return (
        f"# Self-measurement\n\nWritten by `python -m benchmarks.self_check`. {machine()}.\n\n"
        f"Seconds and peak memory of a fill by the general bundle, from the dataset in memory to the filled dataset, "
        f"with and without hidden cells. Each fill ran in a process of its own, by turns; medians of {TURNS} turns. "
        f"The ratio is the median of the ratios within a turn.\n\n{table_of(rows)}\n"
    )


def fill_once(case: Path, bundle: str, *, measured: bool) -> dict[str, float]:
    """Fill a case; return the seconds, the peak memory in MiB, and the number of values.

    Args:
        case: the file.
        bundle: the general bundle.
        measured: whether cells are hidden first.
    """
    if not measured:
        self_check.hide_parts = lambda cube, names: iter(())  # noqa: ARG005
    dataset = without_truth(read_case(case))
    model = open_bundle(bundle)
    started = time.perf_counter()
    filled = fill(dataset, bundle=model)
    seconds = time.perf_counter() - started
    values = sum(filled[n].size for n in filled.data_vars if f"{n}_flag" in filled)
    return {"seconds": seconds, "peak_mib": memory_mib("VmHWM"), "values": values}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(fill_once(Path(sys.argv[2]), sys.argv[3], measured=sys.argv[4] == "1")))
    else:
        main()
