"""The server fills gauges without places, series along time alone, CSVs, slices, experiments and single maps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

import app.engine.cost as cost_module
import app.service as service_module
from app.main import create_app
from app.settings import Settings
from tests.support.problems import check_problem
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, client_of, open_netcdf, post

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
STEPS = 24
TIME = np.datetime64("2001-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D")
CSV = "text/csv"


@pytest.fixture
async def client(general_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(cost_module, "GENERAL_RECORDS", cost_module.GENERAL_RECORDS[:1])
    settings = Settings(bundles=general_bundle.parent, reload_s=0, max_cost_s=1e9, max_queue_s=1e9)
    async with client_of(create_app(settings)) as connected:
        yield connected


def levels() -> np.ndarray:
    """Three gauges (T, 3) with gaps."""
    values = 5 + np.sin(np.arange(STEPS) / 3)[:, None] + np.arange(3) / 10
    values[[3, 4, 9], [0, 1, 2]] = np.nan
    return values.astype(np.float32)


def fields() -> np.ndarray:
    """Fields on two levels, (T, 2, 5, 6), with gaps."""
    rng = np.random.default_rng(2)
    values = np.sin(np.arange(STEPS) / 4)[:, None, None, None] + rng.normal(0, 0.1, (STEPS, 2, 5, 6))
    values[rng.random(values.shape) < 0.2] = np.nan
    return values.astype(np.float32)


GRID: dict[str, Any] = {"time": TIME, "lat": np.arange(5.0), "lon": np.arange(6.0)}


async def test_gauges_without_places_are_filled_in_every_format(client: httpx.AsyncClient) -> None:
    data = xr.Dataset({"level": (("time", "site"), levels(), {"units": "m"})}, {"time": TIME, "site": ["a", "b", "c"]})
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert not filled["level"].isnull().any()
    document = {
        "time": [f"{time:.19}Z" for time in TIME.astype(str)],
        "sites": [{"id": name} for name in "abc"],
        "series": {
            "level": {"units": "m", "values": [[None if np.isnan(v) else float(v) for v in row] for row in levels()]}
        },
    }
    reply = await post(client, json.dumps(document).encode(), JSON)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert answer["sites"] == [{"id": name} for name in "abc"]
    np.testing.assert_allclose(answer["series"]["level"]["values"], filled["level"].values, rtol=1e-4)
    assert answer["series"]["level"]["longest_gap_filled"] == 1
    assert answer["series"]["level"]["longest_gap_measured"] >= 1
    reply = await post(client, body_of(data, NETCDF), accept=NPZ)
    assert reply.status_code == 200


async def test_series_along_time_alone_are_filled(client: httpx.AsyncClient) -> None:
    data = xr.Dataset({name: ("time", levels()[:, n], {"units": "m"}) for n, name in enumerate("abc")}, {"time": TIME})
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert all(filled[name].dims == ("time",) and not filled[name].isnull().any() for name in "abc")
    answer = (await post(client, body_of(data, NETCDF), accept=JSON)).json()
    assert np.shape(answer["series"]["b"]["values"]) == (STEPS, 1)


async def test_a_csv_is_filled_and_answered_as_it_was_written(client: httpx.AsyncClient) -> None:
    cells = ["" if np.isnan(value) else f"{value:.2f}0" for value in levels()[:, 0]]
    rows = [f"{time:.10},{cell},x" for time, cell in zip(TIME.astype(str), cells, strict=True)]
    body = "\n".join(["date,flow [m3/s],remark", *rows, ""])
    reply = await post(client, body.encode(), CSV)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith(CSV)
    header, *filled = reply.text.splitlines()
    assert header == "date,flow [m3/s],remark,flow_std [m3/s],flow_flag"
    for before, after in zip(rows, filled, strict=True):
        assert after.startswith(f"{before},") == (",," not in before)
    assert "flow_flag" in open_netcdf((await post(client, body.encode(), CSV, accept=NETCDF)).content)


async def test_a_bad_csv_is_refused_with_its_line(client: httpx.AsyncClient) -> None:
    reply = await post(client, b"time,a\n2001-01-01,1\n2001-01-01,2\n", CSV)
    check_problem(reply, 422, "coordinate", "line 3")
    data = xr.Dataset({"a": ("time", levels()[:, 0])}, {"time": TIME})
    check_problem(await post(client, body_of(data, NETCDF), accept=CSV), 422, "structure", "only what was read as CSV")


async def test_slices_are_filled_and_counted(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    data = xr.Dataset({"t": (("time", "level", "lat", "lon"), fields(), {"units": "K"})}, GRID | {"level": [850, 500]})
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert filled["t"].dims == ("time", "level", "lat", "lon")
    assert not filled["t"].isnull().any()
    assert set(json.loads(filled["t"].attrs["hydrofill_expected_skill"])) == {"level=850", "level=500"}
    check_problem(await post(client, body_of(data, NETCDF), accept=JSON), 422, "structure", "level")
    monkeypatch.setattr(service_module, "MAX_SLICES", 1)
    check_problem(await post(client, body_of(data, NETCDF)), 422, "structure", "too many slices")


async def test_experiments_are_merged(client: httpx.AsyncClient) -> None:
    whole, apart = fields()[:, 0], np.full((STEPS, 2, 5, 6), np.nan, np.float32)
    apart[:10, 0], apart[10:, 1] = whole[:10], whole[10:]
    data = xr.Dataset({"t": (("time", "expver", "lat", "lon"), apart, {"units": "K"})}, GRID | {"expver": [1, 5]})
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert filled["t"].dims == ("time", "lat", "lon")
    assert (filled["t"].values[~np.isnan(whole)] == whole[~np.isnan(whole)]).all()


@pytest.mark.parametrize("time", ["none", "scalar", "one"])
async def test_a_single_map_is_filled(client: httpx.AsyncClient, time: str) -> None:
    data = xr.Dataset({"t": (("lat", "lon"), fields()[0, 0], {"units": "K"})}, {n: GRID[n] for n in ("lat", "lon")})
    data = data if time == "none" else data.assign_coords(time=TIME[0])
    data = data.expand_dims("time") if time == "one" else data
    filled = open_netcdf((await post(client, body_of(data, NETCDF))).content)
    assert filled["t"].dims == data["t"].dims
    assert ("time" in filled.variables) == (time != "none")
    assert not filled["t"].isnull().any()
