"""The precision gate: graphs of lower precision must be as good as float32 on held-out steps, the same cells hidden."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from export.fused import bars_keys
from export.graphs import export_graphs, graph_specs
from export.lower_precision import quantise
from export.optimise import optimisation, optimise
from export.parity import GENERAL_TOLERANCE, TOLERANCE, check_parity, run_graphs
from hydrofill.bundle import Dtype, GraphSpec, Optimised, Parity, Precision, PrecisionCost, Skill
from hydrofill.conformal import COVERAGE
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens
from model.data.windows import WindowSampler
from model.evaluation.held_out_skill import evaluate
from model.run_folder import Run
from model.training.train import Material, read_material

MAX_ERROR_RISE = 0.005  # of RMSE and CRPS: what lower precision may cost
MAX_COVERAGE_CHANGE = 0.01  # of the coverage of the 90 % interval; with fewer than 100 cells, one cell
MIN_ERROR = 1e-12  # added to errors, so that an error of 0 has a ratio
WINDOWS = 64  # of the training data, from which the ranges of quantised layers are found


class PrecisionError(ValueError):
    """A bundle cannot have this precision; the message is one line."""


@dataclass(frozen=True)
class Shipped:
    """Graphs as a bundle holds them, with their entries in its manifest."""

    encoder: bytes
    decoder: bytes
    specs: tuple[GraphSpec, GraphSpec]
    optimised: Optimised
    parity: Parity
    skill: tuple[Skill, ...]
    precision: Precision


def in_float32(run: Run) -> Shipped:
    """Return the run's graphs in the precision of its network.

    Raises:
        ParityError: graphs and network differ.
    """
    encoder, decoder = (optimise(graph) for graph in export_graphs(run.network))
    tolerance = GENERAL_TOLERANCE if run.network.layout.general else TOLERANCE
    parity = check_parity(run.network, encoder, decoder, tolerance)
    return Shipped(encoder, decoder, graph_specs(run.network), optimisation(), parity, run.skill, Precision())


def in_lower_precision(run: Run, dtype: Dtype, data: xr.Dataset) -> Shipped:
    """Return the run's graphs with blocks in `dtype`, and their skill on the held-out steps of `data`.

    Raises:
        PrecisionError: they are worse than float32 by more than is allowed, or this network cannot have them.
        ParityError: an output is not finite, or the float32 graphs differ from the network.
        ContractError: the data is not that of the run.
    """
    if not bars_keys(run.config.network):
        raise PrecisionError("lower precision is for a cross decoder with joint fusion, which this run does not have")
    with tempfile.TemporaryDirectory() as scratch:
        material = read_material(data, run.layout, run.config, Path(scratch))
        if not material.held.any():
            raise PrecisionError("the run holds out no steps to judge lower precision on")
        plain = in_float32(run)
        made = _halved(run, plain) if dtype == "float16" else _quantised(run, plain, material)
        skill = _skill(run, material, made)
        cost = compare(_skill(run, material, plain), skill)
    judge(dtype, cost)
    return replace(made, skill=skill, precision=Precision(dtype=dtype, cost=cost))


def compare(plain: Sequence[Skill], lower: Sequence[Skill]) -> dict[str, PrecisionCost]:
    """Return by variable what lower precision costs.

    Raises:
        PrecisionError: the two did not fill the same cells, or a score is not finite.
    """
    if [(row.variable, row.gap, row.cells) for row in plain] != [(row.variable, row.gap, row.cells) for row in lower]:
        raise PrecisionError("lower precision does not fill the cells that float32 fills")
    costs = {}
    for name in dict.fromkeys(row.variable for row in plain):
        pairs = [(a, b) for a, b in zip(plain, lower, strict=True) if a.variable == name]
        cells = [a.cells for a, _ in pairs]
        lower90, plain90 = (float(np.average([pair[i].coverage90 for pair in pairs], weights=cells)) for i in (1, 0))
        rmse, crps = (_pooled((getattr(b, m), getattr(a, m)) for a, b in pairs) for m in ("rmse", "crps"))
        if not np.isfinite([rmse, crps, lower90]).all():
            raise PrecisionError(f"{name}: a score is not finite")
        change = abs(lower90 - COVERAGE) - abs(plain90 - COVERAGE)
        costs[name] = PrecisionCost(cells=sum(cells), rmse_ratio=rmse, crps_ratio=crps, coverage_change=change)
    return costs


def judge(dtype: Dtype, costs: dict[str, PrecisionCost]) -> None:
    """Raise unless every variable is about as good as in float32.

    Raises:
        PrecisionError: a variable is worse; says which, and by how much.
    """
    found = []
    for name, cost in costs.items():
        for what, value in (("RMSE", cost.rmse_ratio), ("CRPS", cost.crps_ratio)):
            if value >= 1 + MAX_ERROR_RISE:
                found.append(f"{name}: {what} rises by {value - 1:.2%}, allowed {MAX_ERROR_RISE:.1%}")
        allowed = max(MAX_COVERAGE_CHANGE, 1 / cost.cells)
        if cost.coverage_change > allowed:
            found.append(
                f"{name}: the 90 % interval's coverage is {cost.coverage_change:.3f} farther off, allowed {allowed:.3f}"
            )
    if found:
        raise PrecisionError(f"{dtype} is refused on held-out data: {'; '.join(found)}")


def _halved(run: Run, plain: Shipped) -> Shipped:
    """Return the graphs in half precision, not optimised.

    Optimising here would add the casts of a processor without half precision to the graphs.
    """
    encoder, decoder = export_graphs(run.network, half=True)
    parity = check_parity(run.network, encoder, decoder, tolerance=None)
    specs = graph_specs(run.network, half=True)
    return replace(plain, encoder=encoder, decoder=decoder, specs=specs, optimised=optimisation("none"), parity=parity)


def _quantised(run: Run, plain: Shipped, material: Material) -> Shipped:
    """Return the graphs quantised to int8.

    Ranges are found on windows of training, one at a time, so that padding does not change them.
    """
    masking, seed = run.config.masking, run.config.training.seed
    sampler = WindowSampler(material.seen, run.layout, masking, batch_size=1, seed=seed)
    batches = (sampler.batch(number) for number in range(WINDOWS))
    graphs = quantise(*export_graphs(run.network), [(batch.tokens, batch.queries) for batch in batches])
    encoder, decoder = (optimise(graph) for graph in graphs)
    parity = check_parity(run.network, encoder, decoder, tolerance=None)
    return replace(plain, encoder=encoder, decoder=decoder, parity=parity)


def _skill(run: Run, material: Material, graphs: Shipped) -> tuple[Skill, ...]:
    """Score the graphs on the held-out steps; the same cells are hidden every time."""
    answer = run_graphs(graphs.encoder, graphs.decoder)

    def predict(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        mean, std = answer(stack_tokens([tokens]), stack_queries([queries]))
        return mean[0], std[0]

    cube, held = material.to_score()
    return evaluate(cube, run.layout, predict, held, run.config.training.seed, run.calibration)


def _pooled(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the geometric mean of the ratios."""
    return float(np.exp(np.mean([np.log((a + MIN_ERROR) / (b + MIN_ERROR)) for a, b in pairs])))
