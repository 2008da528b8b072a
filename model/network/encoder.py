"""The encoder: visible tokens to a memory of the whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydrofill.general.context import DESCRIPTORS, KINDS
from hydrofill.layout import Layout
from model.config import NetworkConfig
from model.network.context import ContextTensors, of_type
from model.network.fusion import Memory, chosen_first, keys_of
from model.network.layers import NORM_EPS, EncoderBlock, KeySelection, LayerMemories, padding_of, real_tokens
from model.network.positions import PlaceEncoding

Y_X = slice(1, 3)  # columns of PLACE_FEATURES: cells from the window's centre
SAME_PLACE_CELLS = 0.25  # different patches and sites are at least one cell apart


class TokenEmbedding(nn.Module):
    """Embeds values (B, L, P) in physical units with their validity as (B, L, D); each token type has its own weights.

    A cell that is not visible enters as 0 with its flag at 0, so its stored value has no effect.
    """

    def __init__(self, token_types: int, token_size: int, dim: int, relative: bool = False) -> None:
        super().__init__()
        self.token_types = token_types
        self.center: Tensor
        self.spread: Tensor
        self.square_root: Tensor
        self.proj = nn.Linear(token_types * (2 * token_size + 1), dim, bias=False)
        self.place = PlaceEncoding(dim, relative)
        self.register_buffer("center", torch.zeros(token_types, token_size))
        self.register_buffer("spread", torch.ones(token_types, token_size))
        self.register_buffer("square_root", torch.zeros(token_types, dtype=torch.bool))

    def content(self, values: Tensor, valid: Tensor, variable: Tensor, context: ContextTensors | None = None) -> Tensor:
        """Return the embedded values (B, L, D) without place and time."""
        scores = self.standardise(values, variable, context)
        seen = valid.to(scores.dtype)
        scores = torch.where(valid, scores, torch.zeros_like(scores))
        content = torch.cat([scores, seen, torch.ones_like(seen[..., :1])], dim=-1)  # (B, L, 2P + 1)
        return self.project(content, variable, context)

    def project(self, content: Tensor, variable: Tensor, context: ContextTensors | None) -> Tensor:  # noqa: ARG002
        """Return scores and flags (B, L, 2P + 1) as (B, L, D), by the weights of each token type."""
        return self.proj(_by_type(content, variable, self.token_types))

    def standardise(self, values: Tensor, variable: Tensor, context: ContextTensors | None = None) -> Tensor:
        """Return physical values as standard scores of their token type, after the square root where it is used."""
        center, std, root = self.scale(variable, context)
        z = torch.where(root, values.clamp(min=0).sqrt(), values)
        return (z - center) / std

    def scale(self, variable: Tensor, context: ContextTensors | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and std (B, L, P) of token types (B, L), and whether square roots are used, (B, L, 1)."""
        if context is None:
            return self.center[variable], self.spread[variable], self.square_root[variable].unsqueeze(-1)
        root = of_type(context.square_root, variable).unsqueeze(-1)
        return of_type(context.center, variable), of_type(context.std, variable), root


class GeneralEmbedding(TokenEmbedding):
    """Embeds values by the context of their record: one set of weights for each kind of token, none for a variable.

    Variables differ by their descriptors, and by a vector of their slot that says which tokens belong together.
    """

    def __init__(self, token_types: int, token_size: int, dim: int) -> None:
        super().__init__(len(KINDS), token_size, dim, relative=True)
        self.slot = nn.Embedding(token_types, dim)
        self.describe = nn.Linear(len(DESCRIPTORS), dim)

    def project(self, content: Tensor, variable: Tensor, context: ContextTensors | None) -> Tensor:
        """Return scores and flags (B, L, 2P + 1) as (B, L, D), by the weights of each kind of token."""
        assert context is not None
        by_kind = self.proj(_by_type(content, of_type(context.kind, variable), self.token_types))
        return by_kind + self.slot(variable) + self.describe(of_type(context.descriptor, variable))


