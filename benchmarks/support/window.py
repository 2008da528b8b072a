"""A full window of data for the shipped bundle."""

from __future__ import annotations

import numpy as np

from hydrofill.cube import DIMS, Sites, Variable, WaterCube
from hydrofill.layout import Layout

MISSING = 0.5


def full_window(layout: Layout, columns: int | None = None) -> WaterCube:
    """Return a window of the model's size, or `columns` wide, with half of every variable missing."""
    rng, place, window = np.random.default_rng(0), layout.place, layout.window
    time = np.datetime64("2012-08-01", "ns") + np.arange(window.steps) * np.timedelta64(round(place.step_s), "s")
    y = place.y_origin + place.y_spacing * np.arange(window.rows)
    x = place.x_origin + place.x_spacing * np.arange(columns or window.columns)
    sites = Sites(np.array(["a", "b", "c"]), y[[0, -1, -1]], x[[0, 0, -1]])
    sizes = {"time": len(time), "y": len(y), "x": len(x), "site": len(sites)}
    variables = {}
    for spec in (*layout.variables, *layout.static):
        values = rng.gamma(2, 2, [sizes[dim] for dim in DIMS[spec.kind]]).astype(np.float32)
        if "time" in DIMS[spec.kind]:
            values[rng.random(values.shape) < MISSING] = np.nan
        variables[spec.name] = Variable(spec.name, spec.kind, values, spec.units)
    domain = {v.name: np.ones((len(y), len(x)), bool) for v in layout.variables if v.kind == "grid"}
    return WaterCube(time, y, x, sites, variables, domain)
