"""JSON bodies, each field with its unit and an example; arrays are checked as arrays by msgspec and numpy."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from pydantic import BaseModel, ConfigDict, Field

Number = float | None  # null = missing
Units = Annotated[str, Meta(description="of the values; converted to the model's and back", examples=["mm day-1"])]
Axis = Annotated[list[float], Meta(description="strictly monotonic, on the model's coordinates", examples=[[1.0, 2.0]])]


class Field3D(Struct, forbid_unknown_fields=True):
    """A gridded variable: values [time][y][x], null = missing."""

    values: list[list[list[Number]]]
    units: Units = ""


class Series2D(Struct, forbid_unknown_fields=True):
    """A variable at sites: values [time][site], null = missing."""

    values: list[list[Number]]
    units: Units = ""


class Static(Struct, forbid_unknown_fields=True):
    """A static field, values [y][x], or a site attribute, values [site]; `<field>_domain` says where a field lives."""

    values: list[list[Number] | Number]
    units: Units = ""


class Site(Struct, forbid_unknown_fields=True):
    """A gauge or catchment and its place on the grid's coordinates."""

    id: Annotated[str, Meta(examples=["Y3204040"])]
    y: float | UnsetType = UNSET
    x: float | UnsetType = UNSET
    lat: float | UnsetType = UNSET
    lon: float | UnsetType = UNSET


class ReconstructRequest(Struct, forbid_unknown_fields=True):
    """Data with gaps. `y`, `x` may be called `lat`, `lon`, here and in the sites."""

    time: Annotated[list[str], Meta(description="ISO 8601, increasing", examples=[["2012-08-01T00:00:00Z"]])]
    y: Axis | UnsetType = UNSET
    x: Axis | UnsetType = UNSET
    lat: Axis | UnsetType = UNSET
    lon: Axis | UnsetType = UNSET
    fields: dict[str, Raw] = {}
    sites: list[Site] = []
    series: dict[str, Raw] = {}
    static: dict[str, Raw] = {}


class Reconstructed(Struct):
    """A variable of the reply, arrays of one shape; `std` and `flag` for the reconstructed ones.

    `flag`: 0 observed, 1 filled, 2 outside, 3 refused. `std`: 0 where observed, null where not filled.
    """

    units: str
    values: list[Any]
    std: list[Any] | UnsetType = UNSET
    flag: list[Any] | UnsetType = UNSET


class BundleUsed(Struct):
    """Which bundle filled the gaps."""

    name: str
    version: str
    sha256: str


class TimingMs(Struct):
    """Milliseconds: reading the body, waiting, the encoder, the decoder, all until the reply was written."""

    decode: float
    queue: float
    encode: float
    decode_queries: float
    total: float


class ReconstructReply(Struct):
    """The request's data with its gaps filled."""

    time: list[str]
    fields: dict[str, Reconstructed]
    sites: list[Site]
    series: dict[str, Reconstructed]
    static: dict[str, Reconstructed]
    bundle: BundleUsed
    timing_ms: TimingMs
    y: list[float] | UnsetType = UNSET
    x: list[float] | UnsetType = UNSET
    lat: list[float] | UnsetType = UNSET
    lon: list[float] | UnsetType = UNSET


class ReplyModel(BaseModel):
    """Base of the small JSON replies."""

    model_config = ConfigDict(frozen=True)


class Health(ReplyModel):
    """Whether the server can do its work."""

    status: str = Field(examples=["ok"])


class VariableSummary(ReplyModel):
    """A variable that a bundle reconstructs."""

    name: str = Field(examples=["precipitation"])
    kind: str = Field(examples=["grid"])
    units: str = Field(examples=["mm day-1"])
    standard_name: str = Field(examples=["lwe_precipitation_rate"])


class BundleSummary(ReplyModel):
    """A loaded bundle."""

    name: str = Field(examples=["lez-daily"])
    version: str = Field(examples=["1.0.0"])
    sha256: str = Field(description="of its manifest.json")
    precision: str = Field(description="what its blocks compute in: float32, float16 or int8", examples=["float32"])
    variables: tuple[VariableSummary, ...]


class BundleList(ReplyModel):
    """Every loaded bundle."""

    bundles: tuple[BundleSummary, ...]


class LimitsInfo(ReplyModel):
    """What the server takes: bytes, seconds of its engine, requests at a time."""

    max_body_bytes: int
    max_decoded_bytes: int
    max_cost_s: float
    max_queue_s: float
    max_requests: int
    deadline_s: float


class Estimate(ReplyModel):
    """What a request would take, all windows together."""

    bundle: str = Field(examples=["lez-daily"])
    windows: int = Field(description="windows with something to fill and something to fill it from")
    tokens: int = Field(description="visible tokens that would be encoded")
    queries: int = Field(description="queries that would be answered")
    body_bytes: int = Field(description="the body as sent")
    decoded_bytes: int = Field(description="the body once decoded")
    predicted_s: float = Field(description="seconds of the engine")
    wait_s: float = Field(description="seconds that it would wait for the engine now")
    too_large: bool = Field(description="whether it is over the limit of a request's predicted seconds")


class Info(ReplyModel):
    """What is running."""

    version: str = Field(examples=["0.1.0"])
    python: str
    libraries: dict[str, str]
    provider: str = Field(examples=["CPUExecutionProvider"])
    precision: dict[str, str] = Field(description="of each loaded bundle", examples=[{"lez-daily": "float32"}])
    threads: int
    limits: LimitsInfo


class ErrorDetail(ReplyModel):
    """One thing that is wrong, and where: a JSON pointer into the body, or /query/<parameter>."""

    pointer: str = Field(examples=["/fields/precipitation/units"])
    detail: str


class ProblemDocument(ReplyModel):
    """RFC 9457."""

    type: str = Field(examples=["urn:hydrofill:problem:units"])
    title: str = Field(examples=["Units cannot be converted"])
    status: int = Field(examples=[422])
    detail: str
    request_id: str
    errors: tuple[ErrorDetail, ...]


def body_schemas() -> dict[str, Any]:
    """JSON schemas of the bodies that msgspec reads and writes, by name, for the OpenAPI document."""
    kinds = {"fields": Field3D, "series": Series2D, "static": Static}
    _, schemas = msgspec.json.schema_components(
        [ReconstructRequest, ReconstructReply, *kinds.values()], ref_template="#/components/schemas/{name}"
    )
    for section, kind in kinds.items():
        of_section = schemas["ReconstructRequest"]["properties"][section]
        of_section["additionalProperties"] = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return schemas
