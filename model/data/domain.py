"""Cells that a record never sees: land under a sea's variable, or sea that clouds have hidden at every step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, label

FADED = 1 / 3  # of the usual number of times seen: a rim seen less often surrounds what chance has hidden
MAX_LAND_SHARE = 0.05  # share of the cells seen: a larger region is land, however cloudy its coast
FEW_TIMES = 10  # seen by the median cell; in a longer record a cell that nothing hides is seen at some time

Counts = npt.NDArray[np.int64]
Inside = npt.NDArray[np.bool_]


def lived_in(times_seen: Counts) -> Inside:
    """(H, W) where a variable lives, from how many times each cell is seen: there, and in regions missed by chance.

    A region never seen is a gap where it is small and the cells around it are seen seldom, as towards the middle of
    a cloud; a coast is seen as often as the open sea. In a short record the smallest regions are gaps as well, as many
    cells as those seen once and twice let expect. Source: Chao 1984 (Scand. J. Statist. 11:265, unseen classes).
    """
    seen = times_seen > 0
    regions, number = label(~seen)
    if number == 0 or not seen.any():
        return seen
    usual = float(np.median(times_seen[seen]))
    sizes = np.bincount(regions.ravel(), minlength=number + 1)
    left = _missed_by_chance(times_seen) if usual <= FEW_TIMES else 0.0
    inside = seen.copy()
    places = find_objects(regions)
    for region in np.argsort(sizes[1:], kind="stable") + 1:
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in places[region - 1])
        own = regions[around] == region
        left -= sizes[region]
        if left >= 0 or (sizes[region] <= MAX_LAND_SHARE * seen.sum() and _fades(times_seen[around], own, usual)):
            inside[around] |= own
    return inside


def _missed_by_chance(times_seen: Counts) -> float:
    """How many cells to expect among those never seen, from how many are seen once and twice."""
    once, twice = int((times_seen == 1).sum()), int((times_seen == 2).sum())
    return once**2 / (2 * twice) if twice else once * (once - 1) / 2


def _fades(times_seen: Counts, region: Inside, usual: float) -> bool:
    rim = binary_dilation(region) & ~region
    return bool(np.median(times_seen[rim]) <= FADED * usual)
