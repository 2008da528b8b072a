"""Calibrate a fill on the hidden cells of the same record, and say how good the fill is to expect.

The general network predicts the cells that the self-check hid. From its errors there come the weight of the network
against the stacked guess, the factors of its standard deviations, and the expected skill by kind of gap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hydrofill.calibration import Calibration, Stretch, distance_classes
from hydrofill.conformal import EMPTY as LOST
from hydrofill.conformal import calibration_of
from hydrofill.constants import Z90
from hydrofill.cube import WaterCube
from hydrofill.gaps.self_gaps import KINDS
from hydrofill.general.context import Context
from hydrofill.general.guesses import GENERAL_GUESSES, MEASURED_GUESSES, STACKED, Scale
from hydrofill.general.self_check import Draw, SelfCheck
from hydrofill.general.student import t90
from hydrofill.guesses.first_guesses import DISTANCES, MAX_DISTANCE, REGIONS, Guesses, regions, usual_values
from hydrofill.guesses.interpolation import gap_lengths
from hydrofill.guesses.stacking import error_classes
from hydrofill.layout import MAX_VARIABLES, Layout
from hydrofill.members.errors import HiddenErrors
from hydrofill.progress import Progress, reported
from hydrofill.reconstruct import LONGEST_MEASURED, Predictor, reconstruct
from hydrofill.tokens import Queries, Tokens

PRIOR_GROUPS = 4.0  # groups at which measured factors of standard deviations count as much as a factor of 1
BLEND_GROUPS = 20.0  # groups at which a measured weight of the network counts as much as PRIOR_WEIGHT
PRIOR_WEIGHT = 0.5  # of the network where nothing is known: as much as that of the stacked guess
GROUP_CELLS, GROUP_STEPS = 16, 8
LINEAR = GENERAL_GUESSES.index("in_time")
EMPTY = REGIONS.index("empty")
NUM_DOUBLINGS = 1 + round(np.log2(MAX_DISTANCE))  # of a distance in time, from one step to MAX_DISTANCE
KEPT_GROUPS = 4.0  # groups at which what was measured counts as much as half of what is kept at half the distance
MIN_CELLS = 20  # hidden cells of a kind of gap, from which its skill is reported


@dataclass(frozen=True)
class ExpectedSkill:
    """Skill on hidden cells of the record, of one kind of gap, in the units of the variable.

    cells: number of hidden cells. rmse: of the fill. coverage90: share of the cells within the 90 % interval.
    linear_rmse: of linear interpolation in time, null where a cell has no value in time. best_guess, best_guess_rmse:
    the single first guess of the smallest error on these cells.
    """

    cells: int
    rmse: float
    coverage90: float
    linear_rmse: float | None
    best_guess: str
    best_guess_rmse: float

    def in_units(self, factor: float) -> ExpectedSkill:
        """Return the skill in the variable's units, where its values were multiplied by `factor`."""
        return replace(
            self,
            rmse=self.rmse / factor,
            linear_rmse=None if self.linear_rmse is None else self.linear_rmse / factor,
            best_guess_rmse=self.best_guess_rmse / factor,
        )


@dataclass(frozen=True, eq=False)
class RecordCalibration:
    """Settings of the general network for one record, and its expected skill.

    weight: (token types, regions) weight of the network against the stacked guess. kept: (token types, NUM_DOUBLINGS)
    how much of the predicted difference from the usual value is kept where nothing is seen at the step, by the distance
    in time. usual_error: (token types,) the error of the usual value of such cells. calibration, skill: by variable;
    skill by kind of gap. cells: number of hidden cells of each variable. longest_gap: of each variable, the most steps
    in a row that were missing around a hidden cell. hidden: of each variable, the hidden cells and their fill.
    """

    weight: np.ndarray
    kept: np.ndarray
    usual_error: np.ndarray
    calibration: Mapping[str, Calibration]
    skill: Mapping[str, Mapping[str, ExpectedSkill]]
    cells: Mapping[str, int]
    longest_gap: Mapping[str, int]
    hidden: Mapping[str, HiddenErrors]

    def attributes(self, name: str, factor: float = 1.0) -> dict[str, str]:
        """Return what the attributes of a variable, whose values were multiplied by `factor`, say of its fill."""
        if not self.skill[name]:
            return {}
        rows = {kind: _rounded(row.in_units(factor)) for kind, row in self.skill[name].items()}
        return {"hydrofill_expected_skill": json.dumps(rows), LONGEST_MEASURED: str(self.longest_gap[name])}

    @property
    def summary(self) -> str:
        """Return how the fill was calibrated, in words."""
        total = sum(self.cells.values())
        if not total:
            return "prior of the bundle: the record has too few values to hide any"
        return f"hidden cells of this record: {', '.join(f'{n} {c}' for n, c in self.cells.items())}"


