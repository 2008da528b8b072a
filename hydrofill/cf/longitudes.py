"""Longitudes on a circle: an axis that is cut at Greenwich or at the date line continues beyond the cut.

Only what is computed with changes; datasets keep their coordinates as they came.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

CIRCLE = 360.0  # degrees
MAX_DEGREES = 720.0  # beyond this, a coordinate that is called longitude holds something else, such as metres
STANDARD_NAMES = frozenset({"longitude", "grid_longitude"})
EAST = re.compile(r"^degrees?_?(east|e)$", re.IGNORECASE)
NAMES = re.compile(r"^((.*_)?r?lon(gitude)?|(.*_)?nav_lon)$", re.IGNORECASE)
DEGREES = re.compile(r"^(degrees?)?$", re.IGNORECASE)


def are_longitudes(variable: xr.Variable, name: str) -> bool:
    """Return whether a coordinate is of longitudes in degrees, by its attributes or else by its name."""
    if variable.dtype.kind not in "iuf" or not (np.abs(variable.values) <= MAX_DEGREES).all():
        return False
    units, standard = str(variable.attrs.get("units", "")), str(variable.attrs.get("standard_name", ""))
    if EAST.match(units):
        return True
    return DEGREES.match(units) is not None and (
        standard in STANDARD_NAMES or (not standard and NAMES.match(name) is not None)
    )


def unwrapped(axis: np.ndarray) -> np.ndarray:
    """Return longitudes (W,) of an axis so that they continue beyond a cut: 359, 0 becomes 359, 360."""
    return np.asarray(np.unwrap(axis, period=CIRCLE))


def turns_towards(longitudes: np.ndarray, centre: float) -> float:
    """Return the whole turns, in degrees, that bring the middle of longitudes nearest to `centre`."""
    middle = (float(longitudes.min()) + float(longitudes.max())) / 2 if len(longitudes) else centre
    return CIRCLE * float(np.round((centre - middle) / CIRCLE))


def near(sites: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the longitudes of sites (N,) within half a turn of the middle of an axis (W,)."""
    middle = (float(axis.min()) + float(axis.max())) / 2
    return np.asarray(sites + CIRCLE * np.round((middle - sites) / CIRCLE))


def side_by_side(sites: np.ndarray) -> np.ndarray:
    """Return the longitudes of sites (N,) cut where the widest arc without a site is, so that neighbours are near."""
    ordered = np.sort(sites)
    if len(sites) < 2 or ordered[-1] - ordered[0] >= CIRCLE:
        return sites
    apart = np.diff(ordered)
    widest = int(np.argmax(apart))
    is_cut = apart[widest] > ordered[0] + CIRCLE - ordered[-1]
    return np.where(sites <= ordered[widest], sites + CIRCLE, sites) if is_cut else sites
