"""The network depends on visible cells alone and keeps samples apart; a plain loop computes the expected output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hydrofill.cube import WaterCube
from hydrofill.guesses.first_guesses import GUESSES, regions
from hydrofill.layout import Layout
from hydrofill.tokens import Queries, Tokenised, Tokens, stack_queries, stack_tokens, tokenise
from model.network.heads import PatchHead
from model.network.layers import CrossBlock, EncoderBlock
from model.network.mae import CrossMAE
from tests.model.conftest import untrained

ALL = range(len(GUESSES))

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}  # float32 through six blocks, summed in another order


def windows(cube: WaterCube, layout: Layout, steps: tuple[int, ...] = (8, 5, 3)) -> list[Tokenised]:
    """Return windows of unequal lengths, so of unequal numbers of tokens and queries."""
    every = slice(0, None)
    return [tokenise(cube.window(slice(i, i + n), every, every), layout) for i, n in enumerate(steps)]


def predict(network: CrossMAE, batch: list[Tokenised]) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        predicted = network(stack_tokens([w.tokens for w in batch]), stack_queries([w.queries for w in batch]))
        return predicted.mean(), predicted.std()


def test_mean_and_std_are_physical(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    mean, std = predict(network, windows(water, layout))
    assert torch.isfinite(mean).all() and torch.isfinite(std).all()
    assert (std > 0).all()
    rain = torch.from_numpy(stack_queries([w.queries for w in windows(water, layout)]).variable == 0)
    assert (mean[rain] >= 0).all()


def test_hidden_values_cannot_change_the_output(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    rng = np.random.default_rng(0)
    visible = {n: rng.random(v.values.shape) < 0.5 for n, v in water.of_kind("grid", "series").items()}
    poisoned = water.with_values(
        {n: np.where(seen, water.variables[n].values, np.float32(1e30)) for n, seen in visible.items()}
    )
    requested = {n: ~seen for n, seen in visible.items()}
    part = slice(0, 8), slice(0, None), slice(0, None)
    near = {n: v[:8] for n, v in visible.items()}, {n: a[:8] for n, a in requested.items()}
    here, there = (
        predict(network, [tokenise(c.window(*part), layout, visible=near[0], requested=near[1])])[0]
        for c in (water, poisoned)
    )
    torch.testing.assert_close(here, there, rtol=0, atol=0)


def test_what_stands_in_unseen_cells_of_a_token_cannot_change_the_output(
    network: CrossMAE, water: WaterCube, layout: Layout
) -> None:
    window = windows(water, layout)[0]
    junk = replace(window.tokens, values=np.where(window.tokens.valid, window.tokens.values, np.float32(1e30)))
    here, there = (predict(network, [replace(window, tokens=t)])[0] for t in (window.tokens, junk))
    torch.testing.assert_close(here, there, rtol=0, atol=0)


def test_permuting_the_batch_permutes_the_reply(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    batch = windows(water, layout)
    order = [2, 0, 1]
    mean, _ = predict(network, batch)
    turned, _ = predict(network, [batch[i] for i in order])
    for place, i in enumerate(order):
        n = len(batch[i].queries.variable)
        torch.testing.assert_close(turned[place, :n], mean[i, :n], **CLOSE)


def test_samples_of_unequal_lengths_are_predicted_as_they_are_alone(
    network: CrossMAE, water: WaterCube, layout: Layout
) -> None:
    batch = windows(water, layout)
    counts = [(len(w.tokens.variable), len(w.queries.variable)) for w in batch]
    assert len({n for n, _ in counts}) == len({q for _, q in counts}) == 3
    mean, std = predict(network, batch)
    for row, window in enumerate(batch):
        alone, alone_std = predict(network, [window])
        n = len(window.queries.variable)
        torch.testing.assert_close(mean[row, :n], alone[0], **CLOSE)
        torch.testing.assert_close(std[row, :n], alone_std[0], **CLOSE)


def test_a_prediction_does_not_depend_on_other_queries(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    window = windows(water, layout)[0]
    names = ("variable", "place", "requested", "guess", "guessed", "distance")
    few = Queries(**{n: getattr(window.queries, n)[3:5] for n in names}, length=np.array(2))
    mean, _ = predict(network, [window])
    some, _ = predict(network, [replace(window, queries=few)])
    torch.testing.assert_close(some[0], mean[0, 3:5], **CLOSE)


def test_the_order_of_tokens_does_not_matter(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    window = windows(water, layout)[0]
    order = np.random.default_rng(0).permutation(len(window.tokens.variable))
    shuffled = Tokens(
        **{n: getattr(window.tokens, n)[order] for n in ("values", "valid", "variable", "place")},
        length=window.tokens.length,
    )
    torch.testing.assert_close(
        predict(network, [replace(window, tokens=shuffled)])[0], predict(network, [window])[0], **CLOSE
    )


def test_nothing_hidden_predicts_nothing_and_is_no_error(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    part = water.window(slice(0, 4), slice(0, None), slice(0, None))
    nothing = tokenise(
        part, layout, requested={n: np.zeros(v.values.shape, bool) for n, v in part.of_kind("grid").items()}
    )
    mean, _ = predict(network, [nothing])
    assert mean.shape[:2] == (1, 0)
    both, _ = predict(network, [nothing, windows(water, layout)[0]])
    torch.testing.assert_close(both[1], predict(network, [windows(water, layout)[0]])[0][0], **CLOSE)


def test_a_window_with_nothing_observed_is_finite_and_spoils_no_other(
    network: CrossMAE, water: WaterCube, layout: Layout
) -> None:
    window = windows(water, layout)[0]
    empty = Tokens(
        **{n: getattr(window.tokens, n)[:0] for n in ("values", "valid", "variable", "place")}, length=np.array(0)
    )
    mean, std = predict(network, [replace(window, tokens=empty), window])
    assert torch.isfinite(mean).all() and torch.isfinite(std).all()
    torch.testing.assert_close(mean[1], predict(network, [window])[0][0], **CLOSE)


@pytest.mark.parametrize("present", [["precipitation"], ["pet", "river_flow"], ["river_flow"]])
def test_any_variable_may_be_absent(network: CrossMAE, water: WaterCube, layout: Layout, present: list[str]) -> None:
    part = replace(water, variables={n: water.variables[n] for n in present})
    mean, _ = predict(network, [tokenise(part.window(slice(4, 12), slice(0, None), slice(0, None)), layout)])
    assert torch.isfinite(mean).all()


def test_each_variable_depends_on_the_others(network: CrossMAE, water: WaterCube, layout: Layout) -> None:
    window = water.window(slice(0, 8), slice(0, None), slice(0, None))
    wetter = window.with_values({"precipitation": window.variables["precipitation"].values + 5})
    requested = {"river_flow": np.isnan(window.variables["river_flow"].values)}
    here, there = (predict(network, [tokenise(w, layout, requested=requested)])[0] for w in (window, wetter))
    assert not torch.allclose(here, there)


@pytest.mark.slow
@pytest.mark.parametrize("guesses", [True, False])
def test_the_batched_network_is_the_plain_loop(water: WaterCube, layout: Layout, guesses: bool) -> None:
    layout = layout.model_copy(update={"guesses": guesses})
    network = untrained(layout, water)
    batch = windows(water, layout)
    mean, std = predict(network, batch)
    for row, window in enumerate(batch):
        memory = [loop_encode(network, window.tokens, i) for i in range(len(window.tokens.variable))]
        memory = loop_attend(network, memory)
        for q in range(len(window.queries.variable)):
            expected_mean, expected_std = loop_decode(network, memory, window.queries, q)
            torch.testing.assert_close(mean[row, q], expected_mean, **CLOSE)
            torch.testing.assert_close(std[row, q], expected_std, **CLOSE)


def loop_encode(network: CrossMAE, tokens: Tokens, i: int) -> Tensor:
    """Return one token's embedding, cell by cell: standard scores, flags, type weights, place."""
    embedding, kind = network.encoder.embedding, int(tokens.variable[i])
    n_cells = tokens.values.shape[1]
    row = torch.zeros(embedding.token_types, 2 * n_cells + 1)
    for cell in range(n_cells):
        if tokens.valid[i, cell]:
            value = float(tokens.values[i, cell])
            value = value**0.5 if embedding.square_root[kind] else value
            row[kind, cell] = (value - embedding.center[kind, cell]) / embedding.spread[kind, cell]
            row[kind, n_cells + cell] = 1
    row[kind, 2 * n_cells] = 1
    return embedding.proj.weight @ row.flatten() + embedding.place(torch.from_numpy(tokens.place[i]))


