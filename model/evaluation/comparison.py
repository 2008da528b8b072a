"""A network or a bundle and the baselines on any data, under gaps of every kind: never single cells at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.gaps.masks import has_gaps, moved_gaps
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable
from model.baselines.fill import BaselineFill, is_rain_like
from model.baselines.library import baselines_for
from model.evaluation.hidden_cells import KINDS, Filler, draw_kind, fill_hidden, gap_name, in_pass
from model.evaluation.metrics.measures import Scores, scores, wet_threshold
from model.evaluation.metrics.spectra import psd_ratio
from model.evaluation.metrics.strata import distance_strata, length_classes, scores_by_class
from model.evaluation.tables import OURS

if TYPE_CHECKING:  # loads onnxruntime, which trainings do without
    from hydrofill.inference.model import Model

OWN = "own gaps, moved"  # the data's own gaps, laid over other times


@dataclass(frozen=True, eq=False)
class Trial:
    """One variable under one kind of gap, with the fill of every method.

    All arrays have the variable's shape, (T, H, W) or (T, N), and its units.

    truth: as observed, NaN in the data's own gaps. hidden: bool, observed cells that no method saw. seen: bool, cells
    that every method saw. fills: by method.
    """

    variable: str
    units: str
    gap: str
    truth: np.ndarray
    hidden: np.ndarray
    seen: np.ndarray
    fills: Mapping[str, BaselineFill]


@dataclass(frozen=True)
class Comparison:
    """Scores of every method on the hidden cells of a trial; hydrofill's also by length of gap and by distance."""

    variable: str
    gap: str
    cells: int
    methods: Mapping[str, Scores]
    psd_ratio: Mapping[str, float | None]
    by_length: Mapping[str, Scores]
    by_distance: Mapping[str, Scores]

    def row(self) -> dict[str, Any]:
        """Return what `--json` prints: hydrofill's measures, and those of each baseline."""
        own = asdict(self.methods[OURS]) | {"psd_ratio": self.psd_ratio[OURS]}
        others = {n: asdict(s) | {"psd_ratio": self.psd_ratio[n]} for n, s in self.methods.items() if n != OURS}
        strata = {
            name: {c: asdict(s) for c, s in of.items()}
            for name, of in (("by_gap_length", self.by_length), ("by_distance", self.by_distance))
        }
        return {"variable": self.variable, "gap": self.gap, "cells": self.cells, **own, "baselines": others, **strata}


def trials(
    cube: WaterCube,
    layout: Layout,
    fill: Filler,
    seed: int,
    methods: Sequence[str] | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Trial]:
    """Hide and fill cells in a pass for every kind of gap: clouds, squares, swaths, frames, outages, the data's own.

    Args:
        cube: the data; what is not hidden stays visible.
        layout: names the variables, of those that the cube holds.
        fill: what is compared with the baselines: a network or a bundle.
        seed: the same seed hides the same cells.
        methods: names of baselines; None takes all that suit a variable.
        progress: called with a line that says which fill is being made.
    """
    say = progress or (lambda _line: None)
    for number, kind in enumerate((*KINDS, OWN)):
        hidden = _draw(np.random.default_rng((seed, number)), cube, layout, kind)
        if not hidden:
            continue
        say(f"{kind}: {OURS}")
        for name, cells in fill_hidden(cube, fill, hidden).items():
            visible, truth = cells.visible, cube.variables[name]
            fills = {OURS: BaselineFill(np.where(np.isnan(visible), cells.mean, visible), cells.std)}
            for label, method in baselines_for(visible).items():
                if methods is None or label in methods:
                    say(f"{kind}: {name}, {label}")
                    fills[label] = method(visible, cube.time)
            gap = gap_name(truth.kind, kind)
            yield Trial(name, truth.units, gap, truth.values, cells.hidden, ~np.isnan(visible), fills)


def bundle_filler(model: Model) -> Filler:
    """Return the filler of a bundle, general or of named variables, which runs as it does when a file is filled.

    A general bundle measures every record that is given to it, with its gaps. All gaps of the wanted variables are
    filled, the record's own as well.
    """

    def fill(gappy: WaterCube, only: Mapping[str, np.ndarray]) -> Mapping[str, FilledVariable]:
        return model.run(gappy, names=list(only)).filled

    return fill


def compare(trial: Trial) -> Comparison:
    """Score a trial's methods on the hidden cells that hydrofill filled: the same cells for all methods."""
    own = trial.fills[OURS]
    at = trial.hidden & ~np.isnan(own.values)
    visible = np.where(trial.seen, trial.truth, np.nan)
    wet = wet_threshold(visible) if is_rain_like(visible) else None
    truth = trial.truth[at]
    scored = {
        name: scores(truth, fill.values[at], None if fill.std is None else fill.std[at], wet)
        for name, fill in trial.fills.items()
    }
    classes = (length_classes(~trial.seen), distance_strata(trial.seen))
    lengths, distances = (scores_by_class(trial.truth, own.values, own.std, at, of) for of in classes)
    spectra = {name: _psd_ratio(trial, fill.values) for name, fill in trial.fills.items()}
    return Comparison(trial.variable, trial.gap, int(at.sum()), scored, spectra, lengths, distances)


def whole_frames_of(trial: Trial, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and fill (T', H, W) of the frames in which cells were hidden and the data had no gap of its own.

    Cells in which the variable is never observed, such as land, have its mean in both.
    """
    inside = ~np.isnan(trial.truth).all(axis=0)
    whole = ~(np.isnan(trial.truth) & inside).any(axis=(1, 2)) & trial.hidden.any(axis=(1, 2))
    mean = np.nanmean(trial.truth) if inside.any() else 0.0
    truth, made = (np.where(inside, a[whole], mean) for a in (trial.truth, filled))
    return truth, np.where(np.isnan(made), mean, made)


def _psd_ratio(trial: Trial, filled: np.ndarray) -> float | None:
    if trial.truth.ndim != 3:
        return None
    return psd_ratio(*whole_frames_of(trial, np.where(trial.hidden, filled, trial.truth)))


def _draw(rng: np.random.Generator, cube: WaterCube, layout: Layout, kind: str) -> dict[str, np.ndarray]:
    """Draw by variable the observed cells to hide; series have outages in the first pass, their own gaps in the last.

    A variable of which nothing would be hidden, or everything, is left out.
    """
    shift = int(rng.integers(1, max(len(cube.time), 2)))
    hidden = {}
    for spec in layout.variables:
        if spec.name not in cube.variables:
            continue
        valid = cube.variables[spec.name].valid
        if kind == OWN:
            drawn = moved_gaps(valid, shift) if has_gaps(valid) else None
        else:
            drawn = draw_kind(rng, kind, valid.shape, layout) if in_pass(spec.kind, kind) else None
        if drawn is not None and (drawn & valid).any() and (valid & ~drawn).any():
            hidden[spec.name] = drawn & valid
    return hidden
