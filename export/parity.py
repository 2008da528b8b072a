"""Compare the graphs with the network at shapes that were not used for tracing."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnxruntime
import torch

from hydrofill.bundle import Parity
from hydrofill.general.context import CONTEXT_SHAPES, KINDS, Context
from hydrofill.guesses.first_guesses import DISTANCES
from hydrofill.layout import MAX_VARIABLES
from hydrofill.places import PLACE_FEATURES
from hydrofill.tokens import Queries, Tokens, count_guesses, stack_queries, stack_tokens
from model.network.context import ContextTensors
from model.network.mae import CrossMAE

TOLERANCE = 1e-4
# Of general networks: the random records of the comparison are more extreme than any data, and rounding grows with
# that. A tuned network reached 1.4e-4.
GENERAL_TOLERANCE = 1e-3
# (batch, visible, queries): one and several samples; a single token, a single query, and many of both.
SHAPES = ((1, 1, 1), (1, 300, 37), (3, 64, 200), (3, 5, 1), (4, 129, 513))


class Graphs(Protocol):
    """The two graphs as one function of a batch."""

    def __call__(
        self, tokens: Tokens, queries: Queries, context: Context | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (B, Q, P)."""


class ParityError(ArithmeticError):
    """The graphs do not compute what the network computes."""


def check_parity(network: CrossMAE, encoder: bytes, decoder: bytes, tolerance: float | None = TOLERANCE) -> Parity:
    """Compare the graphs with the network on random fields, with samples of different lengths in a batch.

    A difference is relative to the value's magnitude plus the standard deviation of its variable.

    Args:
        network: the network that the graphs were exported from.
        encoder: the encoder's graph.
        decoder: the decoder's graph.
        tolerance: largest relative difference that is allowed; None allows any.

    Raises:
        ParityError: a difference is above the tolerance, or a value is not finite.
    """
    graphs, worst = run_graphs(encoder, decoder), 0.0
    for seed, shape in enumerate(SHAPES):
        context = random_context(network, shape[0], seed)
        tokens, queries = random_batch(network, *shape, seed=seed)
        tensors = None if context is None else ContextTensors.of(context)
        with torch.inference_mode():
            predicted = network(tokens, queries, tensors)
            std = network.encoder.embedding.scale(torch.from_numpy(queries.variable), tensors)[1].numpy()  # (B, Q, P)
        real = np.arange(shape[2])[None, :] < queries.length[:, None]
        for ours, theirs in zip(graphs(tokens, queries, context), (predicted.mean(), predicted.std()), strict=True):
            wanted = theirs.numpy()
            difference = np.abs(ours - wanted)[real] / (np.abs(wanted) + std)[real]
            if not np.isfinite(ours[real]).all():
                raise ParityError(f"the graphs give values that are not finite at (batch, visible, queries) {shape}")
            worst = max(worst, float(difference.max()))
    if tolerance is not None and worst > tolerance:
        raise ParityError(f"graphs and network differ by {worst:.2g} relative, more than {tolerance:g}")
    named = tuple(dict(zip(("batch", "visible", "queries"), s, strict=True)) for s in SHAPES)
    return Parity(tolerance=tolerance, max_relative_difference=worst, shapes=named)


def run_graphs(encoder: bytes, decoder: bytes) -> Graphs:
    """Return the two graphs as one function of a batch: mean and standard deviation (B, Q, P)."""
    first, second = (onnxruntime.InferenceSession(g, providers=["CPUExecutionProvider"]) for g in (encoder, decoder))

    def run(tokens: Tokens, queries: Queries, context: Context | None = None) -> tuple[np.ndarray, np.ndarray]:
        mean, std = second.run(["mean", "std"], decoder_feed(first, second, tokens, queries, context))
        return mean, std

    return run


def encoder_feed(
    first: onnxruntime.InferenceSession, tokens: Tokens, context: Context | None = None
) -> dict[str, np.ndarray]:
    """Return the encoder's inputs for a batch, by name."""
    told = {} if context is None else context.tensors
    return {i.name: told[i.name] if i.name in told else getattr(tokens, i.name) for i in first.get_inputs()}


