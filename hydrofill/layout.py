"""What the model's tokens look like: its variables, patches, window and coordinates."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hydrofill.cube import Kind

Transform = Literal["identity", "sqrt"]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]*$")]


class Frozen(BaseModel):
    """Immutable, and any key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VariableSpec(Frozen):
    """One variable as the model knows it. `transform` is what the network sees; bounds are physical."""

    name: Name
    kind: Kind
    units: str
    standard_name: str = ""
    long_name: str = ""
    lower: float | None = None
    upper: float | None = None
    transform: Transform = "identity"

    @model_validator(mode="after")
    def _square_root_needs_a_floor(self) -> VariableSpec:
        if self.transform == "sqrt" and self.lower != 0.0:
            raise ValueError(f"{self.name}: transform sqrt needs lower = 0, got {self.lower}")
        return self


class Patch(Frozen):
    """Cells of one token: `rows` x `columns` of one frame, or `steps` of one site."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    steps: int = Field(ge=1)


class Window(Frozen):
    """The most that the model sees at once."""

    steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)


class Place(Frozen):
    """The training grid's coordinates, on which every place is expressed.

    A cell's place is (coordinate - origin) / spacing, in training cells; `units` is what the
    coordinates are in ("" where the training data did not say).
    """

    y_origin: float = 0.0
    x_origin: float = 0.0
    y_spacing: float = Field(default=1.0, gt=0)
    x_spacing: float = Field(default=1.0, gt=0)
    rows: int = Field(default=1, ge=1)
    columns: int = Field(default=1, ge=1)
    units: str = ""
    step_s: float = Field(gt=0)


class Domain(Frozen):
    """Where a gridded variable lives on the training grid: a bitmap from the lowest y and x."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    bits: str

    @field_validator("bits")
    @classmethod
    def _text_is_base64(cls, bits: str) -> str:
        try:
            base64.b64decode(bits, validate=True)
        except ValueError as error:
            raise ValueError("bits is not base64") from error
        return bits

    @classmethod
    def from_array(cls, inside: np.ndarray) -> Domain:
        """`inside` (H, W) bool, y and x increasing."""
        packed = zlib.compress(np.packbits(inside).tobytes(), 9)
        return cls(rows=inside.shape[0], columns=inside.shape[1], bits=base64.b64encode(packed).decode())

    def to_array(self) -> np.ndarray:
        """(H, W) bool, y and x increasing.

        Raises:
            ValueError: the bitmap is not of the stated size.
        """
        wanted = -(-self.rows * self.columns // 8)
        inflater = zlib.decompressobj()
        try:
            packed = inflater.decompress(base64.b64decode(self.bits), wanted + 1)
        except zlib.error as error:
            raise ValueError("domain bitmap is not deflated data") from error
        if len(packed) != wanted:
            raise ValueError(f"domain bitmap holds {len(packed)} bytes, expected {wanted}")
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=self.rows * self.columns)
        return bits.reshape(self.rows, self.columns).astype(bool)


class Layout(Frozen):
    """Everything that turns a cube into tokens and back; shared by training and serving.

    `variables` are reconstructed; their order numbers the token types. `static` are seen, never
    reconstructed: those on the grid make one token a patch, those of sites one token a site.
    """

    variables: tuple[VariableSpec, ...] = Field(min_length=1)
    static: tuple[VariableSpec, ...] = ()
    patch: Patch
    window: Window
    place: Place
    domain: dict[str, Domain] = {}
    guesses: bool = True  # whether queries carry classical first guesses of their cells

    @model_validator(mode="after")
    def _names_and_kinds(self) -> Layout:
        names = [v.name for v in (*self.variables, *self.static)]
        if len(set(names)) != len(names):
            raise ValueError(f"a variable is named twice: {sorted(n for n in names if names.count(n) > 1)}")
        wrong = [v.name for v in self.variables if v.kind not in ("grid", "series")]
        wrong += [v.name for v in self.static if v.kind not in ("static_grid", "static_site")]
        if wrong:
            raise ValueError(f"variables of the wrong kind: {wrong}")
        return self

    def spec(self, name: str) -> VariableSpec:
        """The variable of that name; KeyError if the model has none."""
        return next(v for v in (*self.variables, *self.static) if v.name == name)

    @property
    def static_grid(self) -> tuple[VariableSpec, ...]:
        """Static fields, in the order of a static token's values."""
        return tuple(v for v in self.static if v.kind == "static_grid")

    @property
    def static_site(self) -> tuple[VariableSpec, ...]:
        """Site attributes, in the order of a static token's values."""
        return tuple(v for v in self.static if v.kind == "static_site")

    @property
    def token_types(self) -> int:
        """One a variable, then one for static patches and one for static sites."""
        return len(self.variables) + 2

    @property
    def token_size(self) -> int:
        """P: values a token holds; shorter tokens are padded with unseen cells."""
        sizes = [len(self.static_grid), len(self.static_site)]
        sizes += [self.cells(v) for v in self.variables]
        return max(sizes)

    def cells(self, spec: VariableSpec) -> int:
        """Cells in one token of a reconstructed variable."""
        return self.patch.rows * self.patch.columns if spec.kind == "grid" else self.patch.steps
