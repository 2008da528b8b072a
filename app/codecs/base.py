"""The types that every codec reads bodies into and writes replies from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import xarray as xr

from app.errors import TooLargeError
from app.schemas import TimingMs
from hydrofill.cf.dataset import Reading
from hydrofill.errors import StructureError
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable

EXPECTED_SKILL = "hydrofill_expected_skill"  # attribute of a variable that a general bundle filled


@dataclass(frozen=True)
class BodyLimits:
    """What a body may hold.

    decoded_bytes: bytes of its values; None for no limit. dimensions, variables, sites: their numbers. attributes: the
    number of attributes of the file and of all its variables together.
    """

    decoded_bytes: int | None = None
    dimensions: int = 1_000
    variables: int = 1_000
    sites: int = 100_000
    attributes: int = 10_000

    def check(self, what: str, number: int) -> None:
        """Check a number of dimensions, variables, sites or attributes, as `what` says.

        Raises:
            TooLargeError: there are too many.
        """
        limit = getattr(self, what)
        if number > limit:
            raise TooLargeError(f"the body holds too many {what}", got=number, expected=f"{limit} at most")

    def check_bytes(self, size: int) -> None:
        """Check the bytes of the values.

        Raises:
            TooLargeError: there are too many.
        """
        if self.decoded_bytes is not None and size > self.decoded_bytes:
            raise TooLargeError(
                "the decoded body is too large", got=f"{size} bytes", expected=f"{self.decoded_bytes} at most"
            )


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

    media_type: its name in Content-Type and Accept. decode: parses a body within limits. encode: writes a reply.
    isolated: whether the process that has decoded a body decodes no other, because the library that parses it may be
    led astray. has_groups: whether `decode` takes the name of a group. group: the name; "" lets the file decide.
    """

    media_type: str
    decode: Callable[..., DecodedBody]
    encode: Callable[[Reply], bytes]
    isolated: bool = False
    has_groups: bool = False
    group: str = ""

    def of_group(self, group: str) -> Codec:
        """Return the codec that reads a group of a body.

        Raises:
            StructureError: bodies of this media type have no groups.
        """
        if group and not self.has_groups:
            raise StructureError("only a NetCDF body has groups", where="query/group", got=self.media_type)
        return replace(self, group=group)
