"""application/json <-> dataset: nested lists, null = missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import xarray as xr
from msgspec import UNSET, Raw, UnsetType

from app.codecs.base import Codec, Reply, SentVariable
from app.codecs.build_dataset import X_NAMES, Y_NAMES, Named, SentSites, assemble, check_grid
from app.codecs.times import read_times, write_times
from app.errors import TooLargeError
from app.schemas import (
    BundleUsed,
    Field3D,
    Reconstructed,
    ReconstructReply,
    ReconstructRequest,
    Series2D,
    Site,
    Static,
    TimingMs,
)
from hydrofill.cf.axes import Dimension
from hydrofill.cf.dataset import ordered_dims
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import CoordinateError, StructureError, UnknownVariableError, UnreadableError
from hydrofill.layout import Layout

MEDIA_TYPE = "application/json"
BYTES_PER_VALUE = 32  # CPython on 64 bit: a float object of 24 and its place in a list of 8
BYTES_PER_LIST = 96  # an empty list of 56, its first block, and its place in the list above
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
T = TypeVar("T")
PATH_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")


@dataclass(frozen=True, eq=False)
class SentJson:
    """A JSON request; the values of a variable are read when it is known what shape they must have."""

    request: ReconstructRequest

    @property
    def sections(self) -> dict[str, str]:
        """By variable name, the section that it was sent in."""
        return {name: section for section in SECTIONS for name in getattr(self.request, section)}

    @property
    def variables(self) -> tuple[SentVariable, ...]:
        """What was sent."""
        return tuple(SentVariable(name, "") for name in self.sections)

    def locate(self, where: str) -> str:
        """`fields/precipitation` for `precipitation`, `lat` for `y`."""
        name, slash, rest = where.partition("/")
        if name in self.sections:
            return f"{self.sections[name]}/{name}{slash}{rest}"
        renamed = {"y": "lat", "x": "lon"}.get(name, name)
        return renamed + slash + rest if isinstance(getattr(self.request, renamed, UNSET), list) else where

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """The request as a dataset on dimensions time, y and x (or lat and lon), and site."""
        request = self.request
        sent_axes = {name: getattr(request, name) for name in (*Y_NAMES, *X_NAMES)}
        grid = {name: np.array(axis, np.float64) for name, axis in sent_axes.items() if axis is not UNSET}
        grid = check_grid(grid, needed=bool(request.fields))
        variables = [
            _read_variable(raw, f"{section}/{name}", section, self._kind(section, name, layout))
            for section in SECTIONS
            for name, raw in getattr(request, section).items()
        ]
        return assemble(read_times(request.time), grid, _read_sites(request.sites, grid), variables)

    def _kind(self, section: str, name: str, layout: Layout) -> Kind:
        """The kind of a variable of the model that belongs in `section`."""
        if section == "static" and name.endswith("_domain") and name.removesuffix("_domain") in self.request.fields:
            return "static_grid"
        specs = {s.name: s for s in (*layout.variables, *layout.static)}
        if name not in specs:
            allowed = sorted(n for n, s in specs.items() if SECTION_OF[s.kind] == section)
            raise UnknownVariableError(
                "the model has no such variable here", where=f"{section}/{name}", expected=f"one of {allowed}"
            )
        kind = specs[name].kind
        if SECTION_OF[kind] != section:
            raise StructureError("stands in the wrong section", where=f"{section}/{name}", expected=SECTION_OF[kind])
        return kind


def decode(body: bytes, max_decoded_bytes: int | None) -> SentJson:
    """The request in `body`.

    Raises:
        UnreadableError: not JSON. StructureError: JSON of another form. TooLargeError: it would become too large.
    """
    _check_size(body, max_decoded_bytes)
    request = _read(body, ReconstructRequest, "")
    sent = SentJson(request)
    twice = sum(len(getattr(request, section)) for section in SECTIONS) - len(sent.sections)
    if twice:
        raise StructureError("a variable stands in two sections", got=sorted(sent.sections))
    return sent


def encode(reply: Reply) -> bytes:
    """The reply as JSON; NaN becomes null."""
    dataset, cube, dimensions = reply.dataset, reply.reading.cube, reply.reading.dimensions
    sections: dict[str, dict[str, Reconstructed]] = {section: {} for section in SECTIONS}
    for name, source in reply.reading.source.items():
        kind = cube.variables[name].kind
        sections[SECTION_OF[kind]][source] = _write_variable(dataset, dimensions, source, kind, name in reply.filled)
        if f"{source}_domain" in dataset.data_vars:
            sections["static"][f"{source}_domain"] = _write_variable(
                dataset, dimensions, f"{source}_domain", "static_grid", False
            )
    geographic = any(d.axis in ("y", "x") and d.name in ("lat", "lon") for d in dimensions.values())
    y_name, x_name = ("lat", "lon") if geographic else ("y", "x")
    places = zip(cube.sites.ids, cube.sites.y, cube.sites.x, strict=True)
    has_grid = len(cube.y) > 0 and len(cube.x) > 0
    grid: dict[str, Any] = {y_name: cube.y.tolist(), x_name: cube.x.tolist()} if has_grid else {}
    document = ReconstructReply(
        time=write_times(cube.time),
        sites=[Site(str(i), **{y_name: float(y), x_name: float(x)}) for i, y, x in places],
        bundle=BundleUsed(reply.bundle, reply.version, reply.sha256),
        timing_ms=TimingMs(**{stage: round(ms, 3) for stage, ms in asdict(reply.timing).items()}),
        fields=sections["fields"],
        series=sections["series"],
        static=sections["static"],
        **grid,
    )
    return msgspec.json.encode(document)


def _check_size(body: bytes, limit: int | None) -> None:
    """Refuses, before any list is made, a body whose lists could not fit."""
    if not body.strip():
        raise UnreadableError("the body is empty")
    needed = BYTES_PER_VALUE * body.count(b",") + BYTES_PER_LIST * body.count(b"[")
    if limit is not None and needed > limit:
        raise TooLargeError("the decoded body is too large", got=f"{needed} bytes", expected=f"{limit} at most")


def _read(content: bytes | Raw, kind: type[T], where: str) -> T:
    """`content` as `kind`, its errors told with the place where they are."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        steps = [where] if where else []
        steps += [step[0] or step[1] for step in PATH_STEP.findall(path)]
        raise StructureError(problem, where="/".join(steps)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UnreadableError("the body is not JSON", got=str(error) or type(error).__name__) from error


def _read_sites(sites: Sequence[Site], grid: Mapping[str, np.ndarray]) -> SentSites | None:
    if not sites:
        return None
    first = "lat" if "lat" in grid or (not grid and sites[0].lat is not UNSET) else "y"
    place: dict[str, list[float]] = {first: [], {"y": "x", "lat": "lon"}[first]: []}
    for number, site in enumerate(sites):
        for name, values in place.items():
            if isinstance(value := getattr(site, name), UnsetType):
                expected = f"{' and '.join(place)}, as the grid's axes"
                raise CoordinateError("is missing", where=f"sites/{number}/{name}", expected=expected)
            values.append(value)
    ids = np.array([site.id for site in sites], dtype=object)
    return SentSites(ids, {name: np.array(values) for name, values in place.items()})


def _read_variable(raw: Raw, where: str, section: str, kind: Kind) -> Named:
    """A variable's values as float64 with NaN for null, and its units."""
    read = _read(raw, SECTIONS[section], where)
    try:
        values = np.array(read.values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        place, dims = f"{where}/values", DIMS[kind]
        raise StructureError("rows are not all of one length", where=place, expected=f"dims {dims}") from error
    return Named(where.partition("/")[2], kind, values, read.units, f"{where}/values")


def _write_variable(
    dataset: xr.Dataset, dimensions: Mapping[str, Dimension], source: str, kind: Kind, filled: bool
) -> Reconstructed:
    def nested(name: str) -> list[Any]:
        variable = dataset[name]
        order = ordered_dims(variable.variable, dimensions, kind)
        extra = [d for d in variable.dims if d not in order]  # dimensions of length 1 that are no axis
        return cast(list[Any], variable.squeeze(extra).transpose(*order).values.tolist())

    return Reconstructed(
        units=str(dataset[source].attrs.get("units", "")),
        values=nested(source),
        std=nested(f"{source}_std") if filled and f"{source}_std" in dataset.data_vars else UNSET,
        flag=nested(f"{source}_flag") if filled else UNSET,
    )


CODEC = Codec(MEDIA_TYPE, decode, encode)
