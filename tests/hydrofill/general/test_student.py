"""The 90 % interval of Student's t distribution against scipy's."""

from __future__ import annotations

import pytest
from scipy.special import stdtrit

from hydrofill.constants import Z90
from hydrofill.general.student import MAX_SUMMED, t90


def test_the_interval_is_that_of_scipy_for_all_degrees_of_freedom() -> None:
    every = [*range(1, 2 * MAX_SUMMED), 1000, 10**4, 10**6, 10**9]
    assert [t90(n) for n in every] == pytest.approx([stdtrit(n, 0.95) for n in every], rel=1e-11)


def test_one_degree_of_freedom_is_cauchys_and_very_many_are_normal() -> None:
    assert t90(1) == pytest.approx(6.313751514675043, rel=1e-14)
    assert t90(10**15) == pytest.approx(Z90, rel=1e-14)
