"""Gaps of the shapes that real records have, drawn at random.

All functions return bool arrays named `hidden`, True where a cell is hidden. `shape` is (T, H, W) frames of cells or
(T, N) steps of gauges. `ratio` is the share of cells to hide, in [0, 1]; 0 hides nothing and 1 everything, exactly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Hidden = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]
GridShape = tuple[int, int, int]

REACH = 3.0  # standard deviations after which a Gaussian is as good as zero
MIN_OWN_GAPS = 0.02  # share of values missing, from which the data's own gaps are worth moving
CLOUD_SIZE = 3.0  # cells, standard deviation of the smoothing in space: clouds are about 3 times as wide
CLOUD_PERSISTENCE = 1.5  # frames, the same in time
MAX_DRIFT = 1.0  # cells a frame; speed and direction are drawn, and are the same for all clouds
SQUARE_SIDE = 3  # cells


def count_hidden(n: int, ratio: float) -> int:
    """Return how many of `n` to hide: the nearest whole number.

    `n - int(n * (1 - ratio))` would be one too many at 100 and 0.9.

    Raises:
        ValueError: `ratio` is outside [0, 1].
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"ratio {ratio} is outside [0, 1]")
    return round(n * ratio)


def random_patches(rng: np.random.Generator, shape: GridShape, ratio: float, patch: tuple[int, int]) -> Hidden:
    """Hide whole patches, (T, H, W): the nearest whole number of all frames' patches.

    Patches tile each frame from row 0, column 0; those at the far edges may be cut off, so that the share of
    cells is exact only where the patch's rows and columns divide the grid's.
    """
    steps, rows, columns = shape
    down, across = -(-rows // patch[0]), -(-columns // patch[1])
    patches = highest(rng.random((steps, down, across)), ratio)
    return patches.repeat(patch[0], axis=1).repeat(patch[1], axis=2)[:, :rows, :columns]


def clouds(rng: np.random.Generator, shape: GridShape, ratio: float) -> Hidden:
    """Hide blobs that last and move as clouds do, (T, H, W): smooth noise above a threshold.

    The share of all cells is exact to one cell; single frames vary between clear and overcast.
    """
    return highest(_smooth_noise(rng, shape), ratio)


def swaths(rng: np.random.Generator, shape: GridShape, ratio: float) -> Hidden:
    """Hide parallel bands outside a satellite's path, (T, H, W): one slant for all frames, moved on with each frame.

    The share of all cells is exact to one cell. Bands lie one longer side of the grid apart.
    """
    steps, rows, columns = shape
    slant, start, shift = rng.uniform(0.0, math.pi), rng.random(), rng.random()
    y, x = np.arange(rows)[:, None], np.arange(columns)  # (H, 1), (W,)
    across = (y * math.sin(slant) + x * math.cos(slant)) / max(rows, columns)  # (H, W)
    phase = (across + (start + shift * np.arange(steps))[:, None, None]) % 1.0  # (T, H, W)
    return highest(-np.abs(phase - 0.5), ratio)


def squares(rng: np.random.Generator, shape: GridShape, ratio: float) -> Hidden:
    """Hide squares anywhere in the frames, (T, H, W); they may overlap and be cut by the edge.

    Whole squares are hidden, so that the share of cells is met, or exceeded by less than one square.
    """
    steps, rows, columns = shape
    side = SQUARE_SIDE
    keys = rng.random((steps, rows + side - 1, columns + side - 1))  # one a corner, up to side - 1 beyond the edge
    down = np.max([keys[:, i : i + rows] for i in range(side)], axis=0)
    score = np.max([down[:, :, i : i + columns] for i in range(side)], axis=0)  # (T, H, W), of squares over a cell
    wanted = count_hidden(score.size, ratio)
    rng.permutation(steps)  # not used; what is drawn after squares stays the same for a seed
    if wanted == 0:
        return np.zeros(shape, dtype=np.bool_)
    threshold = np.partition(score, score.size - wanted, axis=None)[score.size - wanted]
    hidden: Hidden = score >= threshold
    return hidden


def whole_frames(rng: np.random.Generator, n_time: int, ratio: float, mean_run: float) -> Hidden:
    """Hide whole frames, (T,), in runs of random length; their number is exact to one frame.

    Run lengths are geometric with mean `mean_run` (at least 1); where too many frames are hidden to keep runs
    apart, runs join.
    """
    wanted = count_hidden(n_time, ratio)
    lengths = _run_lengths(rng, wanted, mean_run)
    visible = n_time - wanted
    starts = np.sort(rng.choice(visible + 1, size=min(len(lengths), visible + 1), replace=False))
    starts = np.concatenate([starts, rng.choice(starts, size=len(lengths) - len(starts))]).astype(np.int64)
    starts.sort()  # visible frames before each run
    hidden = np.zeros(n_time, dtype=np.bool_)
    first = np.repeat(starts, lengths)  # (wanted,)
    hidden[first + np.arange(wanted)] = True
    return hidden


def gauge_outages(rng: np.random.Generator, shape: tuple[int, int], ratio: float, mean_run: float) -> Hidden:
    """Hide runs of steps at single gauges, (T, N); the share of all values is exact to one value.

    Run lengths are geometric with mean `mean_run` (at least 1); gauges differ in how much they miss.
    """
    steps, sites = shape
    return whole_frames(rng, steps * sites, ratio, mean_run).reshape(sites, steps).T


def has_gaps(valid: npt.NDArray[np.bool_]) -> bool:
    """Return whether enough values (T, ...) are missing, among cells observed at any step, for gaps worth moving."""
    inside = valid.any(axis=0)
    return bool(inside.any() and 1 - valid[:, inside].mean() > MIN_OWN_GAPS)


def moved_gaps(valid: npt.NDArray[np.bool_], shift: int) -> Hidden:
    """Hide by the data's own gaps, (T, ...), at other times: step t gets those of step t - `shift`, round the end.

    A cell that is never `valid` has no gaps.
    """
    gaps = ~valid & valid.any(axis=0)
    return np.roll(gaps, shift, axis=0)


def in_runs(rng: np.random.Generator, n_time: int, shares: tuple[float, ...], mean_run: float) -> npt.NDArray[np.int64]:
    """Draw (T,) numbers in runs of geometric length: n with chance `shares[n]`, len(shares) with the rest.

    Raises:
        ValueError: the shares are more than 1 together, or `mean_run` is below 1.
    """
    lengths = _run_lengths(rng, n_time, mean_run)
    drawn = rng.choice(len(shares) + 1, size=len(lengths), p=[*shares, max(0.0, 1.0 - sum(shares))])
    return np.repeat(drawn, lengths)


def highest(score: Floats, ratio: float) -> Hidden:
    """Return True at the `ratio` of cells with the highest scores; their number is exact."""
    wanted = count_hidden(score.size, ratio)
    hidden = np.zeros(score.size, dtype=np.bool_)
    if wanted:
        hidden[np.argpartition(score, score.size - wanted, axis=None)[score.size - wanted :]] = True
    return hidden.reshape(score.shape)


def _run_lengths(rng: np.random.Generator, total: int, mean_run: float) -> npt.NDArray[np.int64]:
    """Draw lengths of at least 1 that sum to `total`; the last is cut to fit."""
    if mean_run < 1.0:
        raise ValueError(f"mean_run {mean_run} is below 1")
    drawn = rng.geometric(1.0 / mean_run, size=total)
    ends = np.minimum(np.cumsum(drawn), total)
    lengths = np.diff(ends, prepend=0)
    return lengths[lengths > 0]


def _smooth_noise(rng: np.random.Generator, shape: GridShape) -> Floats:
    """Draw Gaussian noise (T, H, W), smoothed in time and space and carried along by one wind.

    Smoothing and moving are products in Fourier space. The domain is periodic there and larger than `shape`,
    so that no edge meets the opposite one.
    """
    smoothing = (CLOUD_PERSISTENCE, CLOUD_SIZE, CLOUD_SIZE)
    steps, rows, columns = (n + math.ceil(REACH * s) for n, s in zip(shape, smoothing, strict=True))
    speed, heading = rng.uniform(0.0, MAX_DRIFT), rng.uniform(0.0, 2.0 * math.pi)
    noise = rng.standard_normal((steps, rows, columns), dtype=np.float32)
    spectrum = np.fft.rfftn(noise) * _gaussian(np.fft.fftfreq(steps), CLOUD_PERSISTENCE)[:, None, None]
    spectrum = np.fft.ifft(spectrum, axis=0)[: shape[0]]  # (T, rows, columns // 2 + 1)
    y, x = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)
    turn = np.exp(-2j * math.pi * speed * (y * math.sin(heading) + x * math.cos(heading)))  # a frame's move
    spectrum *= _gaussian(y, CLOUD_SIZE) * _gaussian(x, CLOUD_SIZE) * turn ** np.arange(shape[0])[:, None, None]
    return np.fft.irfft2(spectrum, s=(rows, columns), axes=(1, 2))[:, : shape[1], : shape[2]]


def _gaussian(frequency: Floats, sigma: float) -> Floats:
    """Return the transfer function of smoothing by a Gaussian of `sigma` samples; `frequency` in cycles a sample."""
    transfer: Floats = np.exp(-2.0 * (math.pi * sigma * frequency) ** 2)
    return transfer
