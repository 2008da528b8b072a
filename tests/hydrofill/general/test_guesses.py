"""The guesses of the general network do not depend on how arrays lie in memory."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.general.guesses import STACKED
from hydrofill.general.layout import compose_layout
from hydrofill.general.self_check import check_record
from tests.support.general_run import gauge_cube


def gappy_gauges(order: Literal["C", "F"]) -> WaterCube:
    rng = np.random.default_rng(0)
    values = (10 + np.cumsum(rng.standard_normal((60, 5)), axis=0)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return gauge_cube({"level": np.asarray(values, order=order)})


def test_every_gap_has_a_stacked_guess_in_either_order_of_memory() -> None:
    cubes = (gappy_gauges("C"), gappy_gauges("F"))
    made = [check_record(c, compose_layout(c)).guess(c, ["level"])["level"].values for c in cubes]
    assert not np.isnan(made[0][..., STACKED]).any()
    np.testing.assert_array_equal(made[0], made[1])
