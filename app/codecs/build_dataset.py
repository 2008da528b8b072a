"""Bodies of named arrays and axes, without dimensions of their own (JSON, NPZ), and the datasets that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from app.codecs.base import BodyLimits, VariableId
from hydrofill.cf.variables import COMPANIONS
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import CoordinateError, StructureError, UnknownVariableError
from hydrofill.general.layout import check_name
from hydrofill.layout import MAX_NAME_LENGTH, Layout

Y_NAMES, X_NAMES = ("y", "lat"), ("x", "lon")
GRID_NAMES = (frozenset({"y", "x"}), frozenset({"lat", "lon"}))
SITE_PLACES = tuple(f"site_{name}" for name in (*Y_NAMES, *X_NAMES))
COORDINATES = frozenset({"time", *Y_NAMES, *X_NAMES, "site", *SITE_PLACES})
AXIS_UNITS = {"lat": "degrees_north", "lon": "degrees_east"}
DOMAIN = "_domain"


@dataclass(frozen=True, eq=False)
class NamedArray:
    """A variable of a body.

    name: its name. kinds: those that its place in the body allows. values: numbers; NaN is missing. units: None where
    the body does not say: then they are the bundle's. where: its place in the body. values_where: that of its values.
    """

    name: str
    kinds: tuple[Kind, ...]
    values: np.ndarray
    units: str | None
    where: str
    values_where: str


@dataclass(frozen=True, eq=False)
class SiteArrays:
    """The sites of a request: identifiers (N,), and coordinates (N,) by the names of the grid's axes."""

    ids: np.ndarray
    place: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ArrayBody:
    """A body of named arrays; which dimensions they have is known once its bundle is.

    time: (T,) datetime64[ns]. grid: the axes by their names in the body, y or lat first; empty for data without a grid.
    sites: None for data without sites. arrays: the variables, in the order of the reply.
    """

    time: np.ndarray
    grid: Mapping[str, np.ndarray]
    sites: SiteArrays | None
    arrays: Sequence[NamedArray]

    @property
    def variables(self) -> tuple[VariableId, ...]:
        """The variables of the body, without the domains of others."""
        return tuple(VariableId(a.name, "") for a in self.arrays if not self._is_domain(a))

    def locate(self, where: str) -> str:
        """Return `fields/rain` for `rain` if that is its place, and `lat` for `y` if the body calls it so."""
        name, slash, rest = where.partition("/")
        place = next((array.where for array in self.arrays if array.name == name), None)
        renamed = {"y": "lat", "x": "lon"}.get(name, name)
        return (place or (renamed if renamed in self.grid else name)) + slash + rest

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """Return the body as a dataset on the dimensions time, y and x (or lat and lon), and site.

        Raises:
            UnknownVariableError: the bundle does not know a variable.
            StructureError: the shape or the name of a variable does not fit.
        """
        sent_as = dict(zip(("y", "x"), self.grid, strict=False))
        units = {spec.name: spec.units for spec in (*layout.variables, *layout.static)}
        lengths, data = self._lengths(), {}
        for array in self.arrays:
            kind = "static_grid" if self._is_domain(array) else self._kind(array, layout, lengths)
            dims = DIMS[kind]
            _check_shape(array, dims, lengths)
            of_bundle = "1" if self._is_domain(array) else units.get(array.name, "")
            attributes = {"units": of_bundle if array.units is None else array.units}
            data[array.name] = ([sent_as.get(d, d) for d in dims], array.values, attributes)
        axes = {name: (name, axis, _axis_attributes(name)) for name, axis in self.grid.items()}
        dataset = xr.Dataset(data, {"time": self.time, **axes})
        if self.sites is None:
            return dataset
        places = {f"site_{name}": ("site", values) for name, values in self.sites.place.items()}
        return dataset.assign_coords({"site": ("site", self.sites.ids), **places})

    def _lengths(self) -> dict[str, int]:
        """Return the lengths of the dimensions, those of the grid as y and x."""
        grid = {axis: len(self.grid[name]) for axis, name in zip(("y", "x"), self.grid, strict=False)}
        sites = {} if self.sites is None else {"site": len(self.sites.ids)}
        return {"time": len(self.time), **grid, **sites}

    def _is_domain(self, array: NamedArray) -> bool:
        """Return whether an array says where another variable of the body, on the grid, has values."""
        main = array.name.removesuffix(DOMAIN)
        return main != array.name and "static_grid" in array.kinds and main in self._fields

    @cached_property
    def _fields(self) -> frozenset[str]:
        """The names of the variables that may be on the grid."""
        return frozenset(array.name for array in self.arrays if "grid" in array.kinds)

    def _kind(self, array: NamedArray, layout: Layout, lengths: Mapping[str, int]) -> Kind:
        """Return the kind of a variable: as the layout says, or as its place in the body and its shape tell."""
        if layout.general:
            check_any_name(array.name, array.where)
            return _kind_by_shape(array, lengths)
        specs = {s.name: s for s in (*layout.variables, *layout.static)}
        if array.name not in specs:
            allowed = sorted(name for name, spec in specs.items() if spec.kind in array.kinds)
            raise UnknownVariableError(
                "the model has no such variable here", where=array.where, expected=f"one of {allowed}"
            )
        kind = specs[array.name].kind
        if kind not in array.kinds:
            raise StructureError("is in the wrong section", where=array.where, expected=f"that of {DIMS[kind]}")
        return kind


