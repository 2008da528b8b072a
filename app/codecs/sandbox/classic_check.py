"""What a classic NetCDF file's header declares, counted before anything is allocated.

Source: NetCDF file format specification of Unidata, grammar of the classic (CDF-1) and 64-bit offset (CDF-2) forms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.errors import TooLargeError
from hydrofill.errors import UnreadableError

DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12  # tags of the header's lists
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}  # bytes of NC_BYTE, CHAR, SHORT, INT, FLOAT, DOUBLE
STREAMING = 0xFFFFFFFF  # a number of records that the writer did not know
ALIGNMENT = 4
MAX_ATTRIBUTE_BYTES = 2**20  # of all attributes together


def check_classic(body: bytes, max_decoded_bytes: int | None) -> None:
    """Returns if `body` has a whole classic header that declares no more than the limit.

    Raises:
        UnreadableError: a header that ends early or makes no sense. TooLargeError: it declares too much.
    """
    declared = _Header(body).declared_bytes()
    if max_decoded_bytes is not None and declared > max_decoded_bytes:
        raise TooLargeError(
            "the file declares too much", got=f"{declared} bytes", expected=f"{max_decoded_bytes} at most"
        )


@dataclass
class _Header:
    """A reader that walks the header once."""

    body: bytes
    at: int = 4
    attributes: int = 0

    def declared_bytes(self) -> int:
        """Bytes of all variables together, whether the file holds them or not."""
        records = self._number()
        if records == STREAMING:
            raise UnreadableError("the number of records is not told")
        lengths = []
        for _ in range(self._count(DIMENSIONS)):
            self._skip_text()
            lengths.append(self._number() or records)
        self._skip_attributes()
        return sum(self._variable(lengths) for _ in range(self._count(VARIABLES)))

    def _variable(self, lengths: list[int]) -> int:
        self._skip_text()
        dims = [self._number() for _ in range(self._limited(self._number()))]
        if any(dim >= len(lengths) for dim in dims):
            raise UnreadableError("a variable names a dimension that there is not")
        self._skip_attributes()
        size = self._size_of_type()
        self._skip(4 + (8 if self.body[3] == 2 else 4))  # vsize, begin
        return size * math.prod(lengths[dim] for dim in dims)

    def _skip_attributes(self) -> None:
        for _ in range(self._count(ATTRIBUTES)):
            self._skip_text()
            size = self._size_of_type()
            length = self._limited(self._number()) * size
            self.attributes += length
            if self.attributes > MAX_ATTRIBUTE_BYTES:
                raise TooLargeError("the attributes are too large", expected=f"{MAX_ATTRIBUTE_BYTES} bytes at most")
            self._skip(length)

    def _count(self, tag: int) -> int:
        """Entries of the list that starts here: a tag and a number, both 0 for none."""
        found, number = self._number(), self._number()
        if found not in (0, tag) or (found == 0 and number != 0):
            raise UnreadableError("the header makes no sense", got=f"tag {found}", expected=tag)
        return self._limited(number)

    def _size_of_type(self) -> int:
        kind = self._number()
        if kind not in SIZES:
            raise UnreadableError("a type is unknown", got=kind)
        return SIZES[kind]

    def _skip_text(self) -> None:
        self._skip(self._limited(self._number()))

    def _skip(self, size: int) -> None:
        self.at += -(-size // ALIGNMENT) * ALIGNMENT
        if self.at > len(self.body):
            raise UnreadableError("the header ends early")

    def _limited(self, number: int) -> int:
        """`number` of things that take at least a byte each."""
        if number > len(self.body):
            raise UnreadableError("the header makes no sense", got=f"a count of {number}")
        return number

    def _number(self) -> int:
        start = self.at
        self._skip(4)
        return int.from_bytes(self.body[start : start + 4], "big")
