"""Every system exports, and its graphs compute what it computes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
import torch

from export.graphs import export_graphs, graph_specs
from export.optimise import optimise
from export.parity import check_parity, random_batch, run_graphs
from hydrofill.layout import Layout
from model.config import NetworkConfig
from model.network.mae import CrossMAE
from tests.conftest import small_layout
from tests.model.conftest import TINY

SYSTEMS: dict[str, tuple[NetworkConfig, bool]] = {
    "crossmae": (TINY, False),
    "plan_a": (TINY.updated(memory="pooled"), False),
    "water_fm_small": (TINY.updated(memory="pooled", decoder="full"), False),
    "crossmae_wfm": (TINY.updated(feature_layers=(0, 1), use_input=True), False),
    "all at once": (
        TINY.updated(fusion="pooled", static="film", feature_layers=(0, 1), decoder_self_attention=True),
        True,
    ),
    "fusion none, static add": (TINY.updated(fusion="none", static="add"), True),
}


MEMORY = ["memory_key_0", "memory_value_0", "memory_key_1", "memory_value_1"]  # of two decoder layers


@cache
def exported(system: str) -> tuple[CrossMAE, bytes, bytes]:
    """The network of a system with random weights, and its graphs; exported once, for an export takes seconds."""
    torch.manual_seed(0)
    config, guesses = SYSTEMS[system]
    network = CrossMAE(small_layout().model_copy(update={"guesses": guesses}), config).eval()
    return network, *export_graphs(network)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_graphs_of_every_system_equal_the_network(system: str) -> None:
    parity = check_parity(*exported(system))
    assert parity.max_relative_difference <= 1e-4


@pytest.mark.parametrize(
    ("system", "outputs", "more_inputs"),
    [
        ("crossmae", MEMORY, set()),
        ("plan_a", MEMORY, set()),
        ("water_fm_small", ["memory"], {"memory", "length", "query_length"}),
        ("crossmae_wfm", MEMORY, set()),
        (
            "all at once",
            [*MEMORY, "memory_length", "memory_variable"],
            {"query_length", "query_guess", "query_guessed", "query_distance"},
        ),
    ],
)
def test_graphs_take_and_give_only_what_their_system_needs(
    layout: Layout, system: str, outputs: list[str], more_inputs: set[str]
) -> None:
    config, guesses = SYSTEMS[system]
    encoder, decoder = graph_specs(CrossMAE(layout.model_copy(update={"guesses": guesses}), config))
    assert [t.name for t in encoder.outputs] == outputs
    always = {"query_variable", "query_place"}
    assert {t.name for t in decoder.inputs} == {*outputs} | always | more_inputs


@pytest.mark.slow
def test_attention_by_lengths_alone_is_fused_and_has_no_mask() -> None:
    _, *graphs = exported("crossmae")
    for graph, number in zip(graphs, (TINY.depth, TINY.decoder_depth), strict=True):
        nodes = [n for n in onnx.load_from_string(graph).graph.node if n.op_type == "MultiHeadAttention"]
        assert len(nodes) == number
        assert all(len([name for name in node.input if name]) == 3 for node in nodes)  # queries, keys, values


@pytest.mark.slow
@pytest.mark.parametrize("system", ["crossmae", "crossmae_wfm", "water_fm_small"])
def test_values_in_padding_change_no_bit(system: str) -> None:
    network, *graphs = exported(system)
    encoder, decoder = (optimise(graph) for graph in graphs)
    tokens, queries = random_batch(network, 4, 130, 36, seed=5)
    padding = np.arange(130)[None, :] >= tokens.length[:, None]
    assert padding.any()
    rng, changed = np.random.default_rng(0), {}
    for name in ("values", "valid", "variable", "place"):
        old = getattr(tokens, name)
        other = rng.permutation(old.reshape(-1, *old.shape[2:])).reshape(old.shape)
        changed[name] = np.where(padding.reshape(padding.shape + (1,) * (old.ndim - 2)), other, old)
    run = run_graphs(encoder, decoder)
    real = np.arange(36)[None, :] < queries.length[:, None]
    for ours, theirs in zip(run(tokens, queries), run(replace(tokens, **changed), queries), strict=True):
        assert ours[real].tobytes() == theirs[real].tobytes()
