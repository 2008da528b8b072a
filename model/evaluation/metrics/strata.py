"""Classes of gaps, by length and by distance from the nearest observation, and scores by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hydrofill.guesses.interpolation import distance_in_space, gap_lengths, neighbours_in_time
from model.evaluation.metrics.measures import Scores, scores

Floats = npt.NDArray[np.floating[Any]]
Cells = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

LENGTHS = (1, 3, 7, 15)  # steps: upper ends of all classes but the last
DISTANCES = (1.0, 2.0, 4.0, 8.0)  # cells (grids) or steps (series): upper ends, likewise


def distance_to_seen(seen: Cells) -> npt.NDArray[np.float32]:
    """Return cells to the nearest observed cell of the frame (T, H, W), or steps to the nearest of the site (T, N).

    Infinite where frame or site has none.
    """
    if seen.ndim == 3:
        return distance_in_space(seen)
    values = np.where(seen, np.float32(0), np.float32(np.nan))
    _, _, before, after = neighbours_in_time(values, seen)
    return np.where(seen, np.float32(0), np.minimum(before, after))


def length_classes(missing: Cells) -> dict[str, Cells]:
    """Return by name the missing values in gaps of 1, 2 to 3, 4 to 7, 8 to 15 and more steps."""
    lengths = gap_lengths(missing)
    starts = (1, *(end + 1 for end in LENGTHS))
    names = ("1", *(f"{a}-{b}" for a, b in zip(starts[1:], LENGTHS[1:], strict=False)), f">{LENGTHS[-1]}")
    which = np.searchsorted(LENGTHS, lengths)
    return {name: missing & (which == number) for number, name in enumerate(names)}


def distance_strata(seen: Cells) -> dict[str, Cells]:
    """Return by name the missing values by distance to an observed one; `none` where frame or site has none."""
    distance = distance_to_seen(seen)
    names = (*(f"<={end:g}" for end in DISTANCES), f">{DISTANCES[-1]:g}")
    which = np.where(np.isinf(distance), len(names), np.searchsorted(DISTANCES, distance))
    return {name: ~seen & (which == number) for number, name in enumerate((*names, "none"))}


def scores_by_class(
    truth: Floats, filled: Floats, std: Floats | None, cells: Cells, classes: Mapping[str, Cells]
) -> dict[str, Scores]:
    """Score the `cells` of each class that has any; all arrays have one shape."""
    made = {}
    for name, members in classes.items():
        at = cells & members
        if at.any():
            made[name] = scores(truth[at], filled[at], None if std is None else std[at])
    return made
