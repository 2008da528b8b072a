"""Fill a dataset: the steps that `hydrofill.fill`, the command line and the server share.

`prepare_fill` reads the dataset, `Model.run` (hydrofill/inference/model.py) fills the gaps of the cube, and
`PreparedFill.write` puts the fill back into the dataset. The server runs the middle step on its own thread; the other
two callers run the three steps in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from hydrofill.cf.axes import recognise
from hydrofill.cf.dataset import Reading, read_dataset
from hydrofill.cf.domains import with_whole_maps
from hydrofill.cf.fills import write_fill
from hydrofill.cf.variables import classify
from hydrofill.cube import WaterCube
from hydrofill.errors import NothingObservedError
from hydrofill.general.layout import compose_layout
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable, select_variables

TIME = "time"  # the name of the time axis that a single map is given
NO_DATE = np.datetime64("2000-01-01T00:00:00", "ns")  # the time of a map whose file says nothing of time


@dataclass(frozen=True)
class FillOptions:
    """Options of a fill.

    variables: names to fill, as the bundle calls them; empty for all that dataset and bundle share. max_gap: longest
    gap to fill, in time steps; longer gaps stay missing and are flagged as refused; None for any length.
    uncertainty: whether `V_std` is written. only_gaps: whether V holds only the filled values.
    """

    variables: tuple[str, ...] = ()
    max_gap: int | None = None
    uncertainty: bool = True
    only_gaps: bool = False


@dataclass(frozen=True, eq=False)
class PreparedFill:
    """A dataset that was read and is not filled yet.

    names: the variables to fill, as the bundle calls them. added_time: whether `dataset` is a single map that was given
    a time axis of one step to be read; the filled dataset has none.
    """

    dataset: xr.Dataset
    reading: Reading
    names: list[str]
    options: FillOptions
    added_time: bool = False

    @property
    def left_out(self) -> list[str]:
        """The variables that are not filled because all their values are missing."""
        known = self.reading.cube.of_kind("grid", "series")
        return [name for name, v in known.items() if name not in self.names and not v.valid.any()]

    def write(self, filled: Mapping[str, FilledVariable], provenance: Mapping[str, str]) -> xr.Dataset:
        """Return the dataset with its gaps filled, with flags, standard deviations and provenance."""
        options = self.options
        written = write_fill(
            self.dataset,
            self.reading,
            filled,
            {**provenance, **said_of_empty(self.left_out)},
            uncertainty=options.uncertainty,
            only_gaps=options.only_gaps,
        )
        return written.isel({TIME: 0}, drop=True) if self.added_time else written


def said_of_empty(names: Sequence[str]) -> dict[str, str]:
    """Return a global attribute that names the variables without any value; nothing without such variables."""
    return {"hydrofill_left_out": f"all values are missing: {', '.join(names)}"} if names else {}


def prepare_fill(dataset: xr.Dataset, layout: Layout, options: FillOptions) -> PreparedFill:
    """Read `dataset` for a bundle with this layout.

    Raises:
        ContractError: the dataset does not suit the bundle; names the variable, what was found and what was expected.
        UnknownVariableError: a name in `options.variables` is not in the bundle or not in the dataset.
        NothingObservedError: all variables are missing everywhere, or a general bundle is to fill a variable that is.
    """
    if layout.general:
        return _prepare_general(dataset, options)
    reading = read_dataset(dataset, layout)
    return PreparedFill(dataset, reading, select_variables(reading.cube, layout, options.variables), options)


def _prepare_general(dataset: xr.Dataset, options: FillOptions) -> PreparedFill:
    """Read every variable of `dataset` that a general bundle can fill."""
    maps = single_maps(dataset)
    if maps:
        dataset = dataset.assign({name: dataset[name].expand_dims(TIME) for name in maps})
        dataset = dataset.assign_coords({TIME: (TIME, np.array([NO_DATE]))})
    reading = read_dataset(dataset)
    reading = replace(reading, cube=with_whole_maps(reading.cube))
    own = compose_layout(reading.cube, reading.grid_units)
    _check_observed(reading.cube, options.variables)
    names = select_variables(reading.cube, own, options.variables)
    return PreparedFill(dataset, reading, names, options, added_time=bool(maps))


def single_maps(dataset: xr.Dataset) -> list[str]:
    """Return the maps (y, x) with gaps of a dataset without a time axis; these are filled as frames of one step."""
    dimensions = recognise(dataset)
    if any(d.axis == "time" for d in dimensions.values()) or TIME in dataset.variables:
        return []
    found = classify(dataset, dimensions)
    maps = [name for name, classification in found.items() if classification.kind == "static_grid"]
    return [name for name in maps if dataset[name].dtype.kind == "f" and bool(dataset[name].isnull().any())]


def _check_observed(cube: WaterCube, names: Sequence[str]) -> None:
    """Raise NothingObservedError if a variable in `names` has no value."""
    for name in names:
        if name in cube.variables and not cube.variables[name].valid.any():
            raise NothingObservedError("has no value to fill its gaps from: all its values are missing", where=name)
