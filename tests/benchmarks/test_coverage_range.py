"""The sampling range of a coverage counts events, not cells."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from benchmarks.support.coverage_range import coverage_events, coverage_range, mean_events
from hydrofill.constants import Z90


def case_of(gap: np.ndarray, dims: tuple[str, ...], wrong: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a case whose truth is 0, and its fill: outside the interval where `wrong`."""
    names = {"v_truth": np.zeros(gap.shape, np.float32), "v_gap": gap.astype(np.int8)}
    case = xr.Dataset({name: (dims, values) for name, values in names.items()})
    std = np.full(gap.shape, 1 / Z90)
    return case, xr.Dataset({"v": (dims, np.where(wrong, 1.1, 0.9)), "v_std": (dims, std)})


def test_a_cloud_that_lasts_is_one_event_and_gauges_are_apart() -> None:
    gap = np.zeros((6, 4, 5), int)
    gap[0:2, 0:2, 0:2] = 2  # a cloud through two steps
    gap[0, 3, 4] = 2  # another
    gap[4:6] = 5  # a run of lost frames
    gap[4:6, :, 2] = 0  # a seen column parts them
    found = coverage_events(*case_of(gap, ("time", "y", "x"), np.arange(6)[:, None, None] == 1 + 0 * gap))
    assert sorted(found["v"]["cloud"]["cells"]) == [1, 8]
    assert sum(found["v"]["cloud"]["inside"]) == 5
    assert found["v"]["frame"] == {"cells": [32], "inside": [32]}
    series = np.zeros((6, 2), int)
    series[1:4] = 6  # outages of two gauges at the same time
    found = coverage_events(*case_of(series, ("time", "site"), np.zeros((6, 2), bool)))
    assert found["v"]["outage"] == {"cells": [3, 3], "inside": [3, 3]}


def test_a_fill_without_standard_deviations_has_no_events() -> None:
    case, filled = case_of(np.full((2, 2), 6), ("time", "site"), np.zeros((2, 2), bool))
    assert coverage_events(case, filled.drop_vars("v_std")) == {}


def test_with_independent_cells_the_range_is_that_of_the_binomial() -> None:
    """Of 400 independent cells the standard deviation of a share of 0.9 is 0.015."""
    inside = (np.arange(400) % 10 > 0).astype(int).tolist()
    found = coverage_range([1] * 400, inside)
    assert found is not None and found.events == 400 and found.coverage == pytest.approx(0.9)
    half = 1.645 * 0.015
    assert found.own == pytest.approx((0.9 - half, 0.9 + half), abs=0.004)
    assert found.of_target == pytest.approx((0.9 - half, 0.9 + half), abs=0.004)
    assert found.by_chance


def test_cells_that_are_wrong_together_count_as_one() -> None:
    single = coverage_range([1] * 20, [1] * 17 + [0] * 3)
    many = coverage_range([50] * 20, [50] * 17 + [0] * 3)
    assert single is not None and many is not None
    assert many.own == pytest.approx(single.own) and many.of_target == pytest.approx(single.of_target, abs=0.06)
    assert many.by_chance  # 0.85 is no surprise with 20 events
    spread = coverage_range([50] * 20, [42] * 10 + [43] * 10)  # the same coverage, the same in every event
    assert spread is not None and spread.coverage == many.coverage and not spread.by_chance


def test_certain_rows_and_single_events() -> None:
    assert coverage_range([], []) is None
    single = coverage_range([9], [6])
    assert single is not None and single.coverage == pytest.approx(2 / 3)
    assert single.own is None and single.of_target is None and single.by_chance
    sure = coverage_range([10, 10, 10, 10], [10, 10, 10, 10])
    assert sure is not None and sure.own == (1.0, 1.0)
    assert sure.of_target is not None and sure.of_target[0] < 0.7 and sure.by_chance  # four events are worth four cells


def test_the_events_of_runs_are_averaged() -> None:
    runs = [{"v": {"cloud": {"cells": [4, 2], "inside": inside}}} for inside in ([4, 0], [2, 1])]
    assert mean_events(runs, "v", "cloud") == ([4, 2], [3.0, 0.5])
    assert mean_events(runs, "v", "frame") is None
    assert mean_events([], "v", "cloud") is None
