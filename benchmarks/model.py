"""`python -m benchmarks model`: cost and skill of the compared systems; docs/results/model.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.skill import DATA, PRESETS, WORLD, Result, carry_out, finished, plan
from benchmarks.step_cost import Case, Cost, design_cases, fusion_cases, measure, pairs, single_cases, size_cases, table
from benchmarks.support.harness import machine, table_of
from benchmarks.support.skill_table import against_base, by_gap


def main(arguments: Sequence[str]) -> str:
    """Return the page docs/results/model.md; results that `--folder` does not hold yet are measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks model", description=main.__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("out/benchmark-model"), help="folder of the results of single runs"
    )
    parser.add_argument(
        "--seconds", type=float, default=25.0, help="CPU seconds of each training in the comparison by equal time"
    )
    parser.add_argument(
        "--steps", type=int, default=300, help="steps of each training in the comparison by equal steps"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--as-is", action="store_true", help="train nothing; report the finished trainings")
    given = parser.parse_args(arguments)
    costs = cost_report(given.folder / "cost")
    runs = plan(given.seconds, given.steps, given.seeds)
    results = (finished if given.as_is else carry_out)(runs, given.folder / "skill")
    skill = skill_report(results, given.seconds, given.steps)
    skill += f"\n{len(results)} of {len(runs)} trainings are in this report.\n"
    return f"# The systems side by side\n\nWritten by `python -m benchmarks model`. {machine()}.\n\n{costs}\n{skill}"


def cost_report(folder: Path) -> str:
    """Return the report of step time and memory at the design's size and against size."""
    design, fusion, single, sizes = design_cases(), fusion_cases(), single_cases(), size_cases()
    costs = measure([*design, *fusion], folder)
    alone = measure(single, folder)
    return f"""## Cost of a training step at the design's size

Forward, backward and optimiser of one window, float32: 90 days, 94 land patches of 10 x 10 cells a frame, 3 grids, 671
sites with 2 series in tokens of 8 days, 75 % hidden; encoder 256 wide with 6 layers, decoder 128 wide with 4, 8 heads.
Median seconds by the clock (of so many steps) and of both cores; peak memory of the process above what it held before
its first step; shares of the operators' own time in a profile of one step. Each row is a process of its own.

{table([*design, *fusion], costs)}

{_verdict(costs)} What attention has to compare, summed over layers, in 10^6 pairs of tokens:

{_pairs_table(design, costs[: len(design)])}

Encoder and memory are the same in the first four rows: what the decoder saves is set against what both spend on the
visible tokens of all variables together. Fusion `none` and `pooled` keep variables apart.

One gridded variable alone (encoder 2,115 tokens; decoder 8,460^2 pairs a layer against 6,345 x 2,115):

{table(single, alone)}

{_verdict(alone)}

## Cost against size

About 1, 4 and 16 times the cells, at the same widths and window.

{table(sizes, measure(sizes, folder), sized=True)}
"""


def skill_report(results: list[Result], seconds: float, steps: int) -> str:
    """Return the report of errors after equal time and after equal steps, on each data set."""
    text = f"""
## Error after equal training time and after equal steps

Networks 64 wide (3 + 2 layers), windows of 12 days (lez) and 8 days (simulated: {WORLD.rows} x {WORLD.columns} cells,
{WORLD.sites} sites, {WORLD.days} days, with gaps), no first guesses, every hidden cell predicted, 4 windows a batch,
no early stop; one thread each. Scores on held-out blocks of time (a fifth of the record), 40 % of their cells hidden by
each kind of gap. RMSE / CRPS, each over the RMSE of filling with the cell's mean, averaged over variables: 1 is no
better than that mean.
"""
    for data in DATA:
        own = [r for r in results if r.run.data == data]
        timed = [r for r in own if r.run.budget == "time"]
        stepped = [r for r in own if r.run.budget == "steps"]
        presets = [r for r in stepped if r.run.system in PRESETS]
        text += f"""
### {data}: {seconds:g} CPU seconds each

{by_gap(timed)}

Against `crossmae` with the same seed, over all gaps: mean, and the range over seeds; above 0 is worse.

{against_base(timed)}

### {data}: {steps} steps each

{by_gap(presets)}

{against_base(presets)}

Fusion and static attributes, each a change of `crossmae` (fusion joint, static token), {steps} steps:

{against_base([r for r in stepped if r.run.system not in PRESETS or r.run.system == "crossmae"])}
"""
    return text


def _verdict(costs: list[Cost]) -> str:
    full, _, cross, _, part = costs[:5]
    faster = [
        f"{full.seconds / c.seconds:.2f} times ({full.cpu_s / c.cpu_s:.2f} in CPU seconds)" for c in (cross, part)
    ]
    return (
        f"`crossmae` is {faster[0]} faster a step than `water_fm_small` (target: 3), and {faster[1]} with a kept-mask "
        "ratio of 0.25 (target: 4)."
    )


def _pairs_table(cases: list[Case], costs: list[Cost]) -> str:
    rows = []
    for case, cost in zip(cases, costs, strict=True):
        encoder, decoder = pairs(case, cost)
        row = {"system": case.label, "encoder": f"{encoder:,.0f}", "decoder": f"{decoder:,.0f}"}
        rows.append({**row, "both": f"{encoder + decoder:,.0f}"})
    return table_of(rows)
