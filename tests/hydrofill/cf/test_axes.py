"""Recognising dimensions takes time in proportion to their number."""

from __future__ import annotations

import time

import numpy as np
import xarray as xr

from hydrofill.cf.axes import recognise
from hydrofill.cf.variables import classify


def with_dimensions_of_their_own(number: int) -> xr.Dataset:
    return xr.Dataset({f"v{n}": ((f"d{n}", f"e{n}"), np.zeros((1, 1))) for n in range(number)})


def seconds(number: int) -> float:
    data = with_dimensions_of_their_own(number)
    started = time.process_time()
    classify(data, recognise(data))
    return time.process_time() - started


def test_ten_times_as_many_dimensions_take_about_ten_times_as_long() -> None:
    assert min(seconds(1500) for _ in range(2)) < 40 * min(seconds(150) for _ in range(3))
