"""MODEL_CARD.md: the training data, the measured skill and the limits of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from export.markdown import markdown_table
from export.precision_gate import Shipped
from hydrofill.bundle import Parity, Precision, Skill, TrainingData
from hydrofill.layout import MAX_VARIABLES, Layout
from model.run_folder import Run, Tuning


def model_card(run: Run, name: str, shipped: Shipped) -> str:
    """Return the text of a bundle's model card (Mitchell et al. 2019), from measured figures."""
    if run.layout.general:
        return "\n\n".join([f"# {name}", _general(run), _parity(shipped.parity)]) + "\n"
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
    return f"""A CrossMAE that fills gaps of these variables, each from all of them, with a standard deviation.

{markdown_table(["variable", "standard_name", "units", "kind", "learnt as"], rows)}

Static attributes seen: {static}. Time step {layout.place.step_s:g} s.
Window {window.steps} steps x {window.rows} x {window.columns} cells, patches {patch.rows} x {patch.columns} cells
or {patch.steps} steps. Queries {guesses}."""


def _general(run: Run) -> str:
    data = run.data
    parameters = sum(p.numel() for p in run.network.parameters())
    return f"""A CrossMAE that fills gaps of any gridded or gauged variables, without training on them, with a standard
deviation. The network knows no variable by name. Before a fill, observed cells of the record are hidden, classical
first guesses are made of what is left, and their errors tell the network how far to trust each guess. The standard
deviations are calibrated on the same hidden cells.

## Training

{_tuned(run.tuning, data) if run.tuning else f"{data.title}. {data.frames} records."}
Licence: {data.licence or "not stated"}. {parameters:,} parameters.

Credits: {data.source or "not stated"}

## Limits

- At most {MAX_VARIABLES} variables together. A record with few observed cells says little of itself: its fill is close
  to the mean, with a standard deviation close to that of the variable.
- The attribute `hydrofill_expected_skill` of each filled variable gives the error to expect by kind of gap. It was
  measured on cells of the same record.
- A lost frame is estimated from other times and variables. For rain this is weakly constrained, so the standard
  deviation is large."""


def _tuned(tuning: Tuning, data: TrainingData) -> str:
    def shown(check: float | None) -> str:
        return "not known, because the stacked guess is exact" if check is None else f"{check:.3f}"

    kept = "" if tuning.step else " No check was better than the start, so that the weights are those of the start."
    return f"""Tuned to one data set, "{data.title or "untitled"}", {data.frames} steps from {data.start:%Y-%m-%d} to
{data.end:%Y-%m-%d}, in {tuning.minutes:.1f} minutes of processor time. Tuned from the bundle {tuning.name}
{tuning.version}, sha256 {tuning.sha256}. RMSE over that of the stacked first guess, on hidden
cells of a part of the data that was held out: {shown(tuning.before)} before and {shown(tuning.after)} after.{kept}

{_widened(tuning)}"""


def _widened(tuning: Tuning) -> str:
    factors = ", ".join(f"{name} {factor:.2f}" for name, factor in tuning.widening.items() if factor > 1)
    if not factors:
        return "A fill does not widen the standard deviations for cells that were learnt from."
    return f"""The network is surer of itself on cells that it has learnt from than on others. A fill widens the
standard deviations of these variables by a factor: {factors}."""


def _learnt_from(run: Run) -> str:
    data, masking = run.data, run.config.masking
    (low, high), kinds = masking.mask_ratio, ", ".join(masking.kinds)
    parameters = sum(p.numel() for p in run.network.parameters())
    return f"""## Training

Data: {data.title or "untitled"}. Source: {data.source or "not stated"}. Licence: {data.licence or "not stated"}.
{data.frames} frames from {data.start:%Y-%m-%d} to {data.end:%Y-%m-%d}, with gaps: only observed values
were used. {parameters:,} parameters. Hidden in training: {kinds},
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

On blocks of time that were not used for training, with 40 % of the observed cells hidden by each kind of gap.

{markdown_table(head, rows)}"""


def _limits(layout: Layout) -> str:
    grids = ", ".join(v.name for v in layout.variables if v.kind == "grid") or "a grid"
    return f"""## Limits

- The model is for the variables, time step and place above. Another time step or other coordinates are refused. Skill
  outside the training period and region is not known.
- The 90 % interval is calibrated on hidden cells of the training data; the last column above gives its coverage at
  other times.
- A completely missing frame of {grids} is estimated from neighbouring times and other variables. For rain this is
  weakly constrained, so the predicted standard deviation is large."""


def _precision(precision: Precision) -> str:
    head = ["variable", "cells", "RMSE", "CRPS", "change of the 90 % interval's coverage, away from 90 %"]
    rows = [
        [name, str(c.cells), f"{c.rmse_ratio - 1:+.3%}", f"{c.crps_ratio - 1:+.3%}", f"{c.coverage_change:+.4f}"]
        for name, c in precision.cost.items()
    ]
    return f"""## Precision

The blocks of encoder and decoder compute in {precision.dtype}; everything in physical units is float32. The table
gives the change against float32 on the cells above, all kinds of gaps together. A rise of RMSE or CRPS below half a
percent is allowed:

{markdown_table(head, rows)}"""


def _parity(parity: Parity) -> str:
    allowed = "no limit at the precision above" if parity.tolerance is None else f"allowed {parity.tolerance:.0e}"
    return f"""## Parity

The graphs were compared with the network at {len(parity.shapes)} shapes that were not used for tracing. Largest
relative difference {parity.max_relative_difference:.1e}, {allowed}."""


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"
