"""The cost model: predicts a request's engine time from its load, before anything is run.

The time of a window is a sum of the terms that attention has: a constant, L and L x L (the encoder), Q and Q x L (the
decoder), for L visible tokens and Q queries. One more term counts the first guesses: these are computed from all values
of a record, G, even if few cells are to be filled. A general bundle first measures the record on hidden cells
(hydrofill/general/self_check.py): the windows and guesses of that check count too. It makes one more guess of each
missing cell, S, and has a fixed cost for the guesses of each variable, N. Any two sites are compared: P pairs, and
TP steps of pairs. In a general bundle each variable is regressed on the others: O products of values. The weights of
the terms are measured at warm-up.

A common factor follows the machine: it is the time that requests took, over the time that was predicted of them. It
stays near 1, every request counts by its seconds up to a bound, and none by more than twice what was predicted.
So no client can move the predictions for others by more than FACTOR_RANGE.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from app.engine.least_squares import non_negative_weights
from app.engine.load import GRAPH_TERMS, OTHER_TERMS, OTHERS_TERM, PAIR_TERMS, TERMS, Load, count_load
from hydrofill.cores import one_blas_thread
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.guesses.other_variables import MAX_PREDICTORS, from_other_variables
from hydrofill.guesses.similarity import similar_sites
from hydrofill.inference.model import WARM_UP_START, Model, example_cube
from hydrofill.layout import Layout

# Measured windows: share of a window's steps, and share of their values that is present.
SHARES = ((1.0, 0.5), (1.0, 0.1), (0.5, 0.5), (0.5, 0.9), (0.25, 0.3), (0.1, 0.5))
# Records that a general bundle is measured on: shape (T, H, W) or (T, N), and share of the values that is present.
GENERAL_RECORDS = (
    ((2, 4, 4), 0.5),
    ((8, 24, 24), 0.5),
    ((12, 24, 24), 0.9),
    ((24, 12, 12), 0.2),
    ((96, 4), 0.5),
    ((256, 8), 0.9),
)
RECORD_WINDOWS = 8  # length of the measured record, in windows; only the first has gaps, so that guesses dominate
CALIBRATION_RECORD_VALUES = 100_000  # values of the measured record, at most (one window at least)
REPEATS = 2
PAIR_RECORDS = ((2, 128), (128, 128))  # steps and sites of records that show what comparing sites costs
OTHERS_RECORD = (32, 24, 24)  # shape of the variables that show what a regression on three others costs
FACTOR_RANGE = (1 / 1.2, 1.2)  # so that no request moves the prediction of another by half
REQUEST_RANGE = (0.5, 2.0)  # share of the predicted time that one request counts as, whatever it took
REQUEST_S = 10.0  # predicted seconds that one request counts for, at most
MEMORY_S = 120.0  # predicted seconds that the factor remembers


class CostModel:
    """Predicts the seconds of a load; one thread may update it while others predict."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights
        self._took_s = self._expected_s = MEMORY_S
        self.factor = 1.0

    def predict_s(self, load: Load) -> float:
        """Return the predicted seconds of engine time for `load`."""
        return self.factor * float(self._weights @ load.terms)

    def update(self, load: Load, took_s: float) -> None:
        """Take the seconds that a request with this load took into the factor."""
        expected = float(self._weights @ load.terms)
        if expected <= 0 or took_s <= 0:
            return
        ratio = min(max(took_s / expected, REQUEST_RANGE[0]), REQUEST_RANGE[1])
        counted = min(expected, REQUEST_S)
        kept = MEMORY_S / (MEMORY_S + counted)
        self._took_s = kept * (self._took_s + ratio * counted)
        self._expected_s = kept * (self._expected_s + counted)
        self.factor = min(max(self._took_s / self._expected_s, FACTOR_RANGE[0]), FACTOR_RANGE[1])


def measure_costs(models: Mapping[str, Model]) -> dict[str, CostModel]:
    """Measure each model on windows of several lengths and densities, and on a record of several windows."""
    of_pairs = _measure_pairs() if models else np.zeros(TERMS)
    return {name: CostModel(_measure(model) + of_pairs) for name, model in models.items()}


def _measure(model: Model) -> np.ndarray:
    """Return the weights of all terms (TERMS,) but those of pairs, which are 0."""
    return _measure_general(model) if model.layout.general else _measure_named(model)


@one_blas_thread()
def _measure_pairs() -> np.ndarray:
    """Return the weights of pairs of sites, with 0 for all other terms, (TERMS,)."""
    weights, terms, seconds = np.zeros(TERMS), [], []
    for steps, sites in PAIR_RECORDS:
        values = np.random.default_rng(0).normal(size=(steps, sites)).astype(np.float32)
        terms.append((sites**2, steps * sites**2))
        seconds.append(min(_seconds(partial(similar_sites, values)) for _ in range(REPEATS)))
    weights[PAIR_TERMS] = _weights(np.array(terms, np.float64), np.array(seconds))
    return weights