def decoder_feed(
    first: onnxruntime.InferenceSession,
    second: onnxruntime.InferenceSession,
    tokens: Tokens,
    queries: Queries,
    context: Context | None = None,
) -> dict[str, np.ndarray]:
    """Run the encoder on a batch and return the decoder's inputs, by name."""
    outputs = [o.name for o in first.get_outputs()]
    memory = dict(zip(outputs, first.run(outputs, encoder_feed(first, tokens, context)), strict=True))
    known = memory | {"length": tokens.length} | ({} if context is None else context.tensors)
    requested = {i.name: i.name.removeprefix("query_") for i in second.get_inputs()}
    return {n: known[n] if n in known else getattr(queries, q) for n, q in requested.items()}


def random_context(network: CrossMAE, batch: int, seed: int) -> Context | None:
    """Return a batch of random contexts for a general network; None for another network."""
    if not network.layout.general:
        return None
    rng = np.random.default_rng((seed, 1))

    def shaped(name: str) -> tuple[int, ...]:
        return (batch, *CONTEXT_SHAPES[name][1])

    kind = rng.integers(0, 2, shaped("kind"))
    kind[:, MAX_VARIABLES:] = KINDS["static_grid"], KINDS["static_site"]
    return Context(
        center=rng.normal(0, 2, shaped("center")).astype(np.float32),
        std=rng.uniform(0.5, 2, shaped("std")).astype(np.float32),
        square_root=rng.random(shaped("square_root")) < 0.3,
        kind=kind,
        descriptor=rng.uniform(-1, 1, shaped("descriptor")).astype(np.float32),
        error=rng.uniform(0.05, 1.5, shaped("error")).astype(np.float32),
    )


def random_batch(network: CrossMAE, batch: int, visible: int, queries: int, seed: int) -> tuple[Tokens, Queries]:
    """Return a batch of random fields in the network's usual range; only the first sample has full length."""
    rng = np.random.default_rng(seed)
    lengths = [(visible, queries)] + [
        (int(rng.integers(1, visible + 1)), int(rng.integers(1, queries + 1))) for _ in range(batch - 1)
    ]
    samples = [_random_tokens(network, rng, n_tokens) for n_tokens, _ in lengths]
    requested = [_random_queries(network, rng, n_queries) for _, n_queries in lengths]
    return stack_tokens(samples), stack_queries(requested)


def _random_tokens(network: CrossMAE, rng: np.random.Generator, number: int) -> Tokens:
    variable = np.sort(rng.integers(0, network.layout.token_types, number))  # static tokens come last
    values = _random_values(network, rng, variable)
    valid = rng.random(values.shape) < 0.7
    places = _random_places(rng, number)
    return Tokens(np.where(valid, values, np.float32(0)), valid, variable, places, np.array(number))


def _random_queries(network: CrossMAE, rng: np.random.Generator, number: int) -> Queries:
    layout = network.layout
    variable = rng.integers(0, layout.first_static_type, number)
    cells = (number, layout.token_size)
    n_guesses, n_distances = count_guesses(layout), len(DISTANCES) if layout.guesses else 0
    values = [_random_values(network, rng, variable) for _ in range(n_guesses)]
    guess = np.stack(values, axis=-1) if values else np.zeros((*cells, 0), np.float32)
    guessed = rng.random(guess.shape) < 0.7
    return Queries(
        variable=variable,
        place=_random_places(rng, number),
        requested=np.ones(cells, bool),
        guess=np.where(guessed, guess, np.float32(0)),
        guessed=guessed,
        distance=rng.random((*cells, n_distances), np.float32),
        length=np.array(number),
    )


def _random_values(network: CrossMAE, rng: np.random.Generator, variable: np.ndarray) -> np.ndarray:
    """Return values (L, P) float32 in the usual range of each token's variable."""
    embedding = network.encoder.embedding
    if network.layout.general:  # its scales come with the record
        return rng.normal(0, 2, (len(variable), network.layout.token_size)).astype(np.float32)
    scores = rng.standard_normal((len(variable), network.layout.token_size))
    z = embedding.center.numpy()[variable] + embedding.spread.numpy()[variable] * scores
    root = embedding.square_root.numpy()[variable][:, None]
    return np.where(root, np.maximum(z, 0) ** 2, z).astype(np.float32)


def _random_places(rng: np.random.Generator, number: int) -> np.ndarray:
    place = rng.uniform(-1, 1, (number, len(PLACE_FEATURES)))
    place[:, :3] *= 16
    return place.astype(np.float32)
