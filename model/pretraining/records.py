"""Records that a general network is trained on: a cube with gaps, measured and guessed as a user's file would be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hydrofill.cube import Sites, Variable, WaterCube, draw_slices
from hydrofill.errors import ContractError
from hydrofill.general.context import CONTEXT_FIELDS, Context
from hydrofill.general.guesses import STACKED
from hydrofill.general.layout import choose_patch, choose_window, compose_layout
from hydrofill.general.scaling import factors_of, scaled_cube, scaled_layout
from hydrofill.general.self_check import SelfCheck, check_record
from hydrofill.guesses.first_guesses import Guesses
from hydrofill.layout import MAX_VARIABLES, Layout
from hydrofill.paths import written_whole
from model.data.training_records import TrainingRecord
from model.data.windows import Example, window_example
from model.pretraining.gap_library import MaskLibrary, draw_natural_gaps

PATCH_SIDES = (2, 3, 4, 4)  # a window has patches of one of these sides
TOKENS = (150, 420)  # range of the number of tokens of a window
MIN_VALUES = 20  # of a variable, below which the variable is not used
MIN_STD = 1e-6  # of a variable relative to its mean, below which the record is not used
MAX_TRIES = 20  # to draw a window with a hidden value


@dataclass(frozen=True, eq=False)
class PretrainingRecord:
    """A cube with hidden cells, prepared as for a fill.

    truth: the cube without the gaps that were drawn. hidden: by variable, bool, what was hidden. guesses: by variable,
    made of what is left, columns GENERAL_GUESSES. layout, context: of what is left.
    """

    truth: WaterCube
    hidden: Mapping[str, np.ndarray]
    guesses: Mapping[str, Guesses]
    layout: Layout
    context: Context

    def example(self, rng: np.random.Generator) -> tuple[Example, Context] | None:
        """Draw a window with a hidden value and one that is seen; variables are in slots drawn at random.

        None if no window was found.
        """
        patch = choose_patch(self.truth.shape, int(rng.choice(PATCH_SIDES)))
        grids, series = (len(self.truth.of_kind(kind)) for kind in ("grid", "series"))
        tokens = int(rng.integers(*TOKENS))
        window = choose_window(self.truth.shape, grids, series, len(self.truth.sites), patch, tokens)
        layout = self.layout.model_copy(update={"patch": patch, "window": window})
        record = TrainingRecord(self.truth, self.hidden, self.guesses)
        for _ in range(MAX_TRIES):
            part = record.window(*draw_slices(rng, self.truth.shape, (window.steps, window.rows, window.columns)))
            dynamic = part.cube.of_kind("grid", "series")
            scored = {n: h & dynamic[n].valid for n, h in part.hidden.items()}
            example = window_example(part, layout, {n: ~h for n, h in part.hidden.items()}, scored)
            if example is not None:
                return self._in_slots(rng, example)
        return None

    def _in_slots(self, rng: np.random.Generator, example: Example) -> tuple[Example, Context]:
        slots = rng.permutation(MAX_VARIABLES)
        where = np.concatenate([slots, [MAX_VARIABLES, MAX_VARIABLES + 1]])
        moved = Example(
            replace(example.tokens, variable=where[example.tokens.variable]),
            replace(example.queries, variable=where[example.queries.variable]),
            example.target,
        )
        return moved, self.context.moved(slots)

    def save(self, path: Path) -> None:
        """Write the record as npz; guesses are kept at cells where nothing is seen."""
        arrays: dict[str, np.ndarray] = {
            "time": self.truth.time,
            "y": self.truth.y,
            "x": self.truth.x,
            "site_y": self.truth.sites.y,
            "site_x": self.truth.sites.x,
        }
        arrays |= {f"context.{name}": getattr(self.context, name) for name in CONTEXT_FIELDS}
        arrays |= {f"domain.{n}": d for n, d in self.truth.domain.items()}
        for name, variable in self.truth.variables.items():
            arrays[f"value.{name}"] = variable.values
            if name in self.hidden:
                missing = self.hidden[name] | ~variable.valid
                arrays[f"hidden.{name}"] = self.hidden[name]
                arrays[f"guess.{name}"] = self.guesses[name].values[missing]
                arrays[f"distance.{name}"] = self.guesses[name].distances[missing]
        kinds = {n: (v.kind, v.units) for n, v in self.truth.variables.items()}
        arrays["description"] = np.array(json.dumps({"layout": self.layout.model_dump(mode="json"), "kinds": kinds}))
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> PretrainingRecord:
        """Read a record that `save` wrote; guesses of seen cells are missing."""
        with np.load(path) as stored:
            arrays = dict(stored)
        description = json.loads(str(arrays["description"]))
        variables = {
            n: Variable(n, kind, arrays[f"value.{n}"], units) for n, (kind, units) in description["kinds"].items()
        }
        ids = np.arange(len(arrays["site_y"])).astype(str)
        domain = {n: arrays[f"domain.{n}"] for n in variables if f"domain.{n}" in arrays}
        sites = Sites(ids, arrays["site_y"], arrays["site_x"])
        truth = WaterCube(arrays["time"], arrays["y"], arrays["x"], sites, variables, domain)
        hidden = {n: arrays[f"hidden.{n}"] for n in variables if f"hidden.{n}" in arrays}
        guesses = {}
        for name, gaps in hidden.items():
            missing = gaps | ~variables[name].valid
            made = [np.full((*gaps.shape, a.shape[-1]), np.nan, np.float32) for a in _stored(arrays, name)]
            for array, at_missing in zip(made, _stored(arrays, name), strict=True):
                array[missing] = at_missing
            made[1][~missing] = 1.0
            guesses[name] = Guesses(*made)
        context = Context(**{name: arrays[f"context.{name}"] for name in CONTEXT_FIELDS})
        return cls(truth, hidden, guesses, Layout.model_validate(description["layout"]), context)


def _stored(arrays: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return arrays[f"guess.{name}"], arrays[f"distance.{name}"]


def prepare_record(
    rng: np.random.Generator, cube: WaterCube, library: MaskLibrary | None, max_values: int
) -> PretrainingRecord | None:
    """Hide cells of a part of `cube`, measure what is left, and make its guesses; None if nothing is learnt from it.

    Args:
        rng: draws the part and the gaps.
        cube: real or simulated data.
        library: real masks.
        max_values: largest number of values of the part, of all variables together.
    """
    steps, rows, columns = crop_size(rng, cube, cube.shape, max_values)
    cube = without_constants(cube.window(*draw_slices(rng, cube.shape, (steps, rows, columns))))
    if not cube.of_kind("grid", "series"):
        return None
    measured = measure_record(cube, draw_natural_gaps(rng, cube, library).hidden)
    return None if measured is None else measured.record


class MeasuredRecord(NamedTuple):
    """A record, and what the hidden cells of its own self-check say."""

    record: PretrainingRecord
    check: SelfCheck


def measure_record(cube: WaterCube, hidden: Mapping[str, np.ndarray]) -> MeasuredRecord | None:
    """Measure what is left of `cube` as the record of a fill, and make its guesses; None if too little is left.

    Args:
        cube: the data.
        hidden: by variable that varies in time, bool of its shape, the cells to hide.
    """
    gappy = cube.with_values({n: np.where(h, np.float32(np.nan), cube.variables[n].values) for n, h in hidden.items()})
    try:
        layout = compose_layout(gappy)
    except ContractError:
        return None
    names = [spec.name for spec in layout.variables]
    factors = factors_of(gappy, layout)
    cube, gappy, layout = scaled_cube(cube, factors), scaled_cube(gappy, factors), scaled_layout(layout, factors)
    check = check_record(gappy, layout)
    guesses = check.guess(gappy, names)
    dropped = [n for n in cube.of_kind("grid", "series") if n not in names]
    kept = replace(cube, variables={n: v for n, v in cube.variables.items() if n not in dropped})
    if max(np.isnan(g.values[..., STACKED]).mean() for g in guesses.values()) > 0.5:
        return None
    return MeasuredRecord(PretrainingRecord(kept, {n: hidden[n] for n in names}, guesses, layout, check.context), check)


def without_constants(cube: WaterCube) -> WaterCube:
    """Return the cube without dynamic variables that hardly vary or have fewer than MIN_VALUES values."""

    def varies(values: np.ndarray) -> bool:
        known = values[~np.isnan(values)].astype(np.float64)
        return len(known) >= MIN_VALUES and bool(known.std() > MIN_STD * max(abs(known.mean()), 1e-30))

    kept = {n: v for n, v in cube.variables.items() if v.kind not in ("grid", "series") or varies(v.values)}
    return replace(cube, variables=kept, domain={n: d for n, d in cube.domain.items() if n in kept})


def crop_size(
    rng: np.random.Generator, cube: WaterCube, shape: tuple[int, int, int], max_values: int
) -> tuple[int, int, int]:
    """Draw the numbers of steps, rows and columns of a part of this shape with at most `max_values` values."""
    n_time, height, width = shape
    grids, series = len(cube.of_kind("grid")), len(cube.of_kind("series"))
    rows, columns, steps = height, width, n_time

    def count() -> int:
        return steps * (grids * rows * columns + series * len(cube.sites))

    while count() > max_values:
        if grids and rows * columns > 24 * 24 and (steps <= 12 or rng.random() < 0.5):
            rows, columns = max(min(rows, 16), rows * 3 // 4), max(min(columns, 16), columns * 3 // 4)
        elif steps > 1:
            steps = max(1, steps * 3 // 4)
        else:
            rows, columns = max(1, rows * 3 // 4), max(1, columns * 3 // 4)
    return steps, rows, columns
