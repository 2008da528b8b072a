"""Write a fill back into the dataset that was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import xarray as xr

from hydrofill.blocks import whole_chunks
from hydrofill.cancellation import checkpoint
from hydrofill.cf.dataset import Reading
from hydrofill.cf.packing import VALID
from hydrofill.cf.storage import STORED, Storage, stored_form
from hydrofill.cf.units import Conversion
from hydrofill.cf.variables import ordered_dims
from hydrofill.cf.writing import LAYOUT, stored_chunks
from hydrofill.members.arrays import Cells, members_later, members_now
from hydrofill.members.drawing import MEMBER, draw_pair
from hydrofill.reconstruct import FILLED, FLAG_MEANINGS, USUAL_FLAGS, FilledVariable

MEMBER_VALUES = 2_000_000  # of a variable, of which two members are drawn and written at a time
STORAGE_NOTE = "hydrofill_storage"  # attribute of a filled variable that is not stored as it was


class Array(Protocol):
    """An array in memory, or one that is computed when it is written."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


@dataclass(frozen=True, eq=False)
class Destination:
    """The variable of a dataset that a fill is written into.

    name: of the variable. original: as it was read. stored: as it is in its file; None if that is unknown, or if it is
    stored otherwise now. storage: how it is stored now. convert: from its units to those of the fill. order: its
    dimensions in the order of the fill. note: why it is stored otherwise, "" if it is not.
    """

    name: str
    original: xr.Variable
    stored: xr.Variable | None
    storage: Storage
    convert: Conversion
    order: tuple[str, ...]
    note: str = ""

    @classmethod
    def of(
        cls, dataset: xr.Dataset, reading: Reading, name: str, means: Callable[[], tuple[float, float]]
    ) -> Destination:
        """Return the destination of the fill of a variable, which is stored as it was if it can be.

        Args:
            dataset: the dataset that was read.
            reading: what `read_dataset` returned for it.
            name: of the variable in the cube.
            means: returns the lowest and the highest mean that is filled; NaN if none is.
        """
        source, convert = reading.source[name], reading.converted[name]
        original = dataset.variables[source]
        order = ordered_dims(original, reading.dimensions, reading.cube.variables[name].kind)
        stored, storage = stored_form(original), Storage.of(original)
        own = cls(source, original, stored, storage, convert, order)
        if storage.plain:
            return own
        ends = storage.within(convert.invert(np.array(means())))
        if not np.isnan(ends).any() and not storage.holds(ends.min(), ends.max()):
            note = f"filled values from {ends.min():.6g} to {ends.max():.6g} do not fit {storage}"
        elif stored is None and not storage.exact:
            note = f"observed values cannot be packed again as {storage} without loss"
        else:
            return own
        return replace(own, stored=None, storage=storage.undone(), note=f"stored as {original.dtype}: {note}")

    @property
    def fill_dims(self) -> tuple[str, ...]:
        """The dimensions of the fill: dimensions longer than 1 that are not in `order` come first."""
        further = (str(dim) for dim, n in self.original.sizes.items() if dim not in self.order and n > 1)
        return (*further, *self.order)

    def in_dataset(self, values: np.ndarray) -> np.ndarray:
        """Return values with dimensions in the order of the fill as values with the dimensions of the variable.

        Dimensions of the variable that are longer than 1 and not in this order come first in a fill.
        """
        if self.original.dims == self.order:
            return values
        sizes = {d: n for d, n in self.original.sizes.items() if d not in self.order}
        ones, further = ([d for d, n in sizes.items() if (n == 1) == single] for single in (True, False))
        widened = values.reshape(*(1 for _ in ones), *values.shape)
        return xr.Variable((*ones, *further, *self.order), widened).transpose(*self.original.dims).values

    def values(self, original: np.ndarray, fill: FilledVariable, *, only_gaps: bool) -> np.ndarray:
        """Return values of the variable with gaps filled where the flag of the fill says so."""
        if original.dtype.kind != "f":  # integers cannot be missing: nothing to fill
            return original
        mean = self.storage.within(self.convert.invert(self.in_dataset(fill.mean))).astype(original.dtype, copy=False)
        kept = np.full_like(original, np.nan) if only_gaps else original
        return np.where(self.in_dataset(fill.flag) == FILLED, mean, kept)

    def std(self, fill: FilledVariable) -> np.ndarray:
        """Return the standard deviations of a fill, float32, in the units of the variable."""
        return self.in_dataset(self.convert.invert_std(fill.std)).astype(np.float32, copy=False)

    def members(
        self, original: np.ndarray, fill: FilledVariable, pair: int, cells: Cells, *, only_gaps: bool
    ) -> np.ndarray:
        """Return two members of a part of the variable, (2, ...): where nothing is filled, they are as the variable.

        Args:
            original: the part as it was read.
            fill: the fill of the part.
            pair: number of the pair of members.
            cells: the part, by its dimensions.
            only_gaps: whether the members hold only the filled values.
        """
        drawn = draw_pair(fill, pair, [cells[dim].start for dim in self.fill_dims])
        return np.stack([self.values(original, replace(fill, mean=one), only_gaps=only_gaps) for one in drawn])

    def as_stored(self, stored: np.ndarray | None, values: np.ndarray, fill: FilledVariable) -> np.ndarray:
        """Return filled values as they are stored: what is in the file already stays, to the bit.

        Args:
            stored: the values that are in the file; None where they cannot be read.
            values: what `values` returned.
            fill: the fill.
        """
        packed = self.storage.pack(values)
        if self.storage.plain or stored is None:
            return packed
        new = (self.in_dataset(fill.flag) == FILLED) | np.isnan(values)
        return np.where(new, packed, stored)

    def variables(
        self,
        values: Array,
        stored: Array | None,
        std: Array | None,
        flag: Array,
        said: Mapping[str, str],
        flags: Sequence[int] = USUAL_FLAGS,
        members: Array | None = None,
    ) -> dict[str, xr.Variable]:
        """Return the variables that the filled variable becomes: V, V_flag, and V_std and V_members where wanted.

        Args:
            values, stored: V, and V as it is stored; None where V knows no stored form.
            std, flag: with the dimensions of V.
            members: with the dimension of members before those of V.
            said: what is said of the fill in the attributes of V.
            flags: the values that V_flag can have.
        """
        name, original = self.name, self.original
        companions = ([] if std is None else [f"{name}_std"]) + [f"{name}_flag"]
        companions += [] if members is None else [f"{name}_members"]
        said = {**said, **({STORAGE_NOTE: self.note} if self.note else {})}
        beside = {key: original.encoding[key] for key in (*LAYOUT, "coordinates") if key in original.encoding}
        own = {**beside, **self.storage.encoding}
        if stored is not None and self.stored is not None:
            attributes = {**_described(self.stored.attrs, companions, said), **self.storage.said}
            own[STORED] = xr.Variable(original.dims, stored, attributes)
        attributes = _described(original.attrs, companions, said)
        if self.note:
            attributes = {k: v for k, v in attributes.items() if k not in VALID} | self.storage.valid_attributes
        made = {name: xr.Variable(original.dims, values, attributes, own)}
        if std is not None:
            missing = {"_FillValue": np.float32(np.nan)}
            made[f"{name}_std"] = xr.Variable(original.dims, std, _std_attributes(original, name), beside | missing)
        made[f"{name}_flag"] = xr.Variable(original.dims, flag, _flag_attributes(original, name, flags), beside)
        return made if members is None else made | self._members(members, beside)

    def _members(self, values: Array, beside: Mapping[str, Any]) -> dict[str, xr.Variable]:
        """Return V_members, which is never packed, and its coordinate."""
        original, name, own = self.original, self.name, dict(beside)
        if sizes := stored_chunks(original):
            own = {**own, "chunksizes": (1, *sizes)}
            own.pop("preferred_chunks", None)
        kept = {k: v for k, v in _without_own(original.attrs).items() if k not in (*VALID, "ancillary_variables")}
        named = str(kept.get("long_name", name))
        attributes = {**kept, **self.storage.undone().valid_attributes, "long_name": f"possible fields of {named}"}
        number = np.arange(values.shape[0], dtype=np.int32)
        said = {"standard_name": "realization", "long_name": "number of the member", "units": "1"}
        missing = {"_FillValue": np.array(np.nan, original.dtype)[()]} if original.dtype.kind == "f" else {}
        return {
            f"{name}_members": xr.Variable((MEMBER, *original.dims), values, attributes, own | missing),
            MEMBER: xr.Variable(MEMBER, number, said),
        }


