"""A tiny bundle whose answers are known in closed form, data for it, and clients of a server with it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx
import onnx.helper as oh
import xarray as xr
from fastapi import FastAPI
from onnx import TensorProto

from hydrofill.bundle import (
    CARD,
    DECODER,
    ENCODER,
    MANIFEST,
    GraphSpec,
    Manifest,
    Optimised,
    Parity,
    TensorSpec,
    TrainingData,
    digest,
)
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.layout import Layout, Patch, Place, VariableSpec, WindowSize

JSON, NETCDF, NPZ = "application/json", "application/x-netcdf", "application/x-npz"
STD = 0.5  # the standard deviation that the tiny decoder always returns
OPSET, IR_VERSION = 20, 10
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ONNX_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}

LAYOUT = Layout(
    variables=(
        VariableSpec(
            name="precipitation", kind="grid", units="mm day-1", standard_name="lwe_precipitation_rate", lower=0.0
        ),
        VariableSpec(name="temperature", kind="grid", units="degC", standard_name="air_temperature"),
        VariableSpec(name="river_flow", kind="series", units="m3 s-1", lower=0.0),
    ),
    static=(
        VariableSpec(name="slope", kind="static_grid", units="1"),
        VariableSpec(name="area", kind="static_site", units="km2"),
    ),
    patch=Patch(rows=2, columns=2, steps=3),
    window=WindowSize(steps=6, rows=8, columns=8),
    place=Place(rows=8, columns=8, step_s=86_400.0),
    guesses=False,
)
P = LAYOUT.token_size


def tensor(name: str, dtype: str, *dims: str | int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, dims=dims)


ENCODER_SPEC = GraphSpec(
    inputs=(
        tensor("values", "float32", "batch", "visible", P),
        tensor("valid", "bool", "batch", "visible", P),
        tensor("variable", "int64", "batch", "visible"),
        tensor("place", "float32", "batch", "visible", 9),
        tensor("length", "int64", "batch"),
    ),
    outputs=(tensor("memory", "float32", "batch", "visible", 2 * P + 1),),
)
DECODER_SPEC = GraphSpec(
    inputs=(
        tensor("memory", "float32", "batch", "visible", 2 * P + 1),
        tensor("length", "int64", "batch"),
        tensor("query_variable", "int64", "batch", "queries"),
        tensor("query_place", "float32", "batch", "queries", 9),
    ),
    outputs=(tensor("mean", "float32", "batch", "queries", P), tensor("std", "float32", "batch", "queries", P)),
)


def graph_bytes(nodes: list[onnx.NodeProto], spec: GraphSpec, constants: dict[str, np.ndarray] | None = None) -> bytes:
    inputs, outputs = (
        [oh.make_tensor_value_info(t.name, ONNX_TYPES[t.dtype], t.dims) for t in part]
        for part in (spec.inputs, spec.outputs)
    )
    held = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = oh.make_graph(nodes, "tiny", inputs, outputs, held)
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString()


def encoder_bytes() -> bytes:
    """A graph whose memory is values, validity and token type, concatenated."""
    nodes = [
        oh.make_node("Cast", ["valid"], ["seen"], to=TensorProto.FLOAT),
        oh.make_node("Cast", ["variable"], ["type"], to=TensorProto.FLOAT),
        oh.make_node("Unsqueeze", ["type", "last"], ["type_column"]),
        oh.make_node("Concat", ["values", "seen", "type_column"], ["memory"], axis=2),
    ]
    return graph_bytes(nodes, ENCODER_SPEC, {"last": np.array([-1])})


def decoder_bytes(std: float = STD) -> bytes:
    """A graph whose mean is that of the query variable's visible values (0 without any); std is constant."""
    nodes = [
        oh.make_node("Split", ["memory", "widths"], ["values", "seen", "type_column"], axis=2),
        oh.make_node("Transpose", ["type_column"], ["type_row"], perm=[0, 2, 1]),  # (B, 1, L)
        oh.make_node("Cast", ["query_variable"], ["requested_flat"], to=TensorProto.FLOAT),
        oh.make_node("Unsqueeze", ["requested_flat", "last"], ["requested"]),  # (B, Q, 1)
        oh.make_node("Equal", ["requested", "type_row"], ["same"]),  # (B, Q, L)
        oh.make_node("Cast", ["same"], ["share"], to=TensorProto.FLOAT),
        oh.make_node("ReduceSum", ["values", "last"], ["total"], keepdims=1),
        oh.make_node("ReduceSum", ["seen", "last"], ["count"], keepdims=1),
        oh.make_node("MatMul", ["share", "total"], ["of_total"]),  # (B, Q, 1)
        oh.make_node("MatMul", ["share", "count"], ["of_count"]),
        oh.make_node("Max", ["of_count", "one"], ["at_least_one"]),
        oh.make_node("Div", ["of_total", "at_least_one"], ["answer"]),
        oh.make_node("Mul", ["answer", "cells"], ["mean"]),  # (B, Q, P)
        oh.make_node("Mul", ["mean", "zero"], ["nothing"]),
        oh.make_node("Add", ["nothing", "constant_std"], ["std"]),
    ]
    constants = {
        "widths": np.array([P, P, 1]),
        "last": np.array([-1]),
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.float32),
        "constant_std": np.array(std, np.float32),
        "cells": np.ones((1, 1, P), np.float32),
    }
    return graph_bytes(nodes, DECODER_SPEC, constants)


