"""Whether a gap is filled or refused follows from the data, never from where windows and blocks fall."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import xarray as xr

import hydrofill
from hydrofill import blocks
from hydrofill.general import self_check
from hydrofill.inference.model import Model

STEPS = 150


@pytest.fixture(scope="module")
def general() -> Model:
    return hydrofill.open_bundle("general", threads=1)


@pytest.fixture
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_VALUES", 5000)
        patch.setattr(blocks, "MARGIN_STEPS", 8)
        patch.setattr(self_check, "SOURCE_DRAWS", 2)
        yield


def hourly(sites: bool) -> np.ndarray:
    """Rain-like values (T, 6, 6) or (T, 3), with short gaps and two lost days."""
    rng = np.random.default_rng(11)
    shape = (STEPS, 3) if sites else (STEPS, 6, 6)
    wave = np.sin(np.arange(STEPS) / 6).reshape(-1, *[1] * (len(shape) - 1))
    values = np.maximum(0, wave + rng.normal(0, 0.2, shape))
    values[rng.random(shape) < 0.1] = np.nan
    values[40:64] = values[90:114] = np.nan
    return values.astype(np.float32)


def flags(values: np.ndarray, general: Model, max_gap: int | None) -> np.ndarray:
    dims = ("time", "site") if values.ndim == 2 else ("time", "lat", "lon")
    place = {} if values.ndim == 2 else {"lat": np.arange(6.0), "lon": np.arange(6.0)}
    time = np.datetime64("2024-06-10", "ns") + np.arange(len(values)) * np.timedelta64(1, "h")
    dataset = xr.Dataset({"rain": (dims, values, {"units": "mm"})}, {"time": time, **place})
    found: np.ndarray = hydrofill.fill(dataset, bundle=general, max_gap=max_gap)["rain_flag"].values
    return found


@pytest.mark.parametrize("sites", [False, True])
@pytest.mark.parametrize("max_gap", [None, 23, 24])
@pytest.mark.parametrize("shift", [1, 7])
@pytest.mark.usefixtures("small_blocks")
def test_flags_move_with_the_record(general: Model, sites: bool, max_gap: int | None, shift: int) -> None:
    values = hourly(sites)
    whole, moved = flags(values, general, max_gap), flags(values[shift:], general, max_gap)
    longest = 20  # steps from the start within which a gap is cut by the shift
    np.testing.assert_array_equal(whole[shift + longest :], moved[longest:])
    lost = whole[40:64]
    assert (lost == lost[0]).all()  # a lost day is filled whole or refused whole
