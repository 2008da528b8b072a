"""`python -m benchmarks speed`: speed of the graphs against the machine and other runtimes; docs/results/speed.md."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.large import WINDOWS
from benchmarks.support import contenders
from benchmarks.support.contenders import DESIGN, QUERIES, SIDE, VISIBLE, Pair
from benchmarks.support.harness import (
    BUNDLE,
    THREADS,
    in_turns,
    machine,
    ratio,
    run_module,
    straight_line,
    table_of,
    write_json,
)
from benchmarks.support.window import full_window
from hydrofill.bundle import read_bundle
from hydrofill.inference.graphs import QUERIES_PER_RUN, Runtime
from hydrofill.inference.model import load_model
from hydrofill.inference.predictor import OnnxPredictor
from hydrofill.tokens import tokenise
from model.config import NetworkConfig

PRODUCT = 2048  # rows and columns of the matrix product that measures the machine's ceiling
NARROW = DESIGN.updated(num_heads=8, decoder_num_heads=4)  # heads 32 wide
FULL = DESIGN.updated(memory="pooled", decoder="full")
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # shares of the queries
TARGETS = {"torch eager": 1.6, "torch.compile": 1.2, "plain export": 1.4, "OpenVINO, plain export": 1.0}


@dataclass(frozen=True)
class Report:
    """A section of the page: its text and its figures."""

    text: str
    figures: Mapping[str, object]


def main(arguments: Sequence[str]) -> str:
    """Measure, write the figures into docs/results/speed.json and return the page docs/results/speed.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="number of rounds")
    rounds = parser.parse_args(arguments).repeats
    reports = {
        "design": design(rounds),
        "queries": by_queries(rounds),
        "window": one_window(rounds),
        "tiles": by_tiles(),
        "fill": whole_fill(),
    }
    write_json("speed", {"machine": machine(), **{name: report.figures for name, report in reports.items()}})
    texts = "\n\n".join(report.text for report in reports.values())
    return f"# Speed\n\nWritten by `python -m benchmarks speed`. {machine()}.\n\n{HEAD}\n\n{texts}\n\n{TAIL}\n"


HEAD = f"""Medians of rounds, in each of which all works take a turn; ratios and shares are taken within a round.
{THREADS} threads, float32 unless said otherwise, thread spinning off. The ceiling is a product of two
{PRODUCT} x {PRODUCT} float32 matrices by numpy's library, in the same rounds. Work counts
matrix products of layers and attention alone."""
TAIL = """## On a GPU

Not measured: no GPU was available. `python -m benchmarks device` measures encoder and decoder at batches 1, 8 and 32 on
the device of the machine."""


def design(rounds: int) -> Report:
    """Measure encoder and decoder at the design's size on every runtime."""
    network = contenders.design_network()
    tokens, queries = contenders.batch(network)
    graphs = contenders.plain_graphs(network)
    full = contenders.design_network(FULL)
    narrow = contenders.design_network(NARROW)
    pairs = {
        "hydrofill": contenders.ours(contenders.our_graphs(network), tokens, queries),
        "hydrofill, heads 32 wide": contenders.ours(contenders.our_graphs(narrow), tokens, queries),
        "hydrofill, int8": contenders.int8(network, tokens, queries),
        "torch eager": contenders.eager(network, tokens, queries),
        "torch.compile": contenders.compiled(network, tokens, queries),
        "plain export": contenders.plain(graphs, tokens, queries),
        **_openvino(lambda: contenders.openvino(graphs, tokens, queries)),
        "water_fm_small, torch eager": contenders.eager(full, tokens, queries),
        "water_fm_small, exported alike": contenders.ours(contenders.our_graphs(full), tokens, queries, QUERIES),
    }
    works: dict[str, Callable[[], object]] = {"product": product}
    for name, pair in pairs.items():
        works |= {f"{name} encoder": pair.encode, f"{name} decoder": pair.decode}
    seconds = in_turns(works, rounds)
    done = contenders.work(DESIGN, SIDE * SIDE, VISIBLE, QUERIES)
    rows = [_row(name, seconds, done) for name in pairs]
    rate = 2 * PRODUCT**3 / statistics.median(seconds["product"]) / 1e9
    text = f"""## At the design's size

{VISIBLE:,} visible tokens, {QUERIES:,} queries of {SIDE} x {SIDE} cells; encoder 256 wide with 6
layers, decoder 128 wide with 4, heads 64 wide; untrained weights. {done[0] / 1e9:.1f} and {done[1] / 1e9:.1f} GFLOP;
ceiling {rate:.0f} GFLOP/s. `x`: its time over that of hydrofill,
which decodes in chunks of {QUERIES_PER_RUN} queries and makes keys and values in the
encoder's graph, the others in the decoder's: compare both together. Targets: shares 0.65 and 0.60;
{", ".join(f"{n} {x:g} x" for n, x in TARGETS.items())};
the decoder of water_fm_small 6 x. OpenVINO cannot read contributed operators: it has the plain export.

{table_of(rows)}

{_ceiling_of_eager(rows)}"""
    return Report(text, {"seconds": seconds, "gflop": [w / 1e9 for w in done], "table": rows})


