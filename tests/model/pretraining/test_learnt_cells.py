"""A network that is surer of itself on cells that it has learnt from is found out; another is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hydrofill.bundle import Bundle
from hydrofill.general import calibrate
from model.network.weights import read_network
from model.pretraining import learnt_cells
from model.pretraining.learnt_cells import MAX_FACTOR, PRIOR_GROUPS, LearntPart, Scores, factor_of, widening
from model.pretraining.tuning_records import HeldOut, draw_seen
from tests.support.general_run import gauge_cube, smooth_field

Exported = tuple[Bundle, object]


def scores_of(groups: int, learnt: float = 1.0, harder: float = 1.0, cells: int = 40) -> Scores:
    """Return scores of which the first half of the groups is held out.

    groups: number of groups. learnt: factor of the scores of learnt cells after the tuning. harder: factor of the
    scores of all held-out cells, before and after the tuning. cells: number of cells of a group.
    """
    score = np.abs(np.random.default_rng(1).standard_normal((groups // 2, cells)))
    both = np.concatenate([harder * score, score])
    held_out = np.repeat(np.arange(groups) < groups // 2, cells)
    after: NDArray[np.float64] = np.where(held_out, both.ravel(), learnt * both.ravel())
    return Scores(held_out, np.repeat(np.arange(groups), cells), both.ravel(), after)


def test_a_network_that_learnt_nothing_by_heart_keeps_its_standard_deviations() -> None:
    assert factor_of(scores_of(60)) == 1.0
    assert factor_of(scores_of(60, harder=2.0)) == 1.0  # what is harder for both says nothing
    assert factor_of(scores_of(60, learnt=1.5)) == 1.0  # nothing is made narrower


@pytest.mark.parametrize("groups", [4, 40, 400])
def test_scores_halved_on_learnt_cells_give_a_factor_of_two_drawn_towards_one(groups: int) -> None:
    number = groups / 4  # of pairs of halves
    expected = 2 ** (number / (number + PRIOR_GROUPS))
    assert factor_of(scores_of(groups, learnt=0.5)) == pytest.approx(expected, rel=1e-6)
    assert factor_of(scores_of(groups, learnt=0.5, harder=3.0)) == pytest.approx(expected, rel=1e-6)


def test_a_factor_has_bounds_and_needs_cells_of_both_kinds() -> None:
    assert factor_of(scores_of(4000, learnt=1e-6)) == MAX_FACTOR
    scores = scores_of(40, learnt=0.5)
    assert factor_of(replace(scores, held_out=np.zeros(len(scores.group), bool))) == 1.0
    exact = replace(scores, before=0 * scores.before, after=0 * scores.after)
    assert factor_of(exact) == 1.0


@pytest.fixture
def part() -> LearntPart:
    """Three gauges of 60 days, of which five blocks are held out."""
    rng = np.random.default_rng(3)
    flow = smooth_field(rng, (60, 3, 1))[..., 0]
    flow[rng.random(flow.shape) < 0.2] = np.nan
    cube = gauge_cube({"flow": flow})
    return draw_seen(cube, HeldOut.of(cube.shape, 0.4), 0, 0).learnt


def test_networks_are_compared_on_held_out_and_learnt_cells(
    part: LearntPart, general: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tuned network's errors are a tenth of those of the start where it learnt, and the same elsewhere."""
    assert general[0].weights is not None
    start, tuned = read_network(general[0].weights), read_network(general[0].weights)
    assert widening([part, part], start, tuned) == {"flow": 1.0}  # the same network twice
    real = calibrate.predict_hidden
    calls = []

    def learnt_by_heart(check: object, predict: object) -> object:
        made = real(check, predict)  # type: ignore[arg-type]
        calls.append(predict)
        if len(calls) % 2:
            return made
        flow = made["flow"]
        held_out = part.held_out["flow"].ravel()[flow.index]
        return {"flow": replace(flow, std=np.where(held_out, flow.std, 10 * flow.std))}

    monkeypatch.setattr(learnt_cells, "predict_hidden", learnt_by_heart)
    few, many = (widening([part] * number, start, tuned)["flow"] for number in (1, 6))
    assert 1.2 < few < many <= MAX_FACTOR


def test_steps_near_each_other_are_one_group_in_all_draws_of_a_part(
    part: LearntPart, general: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scores] = []

    def kept(scores: Scores) -> float:
        seen.append(scores)
        return 1.0

    monkeypatch.setattr(learnt_cells, "factor_of", kept)
    assert general[0].weights is not None
    network = read_network(general[0].weights)
    widening([part, part], network, network)
    assert len(part.check.draws) > 1
    assert len(np.unique(seen[0].group)) <= 2 * 8  # 60 steps have eight blocks of eight steps


def test_held_out_cells_of_a_part_are_those_of_its_place(part: LearntPart) -> None:
    held_out = part.held_out["flow"]
    assert held_out.shape == (60, 3) and (held_out == held_out[:, :1]).all()
    assert np.flatnonzero(held_out[:, 0]).tolist() == [12 * i + 8 + j for i in range(5) for j in range(4)]
