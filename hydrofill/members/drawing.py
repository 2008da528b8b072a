"""Draw members of a fill: attach its errors to the fill of a cube, and draw pairs of members of a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.general.self_check import seed_of
from hydrofill.members.fields import PAIR
from hydrofill.reconstruct import FILLED, FilledVariable

if TYPE_CHECKING:
    from hydrofill.inference.model import Outcome

MEMBER = "member"  # the dimension of members


def with_errors(outcome: Outcome, cube: WaterCube) -> Outcome:
    """Return the outcome of a run over a cube with the errors of each fill; without any gap there are none."""
    prepared = outcome.prepared
    if prepared is None:
        return outcome
    filled = {}
    for name, fill in outcome.filled.items():
        seen = np.asarray(cube.variables[name].valid.reshape(len(cube.time), -1).any(axis=1))
        errors = prepared.errors(name, seed_of(cube, name), seen, fill.mean.shape, cube.sites.ids)
        filled[name] = replace(fill, errors={((), None): errors})
    return replace(outcome, filled=filled)


def draw_pair(fill: FilledVariable, pair: int, start: Sequence[int]) -> np.ndarray:
    """Return the values of two members of a part of a variable, (2, ...) float32; NaN where nothing is filled.

    Args:
        fill: the fill of the part.
        pair: number of the pair of members.
        start: index in the variable of the first cell of the part, along each axis of the fill.
    """
    out = np.full((PAIR, *fill.mean.shape), np.nan, np.float32)
    for (at, site), errors in fill.errors.items():
        index: tuple[int, ...] = tuple(place - first for place, first in zip(at, start, strict=False))
        if any(not 0 <= place < n for place, n in zip(index, fill.mean.shape, strict=False)):
            continue
        filled = fill.flag[index] == FILLED
        drawn = errors.draw(pair, fill.mean[index], fill.std[index], filled, start[len(at) :], site)
        for member, of_one in zip(out, drawn, strict=True):
            member[index] = of_one
    return out
