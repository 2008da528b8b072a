"""Place the frames of a record on an even time axis: a frame that was lost still takes its time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_STEPS_BETWEEN_FRAMES = 64  # a longer wait counts as this many steps; no method uses a longer one
MAX_AXIS_RATIO = 2.0  # the even axis has at most this many times the frames of the record

Seconds = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def seconds_since_1970(time: np.ndarray) -> Seconds:
    """Return `time` (T,) datetime64 as seconds since 1970-01-01."""
    seconds: Seconds = (time - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return seconds


def even_steps(seconds: Seconds) -> npt.NDArray[np.int64]:
    """Return the number of each frame on an even time axis that starts at 0, (T,).

    The distance between two frames is a whole number of the record's median step, and at least one. Calendar months are
    therefore one step each. If the axis would have more than MAX_AXIS_RATIO times as many steps as there are frames,
    long waits are shortened.
    """
    apart = np.diff(seconds)
    usual = (float(np.median(apart)) if len(apart) else 0.0) or 1.0  # 0 of times that differ by less than a float does
    steps = np.clip(np.rint(apart / usual), 1, MAX_STEPS_BETWEEN_FRAMES).astype(np.int64)
    longest = MAX_STEPS_BETWEEN_FRAMES
    while 1 + np.minimum(steps, longest).sum() > MAX_AXIS_RATIO * len(seconds):
        longest //= 2
    return np.concatenate([[0], np.cumsum(np.minimum(steps, longest))])


def on_even_axis(values: Floats, frames: npt.NDArray[np.int64]) -> Floats:
    """Return values (T, ...) placed on the even time axis of `frames` (T,), NaN between them; the same where even."""
    n_time = int(frames[-1]) + 1 if len(frames) else 0
    if n_time == len(values):
        return values
    even = np.full((n_time, *values.shape[1:]), np.nan, np.float32)
    even[frames] = values
    return even
