"""The shipped general bundle fills long outages and single maps everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import hydrofill
from hydrofill.inference.model import Model
from hydrofill.reconstruct import FILLED, OUTSIDE

PLACE = {
    "y": ("y", np.arange(8.0), {"units": "degrees_north"}),
    "x": ("x", np.arange(9.0), {"units": "degrees_east"}),
}


@pytest.fixture(scope="module")
def general() -> Model:
    return hydrofill.open_bundle("general", threads=1)


@pytest.fixture
def surface(rng: np.random.Generator) -> np.ndarray:
    """Return a map (8, 9) that slopes, with noise and a hole of 3 x 3 cells."""
    values = np.add.outer(np.arange(8.0), np.arange(9.0)) + rng.normal(0, 0.1, (8, 9))
    values[2:5, 3:6] = np.nan
    return values.astype(np.float32)


def test_an_outage_longer_than_a_window_is_filled_with_a_wide_std(rng: np.random.Generator, general: Model) -> None:
    days = np.datetime64("2012-01-01", "ns") + np.arange(150) * np.timedelta64(1, "D")
    values = (10 + rng.normal(0, 2, (150, 8, 9))).astype(np.float32)
    values[40:110] = np.nan
    record = xr.Dataset({"sst": (("time", "y", "x"), values, {"units": "degC"})}, {"time": days, **PLACE})
    filled = hydrofill.fill(record, bundle=general)
    lost = slice(40, 110)
    assert (filled.sst_flag.values[lost] == FILLED).all()
    assert np.abs(filled.sst.values[lost] - 10).max() < 3
    assert 0.7 < filled.sst_std.values[lost].mean() / 2 < 1.5


@pytest.mark.parametrize("with_time", [True, False])
def test_a_single_map_is_filled_with_and_without_a_time_axis(
    surface: np.ndarray, general: Model, with_time: bool
) -> None:
    lst = xr.Dataset({"lst": (("y", "x"), surface, {"units": "K"})}, PLACE)
    if with_time:
        lst = lst.expand_dims(time=[np.datetime64("2016-08-04", "ns")])
    filled = hydrofill.fill(lst, bundle=general)
    assert filled.lst.dims == lst.lst.dims
    assert set(filled.coords) == set(lst.coords)
    gap = np.isnan(lst.lst.values)
    assert (filled.lst_flag.values[gap] == FILLED).all()
    truth = np.broadcast_to(np.add.outer(np.arange(8.0), np.arange(9.0)), lst.lst.shape)
    assert np.abs(filled.lst.values - truth)[gap].max() < 1.5
    np.testing.assert_array_equal(filled.lst.values[~gap], lst.lst.values[~gap])


def test_a_domain_keeps_the_rest_of_a_single_map_outside(surface: np.ndarray, general: Model) -> None:
    domain = np.ones((8, 9), np.int8)
    domain[3, 4] = 0
    lst = xr.Dataset({"lst": (("y", "x"), surface, {"units": "K"})}, PLACE)
    lst = lst.expand_dims(time=[np.datetime64("2016-08-04", "ns")]).assign(lst_domain=(("y", "x"), domain))
    filled = hydrofill.fill(lst, bundle=general)
    assert filled.lst_flag.values[0, 3, 4] == OUTSIDE
    assert (filled.lst_flag.values[0] == FILLED).sum() == 8


def test_progress_goes_from_the_measurement_of_the_record_to_the_end(rng: np.random.Generator, general: Model) -> None:
    days = np.datetime64("2012-01-01", "ns") + np.arange(60) * np.timedelta64(1, "D")
    values = rng.normal(0, 2, (60, 8, 9)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    record = xr.Dataset({"sst": (("time", "y", "x"), values, {"units": "degC"})}, {"time": days, **PLACE})
    calls: list[tuple[int, int]] = []
    hydrofill.fill(record, bundle=general, progress=lambda done, total: calls.append((done, total)))
    done = [number for number, total in calls if total == 100]
    assert len(done) == len(calls)
    assert done == sorted(done)
    assert done[0] < 40  # reported while the record is measured, before anything is filled
    assert done[-1] == 100


@pytest.mark.parametrize("power", [-40, 30])
@pytest.mark.parametrize("floor", [False, True])
def test_units_change_nothing_but_the_size_of_values(
    rng: np.random.Generator, general: Model, power: int, floor: bool
) -> None:
    days = np.datetime64("2012-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    waves = np.sin(np.arange(40)[:, None, None] / 5 + np.add.outer(np.arange(8) / 3, np.arange(9) / 4))
    values = (np.exp(waves) if floor else waves) + 0.1 * rng.random(waves.shape)
    values[rng.random(values.shape) < 0.3] = np.nan
    fills = []
    for factor in (1.0, 2.0**power):
        sent = (("time", "y", "x"), (values.astype(np.float32) * np.float32(factor)), {"units": "m s-1"})
        filled = hydrofill.fill(xr.Dataset({"q": sent}, {"time": days, **PLACE}), bundle=general)
        skill = json.loads(filled.q.attrs["hydrofill_expected_skill"])
        fills.append((filled.q.values / factor, filled.q_std.values / factor, skill["cloud"]["rmse"] / factor))
    for plain, scaled in zip(*fills, strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-3 if np.isscalar(plain) else 0)


def test_a_long_outage_at_the_end_relaxes_to_the_usual_value(rng: np.random.Generator, general: Model) -> None:
    time, y, x = np.meshgrid(np.arange(80), np.arange(8), np.arange(9), indexing="ij")
    waves = [np.sin(a * time + b * y + c * x) for a, b, c in ((0.07, 0.3, 0.2), (0.19, 0.1, 0.4), (0.29, 0.2, 0.1))]
    values = (np.sum(waves, axis=0) + 0.1 * rng.normal(size=time.shape)).astype(np.float32)
    usual, spread = values[:40].mean(axis=0), values[:40].std()
    values[40:] = np.nan
    days = np.datetime64("2012-01-01", "ns") + np.arange(80) * np.timedelta64(1, "D")
    record = xr.Dataset({"level": (("time", "y", "x"), values, {"units": "m"})}, {"time": days, **PLACE})
    filled = hydrofill.fill(record, bundle=general)
    away = np.abs(filled.level.values[40:] - usual).mean(axis=(1, 2))
    assert away[30:].mean() < 0.2 * spread
    std = filled.level_std.values[40:].mean(axis=(1, 2))
    assert std[30:].mean() > 0.6 * spread
    assert std[30:].mean() > std[:2].mean()
