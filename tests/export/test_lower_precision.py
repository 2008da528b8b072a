"""Lower precision: what it computes, what it may cost, and that nothing is written where it costs more."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from export.__main__ import cli
from export.bundle import write_bundle
from export.parity import random_batch, run_graphs
from export.precision_gate import PrecisionError, compare, in_lower_precision, judge
from hydrofill.bundle import Bundle, Dtype, Precision, PrecisionCost, Skill, read_bundle
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import load_model
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens
from model.run_folder import Run, save_weights
from tests.export.conftest import small_basin

pytestmark = pytest.mark.slow

BundleAt = tuple[Bundle, Path]
SHIPPED = Path("bundles/lez-daily")
CPU = Runtime("cpu", 1)
LOUD = -20.0  # times the last layer's first weights, which are near 0
ROW = Skill(variable="rain", gap="clouds", cells=1000, rmse=2.0, bias=0.0, crps=1.0, coverage90=0.9)
# Relative to a value plus its variable's standard deviation: half precision has 11 bits, and errors of 8 bits add up.
LIMITS: dict[Dtype, float] = {"float16": 5e-3, "int8": 5e-2}


@pytest.fixture(scope="module")
def variants(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BundleAt]:
    """The small run in each lower precision; its few held-out cells judge nothing here."""
    folder = tmp_path_factory.mktemp("variants")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.precision_gate.judge", lambda *_: None)
        patch.setattr("export.precision_gate.WINDOWS", 8)
        return {
            dtype: (write_bundle(run, folder / dtype, "1.0.0", dtype, small_basin()), folder / dtype)
            for dtype in LIMITS
        }


@pytest.fixture(params=list(LIMITS))
def variant(request: pytest.FixtureRequest, variants: dict[str, BundleAt]) -> BundleAt:
    return variants[request.param]


def difference(run: Run, one: Bundle, other: Bundle) -> float:
    tokens, queries = random_batch(run.network, 3, 64, 40, seed=5)
    real = np.arange(40)[None, :] < queries.length[:, None]
    std = run.network.encoder.embedding.spread.numpy()[queries.variable]
    pairs = zip(*(run_graphs(b.encoder, b.decoder)(tokens, queries) for b in (one, other)), strict=True)
    return max(float((np.abs(a - b) / (np.abs(b) + std))[real].max()) for a, b in pairs)


def test_lower_precision_is_near_float32_and_not_the_same(run: Run, bundle: BundleAt, variant: BundleAt) -> None:
    found = difference(run, variant[0], bundle[0])
    assert 1e-6 < found < LIMITS[variant[0].manifest.precision.dtype]


def test_the_manifest_and_the_card_say_what_it_cost(variant: BundleAt) -> None:
    manifest = variant[0].manifest
    assert set(manifest.precision.cost) == {"precipitation", "river_flow"}
    assert manifest.parity.tolerance is None and manifest.parity.max_relative_difference > 0
    card = (variant[1] / "MODEL_CARD.md").read_text()
    assert f"compute in {manifest.precision.dtype}" in card and "nan" not in card


def test_eight_bits_are_in_the_blocks_and_nowhere_else(variants: dict[str, BundleAt]) -> None:
    bundle = variants["int8"][0]
    for content, layers in ((bundle.encoder, 2 * 6 + 2), (bundle.decoder, 4)):
        nodes = onnx.load_from_string(content).graph.node
        assert sum(node.op_type == "QGemm" for node in nodes) == layers
        assert {node.op_type for node in nodes} >= {"MultiHeadAttention", "Gemm"}
        assert "DequantizeLinear" not in {node.op_type for node in nodes}  # else products would be float32 ones


def test_half_is_in_the_blocks_and_nowhere_else(run: Run, variants: dict[str, BundleAt]) -> None:
    bundle = variants["float16"][0]
    for content in (bundle.encoder, bundle.decoder):
        weights = onnx.load_from_string(content).graph.initializer
        half = {w.name for w in weights if w.data_type == onnx.TensorProto.FLOAT16 and len(w.dims) > 1}
        full = {w.name for w in weights if w.data_type == onnx.TensorProto.FLOAT and len(w.dims) > 1}
        assert half and all(".blocks." in name for name in half)
        assert not any(".blocks." in name for name in full)
    memory = [t for t in bundle.manifest.encoder.outputs if t.name.startswith("memory_")]
    assert memory and {t.dtype for t in memory} == {"float16"}
    assert {t.dtype for t in bundle.manifest.decoder.outputs} == {"float32"}


def test_other_samples_of_a_batch_change_no_prediction_of_int8(run: Run, variants: dict[str, BundleAt]) -> None:
    bundle = variants["int8"][0]
    graphs = run_graphs(bundle.encoder, bundle.decoder)
    tokens, queries = random_batch(run.network, 1, 40, 12, seed=3)
    wild, others = random_batch(run.network, 1, 40, 12, seed=4)
    wild = replace(wild, values=wild.values * 1000)  # scales taken from the batch would change with these
    alone = graphs(tokens, queries)
    together = graphs(_stacked(stack_tokens, tokens, wild), _stacked(stack_queries, queries, others))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_allclose(two[0], one[0], rtol=1e-4, atol=1e-5)


def test_each_precision_is_served(variant: BundleAt, caplog: pytest.LogCaptureFixture) -> None:
    load_model(variant[0], CPU)  # fills a window and refuses values that are not finite
    assert ("is for GPUs" in caplog.text) == (variant[0].manifest.precision.dtype == "float16")


def test_the_shipped_bundle_without_a_precision_is_float32() -> None:
    assert "precision" not in json.loads((SHIPPED / "manifest.json").read_text())
    assert read_bundle(SHIPPED).manifest.precision == Precision(dtype="float32", cost={})


def test_costs_are_pooled_over_kinds_of_gaps() -> None:
    plain = [ROW, ROW.model_copy(update={"gap": "frames", "cells": 3000, "rmse": 8.0})]
    lower = [
        plain[0].model_copy(update={"rmse": 2.02, "coverage90": 0.88}),
        plain[1].model_copy(update={"crps": 1.01}),
    ]
    cost = compare(plain, lower)["rain"]
    assert cost.cells == 4000
    assert cost.rmse_ratio == pytest.approx(1.01**0.5) and cost.crps_ratio == pytest.approx(1.01**0.5)
    assert cost.coverage_change == pytest.approx(0.25 * 0.02)


def test_coverage_that_comes_nearer_is_no_loss() -> None:
    plain = ROW.model_copy(update={"coverage90": 0.8})
    assert compare([plain], [ROW])["rain"].coverage_change == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rmse": 2.011}, r"int8 is refused .* rain: RMSE rises by 0.55%, allowed 0.5%"),
        ({"crps": 1.006}, "rain: CRPS rises by 0.60%, allowed 0.5%"),
        ({"coverage90": 0.888}, "rain: the 90 % interval's coverage is 0.012 farther off, allowed 0.010"),
        ({"coverage90": 0.912}, "is 0.012 farther off"),
    ],
)
def test_what_costs_too_much_is_refused_by_name_and_figure(changed: dict[str, float], says: str) -> None:
    with pytest.raises(PrecisionError, match=says):
        judge("int8", compare([ROW], [ROW.model_copy(update=changed)]))


def test_what_costs_little_is_accepted() -> None:
    judge("int8", compare([ROW], [ROW.model_copy(update={"rmse": 2.009, "crps": 1.0, "coverage90": 0.891})]))


def test_one_cell_of_few_may_leave_the_interval() -> None:
    few = {"cells": 36, "rmse_ratio": 1.0, "crps_ratio": 1.0}
    judge("int8", {"flow": PrecisionCost(**few, coverage_change=1 / 36)})
    with pytest.raises(PrecisionError, match="flow"):
        judge("int8", {"flow": PrecisionCost(**few, coverage_change=2 / 36)})


@pytest.mark.parametrize("changed", [{"cells": 999}, {"gap": "frames"}])
def test_scores_of_other_cells_are_not_compared(changed: dict[str, object]) -> None:
    with pytest.raises(PrecisionError, match="does not fill the cells"):
        compare([ROW], [ROW.model_copy(update=changed)])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(PrecisionError, match="rain: a score is not finite"):
        compare([ROW], [ROW.model_copy(update={"crps": float("nan")})])


@pytest.mark.parametrize("broken", [False, True])
def test_good_scales_are_accepted_and_broken_ones_refused_with_nothing_written(
    run: Run,
    bundle: BundleAt,
    variants: dict[str, BundleAt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: bool,
) -> None:
    plain, int8 = bundle[0], variants["int8"][0]
    graphs = [_wider(g) if broken else g for g in (int8.encoder, int8.decoder)]
    monkeypatch.setattr(
        "export.precision_gate.export_graphs", lambda _: (plain.encoder, _loud(plain.decoder))
    )  # traced once
    monkeypatch.setattr("export.precision_gate.quantise", lambda *_: (graphs[0], _loud(graphs[1])))
    monkeypatch.setattr(
        "export.precision_gate.check_parity", lambda *_, **__: plain.manifest.parity
    )  # loud, as rounding is
    monkeypatch.setattr("export.precision_gate.WINDOWS", 1)
    small_basin().to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    folder = _loud_run(run, tmp_path / "run")
    given = [str(folder), str(tmp_path / "mine"), "--precision", "int8", "--data", str(tmp_path / "data.nc")]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == (2 if broken else 0), result.output
    assert ("int8 is refused on held-out data: " in result.output) == broken
    assert ("river_flow: RMSE rises by" in result.output) == broken
    assert (tmp_path / "mine").exists() != broken
    assert not list(tmp_path.glob(".mine*"))


@pytest.mark.parametrize("dtype", list(LIMITS))
def test_without_data_lower_precision_is_refused(run: Run, tmp_path: Path, dtype: Dtype) -> None:
    result = CliRunner().invoke(cli, [str(run.folder), str(tmp_path / "mine"), "--precision", dtype])
    assert result.exit_code == 2
    assert f"{dtype} is judged on held-out steps: give the training data with --data" in result.output
    assert not (tmp_path / "mine").exists()
    with pytest.raises(PrecisionError, match="none is given"):
        write_bundle(run, tmp_path / "mine", "1.0.0", dtype)


def test_a_run_that_holds_out_nothing_cannot_be_judged(run: Run) -> None:
    settings = run.config.updated(training=run.config.training.updated(held_out=0.0))
    with pytest.raises(PrecisionError, match="holds out no steps"):
        in_lower_precision(replace(run, config=settings), "int8", small_basin())


def test_a_network_whose_variables_keep_apart_has_no_lower_precision(run: Run) -> None:
    settings = run.config.updated(network=run.config.network.updated(fusion="none"))
    with pytest.raises(PrecisionError, match="joint fusion"):
        in_lower_precision(replace(run, config=settings), "int8", small_basin())


def _stacked(stack: Callable[[list], Any], *batches: Tokens | Queries) -> Any:
    """Return batches of one sample as one batch."""
    return stack([type(b)(**{name: value[0] for name, value in vars(b).items()}) for b in batches])


def _loud_run(run: Run, folder: Path) -> Path:
    """Return the run with a last layer as large as after a long training, so that the blocks have an effect."""
    shutil.copytree(run.folder, folder)
    network = copy.deepcopy(run.network)
    with torch.no_grad():
        network.get_parameter("head.out.weight").mul_(LOUD)
    save_weights(folder, network)
    return folder


def _loud(graph: bytes) -> bytes:
    """Return the decoder's graph of such a run."""
    return _changed(graph, lambda name: "head.out" in name and "weight" in name, LOUD)


def _wider(graph: bytes) -> bytes:
    """Return the graph with quantised layers whose input scales are 40 times too large."""
    nodes = onnx.load_from_string(graph).graph.node
    scales = {node.input[1] for node in nodes if node.op_type == "QuantizeLinear"}
    return _changed(graph, lambda name: name in scales, 40)


def _changed(graph: bytes, which: Callable[[str], bool], times: float) -> bytes:
    model = onnx.load_from_string(graph)
    chosen = [tensor for tensor in model.graph.initializer if which(tensor.name)]
    assert chosen
    for tensor in chosen:
        values = onnx.numpy_helper.to_array(tensor) * np.float32(times)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())