def write_fill(
    dataset: xr.Dataset,
    reading: Reading,
    filled: Mapping[str, FilledVariable],
    provenance: Mapping[str, str],
    *,
    uncertainty: bool = True,
    only_gaps: bool = False,
    flags: Sequence[int] = USUAL_FLAGS,
    members: int = 0,
    lazily: bool = False,
) -> xr.Dataset:
    """Return `dataset` with its gaps filled: the same variables in the same order, then V_std and V_flag of each.

    Observed values stay identical to the bit. The variables know how they are stored: as in the file that `dataset` was
    read from, unless filled values do not fit; then the attribute `hydrofill_storage` says so.

    Args:
        dataset: the dataset that was read.
        reading: what `read_dataset` returned for it.
        filled: the fill of each variable.
        provenance: global attributes to add; a line is also added to `history`.
        uncertainty: whether V_std is written.
        only_gaps: whether V holds only the filled values.
        flags: the values that V_flag can have.
        members: number of possible fields in V_members; 0 for none.
        lazily: whether members are drawn when they are written.
    """
    made: dict[str, xr.Variable] = {}  # assigned all at once, because each assignment compares every coordinate
    for name, fill in filled.items():
        checkpoint()
        to = Destination.of(dataset, reading, name, fill.extremes)
        values = to.values(to.original.values, fill, only_gaps=only_gaps)
        stored = None if to.stored is None else to.as_stored(to.stored.values, values, fill)
        std = to.std(fill) if uncertainty else None
        drawn = _members(to, fill, members, only_gaps=only_gaps, lazily=lazily) if members else None
        flag = to.in_dataset(fill.flag)
        made |= to.variables(values, stored, std, flag, fill.attributes, flags, drawn)
    return with_filled(dataset, made, filled, provenance)


