"""Requests on the shipped bundle's grid in every media type, and the engine's own results for them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import msgspec
import numpy as np
import xarray as xr

from app.codecs.base import BodyLimits
from app.codecs.negotiation import CODECS
from app.service import prepare_body
from benchmarks.support.harness import BUNDLE, THREADS
from hydrofill.bundle import read_bundle
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.filling import FillOptions, PreparedFill
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from hydrofill.layout import Layout

MEDIA_TYPES = NPZ, NETCDF, JSON = "application/x-npz", "application/x-netcdf", "application/json"
RAIN, PET = "precipitation", "pet"


@dataclass(frozen=True)
class Body:
    """A request body and its media type."""

    media_type: str
    content: bytes


def open_model() -> Model:
    """Open the shipped bundle without a server."""
    return load_model(read_bundle(BUNDLE), Runtime("cpu", THREADS))


def gappy(
    layout: Layout,
    steps: int,
    rows: int,
    columns: int,
    seed: int,
    missing: float = 0.4,
    names: Sequence[str] = (RAIN, PET),
) -> xr.Dataset:
    """Return random values on a corner of the model's grid, with a share of them missing."""
    rng, place = np.random.default_rng(seed), layout.place
    data = {}
    for name in names:
        values = rng.gamma(2, 2, (steps, rows, columns)).astype(np.float32)
        hidden = rng.random(values.shape) < missing
        hidden.flat[0] = False
        values[hidden] = np.nan
        data[name] = (("time", "y", "x"), values, {"units": "mm day-1"})
    axes = {
        "time": np.datetime64("2012-08-01", "ns") + np.arange(steps) * np.timedelta64(1, "D"),
        "y": place.y_origin + place.y_spacing * np.arange(rows),
        "x": place.x_origin + place.x_spacing * np.arange(columns),
    }
    return xr.Dataset(data, axes)


def body_of(data: xr.Dataset, media_type: str) -> Body:
    """Encode `data` as a request."""
    if media_type == NETCDF:
        return Body(media_type, netcdf_bytes(data))
    if media_type == NPZ:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{str(name): v.values for name, v in data.variables.items()})
        return Body(media_type, content.getvalue())
    fields = {}
    for name, variable in data.data_vars.items():
        values = variable.values.astype(object)
        values[np.isnan(variable.values)] = None
        fields[str(name)] = {"units": "mm day-1", "values": values.tolist()}
    times = [f"{time}Z" for time in np.datetime_as_string(data["time"].values, unit="s")]
    axes = {"y": data["y"].values.tolist(), "x": data["x"].values.tolist()}
    return Body(media_type, msgspec.json.encode({"time": times, **axes, "fields": fields}))


def read_body(model: Model, body: Body) -> PreparedFill:
    """Read a request as the server does."""
    return prepare_body(CODECS[body.media_type].decode(body.content, BodyLimits()), model.layout, FillOptions())


def engine_alone(model: Model, body: Body) -> dict[str, np.ndarray]:
    """Return V, V_std and V_flag of each variable V as the engine computes them without a server."""
    prepared = read_body(model, body)
    outcome = model.run(prepared.reading.cube, prepared.names)
    filled = prepared.write(outcome.filled, model.provenance(outcome))
    return {str(name): variable.values for name, variable in filled.data_vars.items()}


def arrays_of(reply: httpx.Response) -> dict[str, np.ndarray]:
    """Return the same arrays from a reply of any media type."""
    media_type = reply.headers["content-type"]
    if media_type == NETCDF:
        with xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf") as data:
            return {str(name): variable.values for name, variable in data.data_vars.items()}
    if media_type == NPZ:
        with np.load(io.BytesIO(reply.content), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    arrays = {}
    for name, variable in reply.json()["fields"].items():
        for key, end in (("values", ""), ("std", "_std"), ("flag", "_flag")):
            if key in variable:
                arrays[name + end] = np.array(variable[key], np.float32)
    return arrays


def is_right(reply: httpx.Response, expected: dict[str, np.ndarray]) -> bool:
    """Return whether a reply holds the expected arrays, identical to the bit."""
    given = arrays_of(reply)
    return all(name in given and np.array_equal(given[name], v, equal_nan=True) for name, v in expected.items())
