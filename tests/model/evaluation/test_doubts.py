"""A training that cannot be good says so, and what to do."""

from __future__ import annotations

import pytest

from hydrofill.bundle import Skill
from model.evaluation.doubts import MIN_STEPS, doubts_of


def skill(rmse: float, mean_rmse: float | None) -> Skill:
    return Skill(
        variable="rain", gap="cloud", cells=9, rmse=rmse, bias=0, crps=rmse, coverage90=0.9, mean_rmse=mean_rmse
    )


def test_few_steps_are_doubted() -> None:
    (said,) = doubts_of(MIN_STEPS - 1, [])
    assert "199 steps" in said
    assert "--minutes" in said


def test_a_skill_worse_than_the_mean_is_doubted() -> None:
    (said,) = doubts_of(MIN_STEPS, [skill(2.0, 1.0), skill(1.0, 2.0)])
    assert said.startswith("rain, gap cloud: RMSE 2 ")
    assert "hydrofill tune" in said


@pytest.mark.parametrize(("steps", "mean_rmse"), [(MIN_STEPS, 1.0), (None, None)])
def test_nothing_else_is_doubted(steps: int | None, mean_rmse: float | None) -> None:
    assert doubts_of(steps, [skill(1.0, mean_rmse)]) == []
