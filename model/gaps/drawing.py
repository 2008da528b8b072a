"""Gaps as training draws them: of every kind, the data's own among them, in whole records or in one array."""

from __future__ import annotations

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.gaps.masks import (
    clouds,
    gauge_outages,
    has_gaps,
    in_runs,
    moved_gaps,
    random_patches,
    squares,
    swaths,
    whole_frames,
)
from hydrofill.layout import Layout
from model.config import MaskingConfig

MEAN_RUN = 12.0  # steps: runs that keep their values, get moved gaps, or get gaps of a drawn kind
MIN_RUNS = 6  # of a record, about: a short record has shorter runs
DRAWN_KINDS = 3  # kinds of gaps, each with its ratio, that the runs of a record get in turn
MAX_FRAME_SHARE = 0.5  # share of whole frames hidden at most: with more, too little is left to fill from
MAX_TRIES = 100  # to hide something that has a value


def draw_gaps(
    rng: np.random.Generator, record: WaterCube, layout: Layout, config: MaskingConfig
) -> dict[str, np.ndarray]:
    """Draw what to hide in every variable, bool of its shape, again and again until an observed value is hidden."""
    dynamic = record.of_kind("grid", "series")
    hidden: dict[str, np.ndarray] = {}
    for _ in range(MAX_TRIES):
        shift = int(rng.integers(1, max(len(record.time), 2)))  # one for all: what goes missing together stays together
        hidden = {n: gaps_of_record(rng, v.valid, layout, config, shift) for n, v in dynamic.items()}
        if any((h & dynamic[n].valid).any() for n, h in hidden.items()):
            break
    return hidden


def gaps_of_record(
    rng: np.random.Generator, valid: np.ndarray, layout: Layout, config: MaskingConfig, shift: int
) -> np.ndarray:
    """Draw gaps, bool of the shape of `valid`, in runs of steps.

    A run keeps what it has, gets the data's own gaps from `shift` steps away, or gaps of a drawn kind.
    """
    own = config.own_gaps if has_gaps(valid) else 0.0
    touched = 1 - config.untouched
    shares = (config.untouched, touched * own, *[touched * (1 - own) / DRAWN_KINDS] * (DRAWN_KINDS - 1))
    run = max(1.0, min(MEAN_RUN, len(valid) / MIN_RUNS))
    which = in_runs(rng, len(valid), shares, run).reshape(-1, *[1] * (valid.ndim - 1))
    hidden = (which == 1) & moved_gaps(valid, shift)
    for number in range(DRAWN_KINDS):
        kind, ratio = str(rng.choice(config.kinds)), float(rng.uniform(*config.mask_ratio))
        hidden |= (which == number + 2) & gaps_of_kind(rng, kind, valid.shape, ratio, layout, config)
    return hidden


def gaps_of_kind(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], ratio: float, layout: Layout, config: MaskingConfig
) -> np.ndarray:
    """Draw gaps of one kind, bool of `shape`, True where hidden; series (T, N) have outages whatever the kind."""
    if len(shape) == 2:
        return gauge_outages(rng, shape, ratio, config.outage_run)
    grid = (shape[0], shape[1], shape[2])
    if kind == "patches":
        return random_patches(rng, grid, ratio, (layout.patch.rows, layout.patch.columns))
    if kind == "clouds":
        return clouds(rng, grid, ratio)
    if kind == "swaths":
        return swaths(rng, grid, ratio)
    if kind == "squares":
        return squares(rng, grid, ratio)
    frames = whole_frames(rng, grid[0], min(ratio, MAX_FRAME_SHARE), config.mean_run)
    return np.broadcast_to(frames[:, None, None], grid)