@dataclass(frozen=True, eq=False)
class LostWindows:
    """A predictor that gives the stacked guess and its measured error in windows where nothing is observed.

    predict: the network, for all other windows. context: of the record.
    """

    predict: Predictor
    context: Context

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every cell of every query, (Q, P) each."""
        if (tokens.variable < MAX_VARIABLES).any():
            return self.predict(tokens, queries)
        return stacked_prediction(queries, self.context)


def stacked_prediction(queries: Queries, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Return the stacked guess of every cell of every query and its measured error, (Q, P) each, in physical units.

    A cell without a guess gets the mean of its variable.
    """
    types = queries.variable[:, None]  # (Q, 1)
    center, scale, root = context.center[types, 0], context.std[types, 0], context.square_root[types]
    usual = np.where(root, center**2, center)
    mean = np.where(queries.guessed[..., STACKED], queries.guess[..., STACKED], usual)
    error = context.error[types, error_classes(queries.distance), STACKED] * scale
    return mean.astype(np.float32), np.where(root, _std_of_square(mean, error), error).astype(np.float32)


def _std_of_square(mean: np.ndarray | float, std: np.ndarray | float) -> np.ndarray:
    """Return the standard deviation of the square of a normal variable, of the root of `mean` and `std`."""
    return np.asarray(np.sqrt(4 * np.maximum(mean, 0) * std**2 + 2 * std**4))


@dataclass(frozen=True, eq=False)
class WeightedPredictor:
    """The network's predictions, drawn towards the stacked guess, and in long gaps towards what is usual.

    predict: the network. use: how its predictions are to be used.
    """

    predict: Predictor
    use: RecordCalibration

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every cell of every query, (Q, P) each."""
        mean, std = self.predict(tokens, queries)
        types, region = queries.variable[:, None], regions(queries.distance)
        weight = self.use.weight[types, region].astype(np.float32)
        stacked = np.where(queries.guessed[..., STACKED], queries.guess[..., STACKED], mean)
        mean = np.where(weight == 1, mean, weight * mean + (1 - weight) * stacked)
        known = np.where(region == EMPTY, self._known(queries), 1).astype(np.float32)
        usual = _usual(np.where(queries.guessed, queries.guess, np.nan), mean)
        relaxed = np.sqrt(known * std**2 + (1 - known) * self.use.usual_error[types] ** 2)
        return known * mean + (1 - known) * usual, np.where(known == 1, std, relaxed).astype(np.float32)

    def _known(self, queries: Queries) -> np.ndarray:
        """Return the share of the anomaly that is kept in a frame where nothing is seen, (Q, P)."""
        knot = np.clip(np.log2(np.maximum(_steps_in_time(queries.distance), 1)), 0, NUM_DOUBLINGS - 1)
        low = np.minimum(knot.astype(int), NUM_DOUBLINGS - 2)
        types = queries.variable[:, None]
        below, above = self.use.kept[types, low], self.use.kept[types, low + 1]
        return np.asarray(below + (knot - low) * (above - below))


def _steps_in_time(distances: np.ndarray) -> np.ndarray:
    """Return how far cells of these distances (..., D) are from seen values in time, in steps, (...).

    The harmonic mean of the steps before and after: a value on both sides tells twice as much as one.
    """
    before, after = (distances[..., DISTANCES.index(name)] ** 2 for name in ("steps_before", "steps_after"))
    return np.asarray(MAX_DISTANCE * 2 * before * after / np.maximum(before + after, 1e-9))


def _usual(guesses: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the seasonal guess of guesses (..., G), or the mean of the cell, or else `otherwise`, (...)."""
    usual = usual_values(*(guesses[..., GENERAL_GUESSES.index(name)] for name in ("seasonal", "mean")))
    return np.where(np.isnan(usual), otherwise, usual)


