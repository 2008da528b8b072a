"""The graphs compute what the network computes, at shapes that were not traced; otherwise a bundle is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.bundle import write_bundle
from export.parity import ParityError, check_parity, random_batch, run_graphs
from hydrofill.bundle import Bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.reconstruct import FILLED, reconstruct
from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens, tokenise
from model.network.mae import CrossMAE
from model.network.predictor import TorchPredictor
from model.run_folder import Run
from tests.export.conftest import small_basin

pytestmark = pytest.mark.slow

BundleAt = tuple[Bundle, Path]


def assert_same(run: Run, bundle: Bundle, tokens: Tokens, queries: Queries) -> None:
    mean, std = run_graphs(bundle.encoder, bundle.decoder)(tokens, queries)
    with torch.inference_mode():
        predicted = run.network(tokens, queries)
    std_of_variable = run.network.encoder.embedding.spread.numpy()[queries.variable]
    for ours, theirs in ((mean, predicted.mean().numpy()), (std, predicted.std().numpy())):
        assert ours.shape == theirs.shape
        assert (np.abs(ours - theirs) <= 1e-4 * (np.abs(theirs) + std_of_variable)).all()


@pytest.mark.parametrize("shape", [(1, 3, 2), (1, 200, 90), (3, 40, 11), (3, 1, 1), (5, 77, 130)])
def test_graphs_equal_the_network_at_shapes_never_traced(
    run: Run, bundle: BundleAt, shape: tuple[int, int, int]
) -> None:
    assert_same(run, bundle[0], *random_batch(run.network, *shape, seed=7))


@pytest.mark.parametrize("present", [["precipitation"], ["river_flow"], ["precipitation", "river_flow"]])
@pytest.mark.parametrize("batch", [1, 3])
def test_graphs_equal_the_network_whatever_is_present(
    run: Run, bundle: BundleAt, present: list[str], batch: int
) -> None:
    cube = read_dataset(small_basin(), run.layout).cube
    part = replace(cube, variables={n: cube.variables[n] for n in present})
    every = slice(0, None)
    windows = [tokenise(part.window(slice(i, i + 8 - i), every, every), run.layout) for i in range(batch)]
    assert_same(run, bundle[0], stack_tokens([w.tokens for w in windows]), stack_queries([w.queries for w in windows]))


def test_nothing_hidden_is_no_error(run: Run, bundle: BundleAt) -> None:
    tokens, queries = random_batch(run.network, 1, 9, 4, seed=1)
    names = ("variable", "place", "requested", "guess", "guessed", "distance")
    none = Queries(**{n: getattr(queries, n)[:, :0] for n in names}, length=np.array([0]))
    mean, std = run_graphs(bundle[0].encoder, bundle[0].decoder)(tokens, none)
    assert mean.shape == std.shape == (1, 0, run.layout.token_size)


def test_one_cell_visible_is_enough(run: Run, bundle: BundleAt) -> None:
    tokens, queries = random_batch(run.network, 1, 1, 6, seed=2)
    valid = np.zeros_like(tokens.valid)
    valid[0, 0, 0] = True
    assert_same(run, bundle[0], replace(tokens, valid=valid), queries)


def test_padding_in_a_batch_changes_no_prediction(run: Run, bundle: BundleAt) -> None:
    tokens, queries = random_batch(run.network, 3, 50, 20, seed=3)
    graphs = run_graphs(bundle[0].encoder, bundle[0].decoder)
    together = graphs(tokens, queries)[0]
    for row in range(3):
        n, q = int(tokens.length[row]), int(queries.length[row])
        alone_tokens = Tokens(
            **{m: getattr(tokens, m)[row : row + 1, :n] for m in ("values", "valid", "variable", "place")},
            length=tokens.length[row : row + 1],
        )
        names = ("variable", "place", "requested", "guess", "guessed", "distance")
        alone_queries = Queries(
            **{m: getattr(queries, m)[row : row + 1, :q] for m in names}, length=queries.length[row : row + 1]
        )
        np.testing.assert_allclose(together[row, :q], graphs(alone_tokens, alone_queries)[0][0], rtol=1e-4, atol=1e-4)


def test_a_served_fill_equals_an_evaluated_one(run: Run, bundle: BundleAt) -> None:
    graphs = run_graphs(bundle[0].encoder, bundle[0].decoder)

    def served(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        mean, std = graphs(stack_tokens([tokens]), stack_queries([queries]))
        return mean[0], std[0]

    cube = read_dataset(small_basin(), run.layout).cube
    here = reconstruct(cube, run.layout, served)["precipitation"]
    there = reconstruct(cube, run.layout, TorchPredictor(run.network))["precipitation"]
    filled = here.flag == FILLED
    assert filled.any()
    np.testing.assert_allclose(here.mean[filled], there.mean[filled], rtol=1e-3, atol=1e-3)


def test_graphs_hold_their_weights_and_no_path(bundle: BundleAt) -> None:
    for content in (bundle[0].encoder, bundle[0].decoder):
        graph = onnx.load_from_string(content).graph
        assert all(not t.external_data for t in graph.initializer)
        assert b"site-packages" not in content and b".py" not in content


def test_graphs_gather_by_index_and_never_select_by_a_mask(bundle: BundleAt) -> None:
    for content in (bundle[0].encoder, bundle[0].decoder):
        kinds = {node.op_type for node in onnx.load_from_string(content).graph.node}
        assert "MatMul" in kinds or "Gemm" in kinds
        assert not kinds & {"NonZero", "Compress", "Loop", "Scan", "If"}


def test_inputs_are_those_of_the_manifest(bundle: BundleAt) -> None:
    for content, spec in (
        (bundle[0].encoder, bundle[0].manifest.encoder),
        (bundle[0].decoder, bundle[0].manifest.decoder),
    ):
        graph = onnx.load_from_string(content).graph
        for tensors, expected in ((graph.input, spec.inputs), (graph.output, spec.outputs)):
            assert [t.name for t in tensors] == [e.name for e in expected]
            for tensor, spec_of_tensor in zip(tensors, expected, strict=True):
                dims = [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
                assert dims == list(spec_of_tensor.dims)


def test_graphs_of_another_network_are_refused(run: Run, bundle: BundleAt) -> None:
    other = CrossMAE(run.layout, run.config.network).eval()
    with pytest.raises(ParityError, match="differ by"):
        check_parity(other, bundle[0].encoder, bundle[0].decoder)


def test_a_refused_export_leaves_the_old_bundle(
    run: Run, bundle: BundleAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "manifest.json").write_text("old")
    monkeypatch.setattr("export.precision_gate.export_graphs", lambda _: (bundle[0].encoder, bundle[0].decoder))
    other = replace(run, network=CrossMAE(run.layout, run.config.network).eval())
    with pytest.raises(ParityError, match="differ by"):
        write_bundle(other, folder, "1.0.0")
    assert (folder / "manifest.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_bundle_describes_itself(run: Run, bundle: BundleAt) -> None:
    content = json.loads((bundle[1] / "manifest.json").read_text())
    assert content["name"] == "tiny" and content["version"] == "1.2.3"
    assert content["parity"]["max_relative_difference"] <= 1e-4
    assert [v["name"] for v in content["layout"]["variables"]] == ["precipitation", "river_flow"]
    card = (bundle[1] / "MODEL_CARD.md").read_text()
    assert "precipitation" in card and "## Skill" in card and "## Limits" in card


def test_the_bundle_records_how_its_graphs_are_optimised(bundle: tuple[Bundle, Path]) -> None:
    assert bundle[0].manifest.optimised.level == "extended"