def _ceiling_of_eager(rows: Sequence[Mapping[str, str]]) -> str:
    """Return what the target speed over torch eager would mean on this machine."""
    eager = next(row for row in rows if row[""] == "torch eager")
    shares = [float(eager[f"share, {part}"]) for part in ("encoder", "decoder")]
    wanted = TARGETS["torch eager"]
    return (
        f"torch eager itself runs at {shares[0]:.2f} (encoder) and {shares[1]:.2f} (decoder) of the ceiling here;\n"
        f"{wanted:g} times as fast would be {wanted * shares[0]:.2f} and {wanted * shares[1]:.2f} of it."
    )


def by_queries(rounds: int) -> Report:
    """Measure the decoder's time against the number of queries."""
    network = contenders.design_network()
    graphs, works, numbers = contenders.our_graphs(network), {}, [round(share * QUERIES) for share in SHARES]
    for number in numbers:
        tokens, queries = contenders.batch(network, queries=number)
        works[str(number)] = contenders.ours(graphs, tokens, queries).decode
    seconds = in_turns(works, rounds)
    times = [1000 * statistics.median(seconds[str(number)]) for number in numbers]
    intercept, slope, explained = straight_line(numbers, times)
    tenth = ratio(seconds[str(numbers[0])], seconds[str(numbers[-1])])
    rows = [{"queries": f"{n:,}", "ms": f"{t:.1f}"} for n, t in zip(numbers, times, strict=True)]
    text = f"""## Against the number of queries

{table_of(rows)}

A line through them: {intercept:.1f} ms + {1000 * slope:.1f} ms for a thousand queries, r2 {explained:.4f}.
A tenth of the gaps takes {tenth:.2f} of the time of all."""
    return Report(text, {"seconds": seconds, "intercept_ms": intercept, "slope_ms": slope, "r2": explained})


def one_window(rounds: int) -> Report:
    """Measure the stages of one full window of the shipped bundle, half of it missing."""
    model = load_model(read_bundle(BUNDLE), Runtime("cpu", THREADS))
    cube = full_window(model.layout)
    tokenised = tokenise(cube, model.layout)
    memory, every = model.graphs.encode(tokenised.tokens), slice(0, None)
    answer = OnnxPredictor(model.graphs)(tokenised.tokens, tokenised.queries)[0]
    bare = model.layout.model_copy(update={"guesses": False})
    stages: dict[str, Callable[[], object]] = {
        "cut into tokens": lambda: tokenise(cube, bare),
        "cut into tokens, first guesses": lambda: tokenise(cube, model.layout),
        "encode": lambda: model.graphs.encode(tokenised.tokens),
        "decode the queries": lambda: model.graphs.decode(memory, tokenised.queries, every),
        "join the answers": lambda: tokenised.join(answer),
    }
    seconds = in_turns({"product": product, **stages}, 3 * rounds)
    rows = [{"stage": name, "ms": f"{1000 * statistics.median(seconds[name]):.2f}"} for name in stages]
    L, Q = len(tokenised.tokens.variable), len(tokenised.queries.variable)
    encoder = contenders.work(NetworkConfig(), model.layout.token_size, L, Q)[0]
    share = encoder / (2 * PRODUCT**3) * ratio(seconds["product"], seconds["encode"])
    text = f"""## One window of the shipped bundle

{L} visible tokens, {Q} queries.

{table_of(rows)}

The encoder runs at {share:.2f} of the ceiling: at this size the products are small and threads wait for each other."""
    return Report(text, {"seconds": seconds, "encoder_share": share})