@dataclass(frozen=True, eq=False)
class HiddenFill:
    """The network's predictions of the hidden cells of one variable over all draws, arrays (n, ...).

    truth, mean, std: values. guesses: (n, G). region, distance: classes. group: number of a group of cells that are
    wrong together, different in each draw. kind: code of the kind of gap. steps: how far a cell is from seen values in
    time. draw: number of the draw. index: of the cell in the flattened variable of its draw.
    """

    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    guesses: np.ndarray
    region: np.ndarray
    distance: np.ndarray
    group: np.ndarray
    kind: np.ndarray
    steps: np.ndarray
    draw: np.ndarray
    index: np.ndarray

    def blended(self, weight: np.ndarray) -> np.ndarray:
        """Return the network's mean drawn towards the stacked guess by its weight in each region, (n,) float32."""
        own = weight[self.region]
        return np.asarray(own * self.mean + (1 - own) * self.guesses[:, STACKED], np.float32)


def calibrate_record(
    check: SelfCheck,
    predict: Predictor,
    progress: Progress | None = None,
    widening: Mapping[str, float] | None = None,
) -> RecordCalibration:
    """Let the network predict the hidden cells of a record, and return how its predictions are to be used.

    Args:
        check: the hidden cells, and the guesses of them.
        predict: the network.
        progress: called with (draws done, draws in all).
        widening: by variable, a further factor of the standard deviations; 1 for others. A network that has learnt from
            the hidden cells is less wrong there than elsewhere.
    """
    layout = check.layout
    hidden_cells = predict_hidden(check, predict, progress)
    weight = np.full((layout.token_types, len(REGIONS)), PRIOR_WEIGHT)
    kept, usual_error = np.ones((layout.token_types, NUM_DOUBLINGS)), np.ones(layout.token_types)
    calibration: dict[str, Calibration] = {}
    skill: dict[str, dict[str, ExpectedSkill]] = {}
    cells: dict[str, int] = {}
    errors: dict[str, HiddenErrors] = {}
    for number, spec in enumerate(layout.variables):
        hidden = hidden_cells[spec.name]
        cells[spec.name] = len(hidden.truth)
        skill[spec.name] = {}
        factor = few_values_factor(check.observed[spec.name]) * (widening or {}).get(spec.name, 1.0)
        usual_error[number] = _spread(check.scales[spec.name])
        if not len(hidden.truth):
            calibration[spec.name] = _widened(Calibration(), factor)
            errors[spec.name] = _errors(hidden, hidden.mean, hidden.std, check.draws, spec.name)
            continue
        weight[number] = network_weights(hidden)
        mean = hidden.blended(weight[number])
        if spec.lower is not None or spec.upper is not None:
            mean = np.clip(mean, spec.lower, spec.upper)
        kept[number] = _kept(hidden, mean)
        rows = np.stack([a.astype(np.float64) for a in (hidden.truth, mean, hidden.std, hidden.distance, hidden.group)])
        measured = calibration_of(rows, spec, PRIOR_GROUPS)
        errors[spec.name] = _errors(hidden, *measured.apply(mean, hidden.std, hidden.distance), check.draws, spec.name)
        calibration[spec.name] = _widened(measured, factor)
        used = calibration[spec.name].apply(mean, hidden.std, hidden.distance)
        skill[spec.name] = _skill(hidden, *used)
    longest = {spec.name: _longest_hidden(check.draws, spec.name) for spec in layout.variables}
    return RecordCalibration(weight, kept, usual_error, calibration, skill, cells, longest, errors)


def _errors(hidden: HiddenFill, mean: np.ndarray, std: np.ndarray, draws: Sequence[Draw], name: str) -> HiddenErrors:
    """Return the hidden cells of a variable with their calibrated fill."""
    parts = [draw.truth for draw in draws]
    return HiddenErrors(
        truth=hidden.truth,
        mean=mean,
        std=std,
        group=hidden.group,
        lost=hidden.distance >= LOST,
        draw=hidden.draw,
        index=hidden.index,
        shapes=[part.variables[name].values.shape for part in parts],
        sites=[part.sites.ids for part in parts],
    )


