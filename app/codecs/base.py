"""The types that every codec reads bodies into and writes replies from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import xarray as xr

from app.schemas import TimingMs
from hydrofill.cf.dataset import Reading
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable

EXPECTED_SKILL = "hydrofill_expected_skill"  # attribute of a variable that a general bundle filled


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
        """Return the body as a dataset; a general layout takes variables of any name.

        Raises:
            ContractError: shapes, coordinates or names do not fit together, or do not fit `layout`.
        """
        ...

    def locate(self, where: str) -> str:
        """Return where a variable or coordinate is in the body, as the path of a JSON pointer."""
        ...


@dataclass(frozen=True, eq=False)
class Reply:
    """A filled dataset, how it was read, and by which bundle it was filled.

    filled: the fill of each variable, by the bundle's names. calibration: how a fill by a general bundle was
    calibrated, in words.
    """

    dataset: xr.Dataset
    reading: Reading
    filled: Mapping[str, FilledVariable]
    bundle: str
    version: str
    sha256: str
    timing: TimingMs
    calibration: str | None = None

    def expected_skill(self, name: str) -> str | None:
        """Return the expected skill of the fill of a variable as a JSON text; None if it was not measured."""
        return self.filled[name].attributes.get(EXPECTED_SKILL) if name in self.filled else None


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
