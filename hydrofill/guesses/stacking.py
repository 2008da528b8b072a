"""Combine the first guesses of a record into one, by how wrong each guess is on hidden cells of the same record.

Cells that are observed are hidden, guesses are made of what is left, and the errors of the guesses are measured
(hydrofill/general/self_check.py). From these errors come the usual error of each guess by class of distance, and a
stacked guess: several simple combinations of the guesses, each weighted by its own error on hidden cells that were not
used to fit it. All values are standard scores of the variable in the network's space. Sources: Wolpert 1992 (stacked
generalisation); Breiman 1996 (stacked regressions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydrofill.guesses.first_guesses import DISTANCES, MAX_DISTANCE, REGIONS, regions

Doubles = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

# Classes of error: the regions of `first_guesses`, each by the distance in steps to the nearest value in time.
STEPS_OF_CLASSES = (1.5, 3.5)
NUM_ERROR_CLASSES = len(REGIONS) * (len(STEPS_OF_CLASSES) + 1)
POWERS = (4.0, 8.0)  # weights of guesses are their errors to the power of minus this
PLAIN_RIDGE, RIDGES_BY_DISTANCE = 1000.0, (100.0, 3000.0)  # strength of the ridge, in cells
BLEND_POWER = 8.0  # weights of the candidates are their errors to the power of minus this
CLASS_PRIOR = 30.0  # cells at which the error of a class counts as much as that of all classes
RECORD_PRIOR = 2.0  # frames at which measured errors count as much as PRIOR_ERROR
PRIOR_ERROR = 1.0  # error of a guess about which nothing is known: the standard deviation of the variable
MIN_ERROR = 1e-3  # no guess is trusted as if it were always right
MIN_CELLS = 200  # hidden cells from which regressions are fitted
MAX_CELLS = 20_000  # hidden cells that regressions are fitted to
NO_WEIGHT = -1e9


@dataclass(frozen=True, eq=False)
class HiddenGuesses:
    """First guesses at n hidden cells of a record, and the truth.

    truth: (n,) standard scores. guesses: (n, G) standard scores, NaN where a guess is missing. distances: (n, D).
    frames: (n,) int, the step of each cell.
    """

    truth: Doubles
    guesses: Doubles
    distances: Doubles
    frames: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stack:
    """Measured errors of the guesses of one variable, and their best combination.

    error: (R, G + 1) usual error of each guess by class, and of the stacked guess, in standard scores; geometric means
    of what was measured and PRIOR_ERROR, weighted by the number of frames. candidates: how guesses are combined.
    blend: (R, candidates) weight of each candidate by class.
    """

    error: Doubles
    candidates: _Candidates
    blend: Doubles

    def predict(self, guesses: Doubles, distances: Doubles) -> Doubles:
        """Return the stacked guess (n,) of cells with these guesses (n, G) and distances (n, D), in standard scores.

        NaN where all guesses are missing.
        """
        made = self.candidates.predict(guesses, distances)
        stacked = (self.blend[error_classes(distances)] * made).sum(axis=1)
        return np.where(np.isnan(guesses).all(axis=1), np.nan, stacked)


def error_classes(distances: np.ndarray) -> Classes:
    """Return the class of error of cells with these distances (..., D), (...) from 0 to NUM_ERROR_CLASSES - 1."""
    before, after = (distances[..., DISTANCES.index(name)] for name in ("steps_before", "steps_after"))
    bounds = np.sqrt(np.array(STEPS_OF_CLASSES) / MAX_DISTANCE)
    in_time = np.digitize(np.minimum(before, after), bounds)
    return regions(distances) * (len(STEPS_OF_CLASSES) + 1) + in_time


def fit_stack(draws: Sequence[HiddenGuesses], num_guesses: int) -> tuple[Stack, list[Doubles]]:
    """Fit a stack to hidden cells; return the stack, and the stacked guess (n,) of each draw by fits to other draws.

    Args:
        draws: the hidden cells of each draw of gaps; candidates are judged on the draws that they were not fitted to.
        num_guesses: G.
    """
    every = _join(draws, num_guesses)
    candidates = _Candidates.fit(every)
    judged = _judge(draws, every, candidates)
    classes = error_classes(every.distances)
    errors = class_errors(judged, every.truth, classes, every.frames)
    blend = _weights(errors, BLEND_POWER)
    stacked = (blend[classes] * judged).sum(axis=1)
    own = class_errors(np.concatenate([every.guesses, stacked[:, None]], axis=1), every.truth, classes, every.frames)
    ends = np.cumsum([len(draw.truth) for draw in draws])
    return Stack(own, candidates, blend), np.split(stacked, ends)[:-1]


def class_errors(values: Doubles, truth: Doubles, classes: Classes, frames: npt.NDArray[np.int64]) -> Doubles:
    """Return the root mean squared error of each column of `values` (n, K) by class, (R, K).

    The error of a class with few cells is drawn towards that of all cells, and errors measured in few frames towards
    PRIOR_ERROR. A missing value is left out.
    """
    square = np.square(values - truth[:, None])
    known = ~np.isnan(square)
    square = np.where(known, square, 0)
    total, number = square.sum(axis=0), known.sum(axis=0)
    overall = np.where(number > 0, total / np.maximum(number, 1), PRIOR_ERROR**2)
    errors = np.empty((NUM_ERROR_CLASSES, values.shape[1]))
    n_frames = len(np.unique(frames))
    for number_of_class in range(NUM_ERROR_CLASSES):
        own = classes == number_of_class
        mean = (square[own].sum(axis=0) + CLASS_PRIOR * overall) / (known[own].sum(axis=0) + CLASS_PRIOR)
        errors[number_of_class] = np.sqrt(mean)
    share = n_frames / (n_frames + RECORD_PRIOR)
    drawn: Doubles = np.exp(share * np.log(np.maximum(errors, 1e-9)) + (1 - share) * np.log(PRIOR_ERROR))
    return drawn + MIN_ERROR


def _weights(errors: Doubles, power: float) -> Doubles:
    """Return weights by error to the power of minus `power`, which sum to one along the last axis."""
    weight = (errors / errors.min(axis=-1, keepdims=True)) ** -power
    share: Doubles = weight / weight.sum(axis=-1, keepdims=True)
    return share


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Combinations of guesses: weighted means by error, and ridge regressions of what the means leave over.

    error: (R, G). plain: (G,) coefficients, or None where there are too few cells. by_distance: coefficients (4 G,) of
    each strength of the ridge.
    """

    error: Doubles
    plain: Doubles | None
    by_distance: tuple[Doubles, ...]

    @classmethod
    def fit(cls, cells: HiddenGuesses) -> _Candidates:
        error = class_errors(cells.guesses, cells.truth, error_classes(cells.distances), cells.frames)
        unfitted = cls(error, None, ())
        if len(cells.truth) < MIN_CELLS:
            return unfitted
        every = max(1, -(-len(cells.truth) // MAX_CELLS))  # every so manieth cell: the same cells for the same data
        truth, guesses, distances = (a[::every] for a in (cells.truth, cells.guesses, cells.distances))
        middle = unfitted._means(guesses, distances)[:, -1]
        left = truth - middle
        plain, by_distance = _relative(guesses, middle), _by_distance(guesses, middle, distances)
        return cls(
            error,
            _ridge(plain, left, PLAIN_RIDGE),
            tuple(_ridge(by_distance, left, strength) for strength in RIDGES_BY_DISTANCE),
        )

    def predict(self, guesses: Doubles, distances: Doubles) -> Doubles:
        """Return what each candidate says, (n, candidates)."""
        means = self._means(guesses, distances)
        middle = means[:, -1]
        if self.plain is None:
            return np.concatenate([means, np.repeat(middle[:, None], 1 + len(RIDGES_BY_DISTANCE), axis=1)], axis=1)
        by_distance = _by_distance(guesses, middle, distances)
        added = [_relative(guesses, middle) @ self.plain, *(by_distance @ b for b in self.by_distance)]
        return np.concatenate([means, middle[:, None] + np.stack(added, axis=1)], axis=1)

    def _means(self, guesses: Doubles, distances: Doubles) -> Doubles:
        known, log_error = ~np.isnan(guesses), np.log(self.error)[error_classes(distances)]
        values, means = np.where(known, guesses, 0), []
        for power in POWERS:
            logit = np.where(known, -power * log_error, NO_WEIGHT)
            weight = np.exp(logit - logit.max(axis=1, keepdims=True))
            means.append((weight * values).sum(axis=1) / weight.sum(axis=1))
        return np.stack(means, axis=1)


def _relative(guesses: Doubles, middle: Doubles) -> Doubles:
    return np.where(np.isnan(guesses), 0, guesses - middle[:, None])


def _by_distance(guesses: Doubles, middle: Doubles, distances: Doubles) -> Doubles:
    """Return the guesses relative to `middle`, alone and times distance in space, in time and emptiness, (n, 4 G)."""
    relative = _relative(guesses, middle)
    column = {name: distances[:, DISTANCES.index(name), None] for name in DISTANCES}
    in_time = np.minimum(column["steps_before"], column["steps_after"])
    empty = (column["frame_seen"] == 0).astype(np.float64)
    return np.concatenate([relative, *(relative * by for by in (column["cells_in_space"], in_time, empty))], axis=1)


def _ridge(features: Doubles, wanted: Doubles, strength: float) -> Doubles:
    gram = features.T @ features
    scale = strength / len(features) * np.diag(gram) + 1e-6
    return np.asarray(np.linalg.solve(gram + np.diag(scale), features.T @ wanted))


def _judge(draws: Sequence[HiddenGuesses], every: HiddenGuesses, candidates: _Candidates) -> Doubles:
    """Return what candidates say at all hidden cells, (n, candidates), each draw by candidates fitted to the others."""
    if sum(len(draw.truth) > 0 for draw in draws) < 2:
        return candidates.predict(every.guesses, every.distances)
    num_guesses = every.guesses.shape[1]
    judged = []
    for number, draw in enumerate(draws):
        others = _join([*draws[:number], *draws[number + 1 :]], num_guesses)
        judged.append(_Candidates.fit(others).predict(draw.guesses, draw.distances))
    return np.concatenate(judged)


def _join(draws: Sequence[HiddenGuesses], num_guesses: int) -> HiddenGuesses:
    if not draws:
        nothing = np.zeros(0)
        return HiddenGuesses(
            nothing, np.zeros((0, num_guesses)), np.zeros((0, len(DISTANCES))), np.zeros(0, dtype=np.int64)
        )
    return HiddenGuesses(
        np.concatenate([d.truth for d in draws]),
        np.concatenate([d.guesses for d in draws]),
        np.concatenate([d.distances for d in draws]),
        np.concatenate([d.frames for d in draws]),
    )
