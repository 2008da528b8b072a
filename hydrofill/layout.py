"""The layout of a model: its variables, patches, window size and coordinates."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hydrofill.cube import Kind

Transform = Literal["identity", "sqrt"]
# Limits of a general layout, which the shapes of a general network's tensors follow from.
MAX_VARIABLES = 16
# Share of a window that the next one covers too. More costs more windows: with 0.5 no error of the public benchmark was
# smaller by more than 0.6 % (docs/adr/0010-blocks.md).
OVERLAP = 0.25
GENERAL_OVERLAP = 0.125  # the same in general layouts
MAX_TOKEN_SIZE = 16  # cells of a patch, and static variables of each kind
# A name that NetCDF takes: no slash, no control character, no space or dot in front and no space at the end.
NAME = r"^[^\s/.\x00-\x1f\x7f](?:[^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?$"
MAX_NAME_LENGTH = 200
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=NAME)]


class Frozen(BaseModel):
    """Base class of everything in a manifest: immutable; an unknown key or a number that is not finite is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VariableSpec(Frozen):
    """One variable of the model.

    units: the units that the model works in. lower, upper: physical bounds in these units; None for no bound.
    transform: what is applied to values before the network sees them.
    """

    name: Name
    kind: Kind
    units: str
    standard_name: str = ""
    long_name: str = ""
    lower: float | None = None
    upper: float | None = None
    transform: Transform = "identity"

    @model_validator(mode="after")
    def _sqrt_needs_lower_bound_zero(self) -> VariableSpec:
        if self.transform == "sqrt" and self.lower != 0.0:
            raise ValueError(f"{self.name}: the transform sqrt needs lower = 0, got {self.lower}")
        return self


