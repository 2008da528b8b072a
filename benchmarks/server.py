"""`python -m benchmarks server`: overhead of the server, throughput and latency under load, and a soak test."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from app.local_server import LocalServer, free_port, local_server, running
from benchmarks.soak import kinds_of, soak
from benchmarks.support.bodies import JSON, MEDIA_TYPES, NPZ, Body, body_of, gappy, open_model, read_body
from benchmarks.support.echo import SIZE
from benchmarks.support.harness import BUNDLE, THREADS, machine, median_s, percentiles_ms, table_of
from benchmarks.support.load import load, load_during_flood, rate_of
from hydrofill.inference.model import Model

REPEATS = 15
CLIENTS = (1, 4, 16, 64)
BIG_STEPS = 693  # days of 2 variables on 27 x 14 cells: 2.1 MB of float32
MIDDLE_STEPS, BULK_STEPS = 12, 180
FLOODS = ((1, 8), (8, 248))  # clients with small and with large requests
LITSERVE_PATH = "/predict"
LITSERVE_VERSION = "import litserve; print(litserve.__version__)"


def main(arguments: Sequence[str]) -> str:
    """Measure the server and return the page docs/results/server.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks server", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="seconds of each level of load")
    parser.add_argument("--soak-seconds", type=float, default=300, help="seconds of the soak test; 0 leaves it out")
    parser.add_argument(
        "--schema-examples", type=int, default=200, help="schemathesis examples of each operation; 0 leaves them out"
    )
    parser.add_argument("--litserve-python", default=sys.executable, help="Python of an environment with LitServe")
    options = parser.parse_args(arguments)
    model = open_model()
    parts = [
        f"# The server\n\nWritten by `python -m benchmarks server`; one run, {THREADS} threads. {machine()}.",
        f"Levels of load {options.seconds:g} s each. Clients and server share the machine.",
        "## Overhead over the bare engine\n\n" + overhead(model),
        "## Load\n\n" + load_report(model, options.seconds, options.litserve_python),
        "## Small requests during a flood of large ones\n\n" + flood(model, options.seconds),
    ]
    if options.soak_seconds > 0:
        parts.append("## Soak\n\n" + soaked(model, options.soak_seconds))
    if options.schema_examples > 0:
        parts.append("## Schemathesis\n\n" + schema(options.schema_examples))
    return "\n\n".join(parts) + "\n"


@contextmanager
def served(**settings: object) -> Iterator[LocalServer]:
    """Run a server with the shipped bundle and yield its address and process."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"threads": THREADS, "log_level": "warning", "max_requests": 128, "reload_s": 0, **settings}
        with local_server(BUNDLE.parent, Path(folder) / "log", None, **given) as server:
            yield server


def overhead(model: Model) -> str:
    """Measure requests of 2 MB without a gap, for which the graphs have nothing to do."""
    data = gappy(model.layout, BIG_STEPS, 27, 14, 0, missing=0.0)
    rows = []
    with served() as server, other_server("benchmarks.support.echo") as echo:
        for media_type in MEDIA_TYPES:
            body = body_of(data, media_type)
            prepared = read_body(model, body)
            reply = post(server.address, body)
            work: dict[str, Callable[[], object]] = {
                "request": partial(post, server.address, body),
                "engine alone": partial(model.run, prepared.reading.cube, prepared.names),
                "HTTP alone": partial(post, echo, body, reply_bytes=len(reply)),
            }
            took = medians_s(work)
            took["server's overhead"] = took["request"] - took["engine alone"]
            size = {"media type": media_type, "MB sent": megabytes(body.content), "MB answered": megabytes(reply)}
            rows.append(size | {name: f"{1000 * seconds:.1f}" for name, seconds in took.items()})
    text = (
        "A request without a gap, so that no graph runs, compared with the engine alone and with a bare server that"
        f" receives and sends as many bytes; milliseconds, medians of {REPEATS} rounds in turn, the client included."
    )
    return f"{text}\n\n{table_of(rows)}"


def medians_s(work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each work; they take turns, so that disturbances affect all of them."""
    turns = [{name: median_s(do, 1) for name, do in work.items()} for _ in range(REPEATS)]
    return {name: statistics.median(turn[name] for turn in turns) for name in work}


def megabytes(content: bytes) -> str:
    """Return the size of `content` in MB as text."""
    return f"{len(content) / 1e6:.1f}"


