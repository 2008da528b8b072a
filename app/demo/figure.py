"""The demo's figure of a reconstruction: maps of one day, and a gauge's hydrograph with its 90 % band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hydrofill.constants import Z90
from hydrofill.paths import written_whole

DAYS_SHOWN = 60  # of the hydrograph, on each side of its centre
SHARE_HIDDEN = (0.2, 0.7)  # the day shown has this share under clouds: some cells to see, some to fill
MISSING = "#d9d9d9"
STD_PALETTE = "Purples"
# Okabe & Ito's palette, which readers with any colour vision can distinguish.
DARK, BLUE, VERMILION = "#1a1a1a", "#0072b2", "#d55e00"


class NothingToShowError(ValueError):
    """The reconstruction lacks what the figure shows."""


@dataclass(frozen=True)
class MapRow:
    """A gridded variable, its title and its colours."""

    name: str
    title: str
    palette: str


MAPS = (MapRow("precipitation", "Precipitation", "YlGnBu"), MapRow("pet", "Potential evapotranspiration", "cividis"))
FLOW = "river_flow"


def draw(case: xr.Dataset, filled: xr.Dataset, path: Path) -> None:
    """Draw the figure and write it to a file.

    Args:
        case: V as it was sent, V_truth (the measured values), and V_gap (why a cell is missing).
        filled: the reply: V, V_std, V_flag.
        path: a .png file.

    Raises:
        NothingToShowError: a variable is missing, or none of its values was hidden.
    """
    missing = [n for n in (*(row.name for row in MAPS), FLOW) if not {n, f"{n}_std"} <= set(filled.data_vars)]
    if missing:
        raise NothingToShowError(f"the reply lacks {', '.join(missing)}")
    step = choose_step(case)
    figure = Figure(figsize=(15, 8.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06), facecolor="white")
    grid = figure.add_gridspec(2, len(MAPS), height_ratios=[1.25, 1])
    figure.suptitle(f"Gaps filled by hydrofill: {_place_and_day(case.isel(time=step))}", fontsize=15, weight="bold")
    for number, row in enumerate(MAPS):
        _draw_maps(figure.add_subfigure(grid[0, number]), row, case.isel(time=step), filled.isel(time=step))
    _draw_hydrograph(figure.add_subfigure(grid[1, :]).subplots(), case, filled)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def choose_step(case: xr.Dataset) -> int:
    """Return the step with clouds over part of every mapped variable and the largest spatial variation.

    Raises:
        NothingToShowError: no step has such clouds.
    """
    worth = np.ones(case.sizes["time"])
    for row in MAPS:
        gap = case[f"{row.name}_gap"]
        hidden = (gap == _code(gap, "cloud")).mean(("y", "x")).values
        variation = np.nan_to_num(case[f"{row.name}_truth"].std(("y", "x")).values)
        worth *= variation / max(float(variation.max()), 1e-9)
        worth[(hidden < SHARE_HIDDEN[0]) | (hidden > SHARE_HIDDEN[1])] = 0
    if not worth.any():
        raise NothingToShowError("no day has clouds over part of every variable")
    return int(np.argmax(worth))


def choose_gauge(case: xr.Dataset) -> tuple[int, slice]:
    """Return the gauge with the highest withheld flow (relative to its maximum), and the steps around that flow.

    Raises:
        NothingToShowError: no flow was withheld.
    """
    flow, gap = case[f"{FLOW}_truth"].values, case[f"{FLOW}_gap"]
    withheld = gap.values == _code(gap, "outage")
    if not (withheld & ~np.isnan(flow)).any():
        raise NothingToShowError(f"no value of {FLOW} was withheld")
    scaled = flow / np.nanmax(flow, axis=0)  # small and large rivers count alike
    step, site = np.unravel_index(np.nanargmax(np.where(withheld, scaled, np.nan)), flow.shape)
    return int(site), slice(max(int(step) - DAYS_SHOWN, 0), int(step) + DAYS_SHOWN)


def _place_and_day(day: xr.Dataset) -> str:
    """Return the title's place and date, with the extent of the grid if its coordinates are in metres."""
    date = np.datetime_as_string(day["time"].values, unit="D")
    if day["x"].attrs.get("units") != "m":
        return f"the Lez basin, {date}"
    width, height = (float(day[a].max() - day[a].min()) / 1000 * day.sizes[a] / (day.sizes[a] - 1) for a in ("x", "y"))
    return f"the Lez basin ({width:.0f} × {height:.0f} km), {date}"


