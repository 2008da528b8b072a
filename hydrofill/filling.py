"""Fill a dataset: the steps that `hydrofill.fill`, the command line and the server share.

`prepare_fill` reads the dataset, `PreparedFill.run` fills the gaps of its parts, and `PreparedFill.write` puts the
fill back into the dataset. The server runs the middle step on its own thread; the other
two callers run the three steps in a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hydrofill.cf.axes import recognise
from hydrofill.cf.calendars import holds_times
from hydrofill.cf.dataset import Reading
from hydrofill.cf.experiments import merge_experiments
from hydrofill.cf.fills import write_fill
from hydrofill.cf.missing import Declared, hide_declared
from hydrofill.cf.variables import classify, extra_dims, ordered_dims, with_named_as_data
from hydrofill.cf.views import Target, View, views_of
from hydrofill.errors import BundleError, StructureError
from hydrofill.fill_codes import Codes, with_codes_filled
from hydrofill.gaps.control import GapControl
from hydrofill.gaps.distances import place_units
from hydrofill.gaps.refusals import Refuser
from hydrofill.gaps.selection import mask_of, selection_of
from hydrofill.guesses.interpolation import gap_lengths
from hydrofill.layout import Layout
from hydrofill.members.drawing import MEMBER, with_errors
from hydrofill.prepared_parts import PreparedPart, ReadView, as_one, check_reading, prepare_parts
from hydrofill.progress import Progress, stage
from hydrofill.reconstruct import FILLED, LONGEST_FILLED, LONGEST_MEASURED, OUTSIDE, FilledVariable
from hydrofill.summary import summary_of

if TYPE_CHECKING:
    from hydrofill.cancellation import Cancellation
    from hydrofill.inference.model import Model, Outcome
    from hydrofill.members.errors import Errors

TIME = "time"  # the name of the time axis that a single map is given
NO_DATE = np.datetime64("2000-01-01T00:00:00", "ns")  # the time of a map whose file says nothing of time


@dataclass(frozen=True)
class FillOptions:
    """Options of a fill.

    variables: names to fill, as the bundle calls them; empty for all that dataset and bundle share. control: which gaps
    are filled; the others stay missing, and their flags say why. uncertainty: whether `V_std` is written. only_gaps:
    whether V holds only the filled values. missing: values that stand for missing values, as `Declared.of` reads them:
    "-9999", "NAME=-9999", "NAME=none". codes: how the gaps of codes are filled. members: number of possible fields that
    are drawn into `V_members`; 0 for none.
    """

    variables: tuple[str, ...] = ()
    control: GapControl = field(default_factory=GapControl)
    uncertainty: bool = True
    only_gaps: bool = False
    missing: tuple[str, ...] = ()
    codes: Codes = "keep"
    members: int = 0


@dataclass(frozen=True, eq=False)
class PreparedFill:
    """A dataset that was read and is not filled yet.

    dataset: what is written, with its fill. reading: how its variables were read. parts: what is filled, one part after
    the other. empty: name and slice of what has no value, and is left as it is. added_time: whether `dataset` has
    single maps that were given a time axis of one step to be read; the filled dataset has none. scalar_time: the time
    of such maps, if their dataset says it.
    """

    dataset: xr.Dataset
    reading: Reading
    parts: Sequence[PreparedPart]
    options: FillOptions
    empty: Sequence[tuple[str, str]] = ()
    added_time: bool = False
    scalar_time: xr.Variable | None = None

    @property
    def names(self) -> list[str]:
        """The variables to fill, as the bundle calls them."""
        return list(dict.fromkeys(t.name for part in self.parts for n in part.names for t in part.targets[n]))

    def run(self, model: Model, progress: Progress | None = None, cancellation: Cancellation | None = None) -> Outcome:
        """Fill the parts one after the other; the result holds the fill of each variable of the dataset.

        Args:
            model: the bundle that fills.
            progress: called with (parts done, parts in all).
            cancellation: ends the work.

        Raises:
            CancelledError: `cancellation` was cancelled before the run was complete.
        """
        shares = pairwise(np.linspace(0, 100, len(self.parts) + 1).round().astype(int).tolist())
        done = []
        for part, share in zip(self.parts, shares, strict=True):
            of_part = progress if len(self.parts) == 1 else stage(progress, share)
            outcome = model.run(part.cube, part.names, part.refuser, of_part, cancellation)
            done.append(with_errors(outcome, part.cube) if self.options.members else outcome)
        said = {part.label: outcome.calibration for part, outcome in zip(self.parts, done, strict=True)}
        return replace(
            done[0],
            filled=self.join([_with_longest_gap(outcome.filled, model.layout) for outcome in done]),
            encode_s=sum(outcome.encode_s for outcome in done),
            decode_s=sum(outcome.decode_s for outcome in done),
            calibration=joined_calibrations(said),
        )

    def join(self, fills: Sequence[Mapping[str, FilledVariable]]) -> dict[str, FilledVariable]:
        """Return the fill of each variable of the dataset from the fills of the parts, in their order.

        The further dimensions of a variable come first in its fill. Attributes of slices become JSON objects with one
        entry for each slice.
        """
        joined: dict[str, FilledVariable] = {}
        said: dict[str, dict[str, dict[str, str]]] = {}  # by variable, attribute and slice
        drawn: dict[str, dict[tuple[tuple[int, ...], int | None], Errors]] = {}
        for part, filled in zip(self.parts, fills, strict=True):
            for name, fill in filled.items():
                for target in part.targets[name]:
                    if target.name not in joined:
                        joined[target.name] = self._nothing_filled(target.name)
                    _put(fill, target, joined[target.name])
                    for errors in fill.errors.values():
                        drawn.setdefault(target.name, {})[target.at, target.site] = errors
                    for key, text in fill.attributes.items():
                        said.setdefault(target.name, {}).setdefault(key, {})[part.label] = text
        return {
            name: replace(
                whole,
                attributes={key: joined_texts(texts) for key, texts in said.get(name, {}).items()},
                errors=drawn.get(name, {}),
            )
            for name, whole in joined.items()
        }

    def _nothing_filled(self, name: str) -> FilledVariable:
        """Return the fill of a variable that has no value in any slice."""
        original = self.dataset[self.reading.source[name]].variable
        kind = self.reading.cube.variables[name].kind
        own = ordered_dims(original, self.reading.dimensions, kind)
        dims = (*extra_dims(original, self.reading.dimensions), *own)
        nothing = np.full([original.sizes[dim] for dim in dims], np.nan, np.float32)
        return FilledVariable(nothing, nothing.copy(), np.full(nothing.shape, OUTSIDE))

    @property
    def left_out(self) -> list[str]:
        """The variables and slices that are not filled because all their values are missing."""
        return [f"{name} {label}".strip() for name, label in self.empty]

    def write(
        self, filled: Mapping[str, FilledVariable], provenance: Mapping[str, str], *, lazily: bool = False
    ) -> xr.Dataset:
        """Return the dataset with its gaps filled, with flags, standard deviations, members and provenance.

        Args:
            filled: the fill of each variable.
            provenance: global attributes to add.
            lazily: whether members are drawn part by part when they are written, so that they need no memory.
        """
        options = self.options
        written = write_fill(
            self.dataset,
            self.reading,
            filled,
            {**provenance, **said_of_empty(self.left_out)},
            uncertainty=options.uncertainty,
            only_gaps=options.only_gaps,
            flags=options.control.flags,
            members=options.members,
            lazily=lazily,
        )
        written = with_codes_filled(written, self.reading.dimensions, options.codes)
        if not self.added_time:
            return written
        written = written.isel({TIME: 0}, drop=True)
        return written if self.scalar_time is None else written.assign_coords({TIME: self.scalar_time})


def said_of_empty(names: Sequence[str]) -> dict[str, str]:
    """Return a global attribute that names the variables without any value; nothing without such variables."""
    return {"hydrofill_left_out": f"all values are missing: {', '.join(names)}"} if names else {}


def check_members(dataset: xr.Dataset, layout: Layout, number: int) -> None:
    """Check that so many members can be drawn of a fill of `dataset`.

    Raises:
        StructureError: the dataset has members already, or another variable of their name.
        BundleError: the bundle is of named variables, and measures no errors on the data.
    """
    if not number:
        return
    if not layout.general:
        raise BundleError("members need a general bundle, which measures its errors on the data")
    if MEMBER in dataset.dims or MEMBER in dataset.variables:
        raise StructureError("members are wanted, and the data have this dimension or variable", where=MEMBER)


def _with_longest_gap(filled: Mapping[str, FilledVariable], layout: Layout) -> dict[str, FilledVariable]:
    """Return fills whose attributes say how long the longest filled gap is, beside the longest that is known."""
    said = {}
    for name, fill in filled.items():
        longest = int(gap_lengths(fill.flag == FILLED).max(initial=0))
        known = {} if layout.general else {LONGEST_MEASURED: str(layout.window.steps)}
        said[name] = replace(fill, attributes={**known, **fill.attributes, LONGEST_FILLED: str(longest)})
    return said


def _put(fill: FilledVariable, target: Target, whole: FilledVariable) -> None:
    """Put the fill of a part of a variable in its place in the fill of the variable."""
    for into, values in ((whole.mean, fill.mean), (whole.std, fill.std), (whole.flag, fill.flag)):
        into[target.at] = values if target.site is None else values[:, target.site]


def joined_texts(texts: Mapping[str, str]) -> str:
    """Return the JSON texts of slices, by their labels, as one; that of a variable without slices stays as it is."""
    return texts[""] if "" in texts else json.dumps({label: json.loads(text) for label, text in texts.items()})


def joined_calibrations(texts: Mapping[str, str | None]) -> str | None:
    """Return how slices, by their labels, were calibrated as one text; None if nothing is said of any."""
    return "; ".join(f"{label}: {text}" if label else text for label, text in texts.items() if text) or None


def prepare_fill(
    dataset: xr.Dataset, layout: Layout, options: FillOptions, max_slices: int | None = None
) -> PreparedFill:
    """Read `dataset` for a bundle with this layout; of more than `max_slices` slices an error is raised.

    Raises:
        ContractError: the dataset does not suit the bundle; names the variable, what was found and what was expected.
        UnknownVariableError: a name in `options.variables` is not in the bundle or not in the dataset.
        NothingObservedError: all variables are missing everywhere, or a general bundle is to fill a variable that is.
        ValueRangeError: a value seems to stand for missing values, and nothing declares it.
        OptionError: an option of gap control does not suit the data.
        StructureError: members are wanted, and the dataset has some already.
        BundleError: members are wanted of a bundle of named variables.
    """
    check_members(dataset, layout, options.members)
    dataset = merge_experiments(as_declared(dataset, layout, options, lazily=False))
    scalar_time, added_time = _scalar_time(dataset), False
    if layout.general:
        dataset, added_time = _with_time(dataset)
    dimensions = recognise(dataset)
    views = views_of(dataset, dimensions, None if layout.general else layout, max_slices) or [View(dataset, {})]
    read = [ReadView.of(view, layout) for view in views]
    whole = as_one(read, dimensions)
    if not all(view.plain or view.view.label for view in read):  # series, each with values of its own
        check_reading(whole, {name: summary_of(v.values) for name, v in whole.cube.variables.items()}, dataset)

    def refuser_of(view: ReadView, names: Sequence[str]) -> Refuser:
        found = view.reading.source
        targets = {name: view.view.targets.get(found[name], (Target(found[name]),))[0] for name in names}
        return refuser_for(names, view.reading, view.view.dataset, targets, dataset, options.control)

    parts, empty = prepare_parts(read, layout, options.variables, refuser_of)
    return PreparedFill(dataset, whole, parts, options, empty, added_time, scalar_time)


def refuser_for(
    names: Sequence[str],
    reading: Reading,
    view: xr.Dataset,
    targets: Mapping[str, Target],
    dataset: xr.Dataset,
    control: GapControl,
) -> Refuser:
    """Return what refuses gaps of variables of a view.

    Args:
        names: the variables.
        reading: how the view was read, or its first step.
        view: the view.
        targets: by variable, where it is in the dataset.
        dataset: the whole dataset.
        control: the options.

    Raises:
        OptionError: an option does not suit the data.
    """
    selected = {}
    if control.where is not None:
        mask, dimensions = mask_of(dataset, control.where), recognise(dataset)
        for name in names:
            kind = reading.cube.variables[name].kind
            order = ordered_dims(view.variables[reading.source[name]], reading.dimensions, kind)
            selected[name] = selection_of(mask, dataset, targets[name], order, kind, dimensions)
    units = "" if control.max_distance is None else place_units(view, reading.dimensions)
    made = Refuser(control, units, selected)
    made.check(reading.cube, names)
    return made


def as_declared(dataset: xr.Dataset, layout: Layout, options: FillOptions, *, lazily: bool) -> xr.Dataset:
    """Return `dataset` as the options say that it is to be read: missing values, and integers that are data.

    Raises:
        ContractError: a missing value cannot be understood; a variable that is named holds codes.
    """
    dataset = hide_declared(dataset, Declared.of(options.missing), lazily=lazily)
    if not layout.general or not options.variables:
        return dataset
    return with_named_as_data(dataset, options.variables, recognise(dataset), lazily=lazily)


def _with_time(dataset: xr.Dataset) -> tuple[xr.Dataset, bool]:
    """Return the dataset with a time axis of one step for its single maps, and whether it has such maps."""
    maps = single_maps(dataset)
    if not maps:
        return dataset, False
    known, time = _scalar_time(dataset), xr.Variable(TIME, np.array([NO_DATE]))
    if known is not None:
        dataset = dataset.drop_vars(TIME)
        time = xr.Variable(TIME, known.values.reshape(1), known.attrs) if holds_times(known) else time
    dataset = dataset.assign({name: dataset[name].expand_dims(TIME) for name in maps})
    return dataset.assign_coords({TIME: time}), True


def _scalar_time(dataset: xr.Dataset) -> xr.Variable | None:
    """Return the time of a dataset without a time axis; None if it says nothing of time."""
    return dataset[TIME].variable if TIME in dataset.coords and dataset[TIME].ndim == 0 else None


def single_maps(dataset: xr.Dataset) -> list[str]:
    """Return the maps (y, x) with gaps of a dataset without a time axis; these are filled as frames of one step."""
    dimensions = recognise(dataset)
    if any(d.axis == "time" for d in dimensions.values()) or (
        TIME in dataset.variables and _scalar_time(dataset) is None
    ):
        return []
    found = classify(dataset, dimensions)
    maps = [name for name, classification in found.items() if classification.kind == "static_grid"]
    return [name for name in maps if dataset[name].dtype.kind == "f" and bool(dataset[name].isnull().any())]
