"""Read a bundle: a trained model that is ready to use, as a manifest, two graphs and a model card.

A general bundle may also hold the weights of its network, from which a tuning starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from hydrofill.calibration import Calibration
from hydrofill.errors import BundleError
from hydrofill.layout import Frozen, Layout
from hydrofill.paths import FileRefusedError, read_regular

MANIFEST = "manifest.json"
ENCODER, DECODER, CARD = "encoder.onnx", "decoder.onnx", "MODEL_CARD.md"
WEIGHTS = "weights.safetensors"  # of general bundles; a bundle without weights cannot be tuned
MAX_MANIFEST_BYTES = 4 * 2**20  # far above the size of any real manifest
MAX_FILE_BYTES = 512 * 2**20  # of a graph, or of weights
MAX_WINDOW_VALUES = 2**22  # of all variables in one window; the shipped bundles have some thousand
MAX_TOKEN_VALUES = 2**12
MAX_DOMAIN_CELLS = 2**27
SCHEMA_VERSION: Literal[3] = 3  # 3: keys and values from encoder to decoder, graphs saved optimised
DEFAULT_BUNDLE = "general"
BUNDLE_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"

BundleName = Annotated[str, Field(pattern=BUNDLE_NAME)]
Dtype = Literal["float32", "float16", "int8"]


class FileDigest(Frozen):
    """Size and checksum of a file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int = Field(ge=1, le=MAX_FILE_BYTES)


class TensorSpec(Frozen):
    """One input or output of a graph; a dimension given by name may have any length."""

    name: str
    dtype: Literal["float32", "float16", "int64", "bool"]
    dims: tuple[str | int, ...]


class GraphSpec(Frozen):
    """Inputs and outputs of one graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Parity(Frozen):
    """Measured difference of the graphs from the exported network, at shapes other than the traced one.

    tolerance: the largest difference that was accepted; null for graphs of lower precision than the network, which are
    accepted by their skill.
    """

    tolerance: float | None = Field(gt=0)
    max_relative_difference: float = Field(ge=0)
    shapes: tuple[dict[str, int], ...] = Field(min_length=1)


class Optimised(Frozen):
    """The optimisation of the graphs during export, and the release of ONNX Runtime that did it.

    Graphs of the level `extended` run on any processor, and are not optimised again when they are loaded.
    """

    level: Literal["none", "extended"]
    onnxruntime: str


class Skill(Frozen):
    """Scores of one variable for one kind of gap on held-out cells, in physical units.

    coverage90: share of true values within the 90 % interval. linear_rmse: root mean square error of linear
    interpolation in time on the same cells. mean_rmse: the same for the mean of each cell. Null if there is no such
    estimate.
    """

    variable: str
    gap: str
    cells: int = Field(ge=0)
    rmse: float
    bias: float
    crps: float
    coverage90: float
    linear_rmse: float | None = None
    mean_rmse: float | None = None


class PrecisionCost(Frozen):
    """The cost of lower precision for one variable, compared with float32 on the same held-out cells.

    rmse_ratio, crps_ratio: geometric means over the kinds of gaps. coverage_change: how much further the share of true
    values within the 90 % interval, over all `cells`, is from 90 % (negative: closer).
    """

    cells: int = Field(ge=1)
    rmse_ratio: float = Field(gt=0)
    crps_ratio: float = Field(gt=0)
    coverage_change: float


class Precision(Frozen):
    """The number type in which the blocks of encoder and decoder compute; physical values are always float32."""

    dtype: Dtype = "float32"
    cost: dict[str, PrecisionCost] = Field(default_factory=dict)


class TrainingData(Frozen):
    """The data that the network was trained on."""

    title: str
    source: str
    licence: str
    start: datetime
    end: datetime
    frames: int = Field(ge=1)


class Manifest(Frozen):
    """The content of manifest.json.

    widening: of a general bundle that was tuned, the factor of the standard deviations of each variable of the tuning's
    data in a fill; the network has learnt from the cells that a fill hides to calibrate them.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    name: BundleName
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    created: datetime
    licence: str
    training: TrainingData
    layout: Layout
    encoder: GraphSpec
    decoder: GraphSpec
    opset: int
    optimised: Optimised
    precision: Precision = Field(default_factory=Precision)
    parity: Parity
    skill: tuple[Skill, ...]
    calibration: dict[str, Calibration] = Field(default_factory=dict)
    widening: dict[str, Annotated[float, Field(ge=1)]] = Field(default_factory=dict)
    files: dict[Literal["encoder.onnx", "decoder.onnx", "MODEL_CARD.md", "weights.safetensors"], FileDigest]

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        left_out = set() if self.widening else {"widening"}  # so that earlier releases read what has none
        return json.dumps(self.model_dump(mode="json", exclude=left_out), indent=1) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked: its manifest, the sha256 of the manifest, and the bytes of its files.

    weights: the weights of the network as safetensors, from which a tuning starts; None in a bundle without them.
    """

    manifest: Manifest
    sha256: str
    encoder: bytes
    decoder: bytes
    weights: bytes | None = None


def shipped_bundles() -> Path:
    """Return the folder of the bundles that come with hydrofill: in the wheel, or else in the checkout."""
    inside = Path(__file__).parent / "bundles"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "bundles"


def find_bundle(bundle: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a bundle, given by its folder or by the name of a shipped bundle; the default for None.

    Raises:
        BundleError: there is no such folder and no such name; names the shipped bundles.
    """
    if bundle is not None and Path(bundle).is_dir():
        return Path(bundle)
    shipped = shipped_bundles()
    name = DEFAULT_BUNDLE if bundle is None else os.fspath(bundle)
    if re.match(BUNDLE_NAME, name) and (shipped / name).is_dir():
        return shipped / name
    names = sorted(path.parent.name for path in shipped.glob(f"*/{MANIFEST}"))
    raise BundleError("no such bundle", where=name, expected=f"a bundle's folder, or one of {names}")


