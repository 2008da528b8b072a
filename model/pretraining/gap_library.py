"""Gaps that a user's file may have: real masks of clouds and swaths, and drawn gaps of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import ndimage

from hydrofill.cube import WaterCube
from hydrofill.gaps.masks import gauge_outages, highest, in_runs, swaths, whole_frames
from model.pretraining.gaussian_fields import Covariance, draw_wind, gaussian_field, log_uniform

Shape = tuple[int, int, int]
GapKind = Literal[
    "clouds", "squares", "swaths", "frames", "outages", "cells", "region", "blocks", "library", "variable"
]

KINDS: tuple[GapKind, ...] = (
    "clouds", "squares", "swaths", "frames", "outages", "cells", "region", "blocks", "library", "variable",
)  # fmt: skip
CODES: Mapping[GapKind, int] = {kind: code for code, kind in enumerate(KINDS, start=1)}  # 0 is not hidden
SERIES_KINDS: tuple[GapKind, ...] = ("outages", "outages", "cells", "blocks")
MIN_SHARE, MAX_SHARE = 0.02, 0.85  # of the values that a variable has
MAX_LOSS = 0.9  # share of one variable's values that may be hidden by chance
MIN_LEFT = 4  # values that every variable keeps
MAX_TRIES = 20
MAX_FRAME_SHARE = 0.6  # of whole frames
MAX_BLOCKS = 30
MIN_STEPS = 6  # of a record, from which kinds alternate in time
COMPLETE_SHARE = 0.2  # chance that one of several variables has no gaps
SHARED_SHARE = 0.4  # chance that a variable has the gaps of the one before
WHOLE_VARIABLE_SHARE = 0.15  # chance that one of several variables lacks a long run


class MaskLibrary:
    """The masks of a file such as masks.nc: variables (step, y, x) of 1 where a cell is missing.

    Args:
        path: the NetCDF file.

    Raises:
        FileNotFoundError: the file does not exist. ValueError: the file has no mask.
    """

    def __init__(self, path: Path | str) -> None:
        with xr.open_dataset(Path(path), engine="h5netcdf") as file:
            self.masks = {str(n): v.values == 1 for n, v in file.data_vars.items() if v.ndim == 3}
        if not self.masks:
            raise ValueError(f"{path} has no mask with three dimensions")

    def draw(self, rng: np.random.Generator, shape: Shape, ratio_hint: float) -> np.ndarray:
        """Draw a mask of any shape (T, H, W), True where a cell is hidden.

        One mask is resized by nearest cells, flipped, turned, shifted, and repeated in time and space as needed. Of
        several such draws the one is returned whose share of hidden cells is nearest to `ratio_hint`.
        """
        names = list(self.masks)
        drawn = [self._draw(rng, self.masks[names[rng.integers(len(names))]], shape) for _ in range(4)]
        return min(drawn, key=lambda hidden: abs(float(hidden.mean()) - ratio_hint))

    def _draw(self, rng: np.random.Generator, mask: np.ndarray, shape: Shape) -> np.ndarray:
        if rng.random() < 0.5:
            mask = mask.swapaxes(1, 2)
        mask = np.flip(mask, tuple(axis for axis in range(3) if rng.random() < 0.5))
        zoom = log_uniform(rng, 0.5, 2.0)  # cells of the mask that a cell of the grid is wide
        y, x = (
            np.floor(zoom * np.arange(n)).astype(int) + rng.integers(m)
            for n, m in zip(shape[1:], mask.shape[1:], strict=True)
        )
        time = np.arange(shape[0]) + rng.integers(len(mask))
        return mask[
            np.ix_(
                _there_and_back(time, len(mask)), _there_and_back(y, mask.shape[1]), _there_and_back(x, mask.shape[2])
            )
        ]


def _there_and_back(index: np.ndarray, length: int) -> np.ndarray:
    """Return indices below `length`: at an end they turn round, so that neighbours stay neighbours."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


class NaturalGaps(NamedTuple):
    """Gaps of a file, by variable: `hidden` (bool) and `codes` (int8, of CODES; 0 where not hidden).

    Both have the shape of the variable's values. Only values that are present are hidden.
    """

    hidden: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]


def draw_natural_gaps(rng: np.random.Generator, cube: WaterCube, library: MaskLibrary | None) -> NaturalGaps:
    """Draw what a user's file of this cube may lack: 2 to 85 % of all values that vary in time.

    Kinds of gaps alternate in runs of steps. A variable has gaps of its own, shares those of the one before, or is
    complete; at least one value is hidden, and every variable keeps at least MIN_LEFT of its values, or half of them.
    """
    for _ in range(MAX_TRIES):
        codes = _draw_codes(rng, cube, library)
        if _is_fair(cube, codes):
            break
    else:
        codes = {n: _half_of_cells(rng, v.valid) for n, v in cube.of_kind("grid", "series").items()}
    return NaturalGaps({n: code > 0 for n, code in codes.items()}, codes)


