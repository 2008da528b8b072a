"""Schemas of the JSON bodies; msgspec and numpy check the large arrays, pydantic describes the small replies."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from pydantic import BaseModel, ConfigDict, Field

Number = float | None  # null for a missing value
Units = Annotated[
    str,
    Meta(
        description="Units of the values. They are converted to the bundle's units and back; a general bundle fills in "
        "any units, and needs none.",
        examples=["mm day-1"],
    ),
]
Axis = Annotated[
    list[float],
    Meta(description="Strictly monotonic coordinates in the model's coordinate system.", examples=[[1.0, 2.0]]),
]


class Field3D(Struct, forbid_unknown_fields=True):
    """A gridded variable: values [time][y][x], null for a missing value."""

    values: list[list[list[Number]]]
    units: Units = ""


class Series2D(Struct, forbid_unknown_fields=True):
    """A variable at sites: values [time][site], null for a missing value."""

    values: list[list[Number]]
    units: Units = ""


class Static(Struct, forbid_unknown_fields=True):
    """A static field, values [y][x], or a site attribute, values [site]. `V_domain` is 1 where the field V exists."""

    values: list[list[Number] | Number]
    units: Units = ""


class Site(Struct, forbid_unknown_fields=True):
    """A gauge or catchment, and its place in the grid's coordinates, if it is known."""

    id: Annotated[str, Meta(examples=["Y3204040"])]
    y: float | UnsetType = UNSET
    x: float | UnsetType = UNSET
    lat: float | UnsetType = UNSET
    lon: float | UnsetType = UNSET


class ReconstructRequest(Struct, forbid_unknown_fields=True):
    """Data with gaps. `y` and `x` may be called `lat` and `lon`, here and in the sites."""

    time: Annotated[list[str], Meta(description="Increasing times in ISO 8601.", examples=[["2012-08-01T00:00:00Z"]])]
    y: Axis | UnsetType = UNSET
    x: Axis | UnsetType = UNSET
    lat: Axis | UnsetType = UNSET
    lon: Axis | UnsetType = UNSET
    fields: dict[str, Raw] = {}
    sites: list[Site] = []
    series: dict[str, Raw] = {}
    static: dict[str, Raw] = {}


class ExpectedSkill(Struct):
    """Skill on values of the data that were hidden as a check, for one kind of gap, in the variable's units.

    `cells`: number of hidden values. `rmse`: root mean square error of the fill. `coverage90`: share of the values
    within the 90 % interval. `linear_rmse`: RMSE of linear interpolation in time. `best_guess`, `best_guess_rmse`: the
    classical estimate of the smallest error. Null where there is no such estimate.
    """

    cells: int
    rmse: float | None
    coverage90: float | None
    linear_rmse: float | None
    best_guess: str
    best_guess_rmse: float | None


class Reconstructed(Struct):
    """A variable of the reply; its arrays have one shape. Reconstructed variables have `std` and `flag`.

    `flag`: 0 observed, 1 filled, 2 outside, 3 refused, 4 too far, 5 not interior, 6 not selected, 7 low support.
    `std`: standard deviation, 0 where observed, null where not filled. `expected_skill`: of a fill by a general bundle,
    by kind of gap. `longest_gap_filled`: in time steps.
    `longest_gap_measured`: the longest gap whose fill was measured on hidden values, or learnt.
    """

    units: str
    values: list[Any]
    std: list[Any] | UnsetType = UNSET
    flag: list[Any] | UnsetType = UNSET
    expected_skill: dict[str, ExpectedSkill] | UnsetType = UNSET
    longest_gap_filled: int | UnsetType = UNSET
    longest_gap_measured: int | UnsetType = UNSET


class BundleUsed(Struct):
    """The bundle that filled the gaps."""

    name: str
    version: str
    sha256: str


class TimingMs(Struct, frozen=True):
    """Milliseconds to decode the body, wait for the engine, run the encoder and the decoder, and in total."""

    decode: float
    queue: float
    encode: float
    decode_queries: float
    total: float


