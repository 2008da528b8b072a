"""Find the group of a file that holds the data, and keep the rest of the file for the output.

A dataset that was read from a file with groups carries the other groups in its encoding, so that whatever writes the
dataset can put it back where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import xarray as xr

from hydrofill.cf.axes import plane_coordinates, recognise
from hydrofill.cf.storage import STORED
from hydrofill.cf.variables import classify
from hydrofill.errors import StructureError

ROOT = "/"
ENCODED_AS = "hydrofill_groups"  # key of a dataset's encoding


@dataclass(frozen=True, eq=False)
class Groups:
    """The rest of a file: path of the group that was read, other groups by path, variables read from groups above."""

    path: str
    others: Mapping[str, xr.Dataset]
    inherited: tuple[str, ...] = ()


def choose_group(groups: Mapping[str, xr.Dataset], wanted: str = "") -> xr.Dataset:
    """Return the dataset of the group that holds the data, with the coordinates of the groups above it.

    Args:
        groups: the datasets of all groups by path, not decoded.
        wanted: the path of the group, such as `Grid`; by default the root, or else the only group with data.

    Raises:
        StructureError: there is no such group, or several groups hold data and none is named.
    """
    path = ROOT + wanted.strip(ROOT) if wanted else _with_data(groups)
    if path not in groups:
        raise StructureError("the file has no such group", where=wanted, got=_names(groups))
    if len(groups) == 1:
        return groups[path]
    inherited = _inherited(groups, path)
    others = {name: other for name, other in groups.items() if name != path}
    for variable in (v for other in others.values() for v in other.variables.values()):
        variable.encoding[STORED] = variable.to_base_variable()
    whole = groups[path].assign(inherited)
    whole.encoding[ENCODED_AS] = Groups(path, others, tuple(inherited))
    return whole


def groups_around(dataset: xr.Dataset) -> Groups | None:
    """Return the rest of the file that a dataset was read from; None if it has no groups."""
    found: Groups | None = dataset.encoding.get(ENCODED_AS)
    return found


def datasets_by_group(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return a dataset in its group and the other groups of its file, by path; groups above others come first."""
    groups = groups_around(dataset)
    if groups is None:
        return {ROOT: dataset}
    own = dataset.drop_vars(groups.inherited)
    return dict(sorted({**groups.others, groups.path: own}.items()))


def _with_data(groups: Mapping[str, xr.Dataset]) -> str:
    """Return the path of the group that holds data."""
    if len(groups) == 1:
        return ROOT
    for holds_data in (_holds_fields, _holds_arrays):
        found = [path for path, dataset in groups.items() if holds_data(dataset.assign(_inherited(groups, path)))]
        if ROOT in found:
            return ROOT
        if len(found) > 1:
            raise StructureError(
                "several groups of the file hold data", got=_names(found), expected="the name of one of them as group"
            )
        if found:
            return found[0]
    return ROOT


def _inherited(groups: Mapping[str, xr.Dataset], path: str) -> dict[str, xr.Variable]:
    """Return the coordinates of time and place that a group takes from the groups above it."""
    own, found = groups[path], dict[str, xr.Variable]()
    for above in [groups[str(parent)] for parent in PurePosixPath(path).parents if path != ROOT]:
        straight = [d.coordinate for d in recognise(above).values() if d.coordinate is not None]
        for name in (*straight, *plane_coordinates(above).values()):
            variable = above.variables[name]
            fits = all(own.sizes.get(dim) == size for dim, size in variable.sizes.items())
            if fits and name not in own.variables and name not in found:
                found[name] = variable
    return found


def _holds_fields(dataset: xr.Dataset) -> bool:
    """Return whether a dataset that is not decoded has a field or a series."""
    try:
        decoded = xr.decode_cf(dataset, decode_times=False, mask_and_scale=False)
        found = classify(decoded, recognise(decoded)).values()
    except Exception:  # noqa: BLE001 (xarray's decoders raise anything on metadata that makes no sense)
        return False
    return any(classification.kind in ("grid", "series", "static_grid") for classification in found)


def _holds_arrays(dataset: xr.Dataset) -> bool:
    return any(v.ndim >= 2 and v.dtype.kind in "iuf" for v in dataset.data_vars.values())


def _names(paths: Mapping[str, object] | list[str]) -> list[str]:
    return sorted(path.strip(ROOT) for path in paths if path != ROOT)
