"""Time and memory of a training step, at the design's size and below; each case in a process of its own."""

from __future__ import annotations

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.support.harness import memory_mib, run_module, save_json, table_of
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.layout import Layout, Patch, Place, VariableSpec, WindowSize
from model.config import MaskingConfig, RunConfig, TrainingConfig, choose_preset
from model.data.windows import Batch, WindowSampler
from model.network.mae import CrossMAE
from model.training.losses import balanced_crps
from model.training.optimiser import start_state

STEPS, SIDE, LAND, SITES, CHUNK = 90, 10, 94, 671, 8  # the design's window, patch and domain; days of a series token
HIDDEN = 0.75
ENCODER, DECODER = (256, 6, 8), (128, 4, 8)  # width, layers, heads
REPEATS, MAX_TOTAL_S = 3, 100.0  # a step is repeated three times, or fewer if that takes longer than this
WARM_UP_SHARE = 0.05  # share of the case's patches in the step that warms up
Fusion = Literal["joint", "pooled", "none"]
SYSTEMS = ("water_fm_small", "plan_a", "crossmae", "crossmae_wfm")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One system at one size: patches in a frame of each grid, and sites of each series."""

    preset: str
    kept: float = 1.0
    fusion: Fusion | None = None
    grids: int = 3
    series: int = 2
    patches: int = LAND
    sites: int = SITES
    steps: int = STEPS

    @property
    def label(self) -> str:
        """Label of the case in the table."""
        parts = [self.preset]
        parts += [f"fusion {self.fusion}"] if self.fusion else []
        parts += [f"kept-mask ratio {self.kept:g}"] if self.kept < 1 else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Cost:
    """The cost of one training step.

    Attributes:
        seconds: wall-clock time, median of `repeats`.
        cpu_s: processor time of all threads, which other work on the machine disturbs less.
        repeats: number of measured steps.
        peak_mib: peak memory above what the process held before.
        visible: number of visible tokens.
        queries: number of queries.
        attention: share of the operators' time spent in attention.
        products: share spent in matrix products.
        rest: share of everything else.
    """

    seconds: float
    cpu_s: float
    repeats: int
    peak_mib: float
    visible: int
    queries: int
    attention: float
    products: float
    rest: float


def design_cases() -> list[Case]:
    """Return the presets at the design's size."""
    return [*(Case(preset=p) for p in SYSTEMS), Case(preset="crossmae", kept=0.25)]


def fusion_cases() -> list[Case]:
    """Return the other kinds of fusion at the design's size."""
    return [Case(preset="crossmae", fusion="none"), Case(preset="crossmae", fusion="pooled")]


def single_cases() -> list[Case]:
    """Return the presets with one gridded variable alone."""
    return [replace(case, grids=1, series=0) for case in design_cases()]


def size_cases() -> list[Case]:
    """Return cases with about 1, 4 and 16 times the cells; the last is the design's size."""
    sizes = ((6, 42), (24, 168), (LAND, SITES))
    return [Case(preset=p, patches=n, sites=sites) for p in ("water_fm_small", "crossmae") for n, sites in sizes]


def measure(cases: list[Case], folder: Path) -> list[Cost]:
    """Measure the cost of each case, or read it from `folder` where it was measured before."""
    folder.mkdir(parents=True, exist_ok=True)
    costs = []
    for case in cases:
        name = "-".join(str(v) for v in asdict(case).values() if v is not None)
        kept = folder / f"{name}.json"
        if not kept.exists():
            save_json(kept, run_module("benchmarks.step_cost", json.dumps(asdict(case))))
            print(f"{name}: {kept.read_text()}", flush=True)
        costs.append(Cost(**json.loads(kept.read_text(encoding="utf-8"))))
    return costs


def table(cases: list[Case], costs: list[Cost], sized: bool = False) -> str:
    """Return a table with a row for each case: its speed against the first case, and its shares of time."""
    rows = []
    for case, cost in zip(cases, costs, strict=True):
        first = costs[0] if not sized else None
        row = {"system": case.label, "visible": f"{cost.visible:,}", "queries": f"{cost.queries:,}"}
        row["cells"] = f"{case.grids * case.steps * case.patches * SIDE**2 + case.series * case.steps * case.sites:,}"
        row["s a step"] = f"{cost.seconds:.3g} ({cost.repeats})"
        row["CPU s"] = f"{cost.cpu_s:.3g}"
        row["times faster"] = f"{first.seconds / cost.seconds:.2f}" if first else ""
        row["peak MiB"] = f"{cost.peak_mib:,.0f}"
        row["attention"] = f"{cost.attention:.0%}"
        row["matrix products"] = f"{cost.products:.0%}"
        row["rest"] = f"{cost.rest:.0%}"
        rows.append(row)
    drop = frozenset({"times faster"} if sized else {"cells"})
    return table_of(rows, without=drop)


