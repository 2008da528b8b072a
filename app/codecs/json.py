"""The codec of application/json: nested lists, null for a missing value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import xarray as xr
from msgspec import UNSET, Raw, UnsetType

from app.codecs.base import BodyLimits, Codec, Reply
from app.codecs.build_dataset import (
    X_NAMES,
    Y_NAMES,
    ArrayBody,
    NamedArray,
    SiteArrays,
    check_body,
    check_grid,
)
from app.codecs.times import read_times, write_times
from app.schemas import (
    BundleUsed,
    ExpectedSkill,
    Field3D,
    Reconstructed,
    ReconstructReply,
    ReconstructRequest,
    Series2D,
    Site,
    Static,
    TimingMs,
)
from hydrofill.cf.axes import PLANE, Dimension
from hydrofill.cf.coordinates import stored_coordinate
from hydrofill.cf.dataset import dimensions_of
from hydrofill.cf.variables import ordered_dims
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import CoordinateError, StructureError, UnreadableError
from hydrofill.layout import MAX_NAME_LENGTH
from hydrofill.reconstruct import LONGEST_FILLED, LONGEST_MEASURED

MEDIA_TYPE = "application/json"
BYTES_PER_VALUE = 32  # CPython on 64 bit: a float object (24) and its pointer in a list (8)
BYTES_PER_LIST = 96  # an empty list (56), its first block (32), and its pointer in the outer list (8)
SECTIONS: Mapping[str, type[Field3D] | type[Series2D] | type[Static]] = {
    "fields": Field3D,
    "series": Series2D,
    "static": Static,
}
SECTION_OF: Mapping[Kind, str] = {
    "grid": "fields",
    "series": "series",
    "static_grid": "static",
    "static_site": "static",
}
KINDS_OF_SECTION: Mapping[str, tuple[Kind, ...]] = {
    section: tuple(kind for kind, of_kind in SECTION_OF.items() if of_kind == section) for section in SECTIONS
}
OPENING = ord("{")
NO_BRACES = bytes(set(range(256)) - set(b"{}"))
T = TypeVar("T")
PATH_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")


def decode(body: bytes, limits: BodyLimits) -> ArrayBody:
    """Parse the request in `body`.

    Raises:
        UnreadableError: the body is not JSON.
        StructureError: the JSON does not match the schema, or names a thing twice.
        CoordinateError: a coordinate is missing or wrong.
        TooLargeError: the body exceeds the limits.
    """
    _check_size(body, limits)
    request = _read(body, ReconstructRequest, "")
    _check_unique(body)
    limits.check("variables", sum(len(getattr(request, section)) for section in SECTIONS))
    limits.check("sites", len(request.sites))
    sent = {name: getattr(request, name) for name in (*Y_NAMES, *X_NAMES)}
    axes = {name: np.array(axis, np.float64) for name, axis in sent.items() if axis is not UNSET}
    grid = check_grid(axes, needed=bool(request.fields))
    arrays = [
        _read_variable(raw, section, name) for section in SECTIONS for name, raw in getattr(request, section).items()
    ]
    return check_body(ArrayBody(read_times(request.time), grid, _read_sites(request.sites, grid), arrays), limits)


def encode(reply: Reply) -> bytes:
    """Write the reply as JSON; NaN becomes null."""
    dataset, cube, dimensions = reply.dataset, reply.reading.cube, reply.reading.dimensions
    sections: dict[str, dict[str, Reconstructed]] = {section: {} for section in SECTIONS}
    for name, source in reply.reading.source.items():
        kind = cube.variables[name].kind
        written = _write_variable(dataset, dimensions, source, kind, name in reply.filled)
        if (skill := reply.expected_skill(name)) is not None:
            written.expected_skill = _read_skill(skill)
        if name in reply.filled:
            of_fill = reply.filled[name].attributes
            written.longest_gap_filled = _steps(of_fill, LONGEST_FILLED)
            written.longest_gap_measured = _steps(of_fill, LONGEST_MEASURED)
        sections[SECTION_OF[kind]][source] = written
        if f"{source}_domain" in dataset.data_vars:
            sections["static"][f"{source}_domain"] = _write_variable(
                dataset, dimensions, f"{source}_domain", "static_grid", False
            )
    geographic = any(d.axis in ("y", "x") and d.name in ("lat", "lon") for d in dimensions.values())
    y_name, x_name = ("lat", "lon") if geographic else ("y", "x")
    stored = {
        (d.axis, axis): stored_coordinate(dataset, d, axis)
        for d in dimensions_of(dataset, dimensions, reply.reading.source.values())
        for axis in PLANE
        if d.axis in (axis, "site")
    }
    unknown = np.full(len(cube.sites), np.nan)
    places = zip(cube.sites.ids, *(stored.get(("site", axis), unknown) for axis in PLANE), strict=True)
    has_grid = len(cube.y) > 0 and len(cube.x) > 0
    grid: dict[str, Any] = {}
    if has_grid:
        grid = {name: stored[axis, axis].tolist() for name, axis in zip((y_name, x_name), PLANE, strict=True)}
    document = ReconstructReply(
        time=write_times(cube.time, cube.calendar),
        sites=[Site(str(i), **_place({y_name: float(y), x_name: float(x)})) for i, y, x in places],
        bundle=BundleUsed(reply.bundle, reply.version, reply.sha256),
        timing_ms=TimingMs(**{stage: round(ms, 3) for stage, ms in msgspec.structs.asdict(reply.timing).items()}),
        fields=sections["fields"],
        series=sections["series"],
        static=sections["static"],
        calibration=UNSET if reply.calibration is None else reply.calibration,
        **grid,
    )
    return msgspec.json.encode(document)


def _place(coordinates: Mapping[str, float]) -> dict[str, float]:
    """Return the coordinates of a site that are known."""
    return {name: value for name, value in coordinates.items() if not np.isnan(value)}


def _steps(attributes: Mapping[str, str], key: str) -> int | UnsetType:
    return int(attributes[key]) if key in attributes else UNSET


def _check_size(body: bytes, limits: BodyLimits) -> None:
    """Raise an error, before any list is made, if the body's lists would exceed the limit of bytes."""
    if not body.strip():
        raise UnreadableError("the body is empty")
    limits.check_bytes(BYTES_PER_VALUE * body.count(b",") + BYTES_PER_LIST * body.count(b"["))