def _longest_hidden(draws: Sequence[Draw], name: str) -> int:
    """Return the most steps in a row that were missing around a hidden cell of a variable."""
    lengths = (
        gap_lengths(~draw.gappy.variables[name].valid)[draw.codes[name] > 0] for draw in draws if name in draw.codes
    )
    return max((int(length.max(initial=0)) for length in lengths), default=0)


def predict_hidden(check: SelfCheck, predict: Predictor, progress: Progress | None = None) -> dict[str, HiddenFill]:
    """Let the network predict the hidden cells of a record, by variable.

    Args:
        check: the hidden cells, and the guesses of them.
        predict: the network.
        progress: called with (draws done, draws in all).
    """
    names = [spec.name for spec in check.layout.variables]
    filled = [_fill_draw(draw, check.layout, predict, names) for draw in reported(check.draws, progress)]
    drawn = list(enumerate(zip(check.draws, filled, strict=True)))
    return {
        name: _joined([_hidden_of(draw, made[name], name, i) for i, (draw, made) in drawn if name in made])
        for name in names
    }


def _spread(scale: Scale) -> float:
    """Return the standard deviation of a variable in its own units."""
    if not scale.square_root:
        return scale.std
    return float(_std_of_square(scale.center**2, scale.std))


def few_values_factor(number: int) -> float:
    """Return the factor of standard deviations that were estimated from so few values, 1 for very many.

    With the factor, the 90 % interval of a normal distribution is that of a new value after `number` independent ones.
    A single value has no standard deviation to widen. Source: Student 1908.
    """
    if number < 2:
        return 1.0
    return float(t90(number - 1) / Z90 * np.sqrt((number + 1) / (number - 1)))


def _widened(calibration: Calibration, factor: float) -> Calibration:
    """Return the calibration with all standard deviations times a factor."""
    stretch = tuple(Stretch(std=s.std, factor=tuple(f * factor for f in s.factor)) for s in calibration.stretch)
    return calibration.model_copy(update={"stretch": stretch})


