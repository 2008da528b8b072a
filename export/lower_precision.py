"""Convert the blocks of encoder and decoder to lower precision.

Everything in physical units stays float32: the embedding of values, the first guesses and their weights, the head and
its moments. `halve` is for GPUs, `quantise` for processors that multiply 8-bit numbers (VNNI).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from export.parity import decoder_feed, encoder_feed
from hydrofill.tokens import Queries, Tokens
from model.network.mae import CrossMAE

Feed = Mapping[str, np.ndarray]

LINEAR = ("Gemm", "MatMul")
BLOCK_WEIGHT = re.compile(r"\.blocks\.\d+\.")
# Without this note the quantiser advises to optimise the graph first; the graph is optimised after it.
PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}


class Halved(nn.Module):
    """A module of the encoder in half precision; its first input is cast."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.half()

    def forward(self, x: Tensor | list[Tensor], *others: object) -> Tensor:
        """Return the module's output for `x` in half precision."""
        return self.module([one.half() for one in x] if isinstance(x, list) else x.half(), *others)


def halve(network: CrossMAE) -> None:
    """Convert the blocks of a fused `network`, in place, to half precision, and with them its keys and values.

    The decoder's graph takes queries and gives predictions in float32; it casts them.
    """
    encoder = network.encoder
    encoder.blocks = nn.ModuleList(Halved(block) for block in encoder.blocks)
    if encoder.norm is not None:
        encoder.norm = Halved(encoder.norm)  # type: ignore[assignment]
    if encoder.memories is not None:
        encoder.memories = Halved(encoder.memories)  # type: ignore[assignment]
    network.decoder.half()


def quantise(encoder: bytes, decoder: bytes, batches: Sequence[tuple[Tokens, Queries]]) -> tuple[bytes, bytes]:
    """Return exported graphs with the linear layers of their blocks in 8 bits; the outputs of a layer are float32.

    The scales are fixed: one for each output of the weights, and for a layer's inputs the range seen over `batches`.
    So no prediction depends on the other samples of a batch. Weights are signed with seven bits, inputs are unsigned
    with eight: processors without VNNI add pairs of products in 16 bits, and more bits would overflow.
    """
    first, second = (onnxruntime.InferenceSession(g, providers=["CPUExecutionProvider"]) for g in (encoder, decoder))
    of_encoder = (encoder_feed(first, tokens) for tokens, _ in batches)
    of_decoder = (decoder_feed(first, second, tokens, queries) for tokens, queries in batches)
    return _quantise(encoder, of_encoder), _quantise(decoder, of_decoder)


def _quantise(graph: bytes, feeds: Iterator[Feed]) -> bytes:
    model = onnx.load_from_string(graph)
    layers = [node.name for node in model.graph.node if node.op_type in LINEAR and BLOCK_WEIGHT.search(node.input[1])]
    onnx.helper.set_model_props(model, PREPARED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            model,
            str(path),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LINEAR),
            nodes_to_quantize=layers,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": list(LINEAR)},
        )
        quantised = onnx.load(path)
    del quantised.metadata_props[:]
    return bytes(quantised.SerializeToString(deterministic=True))


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[Feed]) -> None:
        self.feeds = feeds

    def get_next(self) -> Feed | None:
        """Return the next feed, None after the last."""
        return next(self.feeds, None)