def _check_unique(body: bytes) -> None:
    """Check that no object in a body, which is JSON, has two members of one name: a parser keeps only the last.

    Raises:
        StructureError: a name is there twice; names the first such name.
    """
    unescaped = body.replace(b"\\\\", b"--").replace(b'\\"', b"--")  # as long, without quotes inside texts
    parts = unescaped.split(b'"')  # outside and inside texts in turns
    open_objects: list[set[str]] = []
    end = len(parts[0])
    _follow_braces(parts[0], open_objects)
    for inside, outside in zip(parts[1::2], parts[2::2], strict=True):
        start, end = end + 1, end + 1 + len(inside)
        if outside.lstrip().startswith(b":"):
            name = msgspec.json.decode(body[start - 1 : end + 1], type=str)
            if name in open_objects[-1]:
                raise StructureError("a name is given twice in one object", got=repr(name[:MAX_NAME_LENGTH]))
            open_objects[-1].add(name)
        _follow_braces(outside, open_objects)
        end += 1 + len(outside)


def _follow_braces(outside: bytes, open_objects: list[set[str]]) -> None:
    """Keep the names of the members of each open object, past a part of a body without texts."""
    for brace in outside.translate(None, NO_BRACES):
        if brace == OPENING:
            open_objects.append(set())
        else:
            open_objects.pop()


def _read(content: bytes | Raw, kind: type[T], where: str) -> T:
    """Parse `content` as `kind`; errors name their place in the body."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        steps = [where] if where else []
        steps += [step[0] or step[1] for step in PATH_STEP.findall(path)]
        raise StructureError(problem, where="/".join(steps)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UnreadableError("the body is not JSON", got=str(error) or type(error).__name__) from error


def _read_sites(sites: Sequence[Site], grid: Mapping[str, np.ndarray]) -> SiteArrays | None:
    if not sites:
        return None
    first = "lat" if "lat" in grid or (not grid and sites[0].lat is not UNSET) else "y"
    place: dict[str, list[float]] = {first: [], {"y": "x", "lat": "lon"}[first]: []}
    for number, site in enumerate(sites):
        for name, values in place.items():
            if all(getattr(site, axis) is UNSET for axis in (*Y_NAMES, *X_NAMES)):
                values.append(np.nan)  # a site whose place is unknown
                continue
            if isinstance(value := getattr(site, name), UnsetType):
                expected = f"{' and '.join(place)}, like the grid's axes"
                raise CoordinateError("is missing", where=f"sites/{number}/{name}", expected=expected)
            values.append(value)
    ids = np.array([site.id for site in sites], dtype=object)
    return SiteArrays(ids, {name: np.array(values) for name, values in place.items()})


def _read_variable(raw: Raw, section: str, name: str) -> NamedArray:
    """Return a variable, its values as float64 with NaN for null."""
    where = f"{section}/{name}"
    variable = _read(raw, SECTIONS[section], where)
    kinds = KINDS_OF_SECTION[section]
    try:
        values = np.array(variable.values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        expected = " or ".join(f"dims {DIMS[kind]}" for kind in kinds)
        raise StructureError(
            "the rows are not all of one length", where=f"{where}/values", expected=expected
        ) from error
    return NamedArray(name, kinds, values, variable.units, where, f"{where}/values")


def _read_skill(text: str) -> dict[str, ExpectedSkill]:
    """Return the expected skill by kind of gap; a figure that is not a number becomes null."""
    found = json.loads(text, parse_constant=lambda _: None)
    return msgspec.convert(found, dict[str, ExpectedSkill])


def _write_variable(
    dataset: xr.Dataset, dimensions: Mapping[str, Dimension], source: str, kind: Kind, filled: bool
) -> Reconstructed:
    def nested(name: str) -> list[Any]:
        variable = dataset[name]
        order = ordered_dims(variable.variable, dimensions, kind)
        extra = [d for d in variable.dims if d not in order]
        if any(variable.sizes[d] > 1 for d in extra):
            raise StructureError(
                f"has the dimension {', '.join(map(str, extra))}, which a reply in JSON does not have; ask for NetCDF",
                where=source,
            )
        values = variable.squeeze(extra).transpose(*order).values
        if values.ndim < len(DIMS[kind]):  # a series along time alone is a series of one site
            values = values[:, None]
        return cast(list[Any], values.tolist())

    return Reconstructed(
        units=str(dataset[source].attrs.get("units", "")),
        values=nested(source),
        std=nested(f"{source}_std") if filled and f"{source}_std" in dataset.data_vars else UNSET,
        flag=nested(f"{source}_flag") if filled else UNSET,
    )


CODEC = Codec(MEDIA_TYPE, decode, encode)
