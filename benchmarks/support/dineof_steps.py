"""`python -m benchmarks.support.dineof_steps STEPS...`: seconds and memory of DINEOF on long series, as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import tracemalloc
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

from benchmarks.support.harness import in_turns
from model.baselines.dineof import dineof

SITES = 10
MODES, MISSING = 3, 0.3
PERSISTENCE = 0.95  # of the modes from step to step, so that a long record is of the same kind as a short one
NOISE = 4.0  # standard deviation of what no mode explains
REPEATS = 5


def measure(numbers: Sequence[int]) -> list[dict[str, float]]:
    """Fill series of so many steps in turns, and return median seconds and the largest MiB that all arrays take."""
    records = {str(steps): series(steps) for steps in numbers}
    works = {name: partial(dineof, record, square_root=False) for name, record in records.items()}
    with threadpool_limits(1):  # on a busy machine, more threads of linear algebra wait for each other
        rounds = in_turns(works, REPEATS)
    return [
        {"seconds": statistics.median(rounds[name]), "arrays_mib": _arrays_mib(record)}
        for name, record in records.items()
    ]


def series(steps: int) -> npt.NDArray[np.float32]:
    """Return slow modes with noise, (steps, SITES), with values missing at random."""
    rng = np.random.default_rng(0)
    modes = lfilter([1], [1, -PERSISTENCE], rng.normal(size=(steps, MODES)), axis=0)
    record = modes @ rng.normal(size=(MODES, SITES)) + NOISE * rng.normal(size=(steps, SITES))
    return np.where(rng.random(record.shape) < MISSING, np.nan, record).astype(np.float32)


def _arrays_mib(record: npt.NDArray[np.float32]) -> float:
    tracemalloc.start()
    try:
        dineof(record, square_root=False)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    print(json.dumps(measure([int(word) for word in sys.argv[1:]])))
