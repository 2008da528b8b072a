"""Every system exports, and its graphs compute what it computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from export.contract.layout import Layout
from export.parity import check_parity
from export.to_onnx import graph_specs, to_onnx
from model.config import NetworkConfig
from model.mae import CrossMAE
from tests.model.conftest import TINY

SYSTEMS: dict[str, tuple[NetworkConfig, bool]] = {
    "crossmae": (TINY, False),
    "plan_a": (replace(TINY, memory="pooled"), False),
    "water_fm_small": (replace(TINY, memory="pooled", decoder="full"), False),
    "crossmae_wfm": (replace(TINY, feature_layers=(0, 1), use_input=True), False),
    "all at once": (
        replace(TINY, fusion="pooled", static="film", feature_layers=(0, 1), decoder_self_attention=True),
        True,
    ),
    "fusion none, static add": (replace(TINY, fusion="none", static="add"), True),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_graphs_of_every_system_equal_the_network(layout: Layout, system: str) -> None:
    torch.manual_seed(0)
    config, guesses = SYSTEMS[system]
    network = CrossMAE(layout.model_copy(update={"guesses": guesses}), config).eval()
    parity = check_parity(network, *to_onnx(network))
    assert parity.max_relative_difference <= 1e-4


@pytest.mark.parametrize(
    ("system", "outputs", "more_inputs"),
    [
        ("crossmae", ["memory"], set()),
        ("plan_a", ["memory", "memory_length"], set()),
        ("water_fm_small", ["memory"], {"query_length"}),
        ("crossmae_wfm", ["memory"], set()),
        (
            "all at once",
            ["memory", "memory_length", "memory_variable"],
            {"query_length", "memory_variable", "query_guess", "query_guessed", "query_distance"},
        ),
    ],
)
def test_graphs_take_and_give_only_what_their_system_needs(
    layout: Layout, system: str, outputs: list[str], more_inputs: set[str]
) -> None:
    config, guesses = SYSTEMS[system]
    encoder, decoder = graph_specs(CrossMAE(layout.model_copy(update={"guesses": guesses}), config))
    assert [t.name for t in encoder.outputs] == outputs
    always = {"memory", "length", "query_variable", "query_place"}
    assert {t.name for t in decoder.inputs} == always | more_inputs