@torch.inference_mode()
def loop_attend(network: CrossMAE, tokens: list[Tensor]) -> list[Tensor]:
    """Compute the encoder's blocks, one token and one head at a time."""
    for block in network.encoder.blocks:
        assert isinstance(block, EncoderBlock)
        normed = [block.norm1(t) for t in tokens]
        query, key, value = zip(*(block.attn.qkv(n).chunk(3) for n in normed), strict=True)
        read = [loop_heads(q, list(key), list(value), block.attn.num_heads) for q in query]
        tokens = [t + block.attn.proj(r) for t, r in zip(tokens, read, strict=True)]
        tokens = [t + block.mlp(block.norm2(t)) for t in tokens]
    assert network.encoder.norm is not None
    return [network.encoder.norm(t) for t in tokens]


@torch.inference_mode()
def loop_decode(network: CrossMAE, memory: list[Tensor], queries: Queries, q: int) -> tuple[Tensor, Tensor]:
    """Predict one query: mask token, place and guesses, cross-attention block by block, the head cell by cell."""
    decoder, embedding, kind = network.decoder, network.encoder.embedding, int(queries.variable[q])
    x = network.queries.mask_token.weight[kind] + network.queries.place(torch.from_numpy(queries.place[q]))
    cells = [loop_cell(network, queries, q, cell) for cell in range(queries.requested.shape[1])]
    features = [loop_features(cell) for cell in cells if cell is not None]
    if network.queries.cells is not None:
        x = x + network.queries.cells(torch.cat(features))
    for block in decoder.blocks:
        assert isinstance(block, CrossBlock)
        keys, values = zip(*(block.cross_attn.kv(m).chunk(2) for m in memory), strict=True)
        requested = block.cross_attn.q(block.norm1(x))
        x = x + block.cross_attn.proj(loop_heads(requested, list(keys), list(values), block.cross_attn.num_heads))
        x = x + block.mlp(block.norm2(x))
    raw = torch.stack([loop_head(network, decoder.norm(x), kind, number, cell) for number, cell in enumerate(cells)])
    loc = embedding.center[kind] + embedding.spread[kind] * raw[:, 0]
    scale = embedding.spread[kind] * (raw[:, 1] + 1e-3)
    if not embedding.square_root[kind]:
        return loc, scale
    loc, scale = loc.double(), scale.double()
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), 1.0)
    wet, at = normal.cdf(loc / scale), normal.log_prob(loc / scale).exp()
    second = (loc**2 + scale**2) * wet + loc * scale * at
    fourth = (loc**4 + 6 * loc**2 * scale**2 + 3 * scale**4) * wet + (loc**3 * scale + 5 * loc * scale**3) * at
    return second.float(), (fourth - second**2).sqrt().float()