def _by_type(content: Tensor, number: Tensor, of: int) -> Tensor:
    """Return `content` (B, L, C) in the place of its type, number (B, L) `of` so many: (B, L, of * C)."""
    kind = F.one_hot(number, of).to(content.dtype)
    return (kind.unsqueeze(-1) * content.unsqueeze(-2)).flatten(-2)


class StaticAttributes(nn.Module):
    """Joins the static attributes of a place to the tokens there: added (`add`), or as scale and shift (`film`).

    Static tokens come last and are removed from the sequence. Each is joined to the tokens of its own place, patches to
    patches and sites to sites.
    """

    def __init__(self, dim: int, as_film: bool) -> None:
        super().__init__()
        self.as_film = as_film
        self.to_shift = nn.Linear(dim, dim)
        self.to_scale = nn.Linear(dim, dim) if as_film else None

    def forward(self, x: Tensor, place: Tensor, content: Tensor, static_place: Tensor, allowed: Tensor) -> Tensor:
        """Return tokens (B, L, D) with the static attributes of their places.

        Args:
            x: (B, L, D) tokens.
            place: (B, L, C) places of the tokens.
            content: (B, S, D) embedded values of the static tokens.
            static_place: (B, S, C) places of the static tokens.
            allowed: (B, L, S) bool, which static tokens may be joined to each token.
        """
        away = (place[..., Y_X].unsqueeze(2) - static_place[..., Y_X].unsqueeze(1)).abs().amax(-1)  # (B, L, S)
        weight = ((away < SAME_PLACE_CELLS) & allowed).to(x.dtype)
        count = weight.sum(-1, keepdim=True)
        mean = weight @ content / count.clamp(min=1)
        scale = torch.zeros_like(x) if self.to_scale is None else self.to_scale(mean)
        return torch.where(count > 0, x * (1 + scale) + self.to_shift(mean), x)


class Encoder(nn.Module):
    """Embedding, transformer blocks and final norm: tokens (B, L, ...) to a memory of the whole sequence.

    With `feature_layers` the memory holds, for every decoder layer, its own mix of the maps (B, L, depth * D).
    """

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config, self.num_variables = config, layout.first_static_type
        self.on_sites: Tensor
        sites = [v.kind == "series" for v in layout.variables] + [False, True]
        self.register_buffer("on_sites", torch.tensor(sites), persistent=False)
        embedding = GeneralEmbedding if layout.general else TokenEmbedding
        self.embedding = embedding(layout.token_types, layout.token_size, dim)
        joined = config.static in ("add", "film")
        self.static = StaticAttributes(dim, config.static == "film") if joined else None
        self.blocks = nn.ModuleList(EncoderBlock(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth))
        num_maps = len(config.feature_layers) + int(config.use_input)
        self.norm = None if num_maps else nn.LayerNorm(dim, eps=NORM_EPS)
        self.memories = LayerMemories(num_maps, config.decoder_depth, dim) if num_maps else None

    def forward(
        self,
        values: Tensor,
        valid: Tensor,
        variable: Tensor,
        place: Tensor,
        length: Tensor,
        context: ContextTensors | None = None,
    ) -> Memory:
        x, length = self._embed(values, valid, variable, place, length, context)
        real: KeySelection = padding_of(length, values.shape[1])
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
        self,
        values: Tensor,
        valid: Tensor,
        variable: Tensor,
        place: Tensor,
        length: Tensor,
        context: ContextTensors | None,
    ) -> tuple[Tensor, Tensor]:
        """Return embedded tokens (B, L, D) and the number of tokens of each sample that are encoded (B,)."""
        content = self.embedding.content(values, valid, variable, context)
        x = content + self.embedding.place(place)
        if self.config.static == "token":
            return x, length
        is_static = variable >= self.num_variables
        real = real_tokens(length, values.shape[1])
        if self.static is not None:
            sites, (index, chosen) = self.on_sites[variable], chosen_first(is_static & real)
            allowed = chosen.unsqueeze(1) & (sites.unsqueeze(2) == sites.gather(1, index).unsqueeze(1))
            given = (
                values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1])) for values in (content, place)
            )
            x = self.static(x, place, *given, allowed)
        return x, length - (is_static & real).sum(1)