class ReconstructReply(Struct):
    """The request's data with its gaps filled. `calibration` says how a fill by a general bundle was calibrated."""

    time: list[str]
    fields: dict[str, Reconstructed]
    sites: list[Site]
    series: dict[str, Reconstructed]
    static: dict[str, Reconstructed]
    bundle: BundleUsed
    timing_ms: TimingMs
    calibration: str | UnsetType = UNSET
    y: list[float] | UnsetType = UNSET
    x: list[float] | UnsetType = UNSET
    lat: list[float] | UnsetType = UNSET
    lon: list[float] | UnsetType = UNSET


class ReplyModel(BaseModel):
    """Base class of the small JSON replies."""

    model_config = ConfigDict(frozen=True)


class Health(ReplyModel):
    """The state of the server."""

    status: str = Field(examples=["ok"])


class VariableSummary(ReplyModel):
    """A variable that a bundle can fill."""

    name: str = Field(examples=["precipitation"])
    kind: str = Field(examples=["grid"])
    units: str = Field(examples=["mm day-1"])
    standard_name: str = Field(examples=["lwe_precipitation_rate"])


class BundleSummary(ReplyModel):
    """A loaded bundle."""

    name: str = Field(examples=["lez-daily"])
    version: str = Field(examples=["1.0.0"])
    sha256: str = Field(description="SHA-256 of the bundle's manifest.json.")
    precision: str = Field(
        description="Precision of the network's blocks: float32, float16 or int8.", examples=["float32"]
    )
    general: bool = Field(description="Whether the bundle fills variables of any name and units, on any grid.")
    variables: tuple[VariableSummary, ...] = Field(
        description="The variables that the bundle fills; none for a general bundle, which fills any."
    )


class BundleList(ReplyModel):
    """Every loaded bundle."""

    bundles: tuple[BundleSummary, ...]


class LimitsInfo(ReplyModel):
    """Limits of requests: bytes, seconds of engine time, requests at a time."""

    max_body_bytes: int
    max_decoded_bytes: int
    max_cost_s: float
    max_queue_s: float
    max_requests: int
    deadline_s: float


class Estimate(ReplyModel):
    """The predicted cost of a request, over all its windows."""

    bundle: str = Field(examples=["lez-daily"])
    windows: int = Field(
        description="Windows that hold both gaps to fill and observed values. For a general bundle, the windows of the "
        "check on hidden values count too, here and below."
    )
    tokens: int = Field(description="Visible tokens to encode.")
    queries: int = Field(description="Queries to decode.")
    body_bytes: int = Field(description="Bytes of the body as sent.")
    decoded_bytes: int = Field(description="Bytes of the decoded body.")
    predicted_s: float = Field(description="Seconds of engine time.")
    memory_bytes: int = Field(description="Bytes of memory that the request takes at its peak, the reply included.")
    wait_s: float = Field(description="Seconds that the request would wait for the engine now.")
    too_large: bool = Field(description="Whether `predicted_s` or `memory_bytes` exceeds the limit for one request.")


class Info(ReplyModel):
    """Versions, execution provider and limits of the server."""

    version: str = Field(examples=["0.1.0"])
    python: str
    libraries: dict[str, str]
    provider: str = Field(examples=["CPUExecutionProvider"])
    precision: dict[str, str] = Field(
        description="Precision of each loaded bundle.", examples=[{"lez-daily": "float32"}]
    )
    threads: int
    limits: LimitsInfo


class ErrorDetail(ReplyModel):
    """One error and its place: a JSON pointer into the body, or /query/PARAMETER."""

    pointer: str = Field(examples=["/fields/precipitation/units"])
    detail: str


class ProblemDocument(ReplyModel):
    """A problem document (RFC 9457)."""

    type: str = Field(examples=["urn:hydrofill:problem:units"])
    title: str = Field(examples=["Units cannot be converted"])
    status: int = Field(examples=[422])
    detail: str
    request_id: str
    errors: tuple[ErrorDetail, ...]


def body_schemas() -> dict[str, Any]:
    """Return the JSON schemas, by name, of the bodies that msgspec reads and writes, for the OpenAPI document."""
    kinds = {"fields": Field3D, "series": Series2D, "static": Static}
    _, schemas = msgspec.json.schema_components(
        [ReconstructRequest, ReconstructReply, *kinds.values()], ref_template="#/components/schemas/{name}"
    )
    for section, kind in kinds.items():
        of_section = schemas["ReconstructRequest"]["properties"][section]
        of_section["additionalProperties"] = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return schemas