def _draw_maps(part: SubFigure, row: MapRow, case: xr.Dataset, filled: xr.Dataset) -> None:
    truth, sent, given = case[f"{row.name}_truth"], case[row.name], filled[row.name]
    std = filled[f"{row.name}_std"]
    units = _pretty(str(given.attrs.get("units", "")))
    part.suptitle(f"{row.title} ({units})", fontsize=13)
    axes = part.subplots(1, 4)
    shared = Normalize(float(min(truth.min(), given.min())), float(max(truth.max(), given.max())))
    for ax, values, title in zip(axes, (truth, sent, given), ("truth", "sent (grey: missing)", "filled"), strict=False):
        _draw_map(ax, values, row.palette, shared, title)
    std_scale = Normalize(0, float(std.max()) or 1.0)
    _draw_map(axes[3], std, STD_PALETTE, std_scale, "uncertainty (1 σ)")
    for image, of, label in (
        (ScalarMappable(shared, row.palette), list(axes[:3]), units),
        (ScalarMappable(std_scale, STD_PALETTE), [axes[3]], units),
    ):
        bar = part.colorbar(image, ax=of, orientation="horizontal", aspect=10 * len(of), pad=0.02, shrink=0.9)
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)


def _draw_map(ax: Axes, values: xr.DataArray, palette: str, scale: Normalize, title: str) -> None:
    ax.set_facecolor(MISSING)
    ax.pcolormesh(values["x"], values["y"], values.transpose("y", "x"), cmap=palette, norm=scale, shading="nearest")
    ax.set_aspect("equal")
    ax.set_title(title, fontsize=11)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_hydrograph(ax: Axes, case: xr.Dataset, filled: xr.Dataset) -> None:
    site, span = choose_gauge(case)
    truth, sent, given, std, flag = (
        of[name].isel(site=site, time=span).values
        for of, name in (
            (case, f"{FLOW}_truth"),
            (case, FLOW),
            (filled, FLOW),
            (filled, f"{FLOW}_std"),
            (filled, f"{FLOW}_flag"),
        )
    )
    time = case["time"].values[span]
    gap = flag == 1
    # Bands and lines extend to the observed neighbours, so that the filled line joins the observed one.
    near = gap | np.roll(gap, 1) | np.roll(gap, -1)
    middle, half = np.where(near, given, np.nan), Z90 * np.where(near, std, np.nan)
    ax.fill_between(
        time, np.maximum(middle - half, 0), middle + half, color=VERMILION, alpha=0.22, lw=0, label="90 % band"
    )
    ax.plot(time, sent, color=DARK, lw=1.6, label="observed")
    ax.plot(time, middle, color=VERMILION, lw=1.8, label="filled")
    ax.plot(time, np.where(gap, truth, np.nan), ".", color=BLUE, ms=6, label="withheld truth")
    ax.set_ylabel(f"river flow ({_pretty(str(case[FLOW].attrs.get('units', '')))})", fontsize=11)
    ax.set_ylim(bottom=0)
    ax.set_xlim(_edge(time, 0), _edge(time, -1))
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.set_title(f"Gauge {case['site'].values[site]}", fontsize=13, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=4, fontsize=10, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)


def _edge(time: np.ndarray, index: int) -> Any:
    """Return a time as a limit for matplotlib's axis."""
    return time[index]


def _code(flags: xr.DataArray, word: str) -> int:
    """Return the flag value whose meaning contains `word`."""
    meanings: Sequence[str] = str(flags.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(flags.attrs.get("flag_values", np.arange(len(meanings))))
    for value, meaning in zip(values, meanings, strict=True):
        if word in meaning:
            return int(value)
    raise NothingToShowError(f"{flags.name} has no flag for {word}")


def _pretty(units: str) -> str:
    """Return `mm/day` for `mm day-1` and `m³/s` for `m3 s-1`; other units unchanged."""
    return {"mm day-1": "mm/day", "mm d-1": "mm/day", "m3 s-1": "m³/s"}.get(units, units)
