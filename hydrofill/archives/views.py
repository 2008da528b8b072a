"""The views of an archive, each filled block by block, and the output that is made of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr

from hydrofill.archives.output import Cells, FilledArchive, copied, lazy_variables
from hydrofill.archives.reading import DatasetSource
from hydrofill.blocks import BLOCK_VALUES, Block, plan_blocks
from hydrofill.cf.axes import recognise
from hydrofill.cf.fills import Destination, with_filled
from hydrofill.cf.variables import ordered_dims
from hydrofill.cf.views import Target, View, views_of
from hydrofill.errors import NothingObservedError, UnknownVariableError
from hydrofill.filling import FillOptions, joined_calibrations, joined_texts, said_of_empty
from hydrofill.layout import Layout
from hydrofill.reconstruct import OUTSIDE, FilledVariable

CALIBRATION = "hydrofill_calibration"
MAX_BLOCKS_IN_MEMORY = 20  # that all slices of a dataset which is filled in memory have together


@dataclass(frozen=True, eq=False)
class LargeView:
    """A view of an archive that is filled block by block.

    number: of the view among all. targets: by name in the view's cube, where the fill belongs.
    """

    number: int
    label: str
    targets: Mapping[str, Target]
    source: DatasetSource
    blocks: Sequence[Block]


def views_of_archive(dataset: xr.Dataset, layout: Layout) -> list[View]:
    """Return the views of a dataset that is filled by a bundle with this layout; without a time axis it has none."""
    dimensions = recognise(dataset)
    if not any(d.axis == "time" for d in dimensions.values()):
        return []
    return views_of(dataset, dimensions, None if layout.general else layout)


def open_large(dataset: xr.Dataset, name: str, layout: Layout, *, skip_bad: bool) -> list[LargeView]:
    """Return the views of a dataset with their blocks; empty if it is to be filled in memory.

    Args:
        dataset: lazily opened, decoded by CF.
        name: of the input, for errors.
        layout: of the bundle that fills.
        skip_bad: whether chunks that cannot be read are filled like gaps.
    """
    views = views_of_archive(dataset, layout)
    if any(target.site is not None for view in views for targets in view.targets.values() for target in targets):
        return []  # series along time alone are small
    opened = []
    for number, view in enumerate(views):
        source = DatasetSource.of(view.dataset, name, layout, skip_bad=skip_bad)
        found = source.first
        targets = {n: view.targets[s][0] for n, s in found.source.items() if s in view.targets}
        blocks = plan_blocks(source.axes.shape, *source.counts)
        opened.append(LargeView(number, view.label, targets, source, blocks))
    values = sum(block.values_read(*view.source.counts) for view in opened for block in view.blocks)
    large = any(len(view.blocks) > 1 for view in opened) or values > MAX_BLOCKS_IN_MEMORY * BLOCK_VALUES
    return opened if large else []


def names_to_fill(views: Sequence[LargeView], layout: Layout, wanted: Sequence[str]) -> list[str]:
    """Return the variables to fill, in the order of the record or of the bundle.

    Raises:
        UnknownVariableError: a wanted name is not in the bundle or not in the dataset.
    """
    known = list(dict.fromkeys(n for view in views for n in view.source.first.cube.of_kind("grid", "series")))
    if not layout.general:
        known = [spec.name for spec in layout.variables if spec.name in known]
    for name in wanted:
        if name not in known:
            raise UnknownVariableError("is not one of the variables that can be filled", where=name, expected=known)
    return [name for name in known if not wanted or name in wanted]


def check_filled(filled: Sequence[FilledArchive], names: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that every wanted variable has values, or any if none is wanted.

    Raises:
        NothingObservedError: a wanted variable or all variables have no value.
    """
    found = {name for archive in filled for name in archive.attributes}
    for name in wanted:
        if name not in found:
            raise NothingObservedError("has no value to fill its gaps from: all its values are missing", where=name)
    if not found:
        raise NothingObservedError("all values of all variables are missing", got=list(names))


