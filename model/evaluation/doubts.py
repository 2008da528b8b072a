"""Say of a training that cannot be good what is wrong with it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from hydrofill.bundle import Skill

MIN_STEPS = 200  # a network of fewer steps has hardly moved from where it began


def doubts_of(steps: int | None, skill: Sequence[Skill]) -> list[str]:
    """Return warnings in words; none of a training that is long enough and better than the mean of each cell.

    Args:
        steps: number of training steps; None if it is not known.
        skill: scores on held-out cells.
    """
    found = []
    if steps is not None and steps < MIN_STEPS:
        found.append(
            f"only {steps} steps were trained, which is too few to learn from (at least {MIN_STEPS}): "
            "give --minutes more, or train on a faster machine"
        )
    found += [
        f"{row.variable}, gap {row.gap}: RMSE {row.rmse:.4g} on held-out cells is worse than that of the mean of each "
        f"cell, {row.mean_rmse:.4g}: train longer or on more data, or use the general bundle or 'hydrofill tune'"
        for row in skill
        if row.mean_rmse is not None and row.rmse > row.mean_rmse
    ]
    return found