def write_bundle(
    folder: Path,
    name: str = "tiny",
    layout: Layout = LAYOUT,
    *,
    encoder: bytes | None = None,
    decoder: bytes | None = None,
    version: str = "1.2.3",
) -> Path:
    """Write a bundle to `folder / name`; `encoder` and `decoder` replace the graphs."""
    contents = {
        ENCODER: encoder or encoder_bytes(),
        DECODER: decoder or decoder_bytes(),
        CARD: b"# tiny\n",
    }
    manifest = Manifest(
        name=name,
        version=version,
        created=CREATED,
        licence="Apache-2.0",
        training=TrainingData(title="none", source="made up", licence="none", start=CREATED, end=CREATED, frames=1),
        layout=layout,
        encoder=ENCODER_SPEC,
        decoder=DECODER_SPEC,
        opset=OPSET,
        optimised=Optimised(level="none", onnxruntime="none"),
        parity=Parity(tolerance=1e-4, max_relative_difference=0.0, shapes=({"batch": 1},)),
        skill=(),
        files={file: digest(content) for file, content in contents.items()},
    )
    path = folder / name
    path.mkdir(parents=True)
    (path / MANIFEST).write_text(manifest.to_json())
    for file, content in contents.items():
        (path / file).write_bytes(content)
    return path


def sample(steps: int = 5, rows: int = 4, columns: int = 6) -> xr.Dataset:
    """Two gridded variables, a series at two sites and static attributes, about a third of it missing."""
    rng = np.random.default_rng(7)
    time = np.datetime64("2012-08-01", "ns") + np.arange(steps) * np.timedelta64(1, "D")
    rain = rng.gamma(1.0, 3.0, (steps, rows, columns)).astype(np.float32)
    warmth = rng.normal(12.0, 4.0, (steps, rows, columns)).astype(np.float32)
    flow = rng.gamma(2.0, 1.0, (steps, 2)).astype(np.float32)
    for values in (rain, warmth, flow):
        hidden = rng.random(values.shape) < 0.3
        hidden[0] = False  # every cell has a value at some time
        values[hidden] = np.nan
    dataset = xr.Dataset(
        {
            "precipitation": (
                ("time", "y", "x"),
                rain,
                {"units": "mm day-1", "standard_name": "lwe_precipitation_rate", "comment": "kept"},
            ),
            "temperature": (("time", "y", "x"), warmth, {"units": "degC"}),
            "river_flow": (("time", "site"), flow, {"units": "m3 s-1"}),
            "slope": (("y", "x"), rng.random((rows, columns)).astype(np.float32), {"units": "1"}),
            "area": (("site",), np.array([10.0, 20.0], np.float32), {"units": "km2"}),
        },
        {
            "time": time,
            "y": np.arange(rows, dtype=np.float64),
            "x": np.arange(columns, dtype=np.float64),
            "site": np.array(["A", "B"], dtype=object),
            "site_y": ("site", [0.0, 3.0]),
            "site_x": ("site", [1.0, 5.0]),
        },
        {"title": "a sample", "history": "made"},
    )
    dataset["time"].encoding = {"units": "hours since 2000-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    return dataset


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application and yield a client of it."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def nested(values: np.ndarray) -> list[Any]:
    """Return nested lists with None for missing values."""
    missing = values.astype(object)
    missing[np.isnan(values)] = None
    return missing.tolist()


def json_of(dataset: xr.Dataset) -> dict[str, Any]:
    """The dataset as a JSON request."""

    def section(*names: str) -> dict[str, Any]:
        return {
            name: {"units": dataset[name].attrs["units"], "values": nested(dataset[name].values)}
            for name in names
            if name in dataset
        }

    return {
        "time": [f"{t}Z" for t in np.datetime_as_string(dataset["time"].values, unit="s")],
        "y": dataset["y"].values.tolist(),
        "x": dataset["x"].values.tolist(),
        "fields": section("precipitation", "temperature"),
        "sites": [
            {"id": str(i), "y": float(y), "x": float(x)}
            for i, y, x in zip(*(dataset[n].values for n in ("site", "site_y", "site_x")), strict=True)
        ],
        "series": section("river_flow"),
        "static": section("slope", "area"),
    }


def npz_of(dataset: xr.Dataset, **extra: np.ndarray) -> bytes:
    """The dataset as an npz request."""
    arrays = {str(n): v.values.astype(str) if v.dtype == object else v.values for n, v in dataset.variables.items()}
    units = {f"{n}_units": np.array(v.attrs["units"]) for n, v in dataset.data_vars.items() if "units" in v.attrs}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{**arrays, **units, **extra})
    return content.getvalue()


def body_of(dataset: xr.Dataset, media_type: str) -> bytes:
    """The dataset as a request of that media type."""
    if media_type == JSON:
        return msgspec.json.encode(json_of(dataset))
    return netcdf_bytes(dataset) if media_type == NETCDF else npz_of(dataset)


def open_netcdf(content: bytes) -> xr.Dataset:
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as dataset:
        return dataset.load()


def reply_arrays(reply: httpx.Response) -> dict[str, np.ndarray]:
    """V, V_std and V_flag of a reply of any media type."""
    media_type = reply.headers["content-type"]
    if media_type == JSON:
        document = reply.json()
        variables = {**document["fields"], **document["series"], **document["static"]}
        arrays = {}
        for name, variable in variables.items():
            for key, end in (("values", ""), ("std", "_std"), ("flag", "_flag")):
                if key in variable:
                    arrays[name + end] = np.array(variable[key], np.float64)
        return arrays
    if media_type == NETCDF:
        return {str(n): v.values for n, v in open_netcdf(reply.content).data_vars.items()}
    with np.load(io.BytesIO(reply.content), allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


async def post(
    client: httpx.AsyncClient, body: bytes, media_type: str = NETCDF, accept: str | None = None, **query: object
) -> httpx.Response:
    headers = {"Content-Type": media_type} | ({"Accept": accept} if accept else {})
    return await client.post(
        "/reconstruct", content=body, headers=headers, params={k: str(v) for k, v in query.items()}
    )
