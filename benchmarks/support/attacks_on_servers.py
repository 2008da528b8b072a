"""Attacks that take a server of their own: keys, signals, few files, folders that vanish, bundles of strangers."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnx.numpy_helper

from app.local_server import ROOT, LocalServer, local_server
from benchmarks.support import attack_bodies
from benchmarks.support.attacks_with_requests import (
    BROKEN,
    Answer,
    Attack,
    connect,
    counted,
    good_body,
    head_of,
    leave,
    post,
)
from benchmarks.support.bodies import JSON, NPZ
from hydrofill.bundle import shipped_bundles

KEY = "hf_attack_0123456789abcdefghijklmnopqrstuvwxyzAB"
FILES = 64
DRAIN_S = 2.0
LINES = 200  # of the log, at most, for what repeats


@contextmanager
def with_keys(folder: Path, memory_bytes: int) -> Iterator[LocalServer]:
    """Run a server with one key."""
    keys = folder / "keys"
    keys.write_text(f"me:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    keys.chmod(0o600)
    with local_server(shipped_bundles(), folder / "log", memory_bytes=memory_bytes, keys_file=keys) as server:
        yield server


@contextmanager
def short_drain(folder: Path, memory_bytes: int) -> Iterator[LocalServer]:
    """Run a server that has little time after SIGTERM."""
    with local_server(shipped_bundles(), folder / "log", memory_bytes=memory_bytes, drain_s=DRAIN_S) as server:
        yield server


@contextmanager
def without_temporary_folder(folder: Path, memory_bytes: int) -> Iterator[LocalServer]:
    """Run a server whose TMPDIR is gone once it is ready."""
    temporary = folder / "temporary"
    temporary.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(temporary)
    try:
        with local_server(shipped_bundles(), folder / "log", memory_bytes=memory_bytes) as server:
            shutil.rmtree(temporary)
            yield server
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)


@contextmanager
def with_strangers(folder: Path, memory_bytes: int, change: Callable[[Path], None]) -> Iterator[LocalServer]:
    """Run a server whose folder of bundles holds the shipped ones and one that `change` made from a copy."""
    bundles = folder / "bundles"
    shutil.copytree(shipped_bundles(), bundles)
    stranger = bundles / "stranger"
    shutil.copytree(bundles / "lez-daily", stranger)
    change(stranger)
    with local_server(bundles, folder / "log", folder, memory_bytes=memory_bytes, drain_s=DRAIN_S) as server:
        yield server


def _rewrite(bundle: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a bundle's encoder, and its manifest so that all fits."""
    path = bundle / "encoder.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((bundle / "manifest.json").read_text())
    text = json.dumps(manifest | {"name": "stranger"})
    old = hashlib.sha256((shipped_bundles() / "lez-daily" / "encoder.onnx").read_bytes()).hexdigest()
    sizes = {str((shipped_bundles() / "lez-daily" / "encoder.onnx").stat().st_size): str(path.stat().st_size)}
    text = text.replace(old, hashlib.sha256(path.read_bytes()).hexdigest())
    for before, after in sizes.items():
        text = text.replace(f": {before}", f": {after}")
    (bundle / "manifest.json").write_text(text)


