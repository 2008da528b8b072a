"""What a fill takes is counted before anything is made: pairs of sites, windows times sites, bytes."""

from __future__ import annotations

import time
import tracemalloc

import httpx
import numpy as np
import pytest
import xarray as xr

from app.engine import load as load_module
from app.engine.load import PAIR_TERMS, count_load
from app.errors import TooLargeError
from hydrofill.bundle import read_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from hydrofill.layout import GENERAL
from tests.support.general_run import days
from tests.support.tiny import LAYOUT, NPZ, body_of, sample, write_bundle

GUESSING = LAYOUT.model_copy(update={"guesses": True})


def gauges(steps: int, sites: int, seen: int) -> WaterCube:
    values = np.full((steps, sites), np.nan, np.float32)
    values[: steps - 1, :seen] = np.random.default_rng(0).normal(size=(steps - 1, seen))
    coords = {"time": days(steps), "site": np.arange(sites).astype(str).astype(object)}
    places = {name: ("site", np.arange(sites) / sites) for name in ("lat", "lon")}
    return read_dataset(xr.Dataset({"level": (("time", "site"), values, {"units": "m"})}, coords | places)).cube


def test_pairs_of_sites_are_counted_once_for_each_guess_and_only_of_sites_that_are_seen() -> None:
    few, many = (count_load(gauges(12, 30, seen), GENERAL, ["level"], None) for seen in (2, 30))
    draws = few.terms[PAIR_TERMS[0]] / 3**2
    assert draws >= 2
    assert many.terms[PAIR_TERMS[0]] == draws * 31**2
    assert many.terms[PAIR_TERMS[1]] == 12 * many.terms[PAIR_TERMS[0]]


def test_products_of_other_variables_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(9, 8, 8)).astype(np.float32)
    values[4] = np.nan
    axes = {"time": days(9), "y": np.arange(8.0), "x": np.arange(8.0)}
    counts = []
    for number in (1, 2, 4):
        names = [f"v{n}" for n in range(number)]
        cube = read_dataset(xr.Dataset(dict.fromkeys(names, (("time", "y", "x"), values)), axes)).cube
        counts.append(count_load(cube, GENERAL, names, None).terms[load_module.OTHERS_TERM])
    assert counts[0] == 0
    assert counts[2] > 4 * counts[1] > 0


def column(rows: int, sites: int) -> xr.Dataset:
    """A column of many rows with many sites, one step of one series, in the layout of the tiny bundle."""
    place = LAYOUT.place
    flow = np.ones((2, sites), np.float32)
    flow[1, 0] = np.nan
    y = place.y_origin + place.y_spacing * np.arange(rows)
    start = np.datetime64("2012-08-01", "ns")
    return xr.Dataset(
        {
            "precipitation": (("time", "y", "x"), np.ones((2, rows, 1), np.float32), {"units": "mm day-1"}),
            "river_flow": (("time", "site"), flow, {"units": "m3 s-1"}),
        },
        {
            "time": start + np.arange(2) * np.timedelta64(round(place.step_s), "s"),
            "y": y,
            "x": [place.x_origin],
            "site": np.arange(sites).astype(str).astype(object),
            "site_y": ("site", np.linspace(y[0], y[-1], sites)),
            "site_x": ("site", np.full(sites, place.x_origin)),
        },
    )


@pytest.mark.anyio
async def test_a_column_of_many_rows_and_sites_is_counted_in_seconds(client: httpx.AsyncClient) -> None:
    started = time.perf_counter()
    body = body_of(column(1500, 1500), NPZ)
    reply = await client.post("/estimate", content=body, headers={"Content-Type": NPZ})
    assert reply.status_code in (200, 413), reply.text
    assert time.perf_counter() - started < 5


def test_more_windows_times_sites_than_can_be_searched_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = read_dataset(column(60, 60), LAYOUT).cube
    count_load(cube, LAYOUT, ["river_flow"], None)
    monkeypatch.setattr(load_module, "MAX_SITE_WINDOWS", 60)
    with pytest.raises(TooLargeError, match="windows and 60 sites"):
        count_load(cube, LAYOUT, ["river_flow"], None)


@pytest.fixture(scope="module")
def guessing(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("guessing")
    return load_model(read_bundle(write_bundle(folder, layout=GUESSING)), Runtime("cpu", 1))


@pytest.mark.parametrize(("steps", "rows", "columns"), [(10, 4, 4), (40, 16, 16), (400, 8, 8), (12, 40, 40)])
def test_no_fill_takes_more_memory_than_was_counted(guessing: Model, steps: int, rows: int, columns: int) -> None:
    cube = read_dataset(sample(steps, rows, columns), GUESSING).cube
    load = count_load(cube, GUESSING, ["precipitation", "temperature"], None)
    tracemalloc.start()
    guessing.run(cube, ["precipitation", "temperature"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < load.bytes < 6 * peak + 10 * 2**20
