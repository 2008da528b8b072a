"""Read the views of a dataset, and say what of each is to be filled and where the fill belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension
from hydrofill.cf.dataset import Reading, read_dataset
from hydrofill.cf.domains import with_whole_maps
from hydrofill.cf.missing import real_variables
from hydrofill.cf.units import Conversion
from hydrofill.cf.views import DYNAMIC, Target, View
from hydrofill.cube import Variable, WaterCube
from hydrofill.errors import NothingObservedError, UnknownVariableError
from hydrofill.gaps.refusals import Refuser
from hydrofill.general.layout import compose_layout
from hydrofill.layout import Layout
from hydrofill.outline import Outline
from hydrofill.reconstruct import select_variables
from hydrofill.summary import Summary, summary_of
from hydrofill.undeclared import check_declared


@dataclass(frozen=True, eq=False)
class PreparedPart:
    """Variables of a dataset that are filled together.

    cube: their values. names: those to fill. targets: by name in the cube, where the fill belongs; `Target.name` is the
    name in the reading of the whole dataset. label: the slice of the dataset, such as "level=850"; "" for none.
    refuser: says which gaps are not filled.
    """

    cube: WaterCube
    names: list[str]
    targets: Mapping[str, Sequence[Target]]
    label: str = ""
    refuser: Refuser = field(default_factory=Refuser)


@dataclass(frozen=True, eq=False)
class ReadView:
    """A view that was read.

    targets: by name in the view's cube, where the fill belongs; `Target.name` is a name in the cube of the whole.
    """

    view: View
    reading: Reading
    targets: Mapping[str, Sequence[Target]]

    @classmethod
    def of(cls, view: View, layout: Layout) -> ReadView:
        """Read a view for a bundle with this layout."""
        reading = read_dataset(view.dataset, None if layout.general else layout)
        if layout.general:
            reading = replace(reading, cube=with_whole_maps(reading.cube))
        targets = {
            name: [replace(t, name=name if t.name == source else t.name) for t in _targets(view, source)]
            for name, source in reading.source.items()
            if reading.cube.variables[name].kind in DYNAMIC
        }
        return cls(view, reading, targets)

    def checked_layout(self, layout: Layout) -> Layout:
        """Return the layout with which a bundle fills the view, whose values have been checked.

        Raises:
            NothingObservedError: a general bundle finds no value.
            ValueRangeError: a value seems to stand for missing values.
        """
        outline, cube = Outline.of(self.reading.cube, self.reading.grid_units), self.reading.cube
        found = {info.name: summary for info, summary in outline.variables}
        found |= {v.name: summary_of(v.values) for v in cube.of_kind("static_grid", "static_site").values()}
        if self.plain or self.view.label:  # each series is checked on its own
            check_reading(self.reading, found, self.view.dataset)
        return compose_layout(outline) if layout.general else layout

    @property
    def plain(self) -> bool:
        """True if every variable of the view is one of the dataset."""
        return all(targets == [Target(name)] for name, targets in self.targets.items())


def _targets(view: View, source: str) -> Sequence[Target]:
    """Return where the fill of a variable belongs; a bundle may know variables by name that `views_of` leaves out."""
    return view.targets.get(source, (Target(source),))


def as_one(views: Sequence[ReadView], dimensions: Mapping[str, Dimension]) -> Reading:
    """Return the reading of the whole dataset: of a variable with further dimensions, as its first slice was read."""
    whole = views[0].reading
    if len(views) == 1 and views[0].plain:
        return whole
    variables: dict[str, Variable] = {}
    source: dict[str, str] = {}
    converted: dict[str, Conversion] = {}
    for view in views:
        for name, read in view.reading.cube.variables.items():
            for target in view.targets.get(name, [Target(name)]):
                if target.name in variables:
                    continue
                own = read.values if target.site is None else read.values[:, target.site, None]
                variables[target.name] = replace(read, name=target.name, values=own)
                source[target.name] = view.reading.source[name] if target.name == name else target.name
                converted[target.name] = view.reading.converted[name]
    cubes = [view.reading.cube for view in views]
    grid = next((cube for cube in cubes if len(cube.y)), whole.cube)
    sites = next((cube.sites for cube in cubes if len(cube.sites)), whole.cube.sites)
    if any(t.site is not None for view in views for targets in view.targets.values() for t in targets):
        sites = sites.take(np.arange(1))  # each series is a variable of one site
    domain = {name: inside for cube in cubes for name, inside in cube.domain.items() if name in source}
    cube = replace(whole.cube, y=grid.y, x=grid.x, sites=sites, variables=variables, domain=domain)
    return Reading(cube, dimensions, source, converted, whole.grid_units)


def prepare_parts(
    views: Sequence[ReadView],
    layout: Layout,
    wanted: Sequence[str],
    refuser_of: Callable[[ReadView, Sequence[str]], Refuser],
) -> tuple[list[PreparedPart], list[tuple[str, str]]]:
    """Return what is to be filled of each view, and name and slice of what is left out because it has no value.

    `refuser_of` returns what refuses gaps of these variables of a view.

    Raises:
        UnknownVariableError: a wanted name is not in the bundle or not in the dataset.
        NothingObservedError: there is nothing to fill from.
    """
    parts, empty, nothing = [], [], None
    for view in views:
        cube = view.reading.cube
        try:
            names = select_variables(cube, view.checked_layout(layout), ())
        except NothingObservedError as error:
            nothing = nothing or error
            names = []
        lost = [t.name for name, targets in view.targets.items() if name not in names for t in targets]
        empty += [(name, view.view.label) for name in lost if not wanted or name in wanted]
        if not names:
            continue
        targets = {n: [t for t in view.targets[n] if not wanted or t.name in wanted] for n in names}
        names = [n for n in names if targets[n]]
        parts.append(PreparedPart(cube, names, targets, view.view.label, refuser_of(view, names)))
    known = list(dict.fromkeys(t.name for view in views for targets in view.targets.values() for t in targets))
    if not layout.general:
        known = [spec.name for spec in layout.variables if spec.name in known]
    filled = {t.name for part in parts for n in part.names for t in part.targets[n]}
    for name in wanted:
        if name not in known:
            raise UnknownVariableError("is not one of the variables that can be filled", where=name, expected=known)
        if name not in filled:
            raise NothingObservedError("has no value to fill its gaps from: all its values are missing", where=name)
    if nothing is not None and not parts:
        raise nothing
    return [part for part in parts if part.names], empty


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