def _reads_a_file(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")


def _has_a_weight_without_value(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _fifo(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    os.mkfifo(bundle / "manifest.json")


def _refused_bundle(server: LocalServer) -> Answer:
    names = [b["name"] for b in httpx.get(f"{server.address}/bundles").json()["bundles"]]
    server.process.send_signal(signal.SIGHUP)
    time.sleep(2.0)
    good = post(server, good_body())
    return f"serves {', '.join(names)}; a good request: {good}", "stranger" not in names and good == 200


def _ends(server: LocalServer, within_s: float) -> Answer:
    started = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    try:
        code = server.process.wait(20 * within_s)
    except subprocess.TimeoutExpired:
        return "does not end", False
    took = time.perf_counter() - started
    return f"ends after {took:.1f} s with {code}", took < within_s


def _ends_during_work(server: LocalServer) -> Answer:
    body = good_body(steps=400, rows=30)
    sending = threading.Thread(target=lambda: leave(server, body, 60.0))
    sending.start()
    time.sleep(2.0)
    answer = _ends(server, DRAIN_S + 1.5)
    sending.join()
    return answer


def _ends_beside_a_fifo(server: LocalServer) -> Answer:
    refused, right = _refused_bundle(server)
    ended, soon = _ends(server, DRAIN_S + 1.5)
    return f"{refused}; {ended}", right and soon


def _key_in_every_error(server: LocalServer) -> Answer:
    body, places = good_body(), ("Authorization", "X-API-Key")
    statuses = []
    for accept in ("application/json;q=nan", "*/*", f"a/b;q={KEY}", KEY):
        statuses.append(post(server, body, Authorization=f"Bearer {KEY}", Accept=accept))
        statuses.append(post(server, body, f"/reconstruct?bundle={KEY}", **{"X-API-Key": KEY, "Accept": accept}))
    for place in places:
        statuses.append(post(server, body, **{place: f"{KEY}x"}))
        statuses.append(post(server, attack_bodies.npz_of(**{KEY: np.zeros(3)}), **{place: KEY}))
    with connect(server) as link:
        link.sendall(head_of(body, 5, f"X-API-Key: {KEY}", f"X-Odd {KEY}"))
        statuses.append(int(link.recv(100)[9:12]))
    found = KEY in server.log.read_text(errors="replace")
    return f"{counted(statuses)}; key in the log: {'yes' if found else 'no'}", not found and 500 not in statuses


def _few_files(server: LocalServer) -> Answer:
    lines = server.log.read_text().count("\n")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    with ExitStack() as stack:
        for _ in range(2 * FILES):
            with suppress(OSError):
                stack.enter_context(connect(server))
        statuses = [status for _ in range(20) if (status := post(server, good_body())) != BROKEN]
        time.sleep(5.0)
    statuses.append(post(server, good_body()))
    written = server.log.read_text().count("\n") - lines
    right = set(statuses) <= {200, 503} and statuses[-1] == 200 and written < LINES
    return f"{counted(statuses)}; {written} lines of log", right


def _outputs(server: LocalServer) -> Answer:
    """Fill into a FIFO, a device and a link to each by the command; nothing may be replaced."""
    with tempfile.TemporaryDirectory() as name:
        folder, made = Path(name), []
        os.mkfifo(folder / "fifo")
        made.append(folder / "fifo")
        with suppress(PermissionError):
            os.mknod(folder / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            made.append(folder / "device")
        for path in [*made]:
            made.append(folder / f"link-{path.name}.nc")
            made[-1].symlink_to(path)
        given = folder / "in.csv"
        given.write_text("time,a,b\n" + "".join(f"2001-01-{d:02d},{d},{'' if d == 4 else d}\n" for d in range(1, 29)))
        modes = [(path.lstat().st_mode, path.stat().st_mode) for path in made]
        codes = []
        for path in made:
            command = [sys.executable, "-m", "hydrofill.cli", "fill", str(given), str(path), "--overwrite"]
            codes.append(subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False).returncode)
        kept = modes == [(path.lstat().st_mode, path.stat().st_mode) for path in made]
    del server
    return f"exit codes {counted(codes)}; {'all kept' if kept else 'replaced'}", kept and set(codes) == {2}


def _every_form(server: LocalServer) -> Answer:
    statuses = [post(server, good_body()), post(server, attack_bodies.large_json(1))]
    ready = httpx.get(f"{server.address}/readyz", timeout=60.0).status_code
    return f"{NPZ}, {JSON}: {counted(statuses)}; /readyz {ready}", set(statuses) == {200} and ready == 200


ON_THEIR_OWN = (
    Attack("4", "a key in every kind of error", _key_in_every_error, with_keys),
    Attack("6a", "SIGTERM while a thread works", _ends_during_work, short_drain, ends=True),
    Attack(
        "6b",
        "SIGTERM beside a FIFO as manifest.json",
        _ends_beside_a_fifo,
        partial(with_strangers, change=_fifo),
        ends=True,
    ),
    Attack("11", f"twice as many connections as its {FILES} files", _few_files),
    Attack("12", "TMPDIR is removed", _every_form, without_temporary_folder),
    Attack("13", "fill into a FIFO, a device, links to them", _outputs),
    Attack(
        "14",
        "a bundle with external data",
        _refused_bundle,
        partial(with_strangers, change=lambda bundle: _rewrite(bundle, _reads_a_file)),
    ),
    Attack(
        "weak e",
        "a bundle with a NaN weight",
        _refused_bundle,
        partial(with_strangers, change=lambda bundle: _rewrite(bundle, _has_a_weight_without_value)),
    ),
)