def digest(content: bytes) -> FileDigest:
    """Return the size and sha256 of a file's content."""
    return FileDigest(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def read_bundle(folder: Path) -> Bundle:
    """Read and check the bundle in `folder`; each file is read only once.

    Raises:
        BundleError: a file is missing, altered or unreadable, or the manifest is of another schema.
    """
    content = _read(folder, MANIFEST, MAX_MANIFEST_BYTES)
    _check_schema(content, folder.name)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{MANIFEST} {where}: {first['msg']}", where=folder.name) from error
    _check_layout(manifest.layout, folder.name)
    files: dict[str, bytes] = {}
    for name in (ENCODER, DECODER, CARD, WEIGHTS):
        expected = manifest.files.get(name)  # type: ignore[call-overload]
        if name == WEIGHTS and (expected is None or not (folder / name).exists()):
            continue  # weights are needed to tune, not to fill: an image may leave them out
        if expected is None:
            raise BundleError(f"{MANIFEST} has no digest of {name}", where=folder.name)
        files[name] = _read(folder, name, expected.size)
        if digest(files[name]) != expected:
            raise BundleError(f"the content of {name} does not match its digest in {MANIFEST}", where=folder.name)
    return Bundle(manifest, digest(content).sha256, files[ENCODER], files[DECODER], files.get(WEIGHTS))


def _check_schema(content: bytes, name: str) -> None:
    """Raise BundleError if the manifest is of another schema version; the message says what to do.

    This is checked first, because the other checks would fail with messages that do not help.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return  # reading the whole manifest will raise the error
    found = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(found, int) and found != SCHEMA_VERSION:
        problem = f"{MANIFEST} has another schema_version; export the run again"
        raise BundleError(problem, where=name, got=found, expected=SCHEMA_VERSION)


def _check_layout(layout: Layout, name: str) -> None:
    """Raise BundleError if a layout would need more memory than any trained network's, or has a damaged domain."""
    window, cells = layout.window, layout.place.rows * layout.place.columns
    values = window.steps * min(window.rows * window.columns, cells) * len((*layout.variables, *layout.static))
    for problem, got, limit in (
        ("the window is too large", values, MAX_WINDOW_VALUES),
        ("the patches are too large", layout.token_size, MAX_TOKEN_VALUES),
        ("a domain is too large", max([0, *(d.rows * d.columns for d in layout.domain.values())]), MAX_DOMAIN_CELLS),
    ):
        if got > limit:
            raise BundleError(problem, where=name, got=f"{got} values", expected=f"{limit} at most")
    for domain in layout.domain.values():
        try:
            domain.to_array()
        except ValueError as error:
            raise BundleError(str(error), where=name) from error


def _read(folder: Path, name: str, limit: int) -> bytes:
    """Return the content of a file in the bundle's folder; a link may lead to another file in that folder only."""
    home, place = (Path(os.path.realpath(path)) for path in (folder, folder / name))
    if not place.is_relative_to(home):
        raise BundleError(f"{name} is a link that leads out of the bundle", where=folder.name)
    try:
        return read_regular(place, limit)
    except OSError as error:
        raise BundleError(f"{name} cannot be read", where=folder.name) from error
    except FileRefusedError as error:
        raise BundleError(f"{name} {error.problem.removeprefix(f'{place}: ')}", where=folder.name) from error
