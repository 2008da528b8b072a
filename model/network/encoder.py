"""Visible tokens -> memory: the whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydrofill.layout import Layout
from model.config import NetworkConfig
from model.network.fusion import Memory, chosen_first, keys_of
from model.network.layers import NORM_EPS, EncoderBlock, Keys, LayerMemories, padding_of, real_tokens
from model.network.positions import PlaceEncoding

Y_X = slice(1, 3)  # columns of PLACE_FEATURES: cells from the window's centre
SAME_PLACE_CELLS = 0.25  # patches and sites are at least one cell apart, or one and the same


class TokenEmbedding(nn.Module):
    """Values (B, L, P) in physical units with their validity -> (B, L, D); each token type has its own weights.

    An unseen cell enters as 0 with its flag at 0, so its stored value cannot matter.
    """

    def __init__(self, token_types: int, token_size: int, dim: int) -> None:
        super().__init__()
        self.token_types = token_types
        self.center: Tensor
        self.spread: Tensor
        self.square_root: Tensor
        self.proj = nn.Linear(token_types * (2 * token_size + 1), dim, bias=False)
        self.place = PlaceEncoding(dim)
        self.register_buffer("center", torch.zeros(token_types, token_size))
        self.register_buffer("spread", torch.ones(token_types, token_size))
        self.register_buffer("square_root", torch.zeros(token_types, dtype=torch.bool))

    def content(self, values: Tensor, valid: Tensor, variable: Tensor) -> Tensor:
        """What the cells say, (B, L, D), without place and time."""
        scores = self.standardise(values, variable)
        seen = valid.to(scores.dtype)
        scores = torch.where(valid, scores, torch.zeros_like(scores))
        content = torch.cat([scores, seen, torch.ones_like(seen[..., :1])], dim=-1)  # (B, L, 2P + 1)
        kind = F.one_hot(variable, self.token_types).to(scores.dtype)  # (B, L, types)
        by_type = (kind.unsqueeze(-1) * content.unsqueeze(-2)).flatten(-2)  # (B, L, types * (2P + 1))
        return self.proj(by_type)

    def standardise(self, values: Tensor, variable: Tensor) -> Tensor:
        """Physical values as standard scores of their token type, in the network's space."""
        root = self.square_root[variable].unsqueeze(-1)
        z = torch.where(root, values.clamp(min=0).sqrt(), values)
        return (z - self.center[variable]) / self.spread[variable]


class StaticAttributes(nn.Module):
    """Static attributes of a place joined to the tokens there: added (`add`), or as scale and shift (`film`).

    Static tokens come last and are taken out of the sequence; each gives to the tokens of its own place,
    patches to patches and sites to sites.
    """

    def __init__(self, dim: int, as_film: bool) -> None:
        super().__init__()
        self.as_film = as_film
        self.to_shift = nn.Linear(dim, dim)
        self.to_scale = nn.Linear(dim, dim) if as_film else None

    def forward(self, x: Tensor, place: Tensor, content: Tensor, given_at: Tensor, may_give: Tensor) -> Tensor:
        """Tokens `x` (B, L, D) at `place` (B, L, C) joined by what static tokens there give.

        Args:
            x: tokens.
            place: of the tokens.
            content: (B, S, D) of the static tokens.
            given_at: (B, S, C) their places.
            may_give: (B, L, S) bool, which of them may give to each token.
        """
        away = (place[..., Y_X].unsqueeze(2) - given_at[..., Y_X].unsqueeze(1)).abs().amax(-1)  # (B, L, S)
        weight = ((away < SAME_PLACE_CELLS) & may_give).to(x.dtype)
        count = weight.sum(-1, keepdim=True)
        given = weight @ content / count.clamp(min=1)
        scale = torch.zeros_like(x) if self.to_scale is None else self.to_scale(given)
        return torch.where(count > 0, x * (1 + scale) + self.to_shift(given), x)


class Encoder(nn.Module):
    """Embedding, transformer blocks, final norm: tokens (B, L, ...) -> Memory, the whole sequence, never pooled.

    With `feature_layers` it hands on every decoder layer's own mix of those layers' maps (B, L, depth * D).
    """

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config, self.num_variables = config, len(layout.variables)
        self.on_sites: Tensor
        sites = [v.kind == "series" for v in layout.variables] + [False, True]
        self.register_buffer("on_sites", torch.tensor(sites), persistent=False)
        self.embedding = TokenEmbedding(layout.token_types, layout.token_size, dim)
        joined = config.static in ("add", "film")
        self.static = StaticAttributes(dim, config.static == "film") if joined else None
        self.blocks = nn.ModuleList(EncoderBlock(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth))
        num_maps = len(config.feature_layers) + int(config.use_input)
        self.norm = None if num_maps else nn.LayerNorm(dim, eps=NORM_EPS)
        self.memories = LayerMemories(num_maps, config.decoder_depth, dim) if num_maps else None

    def forward(self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor, length: Tensor) -> Memory:
        x, length = self._embed(values, valid, variable, place, length)
        real: Keys = padding_of(length, values.shape[1])
        if self.config.fusion != "joint":
            real = keys_of(variable, variable, length, self.num_variables)
        maps = [x] if self.config.use_input else []
        for number, block in enumerate(self.blocks):
            x = block(x, real)
            if number in self.config.feature_layers:
                maps.append(x)
        tokens = self.norm(x) if self.norm is not None else x
        return Memory(tokens if self.memories is None else self.memories(maps), length, variable)

    def _embed(
        self, values: Tensor, valid: Tensor, variable: Tensor, place: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens, and how many of each sample's take part."""
        content = self.embedding.content(values, valid, variable)
        x = content + self.embedding.place(place)
        if self.config.static == "token":
            return x, length
        is_static = variable >= self.num_variables
        real = real_tokens(length, values.shape[1])
        if self.static is not None:
            sites, (index, gives) = self.on_sites[variable], chosen_first(is_static & real)
            may_give = gives.unsqueeze(1) & (sites.unsqueeze(2) == sites.gather(1, index).unsqueeze(1))
            given = (
                values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1])) for values in (content, place)
            )
            x = self.static(x, place, *given, may_give)
        return x, length - (is_static & real).sum(1)
