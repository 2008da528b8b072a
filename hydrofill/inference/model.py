"""Load a bundle, check with a first run that its graphs work, and fill cubes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hydrofill import __version__
from hydrofill.bundle import Bundle, Manifest
from hydrofill.cancellation import Cancellation
from hydrofill.cube import DIMS, Sites, Variable, WaterCube
from hydrofill.errors import BundleError
from hydrofill.general.calibrate import LostWindows, WeightedPredictor, calibrate_record
from hydrofill.general.layout import compose_layout
from hydrofill.general.scaling import factors_of, scaled_cube, scaled_layout, unscaled_fill
from hydrofill.general.self_check import check_record
from hydrofill.inference.graphs import Graphs, Runtime
from hydrofill.inference.predictor import OnnxPredictor
from hydrofill.layout import Layout, VariableSpec
from hydrofill.progress import Progress, stage
from hydrofill.reconstruct import FILLED, FilledVariable, reconstruct, requested_cells, select_variables

WARM_UP_SITES = 2
STAGES = ((0, 40), (40, 60), (60, 100))  # of a general fill, in per cent: guesses of hidden cells, calibration, fill
WARM_UP_START = np.datetime64("2001-01-01T00:00:00", "ns")


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    filled: the fill of each variable. encode_s, decode_s: seconds in each graph. calibration: how a fill by a general
    bundle was calibrated, in words. queue_s: seconds of waiting for the run to start. run_s: seconds of the whole run.
    """

    filled: Mapping[str, FilledVariable]
    encode_s: float
    decode_s: float
    calibration: str | None = None
    queue_s: float = 0.0
    run_s: float = 0.0


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

    def run(
        self,
        cube: WaterCube,
        names: Sequence[str] | None = None,
        max_gap: int | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Outcome:
        """Fill the gaps of `cube`; see `hydrofill.reconstruct.reconstruct` for the arguments and other errors.

        `progress` is called with (parts done, parts in all): windows, or per cent of a fill by a general bundle.

        Raises:
            CancelledError: `cancellation` was cancelled before the run was complete.
        """
        if self.layout.general:
            return self._run_general(cube, names, max_gap, progress, cancellation or Cancellation())
        predictor = OnnxPredictor(self.graphs, cancellation or Cancellation())
        filled = reconstruct(
            cube,
            self.layout,
            predictor,
            names=names,
            max_gap=max_gap,
            calibration=self.manifest.calibration,
            progress=progress,
        )
        return Outcome(filled, predictor.encode_s, predictor.decode_s)

    def _run_general(
        self,
        cube: WaterCube,
        names: Sequence[str] | None,
        max_gap: int | None,
        progress: Progress | None,
        cancellation: Cancellation,
    ) -> Outcome:
        """Measure the record, calibrate the network on its hidden cells, and fill its gaps.

        A record without a gap to fill is not measured.
        """
        layout = compose_layout(cube)
        names = select_variables(cube, layout, names)
        if not any(wanted.any() for wanted in requested_cells(cube, names, max_gap).values()):
            flagged = reconstruct(cube, layout, OnnxPredictor(self.graphs, cancellation), names=names, max_gap=max_gap)
            return Outcome(flagged, 0.0, 0.0)
        checking, calibrating, filling = (stage(progress, share) for share in STAGES)
        factors = factors_of(cube, layout)
        cube = scaled_cube(cube, factors)
        check = check_record(cube, scaled_layout(layout, factors), checking)
        predictor = OnnxPredictor(self.graphs, cancellation, check.context)
        predict = LostWindows(predictor, check.context)
        use = calibrate_record(check, predict, calibrating, self.manifest.widening)
        filled = reconstruct(
            cube,
            check.layout,
            WeightedPredictor(predict, use),
            names=names,
            max_gap=max_gap,
            calibration=use.calibration,
            guesser=check.guess,
            progress=filling,
        )
        said = {
            n: replace(unscaled_fill(f, factors[n]), attributes=use.attributes(n, factors[n]))
            for n, f in filled.items()
        }
        return Outcome(said, predictor.encode_s, predictor.decode_s, use.summary)


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
