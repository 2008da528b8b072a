"""Draw which observed cells of a record are hidden, so that the record itself tells how well its gaps can be filled.

The gaps are the record's own, moved to other times or mirrored in space, and gaps of drawn kinds. Most steps keep what
they have, because a record with more gaps than its own would say too little of the record as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.gaps.masks import clouds, gauge_outages, squares, swaths

Seen = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]

# Kinds of gaps by their code in the arrays of this module; 0 is a cell that is not hidden.
KINDS = ("", "own gaps", "cloud", "square", "swath", "frame", "outage")
OWN, CLOUD, SQUARE, SWATH, FRAME, OUTAGE = range(1, 7)
STEP_SHARES = {OWN: 0.25, CLOUD: 0.1, SQUARE: 0.06, SWATH: 0.06, FRAME: 0.06}  # share of the steps that get each kind
SITE_SHARES = {OWN: 0.4, OUTAGE: 0.08}  # share of the steps with own gaps, and of the values in drawn outages
RATIOS = (0.15, 0.6)  # share of a frame that a drawn gap hides
MIN_OWN_GAPS = 0.005  # share of missing values from which the record's own gaps are moved
MAX_RUN = 6.0  # steps: mean length of runs that get one kind
RUNS_PER_RECORD = 12.0
MIRRORED = 0.3  # chance that the own gaps are also mirrored in space; always in records of few frames
FEW_FRAMES = 8
MAX_HIDDEN = 0.5  # share of the observed cells that a draw hides at most
SINGLE_FRAME_RATIO = 0.25


def hide_observed(rng: np.random.Generator, seen: Seen, shift: int, number: int) -> Codes:
    """Draw the observed cells to hide; return the code of the kind of gap of each hidden cell, 0 elsewhere.

    Args:
        rng: draws kinds, places and sizes.
        seen: (T, H, W) or (T, N) bool, True where observed.
        shift: number of steps that the record's own gaps are moved by; the same for all variables of a record, so that
            what goes missing together is hidden together.
        number: number of the draw; records of few frames get other kinds in each draw.
    """
    codes = _hide_series(rng, seen, shift) if seen.ndim == 2 else _hide_grid(rng, seen, shift, number)
    codes[~seen] = 0
    return _at_most(rng, codes, int(seen.sum()))


def _hide_series(rng: np.random.Generator, seen: Seen, shift: int) -> Codes:
    codes = np.zeros(seen.shape, np.int8)
    gaps = ~seen & seen.any(axis=0)
    chosen = _runs(rng, len(seen), {OWN: SITE_SHARES[OWN]}) == OWN
    lengths = _mean_run(gaps)
    drawn = gauge_outages(rng, seen.shape, SITE_SHARES[OUTAGE], max(1.0, min(lengths, len(seen) / 4)))
    codes[drawn] = OUTAGE
    codes[chosen[:, None] & np.roll(gaps, shift, axis=0)] = OWN
    return codes


def _hide_grid(rng: np.random.Generator, seen: Seen, shift: int, number: int) -> Codes:
    codes = np.zeros(seen.shape, np.int8)
    inside = seen.any(axis=0)
    gaps = ~seen & inside
    shares = dict(STEP_SHARES)
    if gaps.mean() <= MIN_OWN_GAPS * max(inside.mean(), 1e-9):
        del shares[OWN]
    if len(seen) < FEW_FRAMES:  # one or two kinds in each draw, in turn
        kinds = [k for k in shares if k != FRAME or len(seen) > 1]
        turn = [kinds[(number + i) % len(kinds)] for i in range(1 if len(seen) < 4 else 2)]
        shares = dict.fromkeys(turn, 1 / max(len(seen), 2))
    of_step = _runs(rng, len(seen), shares)
    ratio = SINGLE_FRAME_RATIO if len(seen) == 1 else None
    for kind in shares:
        steps = np.flatnonzero(of_step == kind)
        if len(steps):
            hidden = _frames_of_kind(rng, kind, gaps, shift, steps, ratio)
            codes[steps] = np.where(hidden, np.int8(kind), codes[steps])
    return codes


def _frames_of_kind(
    rng: np.random.Generator, kind: int, gaps: Seen, shift: int, steps: npt.NDArray[np.int64], ratio: float | None
) -> Seen:
    """Return gaps of one kind at these steps, (steps, H, W)."""
    shape = (len(steps), *gaps.shape[1:])
    share = float(rng.uniform(*RATIOS)) if ratio is None else ratio
    if kind == OWN:
        moved: Seen = gaps[(steps - shift) % len(gaps)]
        if len(gaps) < FEW_FRAMES or rng.random() < MIRRORED:
            moved = (moved[:, ::-1], moved[:, :, ::-1], moved[:, ::-1, ::-1])[int(rng.integers(3))]
        return moved
    if kind == CLOUD:
        return clouds(rng, shape, share)
    if kind == SQUARE:
        return squares(rng, shape, share)
    if kind == SWATH:
        return swaths(rng, shape, share)
    return np.ones(shape, bool)


def _runs(rng: np.random.Generator, n_time: int, shares: dict[int, float]) -> npt.NDArray[np.int64]:
    """Assign kinds to steps, (T,), 0 for none: runs of random length until each kind has its share of the steps."""
    kinds = np.zeros(n_time, np.int64)
    mean_run = max(1.0, min(MAX_RUN, n_time / RUNS_PER_RECORD))
    for kind in rng.permutation(list(shares)):
        left = max(1, round(shares[int(kind)] * n_time))
        for _ in range(50):
            length = min(left, int(rng.geometric(1 / mean_run)), n_time)
            start = int(rng.integers(0, n_time - length + 1))
            free = np.flatnonzero(kinds[start : start + length] == 0) + start
            kinds[free] = kind
            left -= len(free)
            if left <= 0:
                break
    return kinds


def _mean_run(gaps: Seen) -> float:
    """Return the mean length of the gaps of gauges (T, N) in steps; 12 without a gap."""
    starts = gaps[0].sum() + (gaps[1:] & ~gaps[:-1]).sum()
    return float(gaps.sum() / starts) if starts else 12.0


def _at_most(rng: np.random.Generator, codes: Codes, n_seen: int) -> Codes:
    """Keep at most MAX_HIDDEN of the observed cells hidden: single cells are shown again at random."""
    hidden = np.flatnonzero(codes)
    excess = len(hidden) - int(MAX_HIDDEN * n_seen)
    if excess > 0:
        np.put(codes, rng.choice(hidden, excess, replace=False), 0)
    return codes
