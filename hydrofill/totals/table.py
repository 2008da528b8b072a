"""Totals as rows: for the terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

SPREAD = ("std", "q05", "q50", "q95")
SHARES = ("observed", "filled", "missing")
COLUMNS = ("variable", "area", "start", "end", "covered", "total", "value", *SPREAD, "units", *SHARES)


def rows_of(totals: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for each variable, kind of total, area and period; keys are COLUMNS, None for what is not known."""
    for name, kind in kinds_of(totals):
        value = totals[f"{name}_{kind}"]
        beside = {key: totals.get(f"{name}_{kind}_{key}") for key in SPREAD}
        shares = {key: totals[f"{name}_{key}"] for key in SHARES}
        for area, place in enumerate(value[value.dims[0]].values):
            for period in range(value.sizes["period"]):
                at = {value.dims[0]: area, "period": period}
                known = {key: _number(array, at) for key, array in (beside | shares).items()}
                yield {
                    "variable": name,
                    "area": str(place),
                    **_dates(totals, period),
                    "total": kind,
                    "value": _number(value, at),
                    "units": value.attrs["units"],
                    **known,
                }


def kinds_of(totals: xr.Dataset) -> list[tuple[str, str]]:
    """Return the variables and the kinds of their totals: "sum", "volume" or "mean"."""
    split = (str(name).rpartition("_") for name in totals.data_vars)
    return [(stem, kind) for stem, _, kind in split if kind in ("sum", "mean", "volume")]


def csv_of(totals: xr.Dataset) -> str:
    """Return the rows as CSV; empty for what is not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(totals))
    return text.getvalue()


def json_of(totals: xr.Dataset) -> str:
    """Return the rows as JSON; null for what is not known."""
    notes = {name: totals[f"{name}_{kind}"].attrs.get("hydrofill_total", "") for name, kind in kinds_of(totals)}
    return json.dumps({"title": totals.attrs["title"], "notes": notes, "rows": list(rows_of(totals))}, indent=1) + "\n"


def _number(array: xr.DataArray | None, at: dict[Any, int]) -> float | None:
    number = math.nan if array is None else float(array.isel(at))
    return None if math.isnan(number) else float(f"{number:.7g}")


def _dates(totals: xr.Dataset, period: int) -> dict[str, Any]:
    if "period" not in totals.coords:
        return {"start": None, "end": None, "covered": None}
    start, end = (date_text(totals[name].values[period]) for name in ("period", "period_end"))
    return {"start": start, "end": end, "covered": round(float(totals["covered"][period]), 4)}


def date_text(date: Any) -> str:
    """Return a date, without the time of day if that is midnight."""
    text = str(np.datetime_as_string(date, unit="s")) if isinstance(date, np.datetime64) else str(date.isoformat())
    return text.removesuffix("T00:00:00")