def _draw_codes(rng: np.random.Generator, cube: WaterCube, library: MaskLibrary | None) -> dict[str, np.ndarray]:
    """Draw the codes of all variables; 0 where a value is missing already."""
    dynamic = cube.of_kind("grid", "series")
    complete_share = COMPLETE_SHARE if len(dynamic) > 1 else 0.0
    before: dict[str, np.ndarray] = {}
    codes = {}
    for name, variable in dynamic.items():
        if variable.kind in before and rng.random() < SHARED_SHARE:
            drawn = before[variable.kind]
        elif rng.random() < complete_share:
            drawn = np.zeros(variable.values.shape, np.int8)
        else:
            drawn = before[variable.kind] = _mix(rng, variable.valid, library)
        if len(dynamic) > 1 and len(cube.time) >= MIN_STEPS and rng.random() < WHOLE_VARIABLE_SHARE:
            drawn = np.where(_long_run(rng, len(drawn)).reshape(-1, *[1] * (drawn.ndim - 1)), CODES["variable"], drawn)
        codes[name] = np.where(variable.valid, drawn, 0).astype(np.int8)
    return codes


def _is_fair(cube: WaterCube, codes: Mapping[str, np.ndarray]) -> bool:
    """Return whether the shares of hidden values, in all and by variable, are within their limits."""
    valid = {n: int(cube.variables[n].valid.sum()) for n in codes}
    hidden = {n: int((code > 0).sum()) for n, code in codes.items()}
    share = sum(hidden.values()) / max(1, sum(valid.values()))
    kept = all(valid[n] - hidden[n] >= min(max(MIN_LEFT, (1 - MAX_LOSS) * valid[n]), valid[n]) for n in codes)
    return kept and MIN_SHARE <= share <= MAX_SHARE


def _half_of_cells(rng: np.random.Generator, valid: np.ndarray) -> np.ndarray:
    """Hide half of the values that are present, at random places."""
    codes = np.zeros(valid.size, np.int8)
    places = np.flatnonzero(valid)
    codes[rng.choice(places, size=len(places) // 2, replace=False)] = CODES["cells"]
    return codes.reshape(valid.shape)


def _mix(rng: np.random.Generator, valid: np.ndarray, library: MaskLibrary | None) -> np.ndarray:
    """Draw gaps of 1 to 3 kinds, int8 codes of the shape of `valid`; kinds alternate in time or lie over each other."""
    kinds = _possible_kinds(valid.shape, library)
    chosen = [kinds[n] for n in rng.permutation(len(kinds))[: rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25])]]
    share = float(rng.uniform(0.05, MAX_SHARE) if rng.random() < 0.5 else log_uniform(rng, MIN_SHARE, 0.4))
    steps = len(valid)
    alternate = len(chosen) > 1 and steps >= MIN_STEPS and rng.random() < 0.6
    clear = float(rng.choice([0.0, rng.uniform(0.0, 0.6)])) if steps >= MIN_STEPS else 0.0
    number = np.zeros(steps, int)
    if alternate or clear:
        parts = len(chosen) if alternate else 1
        number = in_runs(rng, steps, (clear, *[(1.0 - clear) / parts] * (parts - 1)), _mean_run(rng, steps, 50.0)) - 1
    codes = np.zeros(valid.shape, np.int8)
    for at, kind in enumerate(chosen):
        own = share if alternate else share / len(chosen)
        drawn = gaps_of_kind(rng, kind, valid.shape, own, library)
        here = number == at if alternate else number >= 0
        new = drawn & here.reshape(-1, *[1] * (valid.ndim - 1)) & (codes == 0)
        codes[new] = CODES[kind]
    return codes


def _possible_kinds(shape: tuple[int, ...], library: MaskLibrary | None) -> list[GapKind]:
    """Return the kinds of gaps that an array of this shape can have without losing everything."""
    if len(shape) == 2:
        return [*SERIES_KINDS, "frames"] if shape[0] >= MIN_STEPS else list(SERIES_KINDS)
    kinds: list[GapKind] = ["clouds", "clouds", "squares", "swaths", "cells", "region", "blocks"]
    if shape[0] > 1:
        kinds += ["frames", "outages"]
    if library is not None:
        kinds.append("library")
    return kinds