@dataclass(frozen=True, eq=False)
class FilledSlices:
    """The fill of one variable of an archive from the fills of its slices; a variable without slices is one.

    name: in the cube. original: the variable in the archive. order: its dimensions in the order of a fill. sources,
    fills: of the slices, by indices along the further dimensions; slices without any value have no fill.
    """

    name: str
    source: str
    original: xr.Variable
    order: tuple[str, ...]
    sources: Mapping[tuple[int, ...], DatasetSource]
    fills: Mapping[tuple[int, ...], FilledArchive]

    def values(self, cells: Cells) -> np.ndarray:
        """Return a part of the variable as it was read."""
        inner, places = self._inside(cells)
        parts = [self.sources[at].values(self.source, inner) for at in places]
        further = self._further
        dims = (*further, *(d for d in self.original.dims if d not in further))
        lengths = (self._length(cells, d) for d in further)
        stacked = xr.Variable(dims, np.stack(parts).reshape(*lengths, *parts[0].shape))
        return stacked.transpose(*self.original.dims).values

    def fill(self, cells: Cells) -> FilledVariable:
        """Return the fill of a part of the variable; further dimensions come first."""
        inner, places = self._inside(cells)
        parts = [self._fill(at, inner) for at in places]
        shape = tuple(self._length(cells, d) for d in (*self._further, *self.order))
        mean, std, flag = (np.stack([getattr(p, of) for p in parts]).reshape(shape) for of in ("mean", "std", "flag"))
        return FilledVariable(mean, std, flag)

    def extremes(self) -> tuple[float, float]:
        """Return the lowest and the highest mean that the variable was filled with; NaN if none was."""
        ends = [archive.parts.extremes(self.name, archive.blocks) for archive in self.fills.values()]
        known = [end for end in ends if not np.isnan(end[0])]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else (np.nan, np.nan)

    @property
    def _further(self) -> tuple[str, ...]:
        return tuple(str(d) for d, n in self.original.sizes.items() if d not in self.order and n > 1)

    def _inside(self, cells: Cells) -> tuple[Cells, list[tuple[int, ...]]]:
        """Return a part within each slice, and the indices of the slices of a part."""
        further = self._further
        inner = {d: cut for d, cut in cells.items() if d not in further}
        return inner, list(product(*(range(*cells[d].indices(self.original.sizes[d])) for d in further)))

    def _length(self, cells: Cells, dim: str) -> int:
        return len(range(*cells[dim].indices(self.original.sizes[dim])))

    def _fill(self, at: tuple[int, ...], inner: Cells) -> FilledVariable:
        if at in self.fills:
            return self.fills[at].fill(self.name, inner)
        shape = tuple(self._length(inner, d) for d in self.order)
        nothing = np.full(shape, np.nan, np.float32)
        return FilledVariable(nothing, nothing, np.full(shape, OUTSIDE))


def filled_dataset(
    whole: xr.Dataset,
    views: Sequence[LargeView],
    fills: Mapping[int, FilledArchive],
    options: FillOptions,
    empty: Sequence[str],
) -> xr.Dataset:
    """Return the filled dataset, whose values are computed when they are written.

    Args:
        whole: the archive as it was opened, with the variables that are copied.
        views: all views of it.
        fills: by the number of a view, its fill; views without any value have none.
        options: what is written.
        empty: what was left out because it has no value.
    """
    said: dict[str, dict[str, dict[str, str]]] = {}  # by variable, attribute and slice
    for view in views:
        for name, attributes in fills[view.number].attributes.items() if view.number in fills else ():
            of_name = said.setdefault(name, {})
            for key, text in attributes.items():
                of_name.setdefault(key, {})[view.label] = text
    made: dict[str, xr.Variable] = {}
    for name, of_name in said.items():
        of_variable = [view for view in views if name in view.targets]
        reading = of_variable[0].source.first
        original = whole[reading.source[name]].variable
        slices = FilledSlices(
            name,
            reading.source[name],
            original,
            ordered_dims(original, reading.dimensions, reading.cube.variables[name].kind),
            {view.targets[name].at: view.source for view in of_variable},
            {view.targets[name].at: fills[view.number] for view in of_variable if view.number in fills},
        )
        made |= lazy_variables(
            Destination.of(whole, reading, name, slices.extremes),
            slices.values,
            slices.fill,
            {key: joined_texts(texts) for key, texts in of_name.items()},
            uncertainty=options.uncertainty,
            only_gaps=options.only_gaps,
            flags=options.control.flags,
            skip_bad=of_variable[0].source.skip_bad,
        )
    first = next(iter(fills.values()))
    provenance = {**first.provenance, **said_of_empty(empty)}
    texts = {v.label: fills[v.number].provenance.get(CALIBRATION) for v in views if v.number in fills}
    if calibration := joined_calibrations(texts):
        provenance[CALIBRATION] = calibration
    return with_filled(copied(whole, made), made, said, provenance)
