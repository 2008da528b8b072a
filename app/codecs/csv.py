"""The codec of text/csv: one row a time step, one column a gauge; see hydrofill/cf/csv.py."""

from __future__ import annotations

from app.codecs.base import BodyLimits, Codec, Reply
from app.codecs.netcdf import NetcdfBody
from hydrofill.cf.csv import SEPARATORS, read_csv, write_csv
from hydrofill.errors import UnreadableError

MEDIA_TYPE = "text/csv"
BYTES_PER_CELL = 160  # CPython on 64 bit: the text of a cell twice, its places in lists, and its number


def decode(body: bytes, limits: BodyLimits) -> NetcdfBody:
    """Parse the table in `body`.

    Raises:
        UnreadableError: the body is not a table.
        TooLargeError: the table is larger than the limits.
        StructureError, CoordinateError: a cell is not a number or not a time; names the line.
    """
    if not body.strip():
        raise UnreadableError("the body is empty")
    marks = max(body.count(mark.encode()) for mark in SEPARATORS)
    limits.check_bytes(BYTES_PER_CELL * (marks + body.count(b"\n") + 1))
    dataset = read_csv(body)
    limits.check("variables", len(dataset.variables))
    return NetcdfBody(dataset)


def encode(reply: Reply) -> bytes:
    """Write the table of the request with filled gaps, and V_std and V_flag of each gauge V."""
    return write_csv(reply.dataset)


CODEC = Codec(MEDIA_TYPE, decode, encode)