def gaps_of_kind(
    rng: np.random.Generator, kind: GapKind, shape: tuple[int, ...], share: float, library: MaskLibrary | None = None
) -> np.ndarray:
    """Draw gaps of one kind, bool of `shape`, (T, H, W) or (T, N), about `share` of all values.

    Raises:
        ValueError: the kind is "library" and there is no library.
    """
    if kind == "frames":
        frames = whole_frames(rng, shape[0], min(share, MAX_FRAME_SHARE), _mean_run(rng, shape[0], 20.0))
        return np.broadcast_to(frames.reshape(-1, *[1] * (len(shape) - 1)), shape)
    if kind == "variable":
        return np.broadcast_to(_long_run(rng, shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)
    if kind == "outages":
        places = int(np.prod(shape[1:]))
        return gauge_outages(rng, (shape[0], places), share, _mean_run(rng, shape[0], 200.0)).reshape(shape)
    if kind == "cells":
        return np.asarray(rng.random(shape, dtype=np.float32) < share)
    if len(shape) == 2:
        return _blocks(rng, (shape[0], 1, shape[1]), share).reshape(shape)
    grid = (shape[0], shape[1], shape[2])
    if kind == "library":
        if library is None:
            raise ValueError("gaps of the kind library need a library")
        return library.draw(rng, grid, share)
    return GRID_GAPS[kind](rng, grid, share)


def _clouds(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    """Hide clouds of 1.5 cells to a third of the grid, that pass within a step or last for tens of steps."""
    covariance = Covariance(
        range_cells=log_uniform(rng, 1.0, max(shape[1:]) / 3.0 + 1.0),
        smoothness=float(rng.choice([0.5, 1.5, 2.5])),
        memory_steps=float(rng.choice([0.0, log_uniform(rng, 0.5, 30.0)], p=[0.3, 0.7])),
        wind=draw_wind(rng, 0.05, 3.0) if rng.random() < 0.5 else (0.0, 0.0),
    )
    return highest(gaussian_field(rng, shape, covariance), share)


def _squares(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    """Hide squares of one side, 2 to 12 cells, that lie in one frame or stay for several."""
    side = min(int(rng.integers(2, 13)), max(shape[1:]))
    held = min(shape[0], int(rng.choice([1, 1, 3, 10])))
    keys = rng.random((-(-shape[0] // held), *shape[1:]), dtype=np.float32)
    score = ndimage.maximum_filter(keys, size=(1, side, side), mode="constant")
    hidden = highest(score + 1e-6 * keys, share)
    return np.repeat(hidden, held, axis=0)[: shape[0]]


def _swaths(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    """Hide what lies between the passes of a satellite; bands lie 1 to 4 longer sides of the grid apart."""
    wider = log_uniform(rng, 1.0, 4.0)
    rows, columns = (int(np.ceil(n * wider)) for n in shape[1:])
    return swaths(rng, (shape[0], rows, columns), share)[:, : shape[1], : shape[2]]


def _region(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    """Hide one large region in a long run of steps, or in all steps."""
    covariance = Covariance(range_cells=float(max(shape[1:])), smoothness=2.5)
    part = 1.0 if shape[0] == 1 or rng.random() < 0.15 else rng.uniform(0.2, 0.9)
    region = highest(gaussian_field(rng, (1, *shape[1:]), covariance), min(share / part, 0.9))
    return region & _run(rng, shape[0], part)[:, None, None]


def _blocks(rng: np.random.Generator, shape: Shape, share: float) -> np.ndarray:
    """Hide boxes of cells, each for a run of steps."""
    hidden = np.zeros(shape, bool)
    for _ in range(MAX_BLOCKS):
        size = [max(1, int(n * rng.uniform(0.1, 0.6))) for n in shape]
        first = [int(rng.integers(0, n - s + 1)) for n, s in zip(shape, size, strict=True)]
        hidden[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))] = True
        if hidden.mean() >= share:
            break
    return hidden


GRID_GAPS: Mapping[str, Callable[[np.random.Generator, Shape, float], np.ndarray]] = {
    "clouds": _clouds,
    "squares": _squares,
    "swaths": _swaths,
    "region": _region,
    "blocks": _blocks,
}


def _run(rng: np.random.Generator, steps: int, part: float) -> np.ndarray:
    """Return one run of this part of all steps, (T,) bool, at least one step."""
    length = max(1, round(part * steps))
    first = rng.integers(0, steps - length + 1)
    return np.asarray((np.arange(steps) >= first) & (np.arange(steps) < first + length))


def _long_run(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Return one run of 15 to 60 % of all steps, (T,) bool."""
    return _run(rng, steps, rng.uniform(0.15, 0.6))


def _mean_run(rng: np.random.Generator, steps: int, longest: float) -> float:
    """Draw the mean length of runs, in steps: from 1 to `longest`, or to a third of the record."""
    return log_uniform(rng, 1.0, max(1.0, min(longest, steps / 3.0)) + 1e-9)