def post(address: str, body: Body, reply_bytes: int = 0) -> bytes:
    """Send a request and return the reply's body; the standard library's client adds little time of its own."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    try:
        headers = {"Content-Type": body.media_type, SIZE: str(reply_bytes)}
        connection.request("POST", "/reconstruct", body.content, headers)
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(content[:500])
    return content


def load_report(model: Model, seconds: float, litserve_python: str) -> str:
    """Measure throughput and latency for numbers of clients, compared with the engine alone and LitServe."""
    bodies = [body_of(gappy(model.layout, MIDDLE_STEPS, 27, 14, seed), NPZ) for seed in range(8)]
    prepared = [read_body(model, body) for body in bodies]
    turn = iter(range(10**9))

    def run() -> None:
        one = prepared[next(turn) % len(prepared)]
        model.run(one.reading.cube, one.names)

    with served() as server:
        rows = [_level("hydrofill", server.address, bodies, clients, seconds, run) for clients in CLIENTS]
    found = subprocess.run([litserve_python, "-c", LITSERVE_VERSION], check=False, capture_output=True, text=True)
    if found.returncode != 0:
        text = "LitServe is not installed here (the extra `litserve`), so it is left out."
    else:
        version = found.stdout.strip()
        text = f"LitServe {version} with the same graphs, reading and writing, one worker; npz as base64 in JSON."
        wrapped = [Body(JSON, json.dumps({"npz": base64.b64encode(b.content).decode()}).encode()) for b in bodies]
        with other_server("benchmarks.support.litserve_app", litserve_python) as address:
            rows += [_level("LitServe", address, wrapped, n, seconds, run, LITSERVE_PATH) for n in CLIENTS]
    text += " Latencies in milliseconds; the engine alone is measured just before and after each level."
    return f"{MIDDLE_STEPS} days of 27 x 14 cells, two variables. {text}\n\n{table_of(rows)}"


def _level(
    what: str,
    address: str,
    bodies: Sequence[Body],
    clients: int,
    seconds: float,
    run: Callable[[], None],
    path: str = "/reconstruct",
) -> dict[str, str]:
    """Measure one level of load, and the engine alone just before and after it, because a machine's speed drifts."""
    before = rate_of(run, seconds / 4)
    load(address, bodies, clients, min(2.0, seconds), path)
    result = load(address, bodies, clients, seconds, path)
    bare = (before + rate_of(run, seconds / 4)) / 2
    refused = sum(number for status, number in result.statuses.items() if status != 200)
    rates = {"a second": result.rate, "the engine alone": bare, "of the engine": result.rate / bare}
    shown = {name: f"{rate:.2f}" for name, rate in rates.items()}
    return {"what": what, "clients": str(clients), **shown, **percentiles_ms(result.seconds), "refused": str(refused)}


def flood(model: Model, seconds: float) -> str:
    """Measure the latency of a small request alone, and while clients with large requests flood the server."""
    small = body_of(gappy(model.layout, 4, 6, 6, 0), JSON)
    bulk = [body_of(gappy(model.layout, BULK_STEPS, 27, 14, seed), NPZ) for seed in range(2)]
    with served(max_requests=32, max_connections_per_address=512) as server:
        alone = load(server.address, [small], 1, seconds / 2)
        found = {"alone": alone}
        for few, many in FLOODS:
            beside = load_during_flood(server.address, small, bulk, many, seconds, few)
            found[f"of {few} clients, with {many} clients of large requests"] = beside
    rows = [
        {"a small request": what, "number": str(len(result.seconds)), **percentiles_ms(result.seconds)}
        for what, result in found.items()
    ]
    text = f"4 days of 6 x 6 cells, JSON, during requests of {BULK_STEPS} days of 27 x 14; milliseconds."
    return f"{text}\n\n{table_of(rows)}"


def soaked(model: Model, seconds: float) -> str:
    """Run the soak test and return its table."""
    kinds, mean_s = kinds_of(model)
    with served(max_requests=32, max_queue_s=20, deadline_s=30) as server:
        found = soak(server.address, server.process.pid, kinds, mean_s, seconds)
        log = server.log.read_text()
    rows = [
        {"what": "replies by status", "figure": ", ".join(f"{s}: {n}" for s, n in sorted(found.statuses.items()))},
        {"what": "clients that left", "figure": str(found.left)},
        {"what": "good replies that differ from the engine alone", "figure": str(found.wrong)},
        {"what": "connections that broke", "figure": str(dict(found.broken) or 0)},
        {"what": "memory, second fifth to last", "figure": f"{100 * found.growth:+.1f} %"},
        {"what": "tracebacks in the log", "figure": str(log.count("Traceback"))},
        {"what": "passed", "figure": "yes" if found.passed else "NO"},
    ]
    text = f"{seconds:g} s at twice the engine's throughput, with random shapes, media types and disconnects."
    return f"{text}\n\n{table_of(rows)}"


def schema(examples: int) -> str:
    """Run the test of the API schema with more examples."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "tests/app/test_schema.py"]
    env = {**os.environ, "SCHEMATHESIS_EXAMPLES": str(examples), "SCHEMATHESIS_TIMEOUT_S": "7200"}
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    result = "passed" if done.returncode == 0 else f"FAILED:\n\n```\n{done.stdout[-3000:]}\n```"
    return f"{examples} examples of each operation, {time.perf_counter() - started:.0f} s: {result}"


@contextmanager
def other_server(module: str, python: str = sys.executable) -> Iterator[str]:
    """Run another server, `python -m module PORT`, and yield its address."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running([python, "-m", module, str(port)], port, Path(folder) / "log", "/health") as server,
    ):
        yield server.address
