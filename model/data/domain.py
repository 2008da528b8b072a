"""The domain of a variable, from counts of observations: land or sea that is never seen, or a long gap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, label

MAX_RIM_SHARE = 1 / 3  # of the median count: a rim observed less often surrounds a gap, and no coast
MAX_GAP_REGION_SHARE = 0.05  # of the cells observed: a larger region is land, however cloudy its coast
SHORT_RECORD_COUNT = 10  # median count: in a longer record a cell that nothing hides is observed at some time

Counts = npt.NDArray[np.int64]
Inside = npt.NDArray[np.bool_]


def domain_from_counts(counts: Counts) -> Inside:
    """Return (H, W) where a variable lives, from how many times each cell is observed.

    It lives in every cell observed, and in regions that are never observed by chance. A region never observed is a gap
    where it is small and the cells around it are observed seldom, as towards the middle of a cloud; a coast is observed
    as often as the open sea. In a short record the smallest regions are gaps as well: as many cells as are to be
    expected from the numbers observed once and twice.
    Source: Chao 1984 (Scand. J. Statist. 11:265, unseen classes).
    """
    observed = counts > 0
    regions, number = label(~observed)
    if number == 0 or not observed.any():
        return observed
    usual = float(np.median(counts[observed]))
    sizes = np.bincount(regions.ravel(), minlength=number + 1)
    left = _expected_unobserved(counts) if usual <= SHORT_RECORD_COUNT else 0.0
    inside = observed.copy()
    places = find_objects(regions)
    for region in np.argsort(sizes[1:], kind="stable") + 1:
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in places[region - 1])
        own = regions[around] == region
        left -= sizes[region]
        is_small = sizes[region] <= MAX_GAP_REGION_SHARE * observed.sum()
        if left >= 0 or (is_small and _has_faint_rim(counts[around], own, usual)):
            inside[around] |= own
    return inside


def _expected_unobserved(counts: Counts) -> float:
    """Return how many cells to expect among those never observed, from how many are observed once and twice."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once**2 / (2 * twice) if twice else once * (once - 1) / 2


def _has_faint_rim(counts: Counts, region: Inside, usual: float) -> bool:
    """Return whether the cells around the region are observed much less often than `usual`."""
    rim = binary_dilation(region) & ~region
    return bool(np.median(counts[rim]) <= MAX_RIM_SHARE * usual)