def _members(to: Destination, fill: FilledVariable, number: int, *, only_gaps: bool, lazily: bool) -> Array:
    """Return members of a fill in memory, drawn now or when they are written."""
    original = to.original
    dims = [str(dim) for dim in original.dims]

    def draw(pair: int, cells: Cells) -> np.ndarray:
        at = tuple(cells[dim] for dim in to.fill_dims)
        part = replace(fill, mean=fill.mean[at], std=fill.std[at], flag=fill.flag[at])
        return to.members(original[tuple(cells[dim] for dim in dims)].values, part, pair, cells, only_gaps=only_gaps)

    if not lazily:
        return members_now(draw, number, dims, original.shape, original.dtype)
    chunk = [1 if dim == dims[0] else n for dim, n in original.sizes.items()]
    parts = [
        [min(size, n - at) for at in range(0, n, size)]
        for n, size in zip(original.shape, whole_chunks(original.shape, chunk, MEMBER_VALUES), strict=True)
    ]
    return members_later(draw, number, dims, parts, original.dtype)


def with_filled(
    dataset: xr.Dataset, made: Mapping[str, xr.Variable], names: Iterable[str], provenance: Mapping[str, str]
) -> xr.Dataset:
    """Return `dataset` with the variables of a fill, its provenance, and a line in its history that names `names`."""
    done = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} hydrofill: gaps of {', '.join(names)} filled"
    earlier = str(dataset.attrs.get("history", ""))
    out = dataset.assign(made)
    out.attrs = {
        **_without_own(dataset.attrs),
        **provenance,
        "history": "\n".join(filter(None, [earlier, done])),
    }
    return out


def _described(attributes: Mapping[Any, Any], companions: list[str], said: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of a filled variable: what was there, its companions added to those that it had."""
    earlier = str(attributes.get("ancillary_variables", "")).split()
    together = " ".join(dict.fromkeys([*earlier, *companions]))
    return {**_without_own(attributes), "ancillary_variables": together, **said}


def _without_own(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes without those of an earlier fill."""
    return {str(name): value for name, value in attributes.items() if not str(name).startswith("hydrofill_")}


def _std_attributes(variable: xr.Variable, source: str) -> dict[str, Any]:
    attributes = {"long_name": f"standard deviation of the filled {source}, 0 where observed"}
    attributes |= _shared_attributes(variable, "standard_error")
    return attributes | ({"units": variable.attrs["units"]} if "units" in variable.attrs else {})


def _flag_attributes(variable: xr.Variable, source: str, flags: Sequence[int]) -> dict[str, Any]:
    return {
        "long_name": f"what hydrofill did to {source}",
        "standard_name": "status_flag",
        **_shared_attributes(variable, "status_flag"),
        "flag_values": np.array(flags, np.int8),
        "flag_meanings": " ".join(FLAG_MEANINGS[flag] for flag in flags),
    }


def _shared_attributes(variable: xr.Variable, modifier: str) -> dict[str, Any]:
    """Return what V_std and V_flag share with V: its place, and its standard name with a modifier (CF, appendix C)."""
    named = str(variable.attrs.get("standard_name", "")).split()[:1]  # without a modifier of its own
    shared = {key: variable.attrs[key] for key in ("grid_mapping",) if key in variable.attrs}
    return shared | ({"standard_name": f"{named[0]} {modifier}"} if named else {})
