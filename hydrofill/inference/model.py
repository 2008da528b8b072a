"""Load a bundle, check with a first run that its graphs work, and fill cubes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hydrofill import __version__
from hydrofill.blocks import Block, plan_blocks, whole
from hydrofill.bundle import Bundle, Manifest
from hydrofill.cancellation import Cancellation
from hydrofill.cores import one_blas_thread
from hydrofill.cube import DIMS, Sites, Variable, WaterCube
from hydrofill.errors import BundleError
from hydrofill.gaps.refusals import Refuser, refuse
from hydrofill.general.calibrate import LostWindows, RecordCalibration, WeightedPredictor, calibrate_record
from hydrofill.general.context import scale_by
from hydrofill.general.layout import compose_layout
from hydrofill.general.scaling import (
    ScaledSource,
    factors_by,
    factors_of,
    scaled_cube,
    scaled_layout,
    unscaled_fill,
)
from hydrofill.general.self_check import SelfCheck, check_record, check_source
from hydrofill.inference.graphs import Graphs, Runtime
from hydrofill.inference.predictor import OnnxPredictor
from hydrofill.layout import Layout, VariableSpec
from hydrofill.magnitudes import check_finite, too_large_is_refused
from hydrofill.members.errors import Errors, errors_of
from hydrofill.pieces import Piece, cut_piece, mix_pieces, refused_in_core, requested_in_core
from hydrofill.progress import Progress, reported, stage
from hydrofill.reconstruct import (
    FILLED,
    FilledVariable,
    reconstruct,
    select_variables,
    unfilled,
)
from hydrofill.summary import summary_of
from hydrofill.survey import CubeSource, Source, Survey, read_part, survey

WARM_UP_SITES = 2
STAGES = ((0, 40), (40, 60), (60, 100))  # of a general fill, in per cent: guesses of hidden cells, calibration, fill
WARM_UP_START = np.datetime64("2001-01-01T00:00:00", "ns")


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    filled: the fill of each variable. encode_s, decode_s: seconds in each graph. calibration: how a fill by a general
    bundle was calibrated, in words. queue_s: seconds of waiting for the run to start. run_s: seconds of the whole run.
    prepared: what a general bundle measured on the record; None where nothing was measured.
    """

    filled: Mapping[str, FilledVariable]
    encode_s: float
    decode_s: float
    calibration: str | None = None
    queue_s: float = 0.0
    run_s: float = 0.0
    prepared: Prepared | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Settings and measurements that fill any part of a record.

    layout: of the record, in the units in which it is filled. factors: by variable, what values are multiplied by
    before they are filled. check, use: what a general network measured on the record; None for a network of named
    variables.
    """

    layout: Layout
    factors: Mapping[str, float]
    check: SelfCheck | None
    use: RecordCalibration | None

    def attributes(self, name: str) -> dict[str, str]:
        """Return what the attributes of a variable say of its fill."""
        return {} if self.use is None else self.use.attributes(name, self.factors[name])

    def errors(self, name: str, seed: int, seen: np.ndarray, shape: tuple[int, ...], sites: np.ndarray) -> Errors:
        """Return the errors of the fill of a variable; see `errors_of` for the arguments.

        Raises:
            BundleError: a network of named variables made the fill, and measures no errors.
        """
        if self.use is None:
            raise BundleError("members need a general bundle, which measures its errors on the data")
        return errors_of(self.use.hidden[name], self.layout.spec(name), self.factors[name], seed, seen, shape, sites)

    @property
    def summary(self) -> str | None:
        """The calibration of the fill in words; None for a network of named variables."""
        return None if self.use is None else self.use.summary


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded bundle."""

    manifest: Manifest
    sha256: str
    graphs: Graphs

    @property
    def layout(self) -> Layout:
        """The layout of the model's tokens."""
        return self.manifest.layout

    def provenance(self, outcome: Outcome) -> dict[str, str]:
        """Return global attributes of a filled dataset: the bundle, the version of hydrofill, and the calibration."""
        calibrated = {} if outcome.calibration is None else {"hydrofill_calibration": outcome.calibration}
        return {
            "hydrofill_bundle": self.manifest.name,
            "hydrofill_bundle_version": self.manifest.version,
            "hydrofill_bundle_sha256": self.sha256,
            "hydrofill_version": __version__,
            **calibrated,
        }

    @one_blas_thread()
    def run(
        self,
        cube: WaterCube,
        names: Sequence[str] | None = None,
        refuser: Refuser | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        """Fill the gaps of `cube` that `refuser` leaves; by default all.

        See `hydrofill.reconstruct.reconstruct` for the other arguments and errors.

        `progress` is called with (parts done, parts in all): windows, or per cent of a fill by a general bundle.

        Raises:
            CancelledError: `cancellation` was cancelled before the run was complete.
            ValueRangeError: a value is too large to be computed with; names the variable.
        """
        with too_large_is_refused(cube):
            layout = compose_layout(cube) if self.layout.general else self.layout
            names = select_variables(cube, layout, names)
            codes = {name: (refuser or Refuser()).codes(cube, name) for name in names}
            left = {name: cube.gaps(name) & (codes[name] == 0) for name in names}
            cancellation = cancellation or Cancellation()
            if self.layout.general:
                outcome = self._run_general(cube, layout, names, left, progress, cancellation)
            else:
                prepared = Prepared(self.layout, {}, None, None)
                only = None if any(cells.any() for cells in left.values()) else left
                outcome = self.fill_part(prepared, cube, names, only=only, progress=progress, cancellation=cancellation)
            outcome = replace(outcome, filled={n: refuse(fill, codes[n]) for n, fill in outcome.filled.items()})
        check_finite(outcome.filled)
        return outcome

    def _run_general(
        self,
        cube: WaterCube,
        layout: Layout,
        names: Sequence[str],
        left: Mapping[str, np.ndarray],
        progress: Progress | None,
        cancellation: Cancellation,
    ) -> Outcome:
        """Measure the record, calibrate the network on its hidden cells, and fill its gaps.

        A record in which no gap is `left` to fill is not measured. A large record is filled block by block.
        """
        if not any(cells.any() for cells in left.values()):
            return Outcome({name: unfilled(cube, name) for name in names}, 0.0, 0.0)
        blocks = blocks_of(cube, layout)
        checking, calibrating, filling = (stage(progress, share) for share in STAGES)
        if len(blocks) > 1:
            source = CubeSource(cube)
            found = survey(source)
            prepared = self.prepare(source, found, checking, cancellation)
            return self._run_blocks(prepared, source, found, blocks, names, filling, cancellation)
        factors = factors_of(cube, layout)
        check = check_record(scaled_cube(cube, factors), scaled_layout(layout, factors), checking)
        prepared = self._calibrated(check, factors, calibrating, cancellation)
        return self.fill_part(prepared, cube, names, progress=filling, cancellation=cancellation)

    @one_blas_thread()
    def prepare(
        self,
        source: Source,
        found: Survey,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Prepared:
        """Return what is needed to fill any part of a record of several blocks.

        A general network is measured and calibrated on parts of the record, drawn by its survey.

        Args:
            source: the record.
            found: the survey of the record.
            progress: called with (parts done, parts in all).
            cancellation: ends the work.

        Raises:
            NothingObservedError: no variable has a value.
            StructureError: the record has more variables or sites than a general network takes.
        """
        if not self.layout.general:
            return Prepared(self.layout, {}, None, None)
        layout = compose_layout(found.outline)
        stds = {name: scale_by(v.summary, square_root=False).std for name, v in found.variables.items()}
        factors = factors_by(stds)
        check = check_source(
            ScaledSource(source, factors), found.scaled(factors), scaled_layout(layout, factors), progress
        )
        return self._calibrated(check, factors, None, cancellation or Cancellation())

    def _calibrated(
        self, check: SelfCheck, factors: Mapping[str, float], progress: Progress | None, cancellation: Cancellation
    ) -> Prepared:
        predict = LostWindows(OnnxPredictor(self.graphs, cancellation, check.context), check.context)
        use = calibrate_record(check, predict, progress, self.manifest.widening)
        return Prepared(check.layout, factors, replace(check, draws=()), use)

    def fill_part(
        self,
        prepared: Prepared,
        part: WaterCube,
        names: Sequence[str] | None,
        *,
        only: Mapping[str, np.ndarray] | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        """Fill the gaps of a part of a record; see `reconstruct` for the arguments and errors."""
        cancellation = cancellation or Cancellation()
        if prepared.check is None or prepared.use is None:
            predictor = OnnxPredictor(self.graphs, cancellation)
            filled = reconstruct(
                part,
                prepared.layout,
                predictor,
                names=names,
                only=only,
                calibration=self.manifest.calibration,
                progress=progress,
            )
            return Outcome(filled, predictor.encode_s, predictor.decode_s)
        context, use, factors = prepared.check.context, prepared.use, prepared.factors
        predictor = OnnxPredictor(self.graphs, cancellation, context)
        filled = reconstruct(
            scaled_cube(part, factors),
            prepared.layout,
            WeightedPredictor(LostWindows(predictor, context), use),
            names=names,
            only=only,
            calibration=use.calibration,
            guesser=prepared.check.guess,
            progress=progress,
        )
        said = {n: replace(unscaled_fill(f, factors[n]), attributes=prepared.attributes(n)) for n, f in filled.items()}
        return Outcome(said, predictor.encode_s, predictor.decode_s, use.summary, prepared=prepared)

    @one_blas_thread()
    def fill_block(
        self,
        prepared: Prepared,
        source: Source,
        found: Survey,
        block: Block,
        names: Sequence[str],
        refuser: Refuser | None = None,
        cancellation: Cancellation | None = None,
    ) -> tuple[dict[str, Piece], Outcome]:
        """Fill the core of one block of a record, and return the piece of each variable.

        Args:
            prepared: what `prepare` returned.
            source: the record.
            found: the survey of the record.
            block: the block.
            names: the variables to fill.
            refuser: says which gaps are refused, by what is in and beyond the block; by default none is.
            cancellation: ends the work.
        """
        part = read_part(source, block.around, found)
        present = [name for name in names if name in found.variables]
        only = requested_in_core(block, source.axes, part, present)
        codes = {} if refuser is None else refused_in_core(source, found, block, present, refuser)
        if any((wanted & (codes[name] == 0) if name in codes else wanted).any() for name, wanted in only.items()):
            outcome = self.fill_part(prepared, part, present, only=only, cancellation=cancellation)
        else:
            outcome = Outcome({name: unfilled(part, name) for name in present}, 0.0, 0.0)
        filled = {name: refuse(fill, codes[name]) if name in codes else fill for name, fill in outcome.filled.items()}
        return {name: cut_piece(fill, block, source.axes) for name, fill in filled.items()}, outcome

    def _run_blocks(
        self,
        prepared: Prepared,
        source: Source,
        found: Survey,
        blocks: Sequence[Block],
        names: Sequence[str],
        progress: Progress | None,
        cancellation: Cancellation,
    ) -> Outcome:
        """Fill a record in memory block by block."""
        pieces: dict[str, list[Piece]] = {}
        encode_s = decode_s = 0.0
        for block in reported(blocks, progress):
            made, outcome = self.fill_block(prepared, source, found, block, names, None, cancellation)
            for name, piece in made.items():
                pieces.setdefault(name, []).append(piece)
            encode_s, decode_s = encode_s + outcome.encode_s, decode_s + outcome.decode_s
        num_sites = {name: len(source.axes.sites) for name in found.outline.named("series")}
        filled = {
            name: replace(
                mix_pieces(of_name, whole(source.axes.shape), num_sites.get(name)), attributes=prepared.attributes(name)
            )
            for name, of_name in pieces.items()
        }
        return Outcome(filled, encode_s, decode_s, prepared.summary, prepared=prepared)


def blocks_of(cube: WaterCube, layout: Layout) -> tuple[Block, ...]:
    """Return the blocks in which a general bundle fills a cube with this layout."""
    grids = sum(spec.kind == "grid" for spec in layout.variables)
    return plan_blocks(cube.shape, grids, (len(layout.variables) - grids) * len(cube.sites))


def load_model(bundle: Bundle, runtime: Runtime) -> Model:
    """Load the graphs of a bundle, and run them once over a full window.

    Raises:
        BundleError: the graphs do not match the manifest, do not run, or predict values that are not finite.
        ProviderError: the provider does not start.
    """
    graphs = Graphs(bundle, runtime)
    model = Model(bundle.manifest, bundle.sha256, graphs)
    _warm_up(model)
    return model


def _warm_up(model: Model) -> None:
    name, cube = model.manifest.name, example_cube(model.layout)
    summary_of(next(iter(cube.variables.values())).values)  # loads the kernel that sums every record
    try:
        outcome = model.run(cube)
    except BundleError as error:
        raise error.at(name) from error
    except Exception as error:  # ONNX Runtime's errors have no other common class
        raise BundleError("the graphs do not run", where=name) from error
    if not any((filled.flag == FILLED).any() for filled in outcome.filled.values()):
        raise BundleError("the graphs fill nothing", where=name)


def example_cube(layout: Layout, steps: int | None = None) -> WaterCube:
    """Return random data of every variable, about half of it missing: one window, or `steps` time steps of it."""
    place, window = layout.place, layout.window
    since = np.arange(steps or window.steps) * np.timedelta64(round(place.step_s), "s")
    y = place.y_origin + place.y_spacing * np.arange(min(window.rows, place.rows))
    x = place.x_origin + place.x_spacing * np.arange(min(window.columns, place.columns))
    ids = np.arange(WARM_UP_SITES).astype(str)
    sites = Sites(ids, np.full(WARM_UP_SITES, y.mean()), np.full(WARM_UP_SITES, x.mean()))
    sizes = {"time": len(since), "y": len(y), "x": len(x), "site": WARM_UP_SITES}
    rng = np.random.default_rng(0)
    specs = (*layout.variables, *layout.static)
    domain = {v.name: _corner(layout, v.name, len(y), len(x)) for v in layout.variables if v.kind == "grid"}
    variables = {spec.name: _example_variable(spec, sizes, rng, domain.get(spec.name)) for spec in specs}
    return WaterCube(WARM_UP_START + since, y, x, sites, variables, domain)


def _corner(layout: Layout, name: str, rows: int, columns: int) -> np.ndarray:
    """Return the domain of a variable in the first window of the training grid; all cells if that part is empty."""
    inside = layout.domain[name].to_array()[:rows, :columns] if name in layout.domain else np.zeros(0, bool)
    return inside if inside.any() else np.ones((rows, columns), bool)


def _example_variable(
    spec: VariableSpec, sizes: Mapping[str, int], rng: np.random.Generator, inside: np.ndarray | None
) -> Variable:
    shape = tuple(sizes[dim] for dim in DIMS[spec.kind])
    low = 0.0 if spec.lower is None else spec.lower
    high = low + 1.0 if spec.upper is None else spec.upper
    values = rng.uniform(low, high, shape).astype(np.float32)
    if "time" in DIMS[spec.kind]:
        in_domain = np.broadcast_to(True if inside is None else inside, shape)
        hidden = ~in_domain | (rng.random(shape) < 0.5)
        hidden.flat[np.flatnonzero(in_domain)[0]] = False
        values[hidden] = np.nan
    return Variable(name=spec.name, kind=spec.kind, values=values, units=spec.units)
