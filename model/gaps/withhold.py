"""A test case from a dataset: more cells hidden, their truth and the kind of each gap kept for scoring."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import xarray as xr

from hydrofill.cf.axes import recognise
from hydrofill.errors import StructureError
from hydrofill.gaps.masks import Hidden, clouds, gauge_outages, squares, swaths, whole_frames

GapKinds = npt.NDArray[np.int8]


class GapKind(IntEnum):
    """Why a cell has no value in the gappy input; its truth is known for `CLOUD` and all kinds after it."""

    OBSERVED = 0
    NATURAL = 1
    CLOUD = 2
    SWATH = 3
    SQUARE = 4
    FRAME = 5
    OUTAGE = 6


FLAG_MEANINGS = "observed natural_gap cloud_blob swath square_patch whole_frame outage"
AXES = (["time", "y", "x"], ["time", "site"])
SUFFIXES = ("_truth", "_gap")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of all cells of a variable to withhold, by kind of gap, and the mean length of runs in steps.

    The defaults hide 40 % of a gridded variable and 22 % of a series.

    Raises:
        ValueError: a share is outside [0, 1], or those of gridded variables sum to more than 1.
    """

    cloud: float = 0.24
    swath: float = 0.0
    square: float = 0.06
    frame: float = 0.10
    outage: float = 0.22
    frame_run: float = 3.0
    outage_run: float = 15.0

    def __post_init__(self) -> None:
        shares = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.endswith("_run")}
        wrong = {name: share for name, share in shares.items() if not 0.0 <= share <= 1.0}
        if wrong:
            raise ValueError(f"shares outside [0, 1]: {wrong}")
        if (total := self.cloud + self.swath + self.square + self.frame) > 1.0:
            raise ValueError(f"shares of gridded variables sum to {total}, at most 1 is possible")


DEFAULT_SHARES = Shares()


def withhold(dataset: xr.Dataset, seed: int, shares: Shares = DEFAULT_SHARES) -> xr.Dataset:
    """Return the dataset with more gaps: for each variable V, `V` (gappy), `V_truth` (as it was), `V_gap` (`GapKind`).

    V is any numeric variable over time, rows and columns or over time and sites, in that order and by whatever names,
    except flags; all else is kept as it is. Each variable has gaps of its own, which depend on the seed and its name
    only. Cells that were missing before stay natural gaps.

    Raises:
        StructureError: there is no such variable, or the dataset is a case already.
    """
    names = gappy_variables(dataset)
    if not names:
        raise StructureError(
            "has no variable to withhold cells of", expected="a variable over (time, y, x) or (time, site)"
        )
    if made := sorted(str(name) for name in dataset.data_vars if str(name).endswith(SUFFIXES)):
        raise StructureError("is a case already", got=made)
    case = dataset.copy()
    for name in names:
        truth = _as_floats(dataset[name].variable)
        gap = np.where(np.isnan(truth.values), np.int8(GapKind.NATURAL), _draw(truth, name, seed, shares))
        case[name] = truth.copy(data=np.where(gap == GapKind.OBSERVED, truth.values, truth.dtype.type(np.nan)))
        case[f"{name}_truth"] = _retitled(truth, f"{truth.attrs.get('long_name', name)} (truth)")
        case[f"{name}_gap"] = _gap_variable(truth, name, gap)
    line = f"hydrofill: cells withheld with seed {seed}, {shares}"
    return case.assign_attrs(history="\n".join(filter(None, (dataset.attrs.get("history"), line))))


def gappy_variables(dataset: xr.Dataset) -> list[str]:
    """Return the numeric variables over time and a grid or sites, flags left out, in the dataset's order."""
    axes = {name: dimension.axis for name, dimension in recognise(dataset).items()}
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if [axes.get(str(dim)) for dim in variable.dims] in AXES
        and variable.dtype.kind in "fiu"
        and "flag_values" not in variable.attrs
    ]


def grid_gaps(rng: np.random.Generator, shape: tuple[int, ...], shares: Shares) -> GapKinds:
    """Draw kinds of gap, (T, H, W): frames first, then clouds, swaths and squares, each in the cells still open.

    Each kind is drawn over all open frames with the ratio that gives its share of the open cells. So the shares are met
    on average, and that of frames exactly.
    """
    steps, rows, columns = shape
    gap = np.zeros((steps, rows, columns), np.int8)
    gap[whole_frames(rng, steps, shares.frame, shares.frame_run)] = GapKind.FRAME
    left = 1.0 - shares.frame
    for kind, share in ((GapKind.CLOUD, shares.cloud), (GapKind.SWATH, shares.swath), (GapKind.SQUARE, shares.square)):
        if share == 0.0:
            continue
        open_frames = (gap == GapKind.OBSERVED).any(axis=(1, 2))
        hidden = np.zeros(gap.shape, np.bool_)
        hidden[open_frames] = _hide(kind, rng, (int(open_frames.sum()), rows, columns), min(1.0, share / left))
        gap[hidden & (gap == GapKind.OBSERVED)] = kind
        left -= share
    return gap


def series_gaps(rng: np.random.Generator, shape: tuple[int, ...], shares: Shares) -> GapKinds:
    """Draw kinds of gap, (T, N): outages, their share exact to one value."""
    steps, sites = shape
    hidden = gauge_outages(rng, (steps, sites), shares.outage, shares.outage_run)
    return np.where(hidden, np.int8(GapKind.OUTAGE), np.int8(GapKind.OBSERVED))


def _draw(truth: xr.Variable, name: str, seed: int, shares: Shares) -> GapKinds:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return series_gaps(rng, truth.shape, shares) if truth.ndim == 2 else grid_gaps(rng, truth.shape, shares)


def _hide(kind: GapKind, rng: np.random.Generator, shape: tuple[int, int, int], ratio: float) -> Hidden:
    match kind:
        case GapKind.CLOUD:
            return clouds(rng, shape, ratio)
        case GapKind.SWATH:
            return swaths(rng, shape, ratio)
        case _:
            return squares(rng, shape, ratio)


def _as_floats(variable: xr.Variable) -> xr.Variable:
    """Return the variable as floating point, in which missing is NaN."""
    return variable if variable.dtype.kind == "f" else variable.astype(np.float32)


def _retitled(variable: xr.Variable, long_name: str) -> xr.Variable:
    copy = variable.copy()
    copy.attrs["long_name"] = long_name
    return copy


def _gap_variable(truth: xr.Variable, name: str, gap: GapKinds) -> xr.Variable:
    attrs = {
        "long_name": f"gap kind of {name}",
        "flag_values": np.array([kind.value for kind in GapKind], np.int8),
        "flag_meanings": FLAG_MEANINGS,
    }
    return xr.Variable(truth.dims, gap.astype(np.int8), attrs, {"zlib": True, "complevel": 4})
