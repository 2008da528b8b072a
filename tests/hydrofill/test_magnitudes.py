"""Finite values are filled, or refused by an error that names the variable."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hydrofill.bundle import read_bundle, shipped_bundles
from hydrofill.errors import ValueRangeError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.guesses.time_axis import even_steps
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["general", "lez-daily"])
def model(request: pytest.FixtureRequest) -> Model:
    return load_model(read_bundle(Path(shipped_bundles()) / request.param), Runtime("cpu", 1))


def series(values: np.ndarray) -> xr.Dataset:
    """Values at three gauges on consecutive days, with a gap."""
    values = values.astype(np.float32)
    values[3:6, 0] = np.nan
    time = np.datetime64("2012-08-01", "ns") + np.arange(len(values)) * np.timedelta64(1, "D")
    sites = {"site": ["a", "b", "c"], "site_y": ("site", [0.0, 1.0, 2.0]), "site_x": ("site", [0.0, 2.0, 1.0])}
    return xr.Dataset({"river_flow": (("time", "site"), values, {"units": "m3 s-1"})}, {"time": time, **sites})


@pytest.mark.parametrize("largest", [1e12, 1e19, 1e30, 3.0e38, -3.0e38])
def test_large_values_are_filled_or_refused_by_name(model: Model, largest: float) -> None:
    values = np.random.default_rng(3).gamma(2.0, 1.0, (12, 3))
    values[8, 1] = largest
    prepared = prepare_fill(series(values), model.layout, FillOptions())
    if abs(largest) > 1e37:
        with pytest.raises(ValueRangeError, match="river_flow"):
            model.run(prepared.reading.cube, prepared.names)
        return
    with contextlib.suppress(ValueRangeError):
        fill = model.run(prepared.reading.cube, prepared.names).filled["river_flow"]
        assert np.isfinite(fill.mean[fill.flag == 1]).all()
        assert np.isfinite(fill.std[fill.flag == 1]).all()


def test_times_that_differ_by_less_than_a_float_does_are_one_step_apart() -> None:
    seconds = np.array([0, 1, 2], "datetime64[ns]").astype("int64") / 1e9 + 1.3e9
    np.testing.assert_array_equal(even_steps(seconds), [0, 1, 2])