def _fill_draw(
    draw: Draw, layout: Layout, predict: Predictor, names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return mean and standard deviation of the hidden cells of a draw by variable, arrays of its shape."""
    hidden = {n: draw.codes[n] > 0 for n in names if n in draw.codes and (draw.codes[n] > 0).any()}
    if not hidden or not any(v.valid.any() for v in draw.gappy.of_kind("grid", "series").values()):
        return {}

    def known(record: WaterCube, of: Sequence[str]) -> Mapping[str, Guesses]:  # noqa: ARG001
        return {n: draw.guesses[n] for n in of}

    made = reconstruct(
        draw.gappy,
        layout,
        predict,
        names=list(hidden),
        only=hidden,
        guesser=known,
        overlap=0,
    )
    return {n: (made[n].mean, made[n].std) for n in hidden}


def _hidden_of(draw: Draw, made: tuple[np.ndarray, np.ndarray], name: str, number: int) -> HiddenFill:
    mean, std = made
    at = (draw.codes[name] > 0) & ~np.isnan(mean)
    guesses = draw.guesses[name]
    return HiddenFill(
        truth=draw.truth.variables[name].values[at],
        mean=mean[at],
        std=std[at],
        guesses=guesses.values[at],
        region=regions(guesses.distances[at]),
        distance=distance_classes(~np.isnan(draw.gappy.variables[name].values))[at],
        group=_groups(at) + number * at.size,
        kind=draw.codes[name][at],
        steps=_steps_in_time(guesses.distances[at]),
        draw=np.full(int(at.sum()), number),
        index=np.flatnonzero(at),
    )


def _groups(at: np.ndarray) -> np.ndarray:
    """Return the number of the group of each True cell, (n,): cells of a group are near each other.

    Cells near each other are wrong together, so that a group counts as little more than one cell. A group is a block of
    GROUP_CELLS x GROUP_CELLS cells of one frame (T, H, W), or GROUP_STEPS steps of one gauge (T, N).
    """
    index = np.nonzero(at)
    sizes = (GROUP_STEPS, 1) if at.ndim == 2 else (1, GROUP_CELLS, GROUP_CELLS)
    return np.asarray(np.ravel_multi_index([i // size * size for i, size in zip(index, sizes, strict=True)], at.shape))


def _joined(parts: Sequence[HiddenFill]) -> HiddenFill:
    names = HiddenFill.__dataclass_fields__
    if not parts:
        return HiddenFill(**{n: np.zeros((0, len(GENERAL_GUESSES)) if n == "guesses" else 0) for n in names})
    return HiddenFill(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def network_weights(hidden: HiddenFill) -> np.ndarray:
    """Return the weight of the network in each region, by least squares drawn towards PRIOR_WEIGHT, (regions,)."""
    weight = np.full(len(REGIONS), PRIOR_WEIGHT)
    for region in range(len(REGIONS)):
        own = hidden.region == region
        stacked = hidden.guesses[own, STACKED].astype(np.float64)
        step, wanted = hidden.mean[own] - stacked, hidden.truth[own] - stacked
        weight[region] = np.clip(_slope(step, wanted, hidden.group[own], PRIOR_WEIGHT, BLEND_GROUPS), 0, 1)
    return weight


def _kept(hidden: HiddenFill, mean: np.ndarray) -> np.ndarray:
    """Return how much of the difference of `mean` (n,) from the usual value helps where nothing is seen at the step.

    By the distance in time, (NUM_DOUBLINGS,): one at the shortest, and never more than at a shorter one. What was not
    measured is half of what is kept at half the distance.
    """
    usual = _usual(hidden.guesses, hidden.truth)
    change, wanted = (a.astype(np.float64) - usual for a in (mean, hidden.truth))
    nearest = np.round(np.log2(np.maximum(hidden.steps, 1)))
    kept = np.ones(NUM_DOUBLINGS)
    for number in range(1, len(kept)):
        own = (hidden.region == EMPTY) & (nearest == number)
        slope = _slope(change[own], wanted[own], hidden.group[own], kept[number - 1] / 2, KEPT_GROUPS)
        kept[number] = np.clip(slope, 0, kept[number - 1])
    return kept


def _slope(step: np.ndarray, wanted: np.ndarray, group: np.ndarray, prior: float, prior_groups: float) -> float:
    """Return the factor of `step` (n,) that is nearest to `wanted` by least squares, drawn towards `prior`.

    The prior counts as much as `prior_groups` groups of cells, and alone where no step is known.
    """
    size = float(np.sum(step * step))
    if not (size > 0 and np.isfinite(size)):
        return prior
    pull = size * prior_groups / len(np.unique(group))
    return (float(np.sum(step * wanted)) + prior * pull) / (size + pull)


def _skill(hidden: HiddenFill, mean: np.ndarray, std: np.ndarray) -> dict[str, ExpectedSkill]:
    found = {}
    for code in np.unique(hidden.kind):
        own = hidden.kind == code
        if own.sum() < MIN_CELLS:
            continue
        error = (mean[own] - hidden.truth[own]).astype(np.float64)
        single = _rmse_of_guesses(hidden.guesses[own, : len(MEASURED_GUESSES)], hidden.truth[own])
        best = int(np.argmin(np.where(np.isnan(single), np.inf, single)))
        found[KINDS[int(code)]] = ExpectedSkill(
            cells=int(own.sum()),
            rmse=float(np.sqrt(np.mean(error**2))),
            coverage90=float(np.mean(np.abs(error) <= Z90 * std[own])),
            linear_rmse=None if np.isnan(single[LINEAR]) else float(single[LINEAR]),
            best_guess=MEASURED_GUESSES[best],
            best_guess_rmse=float(single[best]),
        )
    return found


def _rmse_of_guesses(guesses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the RMSE of each guess that exists in all cells, (G,); NaN for the others."""
    return np.asarray(np.sqrt(np.mean(np.square(guesses.astype(np.float64) - truth[:, None]), axis=0)))


def _rounded(row: ExpectedSkill) -> dict[str, float | int | str | None]:
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in fields.items()}