class Patch(Frozen):
    """Size of a patch: `rows` x `columns` cells of one frame (grids), or `steps` time steps of one site (series)."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    steps: int = Field(ge=1)


class WindowSize(Frozen):
    """The largest part of a cube that the model sees at once, in time steps, rows and columns."""

    steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)


class Place(Frozen):
    """The coordinates of the training grid, and the time step of the training data in seconds.

    The place of a cell is (coordinate - origin) / spacing, in cells of the training grid. units: of the coordinates, ""
    if the training data did not say.
    """

    y_origin: float = 0.0
    x_origin: float = 0.0
    y_spacing: float = Field(default=1.0, gt=0)
    x_spacing: float = Field(default=1.0, gt=0)
    rows: int = Field(default=1, ge=1)
    columns: int = Field(default=1, ge=1)
    units: str = ""
    step_s: float = Field(gt=0)

    @property
    def known(self) -> bool:
        """False if the training data did not say where their gauges are."""
        return self != Place(step_s=self.step_s)


class Domain(Frozen):
    """The cells of the training grid where a variable has values.

    bits: one bit for each cell, row by row from the lowest y and x, compressed with zlib and encoded in base64.
    """

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    bits: str

    @field_validator("bits")
    @classmethod
    def _bits_are_base64(cls, bits: str) -> str:
        try:
            base64.b64decode(bits, validate=True)
        except ValueError as error:
            raise ValueError("bits is not valid base64") from error
        return bits

    @classmethod
    def from_array(cls, inside: np.ndarray) -> Domain:
        """Return the domain of `inside`, (H, W) bool with y and x increasing."""
        packed = zlib.compress(np.packbits(inside).tobytes(), 9)
        return cls(rows=inside.shape[0], columns=inside.shape[1], bits=base64.b64encode(packed).decode())

    def to_array(self) -> np.ndarray:
        """Return the domain as (H, W) bool with y and x increasing.

        Raises:
            ValueError: the bitmap cannot be decompressed or has the wrong size.
        """
        expected = -(-self.rows * self.columns // 8)
        decompressor = zlib.decompressobj()
        try:
            packed = decompressor.decompress(base64.b64decode(self.bits), expected + 1)
        except zlib.error as error:
            raise ValueError("the domain bitmap is not zlib data") from error
        if len(packed) != expected:
            raise ValueError(f"the domain bitmap has {len(packed)} bytes, expected {expected}")
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=self.rows * self.columns)
        return bits.reshape(self.rows, self.columns).astype(bool)


class Layout(Frozen):
    """Everything that is needed to turn a cube into tokens and back; shared by training and serving.

    variables: the variables that are filled; their order gives the numbers of the token types. static: variables that
    the network sees and never fills; a static field gives one token for each patch, and the attributes of a site give
    one token. domain: for gridded variables, the cells of the training grid where they have values. guesses: whether
    queries carry classical first guesses of their cells. general: whether the layout was made for one cube that a
    general network fills, which knows no variable by name; general layouts have the same token size and token types.
    """

    variables: tuple[VariableSpec, ...] = Field(min_length=1)
    static: tuple[VariableSpec, ...] = ()
    patch: Patch
    window: WindowSize
    place: Place
    domain: dict[str, Domain] = {}
    guesses: bool = True
    general: bool = False

    @model_validator(mode="after")
    def _check_names_and_kinds(self) -> Layout:
        names = [v.name for v in (*self.variables, *self.static)]
        if len(set(names)) != len(names):
            repeated = sorted(n for n in names if names.count(n) > 1)
            raise ValueError(f"variable names must be unique, these are repeated: {repeated}")
        wrong = [v.name for v in self.variables if v.kind not in ("grid", "series")]
        wrong += [v.name for v in self.static if v.kind not in ("static_grid", "static_site")]
        if wrong:
            raise ValueError(f"these variables are of the wrong kind: {wrong}")
        if self.general and max(map(self.cells, self.variables)) > MAX_TOKEN_SIZE:
            raise ValueError(f"a patch of a general layout has at most {MAX_TOKEN_SIZE} cells")
        return self

    def spec(self, name: str) -> VariableSpec:
        """Return the variable of that name.

        Raises:
            StopIteration: the model has no variable of that name.
        """
        return next(v for v in (*self.variables, *self.static) if v.name == name)

    @property
    def overlap(self) -> float:
        """Share of a window that the next window covers too; general layouts need less for fills of the same error."""
        return GENERAL_OVERLAP if self.general else OVERLAP

    @property
    def static_grid(self) -> tuple[VariableSpec, ...]:
        """Static fields, in the order of the values of a static token."""
        return tuple(v for v in self.static if v.kind == "static_grid")

    @property
    def static_site(self) -> tuple[VariableSpec, ...]:
        """Site attributes, in the order of the values of a static token."""
        return tuple(v for v in self.static if v.kind == "static_site")

    @property
    def token_types(self) -> int:
        """Number of token types: one for each variable, one for static patches, and one for static sites."""
        return self.first_static_type + 2

    @property
    def first_static_type(self) -> int:
        """The type of the tokens of static patches; those of static sites have the next type."""
        return MAX_VARIABLES if self.general else len(self.variables)

    @property
    def token_size(self) -> int:
        """Number of values in a token, P; shorter tokens are padded with cells that are marked as not seen."""
        if self.general:
            return MAX_TOKEN_SIZE
        sizes = [len(self.static_grid), len(self.static_site)]
        sizes += [self.cells(v) for v in self.variables]
        return max(sizes)

    def cells(self, spec: VariableSpec) -> int:
        """Return the number of cells in one patch of a variable that is filled."""
        return self.patch.rows * self.patch.columns if spec.kind == "grid" else self.patch.steps


# The layout from which a general network takes its sizes; each record has a layout of its own.
GENERAL = Layout(
    variables=(VariableSpec(name="any", kind="grid", units=""),),
    patch=Patch(rows=4, columns=4, steps=8),
    window=WindowSize(steps=8, rows=24, columns=24),
    place=Place(rows=24, columns=24, step_s=86400.0),
    general=True,
)
