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
from hydrofill.cf.missing import Declared, hide_declared, real_variables
from hydrofill.cf.variables import classify, with_named_as_data
from hydrofill.cube import WaterCube
from hydrofill.errors import NothingObservedError
from hydrofill.fill_codes import Codes, with_codes_filled
from hydrofill.general.layout import compose_layout
from hydrofill.layout import Layout
from hydrofill.outline import Outline
from hydrofill.reconstruct import FilledVariable, select_variables
from hydrofill.summary import Summary, summary_of
from hydrofill.undeclared import check_declared

TIME = "time"  # the name of the time axis that a single map is given
NO_DATE = np.datetime64("2000-01-01T00:00:00", "ns")  # the time of a map whose file says nothing of time


@dataclass(frozen=True)
class FillOptions:
    """Options of a fill.

    variables: names to fill, as the bundle calls them; empty for all that dataset and bundle share. max_gap: longest
    gap to fill, in time steps; longer gaps stay missing and are flagged as refused; None for any length.
    uncertainty: whether `V_std` is written. only_gaps: whether V holds only the filled values. missing: values that
    stand for missing values, as `Declared.of` reads them: "-9999", "NAME=-9999", "NAME=none". codes: how the gaps
    of codes are filled.
    """

    variables: tuple[str, ...] = ()
    max_gap: int | None = None
    uncertainty: bool = True
    only_gaps: bool = False
    missing: tuple[str, ...] = ()
    codes: Codes = "keep"


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
        written = with_codes_filled(written, self.reading.dimensions, options.codes)
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
        ValueRangeError: a value seems to stand for missing values, and nothing declares it.
    """
    dataset = as_declared(dataset, layout, options, lazily=False)
    if layout.general:
        return _prepare_general(dataset, options)
    reading = read_dataset(dataset, layout)
    check_reading(reading, {name: summary_of(v.values) for name, v in reading.cube.variables.items()}, dataset)
    return PreparedFill(dataset, reading, select_variables(reading.cube, layout, options.variables), options)


def as_declared(dataset: xr.Dataset, layout: Layout, options: FillOptions, *, lazily: bool) -> xr.Dataset:
    """Return `dataset` as the options say that it is to be read: missing values, and integers that are data.

    Raises:
        ContractError: a missing value cannot be understood; a variable that is named holds codes.
    """
    dataset = hide_declared(dataset, Declared.of(options.missing), lazily=lazily)
    if not layout.general or not options.variables:
        return dataset
    return with_named_as_data(dataset, options.variables, recognise(dataset), lazily=lazily)


def _prepare_general(dataset: xr.Dataset, options: FillOptions) -> PreparedFill:
    """Read every variable of `dataset` that a general bundle can fill."""
    maps = single_maps(dataset)
    if maps:
        dataset = dataset.assign({name: dataset[name].expand_dims(TIME) for name in maps})
        dataset = dataset.assign_coords({TIME: (TIME, np.array([NO_DATE]))})
    reading = read_dataset(dataset)
    reading = replace(reading, cube=with_whole_maps(reading.cube))
    outline = Outline.of(reading.cube, reading.grid_units)
    summaries = {info.name: summary for info, summary in outline.variables}
    check_reading(reading, summaries | {v.name: summary_of(v.values) for v in outline.static}, dataset)
    own = compose_layout(outline)
    _check_observed(reading.cube, options.variables)
    names = select_variables(reading.cube, own, options.variables)
    return PreparedFill(dataset, reading, names, options, added_time=bool(maps))


def check_reading(reading: Reading, summaries: Mapping[str, Summary], dataset: xr.Dataset) -> None:
    """Check that no value of the variables that were read from `dataset` seems to stand for missing values.

    Args:
        reading: what was read.
        summaries: of the values, by name in the cube.
        dataset: says which values the user calls real.

    Raises:
        ValueRangeError: names the variable as the dataset does.
    """
    for name, summary in summaries.items():
        source = reading.source[name]
        info = replace(reading.cube.variables[name], name=source)
        check_declared(info, summary, real_variables(dataset), reading.converted[name].invert)


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
