"""Run ImputeGAP on its own data sets. Python with ImputeGAP runs this file; nothing of hydrofill is imported.

`imputegap_runner.py contaminate DATASET STEPS OUT.npz` writes `truth` and a matrix (steps, series) for each pattern,
NaN where values are hidden. `imputegap_runner.py recover ALGORITHM IN.npz PATTERN OUT.npz` writes the matrix
`recovered` and the `seconds` that the algorithm took.
"""

from __future__ import annotations

import sys
import time

import numpy as np

SERIES_SHARE = 0.4  # of the series have gaps, in patterns other than blackout
VALUES_SHARE = 0.2  # of the values of these series are hidden
BLOCK = 10  # steps of a gap of the pattern mcar


def contaminate(dataset: str, steps: str, target: str) -> None:
    """Write the first steps of a data set, as standard scores of each series, whole and with gaps of every pattern."""
    from imputegap.recovery.contamination import GenGap  # type: ignore[import-not-found]
    from imputegap.recovery.manager import TimeSeries  # type: ignore[import-not-found]
    from imputegap.tools import utils  # type: ignore[import-not-found]

    series = TimeSeries()
    series.load_series(utils.search_path(dataset), nbr_val=int(steps), normalizer="z_score", verbose=False)
    truth = np.asarray(series.data, np.float64)
    some = {"rate_dataset": SERIES_SHARE, "rate_series": VALUES_SHARE, "verbose": False}
    patterns = {
        "mcar": GenGap.mcar(truth.copy(), block_size=BLOCK, **some),
        "aligned": GenGap.aligned(truth.copy(), **some),
        "scattered": GenGap.scattered(truth.copy(), **some),
        "blackout": GenGap.blackout(truth.copy(), rate_series=VALUES_SHARE, verbose=False),
    }
    np.savez_compressed(target, truth=truth, **patterns)


def recover(algorithm: str, source: str, pattern: str, target: str) -> None:
    """Write the matrix that an algorithm recovers, with the algorithm's default parameters, and its seconds."""
    from imputegap.recovery.imputation import Imputation  # type: ignore[import-not-found]

    with np.load(source) as kept:
        gappy = kept[pattern]
    families = (
        Imputation.Statistics,
        Imputation.MatrixCompletion,
        Imputation.MachineLearning,
        Imputation.PatternSearch,
    )
    imputer = next(getattr(family, algorithm) for family in families if hasattr(family, algorithm))(gappy)
    imputer.verbose = False
    started = time.perf_counter()
    imputer.impute()
    seconds = time.perf_counter() - started
    np.savez_compressed(target, recovered=imputer.recov_data, seconds=seconds)


if __name__ == "__main__":
    if sys.argv[1] == "contaminate":
        contaminate(*sys.argv[2:])
    else:
        recover(*sys.argv[2:])
