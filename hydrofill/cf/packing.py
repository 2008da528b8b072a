"""How the numbers of a variable are stored: their type, scale and offset, and numbers in attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.errors import StructureError

KEYS = ("scale_factor", "add_offset", "_Unsigned")
VALID = {"valid_range": 2, "valid_min": 1, "valid_max": 1}  # and how many numbers each has
TYPE_LETTERS = "fFlLsSbBuUdD"  # behind numbers as ncdump writes them


@dataclass(frozen=True)
class Packing:
    """How the numbers of a variable are stored: their type, and the attributes that say how to unpack them."""

    stored: np.dtype[Any]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, variable: xr.Variable) -> Packing:
        """Return how a decoded variable was stored, by its encoding."""
        stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
        return cls.said_by(variable.encoding, stored if stored.kind in "iuf" else variable.dtype)

    @classmethod
    def said_by(cls, attributes: Mapping[Any, Any], stored: np.dtype[Any]) -> Packing:
        """Return how numbers of a type are stored, by the attributes of their variable in the file."""
        return cls(stored, {key: attributes[key] for key in KEYS if attributes.get(key) is not None})

    @property
    def bits(self) -> np.dtype[Any]:
        """The type that stored bits are read as; another one than `stored` where `_Unsigned` says so (NUG)."""
        if self.stored.kind == "f":
            return self.stored.newbyteorder("=")
        said = {"true": "u", "false": "i"}.get(str(self.attributes.get("_Unsigned")).lower(), self.stored.kind)
        return np.dtype(f"{said}{self.stored.itemsize}")

    @property
    def packed(self) -> bool:
        """Whether values are scaled or shifted when they are read."""
        return "scale_factor" in self.attributes or "add_offset" in self.attributes

    @property
    def type_code(self) -> str:
        """Kind and size of the stored numbers, such as "i2"."""
        return f"{self.bits.kind}{self.bits.itemsize}"

    @property
    def scale(self) -> float:
        """What stored numbers are multiplied by."""
        return float(np.ravel(self.attributes.get("scale_factor", 1.0))[0])

    @property
    def offset(self) -> float:
        """What is added to stored numbers, after they were multiplied."""
        return float(np.ravel(self.attributes.get("add_offset", 0.0))[0])

    @property
    def step(self) -> float:
        """The difference of two stored integers that follow each other, in unpacked units; 0 for stored floats."""
        return abs(self.scale) if self.stored.kind in "iu" else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest number that can be stored."""
        if self.stored.kind == "f":
            return -math.inf, math.inf
        found = np.iinfo(self.bits)
        return int(found.min), int(found.max)

    def in_stored_type(self, value: float) -> float | None:
        """Return a declared number as one that can be stored; None if it cannot be.

        An integer of the other sign is taken by its bits: -1 as 255.
        """
        if self.stored.kind == "f":
            with np.errstate(over="ignore"):
                return float(self.stored.type(value))
        low, high = self.ends
        width = int(high) - int(low) + 1
        if value != value or math.isinf(value) or value != round(value):
            return None
        if not low <= value <= high:
            value = int(value) + (width if value < low else -width)
        return int(value) if low <= value <= high else None

    def limits(self, attributes: Mapping[Any, Any], name: str = "", rounding: float = 0.0) -> tuple[float, float]:
        """Return the lowest and the highest valid number in packed units; infinite where none is declared.

        valid_range, valid_min and valid_max are in packed units, unless they are of a wider type than what is packed
        (CF conventions 1.11, section 2.5.1; NetCDF Users' Guide, appendix A, "valid_range").

        Args:
            attributes: of the variable in the file.
            name: of the variable, for the error.
            rounding: steps by which limits in unpacked units are widened: they are as precise as that.

        Raises:
            StructureError: an attribute is no limit; names the variable and the attribute.
        """
        low, high, unpacked = -math.inf, math.inf, False
        for key, length in VALID.items():
            given = attributes.get(key)
            if given is None:
                continue
            numbers = [self._by_bits(number, given) for number in numbers_in(given) or ()]
            if len(numbers) != length or (length == 2 and numbers[0] > numbers[1]):
                expected = "the lowest and the highest" if length == 2 else "one number"
                raise StructureError("is not a limit", where=f"{name}/{key}", got=given, expected=expected)
            low = numbers[0] if key != "valid_max" and numbers[0] == numbers[0] else low
            high = numbers[-1] if key != "valid_min" and numbers[-1] == numbers[-1] else high
            unpacked = self.packed and self._is_wider(given)
        if unpacked:
            first, last = sorted((limit - self.offset) / self.scale for limit in (low, high))
            return first - rounding, last + rounding
        if self.stored.kind == "f" and not self.packed:  # of the values' own type: 0.1 in float32 is not 0.1 in float64
            with np.errstate(over="ignore"):
                return float(self.stored.type(low)), float(self.stored.type(high))
        return low, high

    def _by_bits(self, number: float, given: object) -> float:
        """Return a negative number of an attribute as the unsigned one that has its bits, where that is meant."""
        meant = self.bits.kind == "u" and number < 0 and _size(given) == self.stored.itemsize
        return number + self.ends[1] + 1 if meant and _is_whole(given) else number

    def _is_wider(self, given: object) -> bool:
        """Return whether an attribute is of a wider type than what is stored, so that it means unpacked values."""
        return not _is_whole(given) and (self.stored.kind != "f" or _size(given) > self.stored.itemsize)

    def unpacked_limits(self, low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Return limits in packed units as the lowest and the highest value that is inside."""
        if self.stored.kind in "iu":
            first, last = self.ends
            low = first if low <= first else min(math.ceil(low), last)
            high = last if high >= last else max(math.floor(high), first)
        found = [
            math.copysign(v, v * self.scale) if math.isinf(v) else self.unpacked([v], dtype)[0] for v in (low, high)
        ]
        return min(map(float, found)), max(map(float, found))

    def unpacked(self, raw: Sequence[float], dtype: np.dtype[Any]) -> np.ndarray:
        """Return stored numbers as they are read."""
        stored = (
            np.array(raw, self.bits).astype(self.bits.newbyteorder(self.stored.byteorder)).view(self.stored)
            if len(raw)
            else np.zeros(0, self.stored)
        )
        decoded = xr.conventions.decode_cf_variable(
            "values", xr.Variable("n", stored, dict(self.attributes)), decode_times=False, decode_timedelta=False
        )
        return decoded.values.astype(dtype)


def numbers_in(value: Any) -> tuple[float, ...] | None:
    """Return the numbers in an attribute: numbers, texts of numbers, or a text of several; None if there are others."""
    if value is None:
        return None
    if isinstance(value, str | bytes):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        parts: list[Any] = text.replace(",", " ").replace(";", " ").split()
    else:
        parts = list(np.ravel(value).tolist())
    numbers = [number_in(part) for part in parts]
    return None if not numbers or any(n is None for n in numbers) else tuple(n for n in numbers if n is not None)


def number_in(value: Any) -> float | None:
    """Return a number, or a text such as "-99.9" or "-999.f", as int or float; None if it is none."""
    if isinstance(value, int | float):
        return value
    text = (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip()
    for part in (text, text.rstrip(TYPE_LETTERS)):
        for read in (int, float):
            try:
                return read(part)
            except ValueError:
                continue
    return None


def _is_whole(given: object) -> bool:
    """Return whether an attribute holds integers."""
    return all(isinstance(number, int) for number in numbers_in(given) or ())


def _size(given: object) -> int:
    return int(given.dtype.itemsize) if isinstance(given, np.ndarray | np.generic) else 0