def pairs(case: Case, cost: Cost) -> tuple[float, float]:
    """Return the pairs of tokens that attention compares in all layers of encoder and decoder, in 10^6."""
    everything, depths = cost.visible + cost.queries, (ENCODER[1], DECODER[1])
    decoder = {"water_fm_small": everything**2, "plan_a": cost.queries}.get(case.preset, cost.visible * cost.queries)
    return depths[0] * cost.visible**2 / 1e6, depths[1] * decoder / 1e6


def _layout(case: Case) -> Layout:
    names = ("precipitation", "soil_moisture", "temperature")[: case.grids]
    gauged = ("evaporation", "river_flow")[: case.series]
    variables = [VariableSpec(name=n, kind="grid", units="1") for n in names]
    variables += [VariableSpec(name=n, kind="series", units="1") for n in gauged]
    rows, columns = SIDE, SIDE * case.patches
    return Layout(
        variables=tuple(variables),
        patch=Patch(rows=SIDE, columns=SIDE, steps=CHUNK),
        window=WindowSize(steps=case.steps, rows=rows, columns=columns),
        place=Place(rows=rows, columns=columns, step_s=86_400),
        guesses=False,
    )


def _batch(case: Case, layout: Layout) -> Batch:
    """Return one window of land cells with three quarters of its patches hidden."""
    rng, sites = np.random.default_rng(0), case.sites if case.series else 0
    shape = {"grid": (case.steps, SIDE, SIDE * case.patches), "series": (case.steps, sites)}
    values = {v.name: rng.standard_normal(shape[v.kind], np.float32) for v in layout.variables}
    cube = WaterCube(
        np.datetime64("2000-01-01", "ns") + np.arange(case.steps) * np.timedelta64(1, "D"),
        np.arange(float(SIDE)),
        np.arange(float(SIDE * case.patches)),
        Sites(np.arange(sites).astype(str), np.zeros(sites), np.linspace(0, SIDE * case.patches - 1, sites)),
        {v.name: Variable(v.name, v.kind, values[v.name], "1") for v in layout.variables},
    )
    masking = MaskingConfig(
        mask_ratio=(HIDDEN, HIDDEN), kinds=("patches",), variable_absent=0.0, kept_mask_ratio=case.kept, outage_run=1e9
    )
    return WindowSampler(cube, layout, masking, batch_size=1, seed=0).batch(0)


def _run(case: Case) -> Cost:
    config = _config(case)
    small = replace(case, patches=math.ceil(case.patches * WARM_UP_SHARE), sites=math.ceil(case.sites * WARM_UP_SHARE))
    _step(config, small)()
    step = _step(config, case)
    before, taken = _resident_mib(), [_timed(step)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    while len(taken) < REPEATS and sum(seconds for seconds, _ in taken) < MAX_TOTAL_S:
        taken.append(_timed(step))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    batch = _batch(case, _layout(case))
    return Cost(
        statistics.median(seconds for seconds, _ in taken),
        statistics.median(cpu_s for _, cpu_s in taken),
        len(taken),
        peak,
        int(batch.tokens.length[0]),
        int(batch.queries.length[0]),
        *_shares(profiled),
    )


def _config(case: Case) -> RunConfig:
    preset = choose_preset(case.preset)
    network = preset.network
    network = network.updated(
        embed_dim=ENCODER[0],
        depth=ENCODER[1],
        num_heads=ENCODER[2],
        decoder_dim=DECODER[0],
        decoder_depth=DECODER[1],
        decoder_num_heads=DECODER[2],
        feature_layers=tuple(range(ENCODER[1])) if network.feature_layers else (),
        fusion=case.fusion or network.fusion,
    )
    return preset.updated(network=network)


def _step(config: RunConfig, case: Case) -> Callable[[], None]:
    """Return a function that does one training step, as training does it, on one window."""
    torch.manual_seed(0)
    layout = _layout(case)
    batch, number = _batch(case, layout), len(layout.variables)
    network = CrossMAE(layout, config.network)
    state = start_state(network, TrainingConfig())
    target, requested = torch.from_numpy(batch.target), torch.from_numpy(batch.queries.variable)
    std = network.encoder.embedding.spread[:number, 0]

    def step() -> None:
        predicted = network(batch.tokens, batch.queries)
        loss, _ = balanced_crps(predicted, target, requested, std, number)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()

    return step


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the wall-clock and processor seconds of `work`."""
    started, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - spent


def _resident_mib() -> float:
    """Return the memory of this process, MiB: now, or the most so far on systems without /proc."""
    try:
        return memory_mib("VmRSS")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shares(profiled: profile) -> tuple[float, float, float]:
    """Return the shares of the operators' own time: attention, matrix products, everything else."""
    own = {event.key: float(event.self_cpu_time_total) for event in profiled.key_averages()}
    whole = sum(own.values())
    attention = sum(t for name, t in own.items() if "scaled_dot_product" in name)
    products = sum(t for name, t in own.items() if name in ("aten::mm", "aten::addmm", "aten::bmm"))
    return attention / whole, products / whole, 1 - (attention + products) / whole


if __name__ == "__main__":
    print(json.dumps(asdict(_run(Case(**json.loads(sys.argv[1]))))))
