"""The types that every codec reads bodies into and writes replies from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import xarray as xr

from app.schemas import TimingMs
from hydrofill.cf.dataset import Reading
from hydrofill.layout import Layout


class VariableId(NamedTuple):
    """The names of a variable in a request, from which the bundle is chosen; "" for no standard name."""

    name: str
    standard_name: str


class DecodedBody(Protocol):
    """A body that has been parsed but not yet matched with a bundle."""

    @property
    def variables(self) -> tuple[VariableId, ...]:
        """The variables of the body, static fields included."""
        ...

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """Return the body as a dataset.

        Raises:
            ContractError: shapes, coordinates or names do not fit together, or do not fit `layout`.
        """
        ...

    def locate(self, where: str) -> str:
        """Return where a variable or coordinate is in the body, as the path of a JSON pointer."""
        ...


@dataclass(frozen=True, eq=False)
class Reply:
    """A filled dataset, how it was read, which of the model's variables were filled, and by which bundle."""

    dataset: xr.Dataset
    reading: Reading
    filled: frozenset[str]
    bundle: str
    version: str
    sha256: str
    timing: TimingMs


@dataclass(frozen=True)
class Codec:
    """One media type.

    media_type: its name in Content-Type and Accept. decode: parses a body, of which at most the given number of bytes
    may result (None: no limit). encode: writes a reply. isolated: whether an untrusted body is parsed in a process of
    its own, because the library that parses it may crash.
    """

    media_type: str
    decode: Callable[[bytes, int | None], DecodedBody]
    encode: Callable[[Reply], bytes]
    isolated: bool = False
