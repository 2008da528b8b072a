"""Fill a dataset: the steps that `hydrofill.fill`, the command line and the server share.

`prepare_fill` reads the dataset, `Model.run` (hydrofill/inference/model.py) fills the gaps of the cube, and
`PreparedFill.write` puts the fill back into the dataset. The server runs the middle step on its own thread; the other
two callers run the three steps in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from hydrofill.cf.dataset import Reading, read_dataset, write_fill
from hydrofill.cube import WaterCube
from hydrofill.errors import NothingObservedError
from hydrofill.general.layout import compose_layout
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable, select_variables


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
    """A dataset that was read and is not filled yet; `names` are the variables to fill, as the bundle calls them."""

    dataset: xr.Dataset
    reading: Reading
    names: list[str]
    options: FillOptions

    def write(self, filled: Mapping[str, FilledVariable], provenance: Mapping[str, str]) -> xr.Dataset:
        """Return the dataset with its gaps filled, with flags, standard deviations and provenance."""
        options = self.options
        return write_fill(
            self.dataset,
            self.reading,
            filled,
            provenance,
            uncertainty=options.uncertainty,
            only_gaps=options.only_gaps,
        )


def prepare_fill(dataset: xr.Dataset, layout: Layout, options: FillOptions) -> PreparedFill:
    """Read `dataset` for a bundle with this layout.

    Raises:
        ContractError: the dataset does not suit the bundle; names the variable, what was found and what was expected.
        UnknownVariableError: a name in `options.variables` is not in the bundle or not in the dataset.
        NothingObservedError: all variables are missing everywhere, or a general bundle is to fill a variable that is.
    """
    if layout.general:
        reading = read_dataset(dataset)
        own = compose_layout(reading.cube, reading.grid_units)
        _check_observed(reading.cube, options.variables)
        return PreparedFill(dataset, reading, select_variables(reading.cube, own, options.variables), options)
    reading = read_dataset(dataset, layout)
    return PreparedFill(dataset, reading, select_variables(reading.cube, layout, options.variables), options)


def _check_observed(cube: WaterCube, names: Sequence[str]) -> None:
    """Raise NothingObservedError if a variable in `names` has no value."""
    for name in names:
        if name in cube.variables and not cube.variables[name].valid.any():
            raise NothingObservedError("has no value to fill its gaps from: all its values are missing", where=name)
