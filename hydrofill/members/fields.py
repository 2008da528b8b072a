"""Fields of standard normal scores with a covariance in space and time, of which any part can be drawn alone.

Fields of a grid are drawn on a torus (circulant embedding, Dietrich and Newsam 1997). Their memory in time comes from
noise that is drawn every few steps, from a random phase on, and interpolated in between. The noise is seeded by what it
is for, so that a part of a record has the same bits whatever else is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hydrofill.members.covariance import Covariance, fast_length, in_space

PAIR = 2  # members that are drawn together, as the real and the imaginary part of one field
MAX_SIDE = 512  # cells: longer grids are drawn on overlapping tiles of this side
REACH = 3.0  # by how many lengths of its covariance a torus is longer than the grid, where the grid is as long

Fields = npt.NDArray[np.float32]
Noise = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Tile:
    """A part of an axis that is drawn by itself. number: of the tile. start: index. weight: of each of its cells."""

    number: int
    start: int
    weight: npt.NDArray[np.float32]

    def meeting(self, part: slice) -> tuple[slice, slice, npt.NDArray[np.float32]]:
        """Return where the tile lies in a part of the axis, the cells in the tile, and their weights."""
        low, high = max(self.start, part.start), min(self.start + len(self.weight), part.stop)
        own = slice(low - self.start, high - self.start)
        return slice(low - part.start, high - part.start), own, self.weight[own]


def tiles_of(length: int, part: slice) -> Iterator[Tile]:
    """Yield the tiles of an axis that meet a part; the squares of their weights add up to one everywhere."""
    if length <= MAX_SIDE:
        yield Tile(0, 0, np.ones(length, np.float32))
        return
    half = MAX_SIDE // 2
    weight = np.sin(np.pi * (np.arange(MAX_SIDE) + 0.5) / MAX_SIDE).astype(np.float32)
    for number in range(part.start // half, (part.stop - 1) // half + 2):
        yield Tile(number, (number - 1) * half, weight)


@dataclass(frozen=True, eq=False)
class GridFields:
    """Fields of a grid of this shape (rows, columns).

    seed: of the noise. covariances: each step has one of them; the noise is common to all.
    """

    seed: int
    shape: tuple[int, int]
    covariances: Sequence[Covariance]

    def draw(self, pair: int, kinds: npt.NDArray[np.int64], time: slice, y: slice, x: slice) -> Fields:
        """Return the fields of a pair of members in a part of the record, (2, steps, rows, columns).

        Args:
            pair: number of the pair.
            kinds: number of the covariance of each step of the part.
            time: steps of the part.
            y: rows of the part.
            x: columns of the part.
        """
        out = np.zeros((PAIR, time.stop - time.start, y.stop - y.start, x.stop - x.start), np.float32)
        for tile_y in tiles_of(self.shape[0], y):
            rows, own_rows, weight_y = tile_y.meeting(y)
            for tile_x in tiles_of(self.shape[1], x):
                columns, own_columns, weight_x = tile_x.meeting(x)
                weight = np.outer(weight_y, weight_x)
                noise = Interpolated(self.seed, (pair, tile_y.number, tile_x.number), self._noise)
                for number, kind in enumerate(kinds):
                    frame = self._frame(noise, time.start + number, int(kind))[own_rows, own_columns]
                    out[0, number, rows, columns] += weight * frame.real
                    out[1, number, rows, columns] += weight * frame.imag
        return out

    @cached_property
    def torus(self) -> tuple[int, int]:
        """Rows and columns of the torus on which fields are drawn."""
        longest = max(length for covariance in self.covariances for length, _ in covariance.weights)
        return tuple(  # type: ignore[return-value]
            MAX_SIDE if n > MAX_SIDE else int(fast_length(n + min(n - 1, round(REACH * longest)))) for n in self.shape
        )

    @cached_property
    def _roots(self) -> list[dict[int, Fields]]:
        """By covariance and scale, the square roots of the variances of the waves on the torus."""
        apart = (np.minimum(np.arange(n), n - np.arange(n)) for n in self.torus)
        distance = np.hypot(*np.meshgrid(*apart, indexing="ij"))
        found: list[dict[int, Fields]] = []
        for covariance in self.covariances:
            of_scale = {}
            for scale in covariance.scales:
                weights = covariance.in_space(scale)
                first_row = np.sum([weight * in_space(distance, length) for length, weight in weights.items()], axis=0)
                waves = np.maximum(np.fft.fft2(first_row).real, 0.0)
                waves *= sum(weights.values()) / waves.mean()  # cut off below zero, the variance would be too large
                of_scale[scale] = np.sqrt(waves / waves.size).astype(np.float32)
            found.append(of_scale)
        return found

    def _noise(self, rng: np.random.Generator) -> Noise:
        rows, columns = self.torus
        return rng.standard_normal((rows, 2 * columns), np.float32).view(np.complex64)

    def _frame(self, noise: Interpolated, step: int, kind: int) -> Noise:
        waves = sum(root * noise.at(step, scale) for scale, root in self._roots[kind].items())
        return np.asarray(np.fft.fft2(waves))


@dataclass(frozen=True, eq=False)
class SeriesFields:
    """Fields of sites.

    seed: of the noise. root: (N, N), the product with its transpose is the covariance of sites. covariance: in time.
    """

    seed: int
    root: npt.NDArray[np.float64]
    covariance: Covariance

    def draw(self, pair: int, time: slice) -> Fields:
        """Return the fields of a pair of members at these steps, (2, steps, N)."""
        noise = Interpolated(self.seed, (pair,), lambda rng: rng.standard_normal((PAIR, len(self.root)), np.float32))
        sizes = {
            scale: np.float32(sum(self.covariance.in_space(scale).values()) ** 0.5) for scale in self.covariance.scales
        }
        steps = range(time.start, time.stop)
        drawn = np.stack([sum(size * noise.at(step, scale) for scale, size in sizes.items()) for step in steps], axis=1)
        return np.asarray(np.einsum("mtn,kn->mtk", drawn, self.root), np.float32)


class Interpolated:
    """Noise in steps of time, drawn every `scale` steps and interpolated; what was drawn last is kept."""

    def __init__(self, seed: int, place: tuple[int, ...], draw: Callable[[np.random.Generator], np.ndarray]) -> None:
        self._seed, self._place, self._draw = seed, place, draw
        self._kept: dict[int, dict[int, np.ndarray]] = {}
        self._phases: dict[int, float] = {}

    def at(self, step: int, scale: int) -> np.ndarray:
        """Return the noise of a step at a scale, of variance one."""
        if scale == 1:
            return self._drawn(1, step, keep=())
        if scale not in self._phases:
            self._phases[scale] = float(np.random.default_rng((self._seed, self._place[0], scale)).uniform(0, scale))
        place = (step + self._phases[scale]) / scale
        first, share = int(place), place - int(place)
        size = float(np.hypot(1 - share, share))
        before, after = (self._drawn(scale, knot, keep=(first, first + 1)) for knot in (first, first + 1))
        return np.asarray(np.float32((1 - share) / size) * before + np.float32(share / size) * after)

    def _drawn(self, scale: int, knot: int, keep: tuple[int, ...]) -> np.ndarray:
        kept = self._kept.setdefault(scale, {})
        for other in [other for other in kept if other not in keep]:
            del kept[other]
        if knot in kept:
            return kept[knot]
        made = self._draw(np.random.default_rng((self._seed, *self._place, scale, knot)))
        if keep:
            kept[knot] = made
        return made
