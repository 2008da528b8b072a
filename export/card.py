"""MODEL_CARD.md: what the model learnt from, how good it is where, and where it fails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from export.precision_gate import Shipped
from hydrofill.bundle import Parity, Precision, Skill
from hydrofill.layout import Layout
from model.run_folder import Run


def model_card(run: Run, name: str, shipped: Shipped) -> str:
    """The text of a bundle's model card (Mitchell et al. 2019), from what was measured."""
    sections = [
        f"# {name}",
        _what(run.layout),
        _learnt_from(run),
        _skill(shipped.skill),
        *([_precision(shipped.precision)] if shipped.precision.cost else []),
        _limits(run.layout),
        _parity(shipped.parity),
    ]
    return "\n\n".join(sections) + "\n"


def _what(layout: Layout) -> str:
    rows = [[v.name, v.standard_name or "-", v.units or "-", v.kind, v.transform] for v in layout.variables]
    static = ", ".join(v.name for v in layout.static) or "none"
    window, patch = layout.window, layout.patch
    guesses = "carry classical first guesses of their cells" if layout.guesses else "carry place and time alone"
    return f"""A CrossMAE that fills gaps of these variables, each from all of them, with a spread.

{_table(["variable", "standard_name", "units", "kind", "learnt as"], rows)}

Static attributes seen: {static}. Time step {layout.place.step_s:g} s.
Window {window.steps} steps x {window.rows} x {window.columns} cells, patches {patch.rows} x {patch.columns} cells
or {patch.steps} steps. Queries {guesses}."""


def _learnt_from(run: Run) -> str:
    data, masking = run.data, run.config.masking
    (low, high), kinds = masking.mask_ratio, ", ".join(masking.kinds)
    parameters = sum(p.numel() for p in run.network.parameters())
    return f"""## Training

Data: {data.title or "untitled"}. Source: {data.source or "not stated"}. Licence: {data.licence or "not stated"}.
{data.frames} frames from {data.start:%Y-%m-%d} to {data.end:%Y-%m-%d}, gaps and all: only what was observed
was learnt from. {parameters:,} parameters. Hidden in training: {kinds},
gauge outages and whole variables, {low:.0%} to {high:.0%} of a window."""


def _skill(skill: Sequence[Skill]) -> str:
    if not skill:
        return "## Skill\n\nNot measured: nothing was held out."
    head = ["variable", "gap", "cells", "RMSE", "linear in time", "cell mean", "bias", "CRPS", "in the 90 % interval"]
    rows = [
        [s.variable, s.gap, str(s.cells)]
        + [_number(v) for v in (s.rmse, s.linear_rmse, s.mean_rmse, s.bias, s.crps)]
        + [f"{s.coverage90:.0%}"]
        for s in skill
    ]
    return f"""## Skill

On blocks of time that training never saw, 40 % of their observed cells hidden by each kind of gap.

{_table(head, rows)}"""


def _limits(layout: Layout) -> str:
    grids = ", ".join(v.name for v in layout.variables if v.kind == "grid") or "a grid"
    return f"""## Limits

- Made for the variables, step and place above. Another time step or other coordinates are refused; skill outside the
  training period and region is not known.
- The interval is calibrated on hidden cells of the training data: read the last column above for other times.
- A lost frame of {grids} is filled from neighbouring times and other variables. For rain that is weak evidence, and the
  spread says so."""


def _precision(precision: Precision) -> str:
    head = ["variable", "cells", "RMSE", "CRPS", "coverage of the 90 % interval, further from 90 % by"]
    rows = [
        [name, str(c.cells), f"{c.rmse_ratio - 1:+.3%}", f"{c.crps_ratio - 1:+.3%}", f"{c.coverage_change:+.4f}"]
        for name, c in precision.cost.items()
    ]
    return f"""## Precision

The blocks of encoder and decoder compute in {precision.dtype}, all in physical units in float32. What that costs beside
float32, on the cells above, kinds of gaps pooled; allowed is less than half a percent of RMSE and CRPS:

{_table(head, rows)}"""


def _parity(parity: Parity) -> str:
    allowed = "as goes with the precision above" if parity.tolerance is None else f"allowed {parity.tolerance:.0e}"
    return f"""## Parity

The graphs were compared with the network at {len(parity.shapes)} shapes they were not traced with. Largest relative
difference {parity.max_relative_difference:.1e}, {allowed}."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"
