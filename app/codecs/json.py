"""The codec of application/json: nested lists, null for a missing value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import xarray as xr
from msgspec import UNSET, Raw, UnsetType

from app.codecs.base import Codec, Reply, VariableId
from app.codecs.build_dataset import (
    X_NAMES,
    Y_NAMES,
    NamedArray,
    SiteArrays,
    build_dataset,
    check_any_name,
    check_grid,
)
from app.codecs.times import read_times, write_times
from app.errors import TooLargeError
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
from hydrofill.cf.axes import PLANE, Dimension, stored_coordinate
from hydrofill.cf.dataset import dimensions_of
from hydrofill.cf.variables import ordered_dims
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import CoordinateError, StructureError, UnknownVariableError, UnreadableError
from hydrofill.layout import Layout

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
KIND_OF_SECTION: Mapping[str, Kind] = {"fields": "grid", "series": "series"}
STATIC_KINDS: Mapping[int, Kind] = {1: "static_site", 2: "static_grid"}  # by the number of dimensions
T = TypeVar("T")
PATH_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")


@dataclass(frozen=True, eq=False)
class JsonBody:
    """A JSON request; the values of a variable are parsed once their expected shape is known."""

    request: ReconstructRequest

    @property
    def sections(self) -> dict[str, str]:
        """The section of each variable, by its name."""
        return {name: section for section in SECTIONS for name in getattr(self.request, section)}

    @property
    def variables(self) -> tuple[VariableId, ...]:
        """The variables of the request."""
        return tuple(VariableId(name, "") for name in self.sections)

    def locate(self, where: str) -> str:
        """Return `fields/precipitation` for `precipitation`, and `lat` for `y` if the request calls it so."""
        name, slash, rest = where.partition("/")
        if name in self.sections:
            return f"{self.sections[name]}/{name}{slash}{rest}"
        renamed = {"y": "lat", "x": "lon"}.get(name, name)
        return renamed + slash + rest if isinstance(getattr(self.request, renamed, UNSET), list) else where

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """Return the request as a dataset on the dimensions time, y and x (or lat and lon), and site."""
        request = self.request
        sent_axes = {name: getattr(request, name) for name in (*Y_NAMES, *X_NAMES)}
        grid = {name: np.array(axis, np.float64) for name, axis in sent_axes.items() if axis is not UNSET}
        grid = check_grid(grid, needed=bool(request.fields))
        variables = [
            _read_variable(raw, section, name, self._kind(section, name, layout))
            for section in SECTIONS
            for name, raw in getattr(request, section).items()
        ]
        return build_dataset(read_times(request.time), grid, _read_sites(request.sites, grid), variables)

    def _kind(self, section: str, name: str, layout: Layout) -> Kind | None:
        """Return the kind of the variable `name`; None for a static variable whose shape tells.

        Raise an error if the kind does not belong in `section`, or a general layout cannot take the name.
        """
        if section == "static" and name.endswith("_domain") and name.removesuffix("_domain") in self.request.fields:
            return "static_grid"
        if layout.general:
            check_any_name(name, f"{section}/{name}")
            return KIND_OF_SECTION.get(section)
        specs = {s.name: s for s in (*layout.variables, *layout.static)}
        if name not in specs:
            allowed = sorted(n for n, s in specs.items() if SECTION_OF[s.kind] == section)
            raise UnknownVariableError(
                "the model has no such variable here", where=f"{section}/{name}", expected=f"one of {allowed}"
            )
        kind = specs[name].kind
        if SECTION_OF[kind] != section:
            raise StructureError("is in the wrong section", where=f"{section}/{name}", expected=SECTION_OF[kind])
        return kind


def decode(body: bytes, max_decoded_bytes: int | None) -> JsonBody:
    """Parse the request in `body`.

    Raises:
        UnreadableError: the body is not JSON.
        StructureError: the JSON does not match the schema.
        TooLargeError: the parsed body would be larger than `max_decoded_bytes`.
    """
    _check_size(body, max_decoded_bytes)
    request = _read(body, ReconstructRequest, "")
    decoded = JsonBody(request)
    duplicates = sum(len(getattr(request, section)) for section in SECTIONS) - len(decoded.sections)
    if duplicates:
        raise StructureError("a variable is in two sections", got=sorted(decoded.sections))
    return decoded


def encode(reply: Reply) -> bytes:
    """Write the reply as JSON; NaN becomes null."""
    dataset, cube, dimensions = reply.dataset, reply.reading.cube, reply.reading.dimensions
    sections: dict[str, dict[str, Reconstructed]] = {section: {} for section in SECTIONS}
    for name, source in reply.reading.source.items():
        kind = cube.variables[name].kind
        written = _write_variable(dataset, dimensions, source, kind, name in reply.filled)
        if (skill := reply.expected_skill(name)) is not None:
            written.expected_skill = _read_skill(skill)
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
    places = zip(cube.sites.ids, *(stored.get(("site", axis), ()) for axis in PLANE), strict=True)
    has_grid = len(cube.y) > 0 and len(cube.x) > 0
    grid: dict[str, Any] = {}
    if has_grid:
        grid = {name: stored[axis, axis].tolist() for name, axis in zip((y_name, x_name), PLANE, strict=True)}
    document = ReconstructReply(
        time=write_times(cube.time, cube.calendar),
        sites=[Site(str(i), **{y_name: float(y), x_name: float(x)}) for i, y, x in places],
        bundle=BundleUsed(reply.bundle, reply.version, reply.sha256),
        timing_ms=TimingMs(**{stage: round(ms, 3) for stage, ms in msgspec.structs.asdict(reply.timing).items()}),
        fields=sections["fields"],
        series=sections["series"],
        static=sections["static"],
        calibration=UNSET if reply.calibration is None else reply.calibration,
        **grid,
    )
    return msgspec.json.encode(document)


def _check_size(body: bytes, limit: int | None) -> None:
    """Raise an error, before any list is made, if the body's lists would exceed `limit` bytes."""
    if not body.strip():
        raise UnreadableError("the body is empty")
    needed = BYTES_PER_VALUE * body.count(b",") + BYTES_PER_LIST * body.count(b"[")
    if limit is not None and needed > limit:
        raise TooLargeError("the decoded body would be too large", got=f"{needed} bytes", expected=f"{limit} at most")


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
            if isinstance(value := getattr(site, name), UnsetType):
                expected = f"{' and '.join(place)}, like the grid's axes"
                raise CoordinateError("is missing", where=f"sites/{number}/{name}", expected=expected)
            values.append(value)
    ids = np.array([site.id for site in sites], dtype=object)
    return SiteArrays(ids, {name: np.array(values) for name, values in place.items()})


def _read_variable(raw: Raw, section: str, name: str, kind: Kind | None) -> NamedArray:
    """Return a variable's values as float64 with NaN for null, and its units; its shape tells the kind None."""
    variable = _read(raw, SECTIONS[section], f"{section}/{name}")
    place = f"{section}/{name}/values"
    try:
        values = np.array(variable.values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        expected = f"dims {DIMS[kind]}" if kind else "dims ('y', 'x') or ('site',)"
        raise StructureError("the rows are not all of one length", where=place, expected=expected) from error
    return NamedArray(name, kind or STATIC_KINDS[values.ndim], values, variable.units, place)


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
        extra = [d for d in variable.dims if d not in order]  # dimensions of length 1 that are not an axis
        return cast(list[Any], variable.squeeze(extra).transpose(*order).values.tolist())

    return Reconstructed(
        units=str(dataset[source].attrs.get("units", "")),
        values=nested(source),
        std=nested(f"{source}_std") if filled and f"{source}_std" in dataset.data_vars else UNSET,
        flag=nested(f"{source}_flag") if filled else UNSET,
    )


CODEC = Codec(MEDIA_TYPE, decode, encode)
