"""The blocks give the published numbers, and padding never counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor, nn

from model.network.layers import (
    CrossBlock,
    EncoderBlock,
    LayerMemories,
    Mlp,
    SelfAttention,
    WeightedFeatureMaps,
    real_tokens,
)

GOLDEN = Path(__file__).parents[2] / "golden"
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


# Which of the encoder's maps each golden file mixes: the embedded input is map 0, block i leaves map i + 1.
WHOLE: dict[str, tuple[int, ...]] = {"full": (), "full_wfm": (1, 2, 3), "full_wfm_input": (0, 1, 3)}


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_published_model_gives_its_numbers(name: str) -> None:
    golden = load(name)
    hidden = golden["mask"].astype(bool)
    maps = encoder_maps(golden, hidden)
    if WHOLE[name]:
        maps = [maps[i] for i in WHOLE[name]]
        assert_golden(torch.stack(maps), golden["memory"])
        memories = LayerMemories(len(WHOLE[name]), 2, 32)
        with_weights(memories.wfm, golden, "w.wfm.")
        with_weights(memories.dec_norms, golden, "w.dec_norms.")
        memory = memories.eval()(maps).chunk(2, -1)
    else:
        memory = (with_weights(nn.LayerNorm(32, eps=1e-5), golden, "w.norm.")(maps[-1]),) * 2
        assert_golden(memory[0], golden["memory"])
    positions = torch.from_numpy(np.stack([np.flatnonzero(h) for h in hidden]))
    queries = tensor(golden, "w.mask_token") + tensor(golden, "w.decoder_pos_embed")[0, 1:][positions]
    for i in range(2):
        block = with_weights(CrossBlock(24, 32, int(golden["decoder_heads"])), golden, f"w.decoder_blocks.{i}.")
        queries = block(queries, memory[i])
    normed = with_weights(nn.LayerNorm(24, eps=1e-5), golden, "w.decoder_norm.")(queries)
    predicted = with_weights(nn.Linear(24, 192), golden, "w.decoder_pred.")(normed)
    assert_golden(predicted, golden["pred"])
    assert float((predicted - tensor(golden, "target")).square().mean().detach()) == pytest.approx(
        float(golden["loss"]), abs=TOLERANCE
    )


def encoder_maps(golden: NpzFile, hidden: np.ndarray) -> list[Tensor]:
    """The embedded input and what each block leaves, (2, 5, 32) each: a class token, then the kept patches."""
    kept = np.argsort(golden["ids_restore"], axis=1)[:, : (~hidden[0]).sum()]
    patches = tensor(golden, "patches")  # (2, 16, 192) as (row, column, channel)
    image_order = patches.unflatten(-1, (8, 8, 3)).permute(0, 1, 4, 2, 3).flatten(2)
    embedded = image_order @ tensor(golden, "w.patch_embed.proj.weight").flatten(1).T
    embedded = embedded + tensor(golden, "w.patch_embed.proj.bias") + tensor(golden, "w.pos_embed")[:, 1:]
    visible = torch.gather(embedded, 1, torch.from_numpy(kept)[..., None].expand(-1, -1, 32))
    first = tensor(golden, "w.cls_token") + tensor(golden, "w.pos_embed")[:, :1]
    maps = [torch.cat([first.expand(2, -1, -1), visible], 1)]
    for i in range(3):
        block = with_weights(EncoderBlock(32, int(golden["encoder_heads"])), golden, f"w.blocks.{i}.")
        maps.append(block(maps[-1]))
    return maps


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
