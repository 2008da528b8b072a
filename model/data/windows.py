"""Training examples drawn from a gappy cube: a window, what is hidden in it, and the truth there.

Only cells that are both observed and hidden are scored; a cell missing in the data is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.contract.cube import WaterCube
from export.contract.layout import Layout
from export.contract.tokens import Queries, Tokens, cut_patches, join_patches, stack_queries, stack_tokens, tokenise
from model.config import MaskingConfig
from model.data.reading import LazyCube
from model.masking import clouds, gauge_outages, random_patches, squares, swaths, whole_frames

POOL = 8  # batches drawn together and sorted by length: padding falls from about half to a tenth


@dataclass(frozen=True)
class Example:
    """One window: its visible tokens, its queries, and `target` (Q, P), NaN where nothing is scored."""

    tokens: Tokens
    queries: Queries
    target: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Examples padded to one length: (B, L, ...), (B, Q, ...) and target (B, Q, P)."""

    tokens: Tokens
    queries: Queries
    target: np.ndarray


def hide(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], ratio: float, layout: Layout, config: MaskingConfig
) -> np.ndarray:
    """Bool of `shape`, True where a gap of this kind hides; (T, N) knows only outages."""
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
    frames = whole_frames(rng, grid[0], ratio, config.mean_run)
    return np.broadcast_to(frames[:, None, None], grid)


class WindowSampler:
    """Draws batches from the windows of a cube that hold something to hide and something to see.

    A batch depends on the seed and its number alone, so that a training continues where it stopped. Processes
    that share every batch each draw the part of their `rank`, of like length as the others' parts.
    """

    def __init__(
        self,
        cube: WaterCube | LazyCube,
        layout: Layout,
        config: MaskingConfig,
        batch_size: int,
        seed: int,
        rank: int = 0,
    ) -> None:
        self.cube, self.layout, self.config = cube, layout, config
        self.batch_size, self.seed, self.rank = batch_size, seed, rank
        self._pool: tuple[int, list[list[Example]]] = (-1, [])

    def batch(self, number: int) -> Batch:
        """The batch of that number: examples of like length, as padding is work for nothing."""
        pool, place = divmod(number, POOL)
        if self._pool[0] != pool:
            self._pool = pool, self._draw_pool(pool)
        return stack_examples(self._pool[1][place])

    def _draw_pool(self, pool: int) -> list[list[Example]]:
        rng = np.random.default_rng((self.seed, pool, self.rank))
        examples = [self.example(rng) for _ in range(POOL * self.batch_size)]
        examples.sort(key=lambda e: len(e.tokens.variable))
        batches = [examples[i : i + self.batch_size] for i in range(0, len(examples), self.batch_size)]
        return [batches[i] for i in np.random.default_rng((self.seed, pool)).permutation(POOL)]  # one for all ranks

    def example(self, rng: np.random.Generator) -> Example:
        """One window with gaps of a drawn kind and ratio in every variable."""
        while True:  # a window may have lost everything to real gaps; another is drawn
            window = self._window(rng)
            example = self._example(window, self._hidden(rng, window), rng)
            if example is not None:
                return example

    def _window(self, rng: np.random.Generator) -> WaterCube:
        size = (self.layout.window.steps, self.layout.window.rows, self.layout.window.columns)
        starts = [int(rng.integers(0, max(n - s, 0) + 1)) for n, s in zip(self.cube.shape, size, strict=True)]
        time, y, x = (slice(a, a + s) for a, s in zip(starts, size, strict=True))
        return self.cube.window(time, y, x)

    def _hidden(self, rng: np.random.Generator, window: WaterCube) -> dict[str, np.ndarray]:
        dynamic = window.of_kind("grid", "series")
        absent = [n for n in dynamic if rng.random() < self.config.variable_absent]
        if len(absent) == len(dynamic):
            absent = []
        hidden = {}
        for name, variable in dynamic.items():
            if name in absent:
                hidden[name] = np.ones(variable.values.shape, bool)
                continue
            kind = str(rng.choice(self.config.kinds))
            ratio = float(rng.uniform(*self.config.mask_ratio))
            hidden[name] = hide(rng, kind, variable.values.shape, ratio, self.layout, self.config)
        return hidden

    def _example(self, window: WaterCube, hidden: Mapping[str, np.ndarray], rng: np.random.Generator) -> Example | None:
        truth = {n: window.variables[n] for n in hidden}
        scored = {n: hidden[n] & v.valid for n, v in truth.items()}
        if self.config.kept_mask_ratio < 1:
            scored = {n: s & self._kept(rng, n, s.shape) for n, s in scored.items()}
        visible = {n: ~hidden[n] for n in hidden}
        if not any(s.any() for s in scored.values()) or not any((visible[n] & v.valid).any() for n, v in truth.items()):
            return None
        tokenised = tokenise(window, self.layout, visible=visible, asked=scored)
        target = tokenised.cut({n: np.where(scored[n], v.values, np.float32(np.nan)) for n, v in truth.items()})
        return Example(tokenised.tokens, tokenised.queries, target)

    def _kept(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Bool of `shape`: the share of patches that partial decoding predicts."""
        spec = self.layout.spec(name)
        cells = cut_patches(np.ones(shape, bool), spec, self.layout, False)
        kept = rng.random(len(cells)) < self.config.kept_mask_ratio
        return join_patches(cells & kept[:, None], spec, shape, self.layout)


def stack_examples(examples: list[Example]) -> Batch:
    """Examples as one padded batch; padding is never scored."""
    queries = stack_queries([e.queries for e in examples])
    target = np.full(queries.asked.shape, np.nan, np.float32)
    for row, example in enumerate(examples):
        target[row, : len(example.target)] = example.target
    return Batch(stack_tokens([e.tokens for e in examples]), queries, target)


def held_out_steps(n_time: int, share: float, block: int, rng: np.random.Generator) -> np.ndarray:
    """(T,) bool: blocks of up to `block` steps kept from training, about `share` of all, for honest scores."""
    held, wanted = np.zeros(n_time, bool), round(share * n_time)
    if wanted == 0:
        return held
    block = min(block, wanted)
    number = round(wanted / block)
    for part in np.array_split(np.arange(n_time), number):
        start = int(rng.integers(part[0], max(part[-1] - block + 1, part[0]) + 1))
        held[start : start + block] = True
    return held


def without_steps(cube: WaterCube, steps: np.ndarray) -> WaterCube:
    """The cube with everything at these (T,) steps missing; it keeps its domain."""
    emptied = {}
    for name, variable in cube.of_kind("grid", "series").items():
        values = variable.values.copy()
        values[steps] = np.nan
        emptied[name] = values
    domain = {n: cube.inside(n) for n in cube.of_kind("grid")}
    return WaterCube(cube.time, cube.y, cube.x, cube.sites, cube.with_values(emptied).variables, domain)
