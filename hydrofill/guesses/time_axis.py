"""Where the steps of a record stand on an even axis of time: lost files leave no frame, yet time passes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_STEPS_BETWEEN_FRAMES = 64  # steps between two frames that count; methods know no further past
MAX_AXIS_RATIO = 2.0  # times the frames of a record that its even axis may hold

Seconds = npt.NDArray[np.float64]


def even_steps(seconds: Seconds) -> npt.NDArray[np.int64]:
    """(T,) number of each frame on an even axis from 0: its distances are whole times the usual step, at least one.

    Calendar months are all one step. Where frames are so rare that the axis would hold more than MOST times as many,
    long waits are cut short.
    """
    apart = np.diff(seconds)
    usual = float(np.median(apart)) if len(apart) else 1.0
    steps = np.clip(np.rint(apart / usual), 1, MAX_STEPS_BETWEEN_FRAMES).astype(np.int64)
    longest = MAX_STEPS_BETWEEN_FRAMES
    while 1 + np.minimum(steps, longest).sum() > MAX_AXIS_RATIO * len(seconds):
        longest //= 2
    return np.concatenate([[0], np.cumsum(np.minimum(steps, longest))])
