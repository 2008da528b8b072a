"""What the command `hydrofill total` does."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table

from hydrofill.archives.inputs import find_input
from hydrofill.archives.opening import open_input
from hydrofill.paths import FileRefusedError, write_text, written_whole
from hydrofill.totals.measures import How
from hydrofill.totals.table import csv_of, json_of, kinds_of, rows_of
from hydrofill.totals.totals import NOT_KNOWN, UNCERTAINTY, total

MAX_ROWS = 60  # on the terminal
WHOLE = 0.999  # share of an area on the grid from which nothing is said
FORMATS = (".csv", ".json", ".nc")


def run(
    source: str,
    over: str | None,
    every: str,
    variables: Sequence[str],
    how: How | None,
    name_property: str | None,
    out: Path | None,
    picture: Path | None,
    group: str,
) -> None:
    """Add up a file, print the totals, and write what is asked for.

    Raises:
        ContractError, FileRefusedError, OSError: as of `total`, or an output cannot be written.
    """
    if out is not None and out.suffix.lower() not in FORMATS:
        raise FileRefusedError(f"{out}: totals are written as {', '.join(FORMATS)}")
    if picture is not None and find_spec("matplotlib") is None:
        raise FileRefusedError("the picture needs matplotlib: pip install 'hydrofill[totals]'")
    if picture is not None and picture.suffix.lower() != ".png":
        raise FileRefusedError(f"{picture}: a picture is written as .png")
    with open_input(find_input(source, group)) as dataset:
        totals = total(dataset, over=over, every=every, variables=variables, how=how, name_property=name_property)
    show(totals)
    if out is not None:
        _write(totals, out)
    if picture is not None:
        from hydrofill.totals.picture import draw

        draw(totals, picture)


def _write(totals: xr.Dataset, out: Path) -> None:
    if out.suffix.lower() == ".nc":
        with written_whole(out) as partial:
            totals.to_netcdf(partial, engine="h5netcdf")
    else:
        write_text(out, csv_of(totals) if out.suffix.lower() == ".csv" else json_of(totals))


def show(totals: xr.Dataset) -> None:
    """Print the totals as a table, and how they were made."""
    spread = any(str(name).endswith("_q05") for name in totals.data_vars)
    heads = ["area", "period", "total", "value", *(("std", "5 %", "95 %") if spread else ()), "units"]
    table = Table(*heads, "observed", "filled", "missing", box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    rows = list(rows_of(totals))
    for row in rows[:MAX_ROWS]:
        period = "" if row["start"] is None else str(row["start"])
        period += "" if row["covered"] in (None, 1) else f" ({100 * row['covered']:.0f} % covered)"
        numbers = [_shown(row[key]) for key in ("value", *(("std", "q05", "q95") if spread else ()))]
        shares = [f"{100 * row[key]:.1f} %" for key in ("observed", "filled", "missing")]
        table.add_row(row["area"], period, f"{row['total']} of {row['variable']}", *numbers, row["units"], *shares)
    console = Console()
    console = console if console.is_terminal else Console(width=220)
    console.print(table)
    if len(rows) > MAX_ROWS:
        console.print(f"and {len(rows) - MAX_ROWS:,} more rows: --out totals.csv writes all", highlight=False)
    for name, kind in kinds_of(totals):
        attributes = totals[f"{name}_{kind}"].attrs
        if "hydrofill_total" in attributes:
            console.print(f"{name}: {attributes['hydrofill_total']}", highlight=False, soft_wrap=True, markup=False)
    for dim in ("area", "grid_area"):
        if f"{dim}_within" in totals.coords:
            for area, share in zip(totals[dim].values, totals[f"{dim}_within"].values, strict=True):
                if share < WHOLE:
                    console.print(f"{area}: {100 * share:.0f} % of the area lies on the grid", highlight=False)
    unknown = [name for name, kind in kinds_of(totals) if UNCERTAINTY in totals[f"{name}_{kind}"].attrs]
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        console.print(f"{names}: the uncertainty is {NOT_KNOWN}", highlight=False, soft_wrap=True, markup=False)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:,.5g}" if abs(value) < 1e6 else f"{value:.4e}"
