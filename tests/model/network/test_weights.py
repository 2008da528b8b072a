"""Weights of a stranger's bundle: settings that ask for other tensors, or values that are no numbers, are refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save

from hydrofill.layout import GENERAL
from model.config import NetworkConfig
from model.network.mae import CrossMAE
from model.network.weights import SETTINGS, WeightsError, read_network, weights_bytes

SMALL = NetworkConfig(embed_dim=16, depth=1, num_heads=1, decoder_dim=16, decoder_depth=1, decoder_num_heads=1)


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    return weights_bytes(CrossMAE(GENERAL, SMALL))


def with_settings(content: bytes, text: str) -> bytes:
    return save(load(content), {SETTINGS: text})


def test_weights_are_read_back(content: bytes) -> None:
    assert weights_bytes(read_network(content)) == content


@pytest.mark.parametrize("changes", [{"depth": 100, "embed_dim": 4096}, {"depth": 10**9}, {"mlp_ratio": float("inf")}])
def test_settings_of_a_larger_network_are_refused_before_it_is_made(
    changes: dict[str, float], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({**SMALL.model_dump(mode="json"), **changes})
    made = torch.nn.Module.load_state_dict
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: pytest.fail("a network is made"))
    with pytest.raises(WeightsError):
        read_network(with_settings(content, text))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", made)


def test_settings_of_endless_depth_are_refused(content: bytes) -> None:
    with pytest.raises(WeightsError):
        read_network(with_settings(content, "[" * 100_000))


def test_values_that_are_not_finite_are_refused(content: bytes) -> None:
    tensors = load(content)
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    with pytest.raises(WeightsError, match="finite"):
        read_network(save(tensors, {SETTINGS: SMALL.model_dump_json()}))
