"""How large a window may be for a batch to pay, measured at warm-up on windows of growing size."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np

from app.engine.batches import PAYS, SIZES, Window, run_alone, window_of
from app.engine.model import Model, example_cube
from export.contract.cube import WaterCube
from export.contract.fill import reconstruct
from export.contract.tokens import Queries, Tokens

logger = logging.getLogger(__name__)

TOP = 256  # tokens or queries of a window; above, one window fills the cores

SLOW_S = 0.03  # a window that takes longer fills the cores, whatever its size


def climb(model: Model) -> int:
    """The most tokens, and queries, of a window for which a batch pays; 0 where none does or every one changes bits."""
    limit, agreed = 0, False
    for cube in _rungs(example_cube(model.layout)):
        windows = _equal_windows(cube, model)
        size = max(len(windows[0].tokens.variable), len(windows[0].queries.variable)) if windows else 0
        if not windows or size <= limit:
            continue
        if size > TOP or _alone_s(model, windows[0]) > SLOW_S:
            break
        same, share = model.batches.trial(windows)
        logger.debug("%s: %s tokens: a batch takes %.2f, same bits: %s", model.manifest.name, size, share, same)
        if share > PAYS:
            break
        limit, agreed = size, agreed or same
    return limit if agreed else 0


def _alone_s(model: Model, window: Window) -> float:
    started = time.perf_counter()
    run_alone(model.graphs, window)
    return time.perf_counter() - started


def _rungs(cube: WaterCube) -> Iterator[WaterCube]:
    """Corners of `cube` that double in one axis after another."""
    whole, sizes = cube.shape, [1, 2, 2]
    while True:
        time, rows, columns = (slice(0, min(size, n)) for size, n in zip(sizes, whole, strict=True))
        yield cube.window(time, rows, columns)
        if all(size >= n for size, n in zip(sizes, whole, strict=True)):
            return
        axis = min((a for a in range(3) if sizes[a] < whole[a]), key=lambda a: sizes[a] / whole[a])
        sizes[axis] *= 2


def _equal_windows(cube: WaterCube, model: Model) -> list[Window]:
    """As many windows as the largest batch has, alike in what they show and ask, with other values; maybe none."""
    windows: list[Window] = []

    def keep(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        windows.append(window_of(tokens, queries, model.graphs))
        return np.zeros(queries.asked.shape, np.float32), np.zeros(queries.asked.shape, np.float32)

    rng = np.random.default_rng(2)
    for _ in range(max(SIZES)):
        changing = cube.of_kind("grid", "series")
        if not any(variable.valid.any() for variable in changing.values()):
            return []
        factor = np.float32(rng.uniform(0.5, 1.0))
        reconstruct(cube.with_values({n: v.values * factor for n, v in changing.items()}), model.layout, keep)
    return windows
