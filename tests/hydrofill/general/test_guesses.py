"""The guesses of the general network do not depend on how arrays lie in memory."""

from __future__ import annotations

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.general.guesses import STACKED
from hydrofill.general.layout import compose_layout
from hydrofill.general.self_check import check_record
from tests.support.general_run import gauge_cube


def gappy_gauges(order: str) -> WaterCube:
    rng = np.random.default_rng(0)
    values = (10 + np.cumsum(rng.standard_normal((60, 5)), axis=0)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return gauge_cube({"level": np.asarray(values, order="F" if order == "F" else "C")})


def test_every_gap_has_a_stacked_guess_in_either_order_of_memory() -> None:
    made = []
    for order in "CF":
        cube = gappy_gauges(order)
        made.append(check_record(cube, compose_layout(cube)).guess(cube, ["level"])["level"].values)
    assert not np.isnan(made[0][..., STACKED]).any()
    np.testing.assert_array_equal(made[0], made[1])
