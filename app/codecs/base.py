"""What every codec reads into and writes from, whatever the bytes look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import xarray as xr

from hydrofill.cf.dataset import Reading
from hydrofill.layout import Layout


class SentVariable(NamedTuple):
    """A variable of a request, by which a bundle that knows it is found."""

    name: str
    standard_name: str


class Sent(Protocol):
    """A body that is read but not yet held against a model."""

    @property
    def variables(self) -> tuple[SentVariable, ...]:
        """What was sent, static fields too."""
        ...

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """The body as a dataset.

        Raises:
            ContractError: shapes, coordinates or names that do not fit together or `layout`.
        """
        ...

    def locate(self, where: str) -> str:
        """A variable's or coordinate's name as its place in the body, for a JSON pointer."""
        ...


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent: reading the body, waiting for the engine, in each graph, and in all so far."""

    decode: float
    queue: float
    encode: float
    decode_queries: float
    total: float


@dataclass(frozen=True, eq=False)
class Reply:
    """A filled dataset, how it was read, which of the model's variables were filled, and by what."""

    dataset: xr.Dataset
    reading: Reading
    filled: frozenset[str]
    bundle: str
    version: str
    sha256: str
    timing: Timing


@dataclass(frozen=True)
class Codec:
    """One media type. `decode` takes the body and the most bytes it may become (None: no limit).

    Where `isolated`, the library that reads it is trusted with a stranger's body in a process of its own only.
    """

    media_type: str
    decode: Callable[[bytes, int | None], Sent]
    encode: Callable[[Reply], bytes]
    isolated: bool = False