def by_tiles() -> Report:
    """Measure whole fills of grids of a growing number of windows of the shipped bundle."""
    measured = [run_module("benchmarks.large", "tiles", str(number)) for number in WINDOWS]
    times = [one["seconds"] for one in measured]
    intercept, slope, explained = straight_line(WINDOWS, times)
    inside = straight_line(WINDOWS, [one["graphs_s"] for one in measured])
    rows = [
        {
            "windows": str(number),
            "s": f"{one['seconds']:.2f}",
            "of which graphs": f"{one['graphs_s']:.2f}",
            "over half as many": f"{one['seconds'] / last['seconds']:.2f}" if last else "-",
            "graphs over half as many": f"{one['graphs_s'] / last['graphs_s']:.2f}" if last else "-",
            "cube MiB": f"{one['cube_mib']:.2f}",
            "peak MiB": f"{one['peak_mib']:.0f}",
        }
        for number, one, last in zip(WINDOWS, measured, [None, *measured], strict=False)
    ]
    text = f"""## Against the number of tiles

Grids of the given number of windows, with half of their cells missing, filled by the shipped bundle; first guesses and
blending included; each size in a process of its own.

{table_of(rows)}

Lines through them: {intercept:.3f} s + {slope:.4f} s per window, r2 {explained:.4f}; the graphs alone {inside[0]:.3f} s
+ {inside[1]:.4f} s per window, r2 {inside[2]:.4f}."""
    return Report(text, {"cases": measured, "intercept_s": intercept, "slope_s": slope, "r2": explained})


def whole_fill() -> Report:
    """Measure the fill of a file of the design's size."""
    found = run_module("benchmarks.large", "fill")
    text = f"""## A whole fill at the design's size

NetCDF in and out, 90 days of 290 x 180 cells: {found["seconds"]:.2f} s, of which the graphs take
{found["graphs_s"]:.2f} s: {found["ratio"]:.2f} times the graphs (target: 1.25).
Reading, checking, cutting, joining, blending and writing are the rest. Cutting into
tokens and joining: {1000 * found["tokens_s"]:.0f} ms, {found["tokens_s"] / found["graphs_s"]:.1%} of the graphs
(target: under 10 %). Peak memory {found["peak_mib"]:.0f} MiB, the exporter's libraries included."""
    return Report(text, found)


def product() -> np.ndarray:
    """Multiply two large float32 matrices with numpy."""
    return _LEFT @ _RIGHT


_LEFT, _RIGHT = (np.random.default_rng(s).standard_normal((PRODUCT, PRODUCT), np.float32) for s in (0, 1))


def _openvino(build: Callable[[], Pair]) -> dict[str, Pair]:
    """Return OpenVINO's contender, none where OpenVINO is not installed."""
    return {"OpenVINO, plain export": build()} if importlib.util.find_spec("openvino") else {}


def _row(name: str, seconds: Mapping[str, Sequence[float]], done: tuple[float, float]) -> dict[str, str]:
    encoder, decoder = seconds[f"{name} encoder"], seconds[f"{name} decoder"]
    ours = [seconds[f"hydrofill {part}"] for part in ("encoder", "decoder")]
    both, ours_both = ([a + b for a, b in zip(*pair, strict=True)] for pair in ((encoder, decoder), ours))
    shares = [
        work / (2 * PRODUCT**3) * ratio(seconds["product"], spent)
        for work, spent in zip(done, (encoder, decoder), strict=True)
    ]
    comparable = not name.startswith("water")
    return {
        "": name,
        "encoder ms": f"{1000 * statistics.median(encoder):.0f}",
        "decoder ms": f"{1000 * statistics.median(decoder):.0f}",
        "encoder x": f"{ratio(encoder, ours[0]):.2f}",
        "decoder x": f"{ratio(decoder, ours[1]):.2f}",
        "both x": f"{ratio(both, ours_both):.2f}",
        "share, encoder": f"{shares[0]:.2f}" if comparable else "-",
        "share, decoder": f"{shares[1]:.2f}" if comparable else "-",
    }
