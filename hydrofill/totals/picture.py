"""A picture of totals: a panel for each area, with the 90 % interval of each period and the share that was filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hydrofill.paths import written_whole
from hydrofill.totals.table import date_text, kinds_of

MAX_PANELS = 12
MAX_LABELS = 12  # of periods below a panel
# Okabe & Ito's palette, which readers with any colour vision can distinguish.
DARK, BLUE, ORANGE = "#1a1a1a", "#0072b2", "#e69f00"


def draw(totals: xr.Dataset, path: Path) -> None:
    """Draw the totals of the first variable in its first MAX_PANELS areas, and write a PNG file."""
    name, kind = kinds_of(totals)[0]
    value = totals[f"{name}_{kind}"]
    areas = value[value.dims[0]].values[:MAX_PANELS]
    columns = min(len(areas), 2 if len(areas) in (2, 4) else 3)
    rows = -(-len(areas) // columns)
    figure = Figure(
        figsize=(max(5.2 * columns, 7), 3.1 * rows + 1.1),
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08),
        facecolor="white",
    )
    figure.suptitle(_title(name, kind, len(value[value.dims[0]])), fontsize=13)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=False).ravel()
    for number, area in enumerate(areas):
        _draw_area(axes[number], totals, name, kind, number, str(area))
    for empty in axes[len(areas) :]:
        empty.set_axis_off()
    spread = f"{name}_{kind}_q05" in totals
    shown: list[Artist] = [Patch(color=BLUE, label="observed share"), Patch(color=ORANGE, label="filled share")]
    if spread:
        shown.append(Line2D([], [], color=DARK, marker="_", linestyle="-", linewidth=1.6, label="90 % interval"))
    figure.legend(handles=shown, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _title(name: str, kind: str, number: int) -> str:
    shown = f", the first {MAX_PANELS} of {number} areas" if number > MAX_PANELS else ""
    kind = {"sum": "Sum", "mean": "Mean", "volume": "Volume"}[kind]
    return f"{kind} of {name}{shown}"


def _draw_area(ax: Axes, totals: xr.Dataset, name: str, kind: str, area: int, title: str) -> None:
    """Draw bars of one area: the height is the total, its colours say how much was observed and how much filled."""
    value = totals[f"{name}_{kind}"]
    of_area = {value.dims[0]: area}
    height = value.isel(of_area).values
    observed, filled = (totals[f"{name}_{key}"].isel(of_area).values for key in ("observed", "filled"))
    known = np.maximum(observed + filled, 1e-12)
    at = np.arange(len(height))
    lowest = 0.0 if kind != "mean" else _floor(totals, name, kind, of_area)
    tall = height - lowest
    ax.bar(at, tall * observed / known, 0.78, bottom=lowest, color=BLUE)
    ax.bar(at, tall * filled / known, 0.78, bottom=lowest + tall * observed / known, color=ORANGE)
    if f"{name}_{kind}_q05" in totals:
        low, high = (totals[f"{name}_{kind}_{key}"].isel(of_area).values for key in ("q05", "q95"))
        ax.vlines(at, low, high, color=DARK, linewidth=1.6)
        for end in (low, high):
            ax.hlines(end, at - 0.16, at + 0.16, color=DARK, linewidth=1.6)
    missing = float(totals[f"{name}_missing"].isel(of_area).mean())
    ax.set_title(title + (f" ({100 * missing:.0f} % left missing)" if missing >= 0.005 else ""), fontsize=10)
    ax.set_ylabel(value.attrs["units"], fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if "period" in totals.coords:
        every = -(-len(at) // MAX_LABELS)
        labels = [date_text(date)[:7] if len(at) > 1 else date_text(date) for date in totals["period"].values]
        labels = labels if len(set(labels)) == len(labels) else [date_text(date) for date in totals["period"].values]
        ax.set_xticks(at[::every], labels[::every], rotation=45, ha="right")
    else:
        ax.set_xticks([])


def _floor(totals: xr.Dataset, name: str, kind: str, of_area: dict[object, int]) -> float:
    """Return where bars of means begin: below all values, because zero may be far away."""
    keys = ("", "_q05", "_q95")
    found = [totals[f"{name}_{kind}{key}"].isel(of_area).values for key in keys if f"{name}_{kind}{key}" in totals]
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if not values.size or 0 <= values.min() < 0.5 * values.max():
        return 0.0
    return float(values.min() - 0.3 * (np.ptp(values) or abs(values.min()) or 1.0))
