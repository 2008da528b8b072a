"""Counts what the header of a classic NetCDF file declares, before anything is allocated.

Source: NetCDF file format specification of Unidata, grammar of the classic (CDF-1) and 64-bit offset (CDF-2) forms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.codecs.base import BodyLimits
from app.errors import TooLargeError
from hydrofill.errors import UnreadableError

DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12  # tags of the header's lists
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}  # bytes of NC_BYTE, CHAR, SHORT, INT, FLOAT, DOUBLE
STREAMING = 0xFFFFFFFF  # stands for a number of records that the writer did not know
ALIGNMENT = 4
MAX_ATTRIBUTE_BYTES = 2**20  # of all attributes together


def check_classic(body: bytes, limits: BodyLimits) -> None:
    """Raise an error unless `body` has a complete classic header that declares no more than the limits.

    Raises:
        UnreadableError: the header ends early or is invalid.
        TooLargeError: the header declares too much, or the attributes are too large.
    """
    declared = _Header(body, limits).declared_bytes()
    if limits.decoded_bytes is not None and declared > limits.decoded_bytes:
        raise TooLargeError(
            "the file declares too much", got=f"{declared} bytes", expected=f"{limits.decoded_bytes} at most"
        )


@dataclass
class _Header:
    """Reads the header once, from front to back."""

    body: bytes
    limits: BodyLimits
    at: int = 4
    attributes: int = 0
    attribute_bytes: int = 0

    def declared_bytes(self) -> int:
        """Return the bytes of all declared variables, whether the file holds them or not."""
        records = self._number()
        if records == STREAMING:
            raise UnreadableError("the header does not say the number of records")
        lengths = []
        dimensions = self._count(DIMENSIONS)
        self.limits.check("dimensions", dimensions)
        for _ in range(dimensions):
            self._skip_text()
            lengths.append(self._number() or records)
        self._skip_attributes()
        variables = self._count(VARIABLES)
        self.limits.check("variables", variables)
        return sum(self._variable(lengths) for _ in range(variables))

    def _variable(self, lengths: list[int]) -> int:
        self._skip_text()
        dims = [self._number() for _ in range(self._limited(self._number()))]
        if any(dim >= len(lengths) for dim in dims):
            raise UnreadableError("a variable has a dimension that is not declared")
        self._skip_attributes()
        size = self._size_of_type()
        self._skip(4 + (8 if self.body[3] == 2 else 4))  # vsize, begin
        return size * math.prod(lengths[dim] for dim in dims)

    def _skip_attributes(self) -> None:
        number = self._count(ATTRIBUTES)
        self.attributes += number
        self.limits.check("attributes", self.attributes)
        for _ in range(number):
            self._skip_text()
            size = self._size_of_type()
            length = self._limited(self._number()) * size
            self.attribute_bytes += length
            if self.attribute_bytes > MAX_ATTRIBUTE_BYTES:
                raise TooLargeError("the attributes are too large", expected=f"{MAX_ATTRIBUTE_BYTES} bytes at most")
            self._skip(length)

    def _count(self, tag: int) -> int:
        """Return the length of the list that starts here with a tag and a number; both are 0 for an empty list."""
        found, number = self._number(), self._number()
        if found not in (0, tag) or (found == 0 and number != 0):
            raise UnreadableError("the header is invalid", got=f"tag {found}", expected=tag)
        return self._limited(number)

    def _size_of_type(self) -> int:
        kind = self._number()
        if kind not in SIZES:
            raise UnreadableError("unknown data type", got=kind)
        return SIZES[kind]

    def _skip_text(self) -> None:
        self._skip(self._limited(self._number()))

    def _skip(self, size: int) -> None:
        self.at += -(-size // ALIGNMENT) * ALIGNMENT
        if self.at > len(self.body):
            raise UnreadableError("the header ends early")

    def _limited(self, number: int) -> int:
        """Return `number`, the count of items of at least one byte each; raise an error if the body is too short."""
        if number > len(self.body):
            raise UnreadableError("the header is invalid", got=f"a count of {number}")
        return number

    def _number(self) -> int:
        start = self.at
        self._skip(4)
        return int.from_bytes(self.body[start : start + 4], "big")
