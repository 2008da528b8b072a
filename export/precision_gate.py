"""Whether graphs of lower precision are as good as float32 on steps held out from training, the same cells hidden."""

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
from export.parity import check_parity, run_graphs
from hydrofill.bundle import Dtype, GraphSpec, Optimised, Parity, Precision, PrecisionCost, Skill
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens
from model.data.windows import WindowSampler
from model.evaluation.calibration import COVERAGE
from model.evaluation.skill import evaluate
from model.run_folder import Run
from model.training.train import Material, read_material

MAX_ERROR_RISE = 0.005  # of RMSE and CRPS: what lower precision may cost
MAX_COVERAGE_CHANGE = 0.01  # of the coverage of the 90 % interval; one cell, where there are fewer than a hundred
MIN_ERROR = 1e-12  # an error of nothing has a ratio too
WINDOWS = 64  # of the training data, from which the ranges of quantised layers are taken


class PrecisionError(ValueError):
    """A precision that the bundle cannot have; the message is one line."""


@dataclass(frozen=True)
class Shipped:
    """Graphs as a bundle holds them, with what its manifest says of them."""

    encoder: bytes
    decoder: bytes
    specs: tuple[GraphSpec, GraphSpec]
    optimised: Optimised
    parity: Parity
    skill: tuple[Skill, ...]
    precision: Precision


def in_float32(run: Run) -> Shipped:
    """The run's graphs as precise as its network.

    Raises:
        ParityError: graphs and network disagree.
    """
    encoder, decoder = (optimise(graph) for graph in export_graphs(run.network))
    parity = check_parity(run.network, encoder, decoder)
    return Shipped(encoder, decoder, graph_specs(run.network), optimisation(), parity, run.skill, Precision())


def in_lower_precision(run: Run, dtype: Dtype, data: xr.Dataset) -> Shipped:
    """The run's graphs with blocks in `dtype`, their skill on the held-out steps of `data` beside it.

    Raises:
        PrecisionError: they are worse than float32 by more than is allowed, or this network cannot have them.
        ParityError: an answer is not finite, or the float32 graphs are not the network.
        ContractError: the data are not those of the run.
    """
    if not bars_keys(run.config.network):
        raise PrecisionError("lower precision is for a cross decoder with joint fusion, which this run does not have")
    with tempfile.TemporaryDirectory() as scratch:
        material = read_material(data, run.layout, run.config, Path(scratch))
        if not material.held.any():
            raise PrecisionError("the run holds out no steps, on which lower precision could be judged")
        plain = in_float32(run)
        made = _halved(run, plain) if dtype == "float16" else _quantised(run, plain, material)
        skill = _skill(run, material, made)
        cost = compare(_skill(run, material, plain), skill)
    judge(dtype, cost)
    return replace(made, skill=skill, precision=Precision(dtype=dtype, cost=cost))


def compare(plain: Sequence[Skill], lower: Sequence[Skill]) -> dict[str, PrecisionCost]:
    """By variable, what lower precision costs.

    Raises:
        PrecisionError: the two did not fill the same cells, or a score is no number.
    """
    if [(row.variable, row.gap, row.cells) for row in plain] != [(row.variable, row.gap, row.cells) for row in lower]:
        raise PrecisionError("lower precision does not fill the cells that float32 fills")
    costs = {}
    for name in dict.fromkeys(row.variable for row in plain):
        pairs = [(a, b) for a, b in zip(plain, lower, strict=True) if a.variable == name]
        cells = [a.cells for a, _ in pairs]
        ours, theirs = (float(np.average([pair[i].coverage90 for pair in pairs], weights=cells)) for i in (1, 0))
        rmse, crps = (_pooled((getattr(b, m), getattr(a, m)) for a, b in pairs) for m in ("rmse", "crps"))
        if not np.isfinite([rmse, crps, ours]).all():
            raise PrecisionError(f"{name}: a score is not finite")
        away = abs(ours - COVERAGE) - abs(theirs - COVERAGE)
        costs[name] = PrecisionCost(cells=sum(cells), rmse_ratio=rmse, crps_ratio=crps, coverage_change=away)
    return costs


def judge(dtype: Dtype, costs: dict[str, PrecisionCost]) -> None:
    """Returns if every variable is about as good as in float32.

    Raises:
        PrecisionError: one is not; names it, and by how much.
    """
    found = []
    for name, cost in costs.items():
        for what, value in (("RMSE", cost.rmse_ratio), ("CRPS", cost.crps_ratio)):
            if value >= 1 + MAX_ERROR_RISE:
                found.append(f"{name}: {what} rises by {value - 1:.2%}, allowed {MAX_ERROR_RISE:.1%}")
        allowed = max(MAX_COVERAGE_CHANGE, 1 / cost.cells)
        if cost.coverage_change > allowed:
            found.append(
                f"{name}: the 90 % interval's coverage goes {cost.coverage_change:.3f} away, allowed {allowed:.3f}"
            )
    if found:
        raise PrecisionError(f"{dtype} is refused on held-out data: {'; '.join(found)}")


def _halved(run: Run, plain: Shipped) -> Shipped:
    """Optimised no further: here that would bake in the casts of a processor that has no half precision."""
    encoder, decoder = export_graphs(run.network, half=True)
    parity = check_parity(run.network, encoder, decoder, tolerance=None)
    specs = graph_specs(run.network, half=True)
    return replace(plain, encoder=encoder, decoder=decoder, specs=specs, optimised=optimisation("none"), parity=parity)


def _quantised(run: Run, plain: Shipped, material: Material) -> Shipped:
    """Ranges are those of windows as training has them, one at a time, so that padding has no part in them."""
    masking, seed = run.config.masking, run.config.training.seed
    sampler = WindowSampler(material.seen, run.layout, masking, batch_size=1, seed=seed)
    batches = (sampler.batch(number) for number in range(WINDOWS))
    graphs = quantise(*export_graphs(run.network), [(batch.tokens, batch.queries) for batch in batches])
    encoder, decoder = (optimise(graph) for graph in graphs)
    parity = check_parity(run.network, encoder, decoder, tolerance=None)
    return replace(plain, encoder=encoder, decoder=decoder, parity=parity)


def _skill(run: Run, material: Material, graphs: Shipped) -> tuple[Skill, ...]:
    """Of the graphs on the held-out steps: the same cells are hidden every time."""
    answer = run_graphs(graphs.encoder, graphs.decoder)

    def predict(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        mean, std = answer(stack_tokens([tokens]), stack_queries([queries]))
        return mean[0], std[0]

    cube, held = material.to_score()
    return evaluate(cube, run.layout, predict, held, run.config.training.seed, run.calibration)


def _pooled(pairs: Iterable[tuple[float, float]]) -> float:
    """The geometric mean of the ratios."""
    return float(np.exp(np.mean([np.log((a + MIN_ERROR) / (b + MIN_ERROR)) for a, b in pairs])))
