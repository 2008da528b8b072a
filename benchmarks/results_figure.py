"""`python -m benchmarks.results_figure`: draw docs/images/results.png from the tables of docs/results/fill.md.

The picture shows the general bundle as it is (zero-shot) and tuned; of these, what the page has, and a network trained
from nothing where the page has neither. Every RMSE is divided by the RMSE of the best existing method of its row.
"Existing" are all other methods of the page except `stacked`, which uses the first guesses of hydrofill: the
baselines, and the best of those measured elsewhere. Of several variants of a method (DINEOF, kriging), each row shows
the best.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.support.fill_report import BEST, RATIO
from benchmarks.support.fill_systems import MIX, TRAINED, TUNED, ZERO_SHOT

PAGE = Path("docs/results/fill.md")
PICTURE = Path("docs/images/results.png")

# Okabe and Ito's palette, which people with any colour vision can tell apart; the marks differ in shape as well.
DARK, GREY, SHADE = "#1a1a1a", "#5f5f5f", "#fdeee4"
BLUE, GREEN, PURPLE, VERMILION, ORANGE = "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#e69f00"

NOT_EXISTING = frozenset({"stacked"})


@dataclass(frozen=True)
class Method:
    """The mark of one method, and the beginnings of its names, of which the best variant counts."""

    label: str
    names: tuple[str, ...]
    colour: str
    marker: str


SHOWN = (
    Method("DINEOF", ("dineof",), BLUE, "^"),
    Method("kriging", ("kriging", "ok_kriging"), GREEN, "s"),
    Method("linear interpolation in time", ("linear_",), PURPLE, "D"),
)
OWN = {
    ZERO_SHOT: Method("hydrofill, zero-shot", (), VERMILION, "o"),
    TUNED: Method("hydrofill, tuned", (), ORANGE, "P"),
    TRAINED: Method("hydrofill, trained", (), VERMILION, "o"),
}
OUTLINED: Mapping[str, Any] = {"markersize": 9.5, "markeredgecolor": "white"}
CASES = {
    "cance": "Cance, France\n1 km, hourly",
    "fraser": "Fraser, Canada\n0.1°, daily",
    "lez": "Lez, France\n1 km, daily",
    "alboran": "Alboran Sea\nSST, 10 days",
}
VARIABLES = {
    "precipitation": "rain",
    "pet": "evapotranspiration",
    "river_flow": "river flow",
    "sst": "temperature",
}
GAPS = {"cloud": "clouds", "square": "squares", "frame": "whole fields", "outage": "gauge outages"}
METHODS = {
    "biharmonic": "biharmonic",
    "dct_pls": "DCT-PLS",
    "dineof": "DINEOF",
    "dineof_sqrt": "DINEOF",
    "dineof_then_time": "DINEOF",
    "kriging_of_anomalies": "kriging",
    "ok_kriging": "kriging",
    "ok_kriging_anom": "kriging",
    "cell_mean": "cell mean",
    "pixel_mean": "cell mean",
    "saits": "SAITS",
}
LEFT, RIGHT = 0.62, 21.0  # ends of the axis
MAX_DRAWN, OFF_SCALE = 17.0, 18.0  # a larger ratio is drawn at OFF_SCALE, hollow


@dataclass(frozen=True)
class Own:
    """RMSE of one of our systems, the mean over its seeds, and the standard deviation over seeds (0 for one seed)."""

    rmse: float
    std: float


@dataclass(frozen=True)
class Row:
    """RMSE of one case, variable and kind of gap: of our systems and of the others, each by name."""

    case: str
    variable: str
    gap: str
    systems: Mapping[str, Own]
    others: Mapping[str, float]

    @property
    def best(self) -> tuple[str, float]:
        """The best existing method of this row, and its RMSE."""
        existing = {name: value for name, value in self.others.items() if name not in NOT_EXISTING}
        name = min(existing, key=existing.__getitem__)
        return name, existing[name]

    def ratio(self, system: str) -> float:
        """The RMSE of one of our systems over that of the best existing method."""
        return self.systems[system].rmse / self.best[1]

    def ratio_of(self, method: Method) -> float | None:
        """The same of a method that is shown; None where the page has no figure."""
        found = [value for name, value in self.others.items() if name.startswith(method.names)]
        return min(found) / self.best[1] if found else None


def read_rows(page: str) -> list[Row]:
    """Return the rows of every case on the page that is in CASES, in the order of CASES."""
    sections = {section.splitlines()[0].strip(): section for section in page.split("\n## ")[1:]}
    return [row for case in CASES if case in sections for row in _rows_of(case, sections[case])]


def shown_systems(rows: Sequence[Row]) -> list[str]:
    """Return which of our systems are drawn, the main one first."""
    found = [name for name in (ZERO_SHOT, TUNED) if all(name in row.systems for row in rows)]
    return found or [TRAINED]


def _rows_of(case: str, section: str) -> Iterator[Row]:
    table = [line.strip("|").split("|") for line in section.split("| RMSE |")[1].split("\n\n")[0].splitlines()]
    cells = {line[0].strip().strip("`"): [cell.strip() for cell in line[1:]] for line in table[2:]}
    own = {f"**{name}**": name for name in (ZERO_SHOT, TUNED, TRAINED, MIX)}
    for column, head in enumerate(table[0]):
        if not head.strip():
            continue
        variable, gap = head.split()
        systems = {own[label]: _own(of_row[column]) for label, of_row in cells.items() if label in own}
        others = {
            name: float(of_row[column])
            for name, of_row in cells.items()
            if name not in own and name != BEST and not name.startswith(RATIO) and of_row[column]
        }
        value, name = cells[BEST][column].rstrip(")").split(" (")
        others[name] = min(float(value), others.get(name, math.inf))
        yield Row(case, variable, gap, systems, others)


def _own(cell: str) -> Own:
    mean, _, std = cell.strip("*").partition(" ± ")
    return Own(float(mean), float(std or 0))


def draw(rows: Sequence[Row]) -> Figure:
    """Return the picture: a line per case, variable and kind of gap, all methods relative to the best existing one."""
    figure = Figure(figsize=(9, 6.9), facecolor="white")
    axes = figure.add_axes((0.335, 0.095, 0.455, 0.69))
    places, systems = _places(rows), shown_systems(rows)
    _draw_axes(axes, places)
    _draw_labels(axes, rows, places, systems)
    for row, y in zip(rows, places, strict=True):
        _draw_row(axes, row, y, systems)
    _draw_heading(figure, rows, systems)
    return figure


def _places(rows: Sequence[Row]) -> list[float]:
    """Return the height of each row: one apart, and a little more between cases."""
    places, y = [], 0.0
    for before, row in zip([None, *rows], rows, strict=False):
        y -= 1.0 if before is None or before.case == row.case else 1.45
        places.append(y)
    return places


def _draw_axes(axes: Axes, places: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(LEFT, RIGHT)
    axes.set_ylim(min(places) - 0.75, max(places) + 0.75)
    axes.axvspan(LEFT, 1.0, color=SHADE, zorder=0)
    axes.axvline(1.0, color=DARK, linewidth=1.6, zorder=2)
    axes.xaxis.set_major_locator(FixedLocator([0.7, 1, 1.5, 2, 3, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=10)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(
        f"RMSE relative to the best existing method, log scale (hollow mark: above {MAX_DRAWN:g})", fontsize=10
    )
    across = axes.get_xaxis_transform()
    axes.text(0.95, 1.012, "← better", transform=across, fontsize=9.5, ha="right", va="bottom")
    axes.text(1.05, 1.012, "worse →", transform=across, fontsize=9.5, ha="left", va="bottom")


def _draw_labels(axes: Axes, rows: Sequence[Row], places: Sequence[float], systems: Sequence[str]) -> None:
    """Write the case and the row to the left of the axes; our ratios and the best existing method to the right."""
    down = axes.get_yaxis_transform()
    axes.set_yticks(places, [f"{VARIABLES[row.variable]}, {GAPS[row.gap]}" for row in rows], fontsize=9.5)
    columns = (1.06,) if len(systems) == 1 else (1.06, 1.19)
    last = 1.17 if len(systems) == 1 else 1.27
    heads = [("best existing", last, GREY, "left")]
    heads += [(system, x, OWN[system].colour, "center") for system, x in zip(systems, columns, strict=True)]
    for text, x, colour, align in heads:
        axes.text(x, 1.012, text, transform=axes.transAxes, fontsize=8.5, ha=align, va="bottom", color=colour)
    for row, place in zip(rows, places, strict=True):
        for system, x in zip(systems, columns, strict=True):
            ratio, colour = f"{row.ratio(system):.2f}", OWN[system].colour
            axes.text(x, place, ratio, transform=down, fontsize=9.5, ha="center", va="center", color=colour)
        name = METHODS.get(row.best[0], row.best[0])
        axes.text(last, place, name, transform=down, fontsize=9, va="center", color=GREY)
    for case in dict.fromkeys(row.case for row in rows):
        of_case = [place for row, place in zip(rows, places, strict=True) if row.case == case]
        top, middle = max(of_case) + 0.725, (min(of_case) + max(of_case)) / 2
        axes.plot([-0.71, 1.44], [top, top], transform=down, color="#cccccc", linewidth=0.8, clip_on=False)
        axes.text(-0.71, middle, CASES[case], transform=down, fontsize=9.5, fontweight="bold", va="center")


def _draw_row(axes: Axes, row: Row, y: float, systems: Sequence[str]) -> None:
    for method in SHOWN:
        ratio = row.ratio_of(method)
        if ratio is None:
            continue
        inside = ratio <= MAX_DRAWN
        face = method.colour if inside else "white"
        at = ratio if inside else OFF_SCALE
        axes.plot(at, y, method.marker, color=method.colour, markerfacecolor=face, markersize=6.5, zorder=3)
    for system in reversed(systems):  # the main one last, on top
        mark, ratio, std = OWN[system], row.ratio(system), row.systems[system].std / row.best[1]
        axes.plot([max(ratio - std, LEFT), ratio + std], [y, y], color=mark.colour, linewidth=2, zorder=4)
        axes.plot(max(ratio, LEFT), y, mark.marker, color=mark.colour, zorder=5, clip_on=False, **OUTLINED)


def _draw_heading(figure: Figure, rows: Sequence[Row], systems: Sequence[str]) -> None:
    main = systems[0]
    better = sum(row.ratio(main) < 0.995 for row in rows)
    what = {ZERO_SHOT: "hydrofill without training", TUNED: "hydrofill, tuned,", TRAINED: "hydrofill"}
    title = f"{what[main]} beats the best existing method in {better} of {len(rows)} rows"
    figure.text(0.012, 0.975, title, fontsize=13.5, fontweight="bold", va="top")
    text = (
        "Error (RMSE) on withheld values of four real records.\n"
        "The best existing method differs from row to row, and is chosen here with hindsight."
    )
    figure.text(0.012, 0.933, text, fontsize=9.8, va="top", linespacing=1.45)
    axes = figure.add_axes((0.012, 0.825, 0.976, 0.035))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    x = 0.012
    for mark in [*(OWN[system] for system in systems), *SHOWN]:
        style = OUTLINED if mark in OWN.values() else {"markersize": 6.5}
        axes.plot(x, 0.5, mark.marker, color=mark.colour, **style)
        axes.text(x + 0.016, 0.47, mark.label, fontsize=9.5, va="center")
        x += 0.04 + 0.0105 * len(mark.label)


def summary(rows: Sequence[Row]) -> str:
    """Return the geometric mean, the range and the number of rows of every method's ratio, as lines of text."""
    lines = []
    own = [(system, [row.ratio(system) for row in rows]) for system in rows[0].systems]
    others = [(m.label, [r for row in rows if (r := row.ratio_of(m)) is not None]) for m in SHOWN]
    for label, ratios in (of for of in (*own, *others) if of[1]):
        mean = statistics.geometric_mean(ratios)
        lines.append(f"{label}: {mean:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {len(ratios)} rows")
    return "\n".join(lines)


def main() -> None:
    """Draw the picture, and print what it shows."""
    parser = argparse.ArgumentParser(description="Draw the picture of docs/results/fill.md.")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown that `make bench-fill` wrote")
    parser.add_argument("--out", type=Path, default=PICTURE, help="PNG to write")
    options = parser.parse_args()
    rows = read_rows(options.page.read_text(encoding="utf-8"))
    draw(rows).savefig(options.out, dpi=200)
    for row in rows:
        ratios = ", ".join(f"{system} {row.ratio(system):.2f}" for system in row.systems)
        print(f"{row.case} {row.variable} {row.gap}: {ratios} of {row.best[0]}")
    print(summary(rows))


if __name__ == "__main__":
    main()