class LoopCell(NamedTuple):
    """One cell: standard scores of the guesses that exist, their usual errors, distances."""

    there: set[int]
    scores: dict[int, Tensor]
    errors: dict[int, Tensor]
    distance: Tensor
    anchor: Tensor

    def mixed(self, values: dict[int, Tensor], logits: Tensor | None = None) -> Tensor:
        """Return the mean of values, weighted by errors to the power of minus four and, where given, learnt logits."""
        odds = {g: (self.errors[g] ** -4) * (logits[g].exp() if logits is not None else 1) for g in self.scores}
        total = sum(odds.values(), torch.tensor(0.0))
        return sum((odds[g] * values[g] for g in self.scores), torch.tensor(0.0)) / total


def loop_cell(network: CrossMAE, queries: Queries, q: int, cell: int) -> LoopCell | None:
    embedding, kind = network.encoder.embedding, int(queries.variable[q])
    if network.prior is None:
        return None
    scores = {}
    for g in range(queries.guess.shape[2]):
        if queries.guessed[q, cell, g]:
            value = float(queries.guess[q, cell, g])
            value = max(value, 0.0) ** 0.5 if embedding.square_root[kind] else value
            scores[g] = (value - embedding.center[kind, cell]) / embedding.spread[kind, cell]
    order = [GUESSES.index(name) for name in ("few_eofs", "anomaly", "completed_in_time", "in_time", "mean")]
    anchor = next((scores[g] for g in order if g in scores), torch.tensor(0.0))
    there, scores = set(scores), scores or dict.fromkeys(ALL, torch.tensor(0.0))  # without any: the variable's mean
    place = int(regions(queries.distance[q, cell]))
    usual = network.prior.error[kind, place]
    errors = {g: usual[g] if there else usual.mean() for g in scores}
    return LoopCell(there, scores, errors, torch.from_numpy(queries.distance[q, cell]), anchor)


def loop_features(cell: LoopCell) -> Tensor:
    """Return the features of a cell: asinh of ten times guess minus anchor, flags, distances, anchor, errors."""
    relative = torch.tensor([float(10 * (cell.scores[g] - cell.anchor)) if g in cell.there else 0.0 for g in ALL])
    there = torch.tensor([float(g in cell.there) for g in ALL])
    middle = cell.mixed(cell.scores)
    apart = cell.mixed({g: (score - middle) ** 2 for g, score in cell.scores.items()})
    last = torch.stack([cell.anchor.asinh(), (apart + 1e-6).log(), cell.mixed(cell.errors).log()])
    return torch.cat([relative.asinh(), there, cell.distance, last])


def loop_head(network: CrossMAE, answer: Tensor, kind: int, number: int, cell: LoopCell | None) -> Tensor:
    """Return one cell's location and scale, from its guesses or from its variable's row of weights."""
    head = network.head
    if isinstance(head, PatchHead) or cell is None:
        assert isinstance(head, PatchHead)
        loc, raw = head.pred(answer).view(head.num_variables, head.token_size, 2)[kind, number]
        return torch.stack([loc, torch.nn.functional.softplus(raw + np.log(np.expm1(1.0)))])
    query = head.from_query(answer).view(head.token_size, head.hidden_dim)[number]
    hidden = torch.nn.functional.gelu(query + head.from_cell(loop_features(cell)))
    out = head.out(hidden + torch.nn.functional.gelu(head.between(hidden)))
    scale = cell.mixed(cell.errors) * out[-1].exp()
    return torch.stack([cell.mixed(cell.scores, out[:-2]) + out[-2] * (scale + 1e-3), scale])


def loop_heads(query: Tensor, keys: list[Tensor], values: list[Tensor], num_heads: int) -> Tensor:
    out, width = [], len(query) // num_heads
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = torch.stack([query[part] @ k[part] / width**0.5 for k in keys])
        weights = scores.softmax(0)
        out.append(sum((w * v[part] for w, v in zip(weights, values, strict=True)), torch.zeros(width)))
    return torch.cat(out)