@one_blas_thread()
def _measure_others() -> float:
    """Return the seconds of one product of values, in the regression of a variable on others."""
    rng = np.random.default_rng(0)
    own, *others = (rng.normal(size=OTHERS_RECORD).astype(np.float32) for _ in range(1 + MAX_PREDICTORS // 4))
    took_s = min(_seconds(partial(from_other_variables, own, others)) for _ in range(REPEATS))
    return took_s / (own.size * MAX_PREDICTORS * (MAX_PREDICTORS + 1) / 2)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _measure_named(model: Model) -> np.ndarray:
    """Return the weights of a bundle of named variables, each run at the faster of REPEATS times."""
    rows, seconds = [], []
    window = example_cube(model.layout)
    for cube in (_long_record(model.layout), *(_thin_out(window, steps, present) for steps, present in SHARES)):
        names = [spec.name for spec in model.layout.variables]
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            model.run(cube, names)
            times.append(time.perf_counter() - started)
        rows.append(count_load(cube, model.layout, names, None).terms)
        seconds.append(min(times))
    weights, terms = np.zeros(TERMS), np.array(rows)
    weights[: PAIR_TERMS[0]] = _weights(terms[:, : PAIR_TERMS[0]], np.array(seconds))
    return weights


def _measure_general(model: Model) -> np.ndarray:
    """Return the weights of a general bundle: of the time in the graphs, and of all the rest, which is guesses mostly.

    Each record is run once: the first runs of a process, which are slower, were those of the warm-up.
    """
    rows, in_graphs, rest = [], [], []
    for cube in _general_records():
        names = list(cube.variables)
        rows.append(count_load(cube, model.layout, names, None).terms)
        started = time.perf_counter()
        outcome = model.run(cube, names)
        in_graphs.append(outcome.encode_s + outcome.decode_s)
        rest.append(time.perf_counter() - started - in_graphs[-1])
    terms = np.array(rows)
    weights = np.zeros(terms.shape[1])
    weights[GRAPH_TERMS] += _weights(terms[:, GRAPH_TERMS], np.array(in_graphs))
    weights[OTHER_TERMS] += _weights(terms[:, OTHER_TERMS], np.array(rest))
    weights[OTHERS_TERM] = _measure_others()
    return weights


def _weights(terms: np.ndarray, took_s: np.ndarray) -> np.ndarray:
    """Return non-negative weights (K,) whose sums of `terms` (n, K) are nearest to `took_s` (n,), relatively."""
    return non_negative_weights(terms / took_s[:, None], np.ones(len(took_s)))


def _general_records() -> Iterator[WaterCube]:
    """Yield records of several shapes and densities, each of one variable, for a general bundle."""
    rng = np.random.default_rng(0)
    for (steps, *places), present in GENERAL_RECORDS:
        values = np.cumsum(rng.normal(size=(steps, *places)), axis=0).astype(np.float32)
        values[rng.random(values.shape) >= present] = np.nan
        values[0] = 0.0  # every place has a value
        rows, columns = places if len(places) == 2 else (0, 0)
        number = 0 if rows else places[0]
        ids, along = np.arange(number).astype(str), np.arange(number, dtype=np.float64)
        yield WaterCube(
            WARM_UP_START + np.arange(steps) * np.timedelta64(1, "D"),
            np.arange(rows, dtype=np.float64),
            np.arange(columns, dtype=np.float64),
            Sites(ids, along, along),
            {"any": Variable(name="any", kind="grid" if rows else "series", values=values, units="")},
        )


def _long_record(layout: Layout) -> WaterCube:
    """Return a cube of several windows in a row that has gaps in its first window only."""
    one = example_cube(layout)
    values = max(variable.values[0].size for variable in one.of_kind("grid", "series").values())
    steps = max(layout.window.steps, min(RECORD_WINDOWS * layout.window.steps, CALIBRATION_RECORD_VALUES // values))
    cube = example_cube(layout, steps)
    whole = {}
    for name, variable in cube.of_kind("grid", "series").items():
        whole[name] = np.nan_to_num(variable.values, nan=float(np.nanmean(variable.values)))
        whole[name][: layout.window.steps] = one.variables[name].values
    return cube.with_values(whole)


def _thin_out(cube: WaterCube, steps: float, present: float) -> WaterCube:
    """Return the first share `steps` of the cube's steps, with about a share `present` of the values kept."""
    rng = np.random.default_rng(1)
    n_time, height, width = cube.shape
    cut = cube.window(slice(0, max(1, round(steps * n_time))), slice(0, height), slice(0, width))
    values = {}
    for name, variable in cut.of_kind("grid", "series").items():
        kept = rng.random(variable.values.shape) < present
        kept.flat[0] = True
        whole = np.where(np.isnan(variable.values), np.nanmean(cube.variables[name].values), variable.values)
        values[name] = np.where(kept, whole, np.nan).astype(np.float32)
    return cut.with_values(values)
