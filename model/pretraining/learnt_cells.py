"""Measure how much surer of itself a tuned network is on cells that it has learnt from than on others.

A fill calibrates itself on hidden cells. If the network has learnt from these very cells, its errors there are too
small in units of its standard deviations, and the intervals of the fill become too narrow. The cells of the held-out
blocks were never learnt from. Blocks differ in difficulty, so both networks are measured: that before the tuning
has learnt from neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hydrofill.conformal import COVERAGE, MIN_STD
from hydrofill.general.calibrate import GROUP_STEPS, HiddenFill, LostWindows, network_weights, predict_hidden
from hydrofill.general.context import Context, stack_contexts
from hydrofill.general.self_check import SelfCheck
from hydrofill.reconstruct import Predictor
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens
from model.network.context import ContextTensors
from model.network.mae import CrossMAE

PRIOR_GROUPS = 10.0  # groups at which a measured factor counts as much as a factor of 1
MAX_FACTOR = 3.0


@dataclass(frozen=True, eq=False)
class LearntPart:
    """A part of the data whose hidden cells were learnt from, but for those that are held out.

    check: the hidden cells and the guesses of them. held_out: by variable, bool of its shape in the part.
    """

    check: SelfCheck
    held_out: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class GeneralPredictor:
    """A general network as the predictor of one record, whose `context` it is given."""

    network: CrossMAE
    context: Context

    @torch.inference_mode()
    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every cell of every query, (Q, P) each."""
        context = ContextTensors.of(stack_contexts([self.context]))
        predicted = self.network(stack_tokens([tokens]), stack_queries([queries]), context)
        return predicted.mean()[0].numpy(), predicted.std()[0].numpy()


def widening(parts: Sequence[LearntPart], start: CrossMAE, tuned: CrossMAE) -> dict[str, float]:
    """Return the factor of a tuned network's standard deviations, by variable, from 1 to MAX_FACTOR.

    Args:
        parts: what was learnt from.
        start: the network before the tuning.
        tuned: the network after the tuning.
    """
    scores: dict[str, list[Scores]] = {}
    for part in parts:
        made = []
        for network in (start.eval(), tuned.eval()):
            predict: Predictor = LostWindows(GeneralPredictor(network, part.check.context), part.check.context)
            made.append(predict_hidden(part.check, predict))
        for name, before in made[0].items():
            if len(before.truth):
                held_out = part.held_out[name]
                own = held_out.ravel()[before.index]
                block = before.index // (held_out.size // len(held_out)) // GROUP_STEPS
                scores.setdefault(name, []).append(Scores(own, block, _score(before), _score(made[1][name])))
    return {name: factor_of(_joined(of)) for name, of in scores.items()}


@dataclass(frozen=True, eq=False)
class Scores:
    """Errors of hidden cells in units of their standard deviations, before and after a tuning, arrays (n,).

    held_out: bool, what was not learnt from. group: number of a group of cells that are wrong together: GROUP_STEPS
    steps of all cells, because the draws of a part, and the cells of a step, share their weather.
    """

    held_out: np.ndarray
    group: np.ndarray
    before: np.ndarray
    after: np.ndarray


def factor_of(scores: Scores) -> float:
    """Return the factor by which scores after the tuning rose on held-out cells, over that on the others.

    Scores are compared by the quantile that COVERAGE of them are below. With few groups the factor is drawn towards 1.
    """
    groups = [len(np.unique(scores.group[of])) for of in (scores.held_out, ~scores.held_out)]
    if not min(groups):
        return 1.0

    def rise(of: np.ndarray) -> float:
        return float(np.log(np.maximum(np.quantile(of[scores.held_out], COVERAGE), MIN_STD))) - float(
            np.log(np.maximum(np.quantile(of[~scores.held_out], COVERAGE), MIN_STD))
        )

    number = groups[0] * groups[1] / sum(groups)
    shrunk = (rise(scores.after) - rise(scores.before)) * number / (number + PRIOR_GROUPS)
    return float(np.clip(np.exp(shrunk), 1.0, MAX_FACTOR))


def _score(hidden: HiddenFill) -> np.ndarray:
    """Return the error of each cell, as a fill blends the network with the stacked guess, over its std, (n,)."""
    mean = hidden.blended(network_weights(hidden))
    return np.asarray(np.abs(hidden.truth - mean) / np.maximum(hidden.std, MIN_STD), np.float64)


def _joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of all parts; groups of different parts are different."""
    start = np.cumsum([0, *(int(part.group.max()) + 1 for part in parts)])
    return Scores(
        held_out=np.concatenate([part.held_out for part in parts]),
        group=np.concatenate([part.group + first for part, first in zip(parts, start, strict=False)]),
        before=np.concatenate([part.before for part in parts]),
        after=np.concatenate([part.after for part in parts]),
    )
