"""The network: values in physical units in, predictive distributions in physical units out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hydrofill.layout import Layout
from hydrofill.tokens import Queries, Tokens
from model.config import NetworkConfig
from model.network.context import ContextTensors
from model.network.decoder import Canvas, CrossDecoder, DecoderInputs, FullDecoder, QueryEmbedding
from model.network.encoder import Encoder
from model.network.fusion import Memory, PooledVariables, mean_token
from model.network.general_heads import GENERAL_CELL_FEATURES, GeneralHead, GeneralPrior
from model.network.heads import CELL_FEATURES, CellGuesses, GuessHead, GuessPrior, PatchHead, Predictive
from model.network.layers import WeightedFeatureMaps, real_tokens

INITIAL_STD = 0.01  # of the first weights of the last layer over guesses


class Statistics(NamedTuple):
    """Mean and standard deviation of each token type over observed training cells, (types, P) float32.

    They are in the network's space: after the square root for variables that use it.
    """

    center: np.ndarray
    std: np.ndarray


class CrossMAE(nn.Module):
    """A multimodal masked autoencoder for water data with gaps, in every variant that the configuration can name.

    By default the tokens of all variables form one memory, which is not pooled and which the queries read by
    cross-attention. With `layout.guesses` the queries also carry classical first guesses, which the network corrects.
    Source: Fu et al. 2024.
    """

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        self.layout, self.config = layout, config
        cells, num_variables, dim = layout.token_size, layout.first_static_type, config.decoder_dim
        self.encoder = Encoder(layout, config)
        self.canvas = Canvas(config, layout.token_types) if config.decoder == "full" else None
        self.variables = (
            PooledVariables(num_variables, layout.token_types, config.memory_width)
            if config.fusion == "pooled"
            else None
        )
        features = GENERAL_CELL_FEATURES if layout.general else CELL_FEATURES
        self.queries = QueryEmbedding(num_variables, cells * features if layout.guesses else 0, dim, layout.general)
        self.decoder = FullDecoder(config) if config.decoder == "full" else CrossDecoder(config, num_variables)
        self.head = _head(layout, dim)
        self.general = GeneralPrior() if layout.general else None
        self.prior = GuessPrior(num_variables) if layout.guesses and not layout.general else None
        if not layout.general:
            roots = [v.transform == "sqrt" for v in layout.variables]
            self.encoder.embedding.square_root[: len(roots)] = torch.tensor(roots)
        self.apply(_initialise)
        if isinstance(self.head, GuessHead | GeneralHead):
            nn.init.normal_(
                self.head.out.weight, std=INITIAL_STD
            )  # a new network is close to a weighted mean of the guesses

    def set_statistics(self, statistics: Statistics) -> None:
        """Set the mean and standard deviation by which physical values are standardised."""
        self.encoder.embedding.center.copy_(torch.from_numpy(statistics.center))
        self.encoder.embedding.spread.copy_(torch.from_numpy(statistics.std))

    def set_guess_errors(self, errors: np.ndarray) -> None:
        """Set the root mean square error of each first guess, (V, R, G), in standard scores of each variable."""
        if self.prior is not None:
            self.prior.error.copy_(torch.from_numpy(errors))

    def encode(
        self,
        values: Tensor,
        valid: Tensor,
        variable: Tensor,
        place: Tensor,
        length: Tensor,
        *,
        context: ContextTensors | None = None,
    ) -> Memory:
        """Return the memory of visible tokens, which the decoder reads; a general network needs the `context`."""
        memory = self.encoder(values, valid, variable, place, length, context)
        real = real_tokens(memory.length, memory.tokens.shape[1])
        if self.variables is not None:
            return self.variables(memory, real)
        if self.config.memory == "sequence":
            return memory
        pooled = mean_token(memory.tokens, real)
        if self.canvas is not None:
            return Memory(self.canvas(pooled, variable, place), memory.length, variable)
        return Memory(pooled, torch.ones_like(memory.length), variable[:, :1])

    def decode(self, memory: Memory, requested: DecoderInputs, context: ContextTensors | None = None) -> Predictive:
        """Return the predictive distributions of the cells of all queries, (B, Q, P)."""
        x, cells = self.embed_queries(requested, context)
        return self.predict(self.decoder(x, memory, requested), cells, requested.variable, context)

    def embed_queries(
        self, requested: DecoderInputs, context: ContextTensors | None = None
    ) -> tuple[Tensor, CellGuesses | None]:
        """Return embedded queries (B, Q, D) and their first guesses, None in a network without first guesses."""
        cells = self._cells(requested, context) if self.layout.guesses else None
        return self.queries(requested, None if cells is None else cells.features.flatten(-2), context), cells

    def predict(
        self, output: Tensor, cells: CellGuesses | None, variable: Tensor, context: ContextTensors | None = None
    ) -> Predictive:
        """Return predictive distributions (B, Q, P) from the decoder's outputs (B, Q, D) for `variable` (B, Q)."""
        loc, scale = self.head(output, variable if cells is None else cells)
        center, std, censored = self.encoder.embedding.scale(variable, context)  # (B, Q, P)
        return Predictive(center + std * loc, std * scale, censored)

    def forward(self, tokens: Tokens, queries: Queries, context: ContextTensors | None = None) -> Predictive:
        """Return the predictive distributions (B, Q, P) for a batch of `stack_tokens` and `stack_queries`."""
        visible = self.tensors(tokens.values, tokens.valid, tokens.variable, tokens.place, tokens.length)
        memory = self.encode(*visible, context=context)
        known = (queries.guess, queries.guessed, queries.distance)
        requested = DecoderInputs(*self.tensors(queries.variable, queries.place, queries.length, *known))
        return self.decode(memory, requested, context)

    def tensors(self, *arrays: np.ndarray) -> list[Tensor]:
        """Return arrays as tensors on the device of the weights."""
        device = self.decoder.norm.weight.device
        return [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]

    def _cells(self, requested: DecoderInputs, context: ContextTensors | None) -> CellGuesses:
        variable, guessed, distance = requested.variable, requested.guessed, requested.distance
        center, std, root = (table.unsqueeze(-1) for table in self.encoder.embedding.scale(variable, context))
        z = torch.where(root, requested.guess.clamp(min=0).sqrt(), requested.guess)
        scores = (z - center) / std  # (B, Q, P, G)
        if self.general is not None and context is not None:
            return self.general.read(scores, guessed, distance, variable, context)
        assert self.prior is not None
        return self.prior.read(scores, guessed, distance, variable)


def _head(layout: Layout, dim: int) -> GeneralHead | GuessHead | PatchHead:
    if layout.general:
        return GeneralHead(dim, layout.token_size)
    if layout.guesses:
        return GuessHead(dim, layout.token_size)
    return PatchHead(dim, layout.first_static_type, layout.token_size)


def _initialise(module: nn.Module) -> None:
    """Initialise as MAE does: linear layers Xavier uniform with zero bias, mask tokens N(0, 0.02)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, WeightedFeatureMaps):  # after its linear layer: inner modules are visited first
        nn.init.normal_(module.linear.weight, std=module.linear.in_features**-0.5)
