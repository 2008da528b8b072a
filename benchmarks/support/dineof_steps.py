"""`python -m benchmarks.support.dineof_steps STEPS`: seconds and memory of DINEOF on long series, as JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
from scipy.signal import lfilter

from benchmarks.support.harness import median_s, memory_mib
from model.baselines.dineof import dineof

SITES = 10
PERSISTENCE = 0.95  # of the modes from step to step, so that a long record is no other than a short one
MODES, MISSING = 3, 0.3
REPEATS = 3


def main(steps: int) -> dict[str, float]:
    """Fill series of slow modes with noise, and return median seconds and MiB beyond those before the first fill."""
    rng = np.random.default_rng(0)
    modes = lfilter([1], [1, -PERSISTENCE], rng.normal(size=(steps, MODES)), axis=0)
    record = modes @ rng.normal(size=(MODES, SITES)) + 4 * rng.normal(size=(steps, SITES))
    record = np.where(rng.random(record.shape) < MISSING, np.nan, record).astype(np.float32)
    before = memory_mib("VmHWM")
    seconds = median_s(lambda: dineof(record, square_root=False), REPEATS)
    return {"seconds": seconds, "more_mib": memory_mib("VmHWM") - before}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
