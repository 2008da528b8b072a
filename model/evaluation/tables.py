"""Output of the commands: choices as text, scores as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:  # `score` runs without the packages that training needs
    from hydrofill.bundle import Skill
    from hydrofill.layout import Layout
    from model.config import RunConfig
    from model.evaluation.comparison import Comparison
    from model.evaluation.metrics.cases import CaseScores

OURS = "hydrofill"  # the name of the network or the bundle among the methods of a comparison


def chosen(layout: Layout, config: RunConfig) -> str:
    """Describe what was chosen from the data."""
    patch, window, network, masking = layout.patch, layout.window, config.network, config.masking
    learnt = {"identity": "as they are", "sqrt": "as square roots"}
    variables = "; ".join(
        f"{v.name} ({v.kind}, {v.units or 'no units'}, {learnt[v.transform]})" for v in layout.variables
    )
    static = ", ".join(v.name for v in layout.static) or "none"
    return f"""variables: {variables}
static: {static}
windows: {window.steps} steps x {window.rows} x {window.columns} cells
patches: {patch.rows} x {patch.columns} cells, {patch.steps} steps
network: {network.embed_dim} wide, {network.depth} + {network.decoder_depth} layers
guesses: {"of classical methods, over the whole record" if layout.guesses else "none"}
hidden in training: {", ".join(masking.kinds)}, outages, the data's own gaps at other times ({masking.own_gaps:.0%})"""


def skill_table(title: str, skill: tuple[Skill, ...]) -> Table:
    """Return scores on held-out blocks, a line for each variable and gap."""
    table = _table(title, "variable", "gap", "cells", "RMSE", "linear in time", "cell mean", "CRPS", "in 90 % interval")
    for row in skill:
        numbers = [_number(v) for v in (row.rmse, row.linear_rmse, row.mean_rmse, row.crps)]
        table.add_row(row.variable, row.gap, str(row.cells), *numbers, _share(row.coverage90))
    return table


def withheld_table(scored: CaseScores) -> Table:
    """Return scores on withheld cells, a line for each variable and gap."""
    table = _table(
        "Withheld cells", "variable", "gap", "cells", "RMSE", "linear in time", "cell mean", "CRPS", "in 90 % interval"
    )
    for row in scored.rows:
        others = [
            _number(row.baselines[b].rmse) if b in row.baselines else "-" for b in ("linear_in_time", "cell_mean")
        ]
        own = row.scores
        table.add_row(
            row.variable, row.kind, str(own.n), _number(own.rmse), *others, _number(own.crps), _share(own.coverage90)
        )
    return table


def comparison_table(title: str, rows: Sequence[Comparison]) -> Table:
    """Return RMSE, a line for each method and a column for each variable and gap."""
    heads = [f"{row.variable}\n{row.gap}" for row in rows]
    table = _table(title, "method", *heads)
    for method in dict.fromkeys(name for row in rows for name in row.methods):
        table.add_row(method, *(_number(row.methods[method].rmse) if method in row.methods else "-" for row in rows))
    return table


def measures_table(title: str, rows: Sequence[Comparison]) -> Table:
    """Return hydrofill's other measures, a line for each variable and gap."""
    heads = ("bias", "CRPS", "in 90 % interval", "spread/skill", "fine PSD", "wet bias", "totals", "NSE", "KGE")
    table = _table(title, "variable", "gap", "cells", *heads)
    for row in rows:
        own = row.methods[OURS]
        numbers = (own.spread_skill, row.psd_ratio[OURS], own.wet_bias, own.totals_ratio, own.nse, own.kge)
        first = (_number(own.bias), _number(own.crps), _share(own.coverage90))
        table.add_row(row.variable, row.gap, str(row.cells), *first, *map(_number, numbers))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("variable", "gap", "method") else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
