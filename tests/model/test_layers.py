"""The blocks give the published numbers, and padding never counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor, nn

from model.layers import CrossBlock, EncoderBlock, Mlp, SelfAttention, WeightedFeatureMaps, real_tokens

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-5  # float32 sums in another order; the golden files ask for this


def load(name: str) -> NpzFile:
    return np.load(GOLDEN / f"{name}.npz")


def with_weights(module: nn.Module, golden: NpzFile, prefix: str = "w.") -> nn.Module:
    weights = {k[len(prefix) :]: torch.from_numpy(golden[k]) for k in golden.files if k.startswith(prefix)}
    module.load_state_dict(weights)
    return module.eval()


def tensor(golden: NpzFile, name: str) -> Tensor:
    return torch.from_numpy(golden[name])


def assert_golden(ours: Tensor, golden: np.ndarray) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), golden, rtol=0, atol=TOLERANCE)


def test_the_encoder_block_gives_the_published_numbers() -> None:
    golden = load("encoder_block")
    block = with_weights(EncoderBlock(32, int(golden["heads"])), golden)
    assert_golden(block(tensor(golden, "x")), golden["out"])


@pytest.mark.parametrize(("name", "reads_queries"), [("cross_block", False), ("cross_block_self", True)])
def test_the_cross_block_gives_the_published_numbers(name: str, reads_queries: bool) -> None:
    golden = load(name)
    block = with_weights(CrossBlock(24, 32, int(golden["heads"]), self_attention=reads_queries), golden)
    assert_golden(block(tensor(golden, "q"), tensor(golden, "memory")), golden["out"])


def test_weighted_feature_maps_give_the_published_numbers() -> None:
    golden = load("weighted_feature_maps")
    maps = with_weights(WeightedFeatureMaps(3, 2), golden)
    assert_golden(maps(tensor(golden, "features")), golden["out"])


def test_the_whole_published_model_gives_its_numbers() -> None:
    golden = load("full")
    weights = {k[2:]: tensor(golden, k) for k in golden.files if k.startswith("w.")}

    def part(module: nn.Module, prefix: str) -> nn.Module:
        return with_weights(module, golden, f"w.{prefix}.")

    hidden = golden["mask"].astype(bool)
    kept = np.argsort(golden["ids_restore"], axis=1)[:, : (~hidden[0]).sum()]
    patches = tensor(golden, "patches")  # (2, 16, 192) as (row, column, channel)
    image_order = patches.unflatten(-1, (8, 8, 3)).permute(0, 1, 4, 2, 3).flatten(2)
    embedded = image_order @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    embedded = embedded + weights["pos_embed"][:, 1:]
    visible = torch.gather(embedded, 1, torch.from_numpy(kept)[..., None].expand(-1, -1, 32))
    memory = torch.cat([(weights["cls_token"] + weights["pos_embed"][:, :1]).expand(2, -1, -1), visible], 1)
    for i in range(3):
        memory = part(EncoderBlock(32, int(golden["encoder_heads"])), f"blocks.{i}")(memory)
    memory = part(nn.LayerNorm(32, eps=1e-5), "norm")(memory)
    assert_golden(memory, golden["memory"])
    positions = torch.from_numpy(np.stack([np.flatnonzero(h) for h in hidden]))
    queries = weights["mask_token"] + weights["decoder_pos_embed"][0, 1:][positions]
    for i in range(2):
        queries = part(CrossBlock(24, 32, int(golden["decoder_heads"])), f"decoder_blocks.{i}")(queries, memory)
    predicted = part(nn.Linear(24, 192), "decoder_pred")(part(nn.LayerNorm(24, eps=1e-5), "decoder_norm")(queries))
    assert_golden(predicted, golden["pred"])


@pytest.mark.parametrize("length", [1, 3, 6])
def test_padding_changes_nothing(length: int) -> None:
    torch.manual_seed(0)
    encoder, cross = EncoderBlock(32, 2).eval(), CrossBlock(16, 32, 2).eval()
    tokens, queries = torch.randn(1, length, 32), torch.randn(1, 5, 16)
    padded = torch.cat([tokens, 1e4 * torch.randn(1, 9, 32)], 1)
    real = real_tokens(torch.tensor([length]), length + 9)
    torch.testing.assert_close(encoder(padded, real)[:, :length], encoder(tokens), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cross(queries, padded, real), cross(queries, tokens), rtol=1e-5, atol=1e-5)


def test_a_sample_of_nothing_but_padding_is_finite() -> None:
    torch.manual_seed(0)
    real = real_tokens(torch.tensor([0, 4]), 4)
    assert real.tolist() == [[True, False, False, False], [True] * 4]
    assert torch.isfinite(EncoderBlock(32, 2)(torch.zeros(2, 4, 32), real)).all()


def test_queries_that_read_each_other_do_not_read_padding() -> None:
    torch.manual_seed(0)
    block = CrossBlock(16, 32, 2, self_attention=True).eval()
    memory, queries = torch.randn(1, 4, 32), torch.randn(1, 3, 16)
    padded = torch.cat([queries, torch.full((1, 2, 16), 50.0)], 1)
    real = real_tokens(torch.tensor([3]), 5)
    alone = block(queries, memory)
    torch.testing.assert_close(block(padded, memory, None, real)[:, :3], alone, rtol=1e-5, atol=1e-5)


def test_attention_of_equal_tokens_is_their_mean() -> None:
    attention = SelfAttention(4, 2)
    nn.init.zeros_(attention.qkv.weight[:8])
    nn.init.zeros_(attention.qkv.bias)
    with torch.no_grad():
        attention.qkv.weight[:8].zero_()
        attention.qkv.weight[8:] = torch.eye(4)
        attention.proj.weight.copy_(torch.eye(4))
        attention.proj.bias.zero_()
    x = torch.randn(1, 6, 4)
    torch.testing.assert_close(attention(x), x.mean(1, keepdim=True).expand_as(x))


def test_the_mlp_is_four_times_wider_inside() -> None:
    assert EncoderBlock(32, 4).mlp.fc1.out_features == 128
    assert isinstance(EncoderBlock(32, 4).mlp, Mlp)