def check_body(body: ArrayBody, limits: BodyLimits) -> ArrayBody:
    """Return `body`, whose numbers, sizes and texts have been checked.

    Raises:
        TooLargeError: it exceeds a limit.
        StructureError: a name or another text could not be written into a reply; two variables have one name.
    """
    limits.check("variables", len(body.arrays))
    limits.check("sites", 0 if body.sites is None else len(body.sites.ids))
    limits.check_bytes(sum(array.values.nbytes for array in body.arrays))
    names = [array.name for array in body.arrays]
    for array in body.arrays:
        if len(array.name) > MAX_NAME_LENGTH:
            check_name(array.name, array.where)
        _check_text(array.units or "", array.where)
    for number, text in enumerate([] if body.sites is None else body.sites.ids):
        _check_text(text, f"sites/{number}")
    if len(set(names)) < len(names):
        raise StructureError("a variable is in two sections", got=sorted(names))
    return body


def check_grid(grid: Mapping[str, np.ndarray], needed: bool) -> dict[str, np.ndarray]:
    """Return the axes, y or lat first; empty if there are none and none are `needed`.

    Raises:
        CoordinateError: the axes are not y and x or lat and lon, or an axis is empty or not one-dimensional.
    """
    if not grid and not needed:
        return {}
    if frozenset(grid) not in GRID_NAMES:
        raise CoordinateError(
            "the grid's axes must be y and x, or lat and lon", where=next(iter(grid), "y"), got=sorted(grid)
        )
    for name, axis in grid.items():
        if axis.ndim != 1 or len(axis) == 0:
            raise CoordinateError("must hold at least one coordinate in one dimension", where=name, got=axis.shape)
    return {name: grid[name] for name in (*Y_NAMES, *X_NAMES) if name in grid}


def check_any_name(name: str, where: str) -> None:
    """Check the name of a variable that no bundle knows by name.

    Raises:
        StructureError: the name is that of a coordinate, ends like a companion of another variable, or is impossible.
    """
    check_name(name, where)
    if name in COORDINATES:
        raise StructureError("is the name of a coordinate; rename the variable", where=where)
    end = next((end for end in COMPANIONS if name.endswith(end)), None)
    if end is not None:
        raise StructureError(f"a name that ends in {end} belongs to another variable; rename the variable", where=where)


def _kind_by_shape(array: NamedArray, lengths: Mapping[str, int]) -> Kind:
    """Return the only kind that the place of a variable in the body and its shape allow.

    Raises:
        StructureError: no kind or several kinds have this shape.
    """
    if len(array.kinds) == 1:
        return array.kinds[0]
    shape = array.values.shape
    if len(shape) == 3 and "grid" in array.kinds:
        return "grid"
    possible = [kind for kind in array.kinds if lengths.keys() >= set(DIMS[kind])]
    shapes = {kind: tuple(lengths[d] for d in DIMS[kind]) for kind in possible}
    found = [kind for kind, expected in shapes.items() if expected == shape]
    if len(found) == 1:
        return found[0]
    if found:
        fitting = " and ".join(str(DIMS[kind]) for kind in found)
        raise StructureError(
            f"the shape fits the dimensions {fitting}: send the data as NetCDF or JSON, which name the dimensions",
            where=array.values_where,
            got=shape,
        )
    expected = ", ".join(f"{DIMS[kind]} {of_kind}" for kind, of_kind in shapes.items())
    raise StructureError(
        "the shape does not match the coordinates", where=array.values_where, got=shape, expected=expected
    )


def _check_shape(array: NamedArray, dims: tuple[str, ...], lengths: Mapping[str, int]) -> None:
    missing = [d for d in dims if d not in lengths]
    if missing:
        raise StructureError(
            f"needs the dimension {', '.join(missing)}", where=array.values_where, expected=f"dims {dims}"
        )
    expected = tuple(lengths[d] for d in dims)
    if array.values.shape != expected:
        raise StructureError(
            f"the shape does not match the dimensions {dims}",
            where=array.values_where,
            got=array.values.shape,
            expected=expected,
        )


def _check_text(text: str, where: str) -> None:
    """Check that a text can be written into a reply of any format."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
        raise StructureError("is a text that is not valid Unicode or holds a zero byte", where=where)


def _axis_attributes(name: str) -> dict[str, str]:
    return {"units": AXIS_UNITS[name]} if name in AXIS_UNITS else {}
