"""The server fills files laid out as people have them, and refuses others in the same words as the command."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
import xarray as xr

from hydrofill.cf import netcdf
from hydrofill.cf.writing import netcdf_bytes
from tests.support.field_files import FILLED, REFUSED, cdf5, field
from tests.support.tiny import JSON, NETCDF, NPZ, post

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", FILLED)
async def test_a_layout_is_filled_and_its_coordinates_come_back(kind: str, client: httpx.AsyncClient) -> None:
    body = FILLED[kind]()
    reply = await post(client, body)
    assert reply.status_code == 200, reply.text
    before, after = (
        netcdf.open_groups(io.BytesIO(content), "scipy" if content.startswith(b"CDF") else "h5netcdf")
        for content in (body, reply.content)
    )
    assert before.keys() == after.keys()
    for path, group in before.items():
        for name, variable in group.variables.items():
            if name != "precipitation":
                assert after[path].variables[name].values.tolist() == variable.values.tolist()
                assert after[path].variables[name].attrs.get("units") == variable.attrs["units"]
            else:
                values, seen = after[path][name].values, ~np.isnan(field())
                assert values[seen].tobytes() == field()[seen].tobytes()
                assert np.isfinite(values).all()


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_refusal_names_what_is_wrong(kind: str, client: httpx.AsyncClient) -> None:
    make, message = REFUSED[kind]
    reply = await post(client, make())
    assert reply.status_code in (400, 422)
    assert message.split(": ")[-1].split(" (got")[0] in reply.json()["detail"]


async def test_cdf5_is_refused_with_the_command_that_converts_it(client: httpx.AsyncClient) -> None:
    reply = await post(client, cdf5())
    assert reply.status_code == 400
    assert "nccopy -k nc4 IN OUT" in str(reply.json())


async def test_dates_of_other_calendars_are_written_in_every_media_type(client: httpx.AsyncClient) -> None:
    body = FILLED["360_day"]()
    document = (await post(client, body, NETCDF, JSON)).json()
    assert document["time"][2] == "2001-02-30T12:00:00Z"
    arrays = np.load(io.BytesIO((await post(client, body, NETCDF, NPZ)).content))
    assert arrays["time"][2] == "2001-02-30T12:00:00"


async def test_json_replies_keep_the_longitudes_of_the_body(client: httpx.AsyncClient) -> None:
    document = (await post(client, FILLED["greenwich"](), NETCDF, JSON)).json()
    assert document["lon"] == [358.0, 359.0, 0.0, 1.0, 2.0]


def test_the_rest_of_a_file_reaches_the_server_whole() -> None:
    dataset = netcdf.read_netcdf(FILLED["group below coordinates"]())
    from app.codecs.netcdf import NetcdfBody
    from app.codecs.sandbox import message

    body = message.unpack(message.pack(NetcdfBody(dataset)), {})
    assert isinstance(body, NetcdfBody)
    again = body.dataset
    content = netcdf_bytes(again)
    assert set(netcdf.open_groups(io.BytesIO(content), "h5netcdf")) == {"/", "/Grid", "/Grid/rain"}
    xr.testing.assert_identical(again, dataset)
