"""Where the time of one window goes, with the shipped bundle, beside the machine's own matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.engine.model import load_model
from app.engine.predictor import OnnxPredictor
from app.engine.sessions import Runtime
from benchmarks.harness import machine, markdown_table, median_s
from export.contract.cube import DIMS, Sites, Variable, WaterCube
from export.contract.layout import Layout
from export.contract.manifest import read_bundle
from export.contract.tokens import tokenise

BUNDLE = Path("bundles/lez-daily")
THREADS = 2
PRODUCT = 1536  # rows and columns of the matrix product that stands for the machine's ceiling
MISSING = 0.5


def main(arguments: Sequence[str]) -> str:
    """The page docs/results/speed.md; takes no options."""
    if arguments:
        raise SystemExit(f"error: speed takes no options, got {' '.join(arguments)}")
    return f"""# Speed

One window of the shipped bundle. Written by `make bench`; medians of 7 within one run. {machine()}.

{window_rows()}
"""


def window_rows() -> str:
    """One full window, half of it missing: milliseconds of each stage and their shares."""
    model = load_model(read_bundle(BUNDLE), Runtime("cpu", THREADS))
    cube = full_window(model.layout)
    tokenised = tokenise(cube, model.layout)
    predict = OnnxPredictor(model.graphs)
    memory = model.graphs.encode(tokenised.tokens)
    every = slice(0, None)
    answer = predict(tokenised.tokens, tokenised.queries)[0]
    stages = {
        "cut into tokens, first guesses": median_s(lambda: tokenise(cube, model.layout)),
        "encode": median_s(lambda: model.graphs.encode(tokenised.tokens)),
        "decode the queries": median_s(lambda: model.graphs.decode(memory, tokenised.queries, every)),
        "join the answers": median_s(lambda: tokenised.join(answer)),
    }
    total = sum(stages.values())
    rows = [{"stage": n, "ms": f"{1000 * s:.1f}", "share": f"{s / total:.0%}"} for n, s in stages.items()]
    rows.append({"stage": "all", "ms": f"{1000 * total:.1f}", "share": "100%"})
    size = f"{len(tokenised.tokens.variable)} visible tokens, {len(tokenised.queries.variable)} queries"
    product = median_s(matrix_product)
    rate = f"{2 * PRODUCT**3 / product / 1e9:.0f} GFLOP/s"
    head = ["stage", "ms", "share"]
    return f"{size}. A float32 matrix product in the same run: {rate}.\n\n{markdown_table(head, rows)}"


def full_window(layout: Layout) -> WaterCube:
    """A window as large as the model's, with half of every variable missing."""
    rng, place, window = np.random.default_rng(0), layout.place, layout.window
    time = np.datetime64("2012-08-01", "ns") + np.arange(window.steps) * np.timedelta64(round(place.step_s), "s")
    y = place.y_origin + place.y_spacing * np.arange(window.rows)
    x = place.x_origin + place.x_spacing * np.arange(window.columns)
    sites = Sites(np.array(["a", "b", "c"]), y[[0, -1, -1]], x[[0, 0, -1]])
    sizes = {"time": len(time), "y": len(y), "x": len(x), "site": len(sites)}
    variables = {}
    for spec in (*layout.variables, *layout.static):
        values = rng.gamma(2, 2, [sizes[dim] for dim in DIMS[spec.kind]]).astype(np.float32)
        if "time" in DIMS[spec.kind]:
            values[rng.random(values.shape) < MISSING] = np.nan
        variables[spec.name] = Variable(spec.name, spec.kind, values, spec.units)
    domain = {v.name: np.ones((len(y), len(x)), bool) for v in layout.variables if v.kind == "grid"}
    return WaterCube(time, y, x, sites, variables, domain)


def matrix_product() -> np.ndarray:
    """A large float32 product by numpy's own library."""
    return _LEFT @ _RIGHT


_LEFT, _RIGHT = (np.random.default_rng(s).standard_normal((PRODUCT, PRODUCT), np.float32) for s in (0, 1))
