"""Check the bytes of an ONNX graph before ONNX Runtime reads them: bundles may come from strangers.

A graph may hold only what exports of hydrofill and ONNX Runtime's optimisation put into it: known operators, and
weights inside the file. Everything else is refused by name: external data, which would be read from other files,
subgraphs and functions, sparse tensors, other operators and domains, sizes that are not those of the data.

Source: the protocol buffers of ONNX (onnx.proto3 of ONNX 1.17) and their encoding (protobuf.dev/programming-guides).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hydrofill.errors import BundleError

MAX_FIELDS = 500_000  # of all messages together; a shipped graph has at most 10,000
MAX_DIMENSIONS = 8
MAX_SIZE = 2**31  # of one dimension, and bytes of one tensor
MAX_VARINT_BYTES = 10
STANDARD = """
    Abs Add And Asinh Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos CumSum DequantizeLinear Div Einsum Elu
    Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual Identity IsInf
    IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max Mean Min Mod Mul Neg Not
    Or Pad Pow QLinearMatMul QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Sinh Slice Softmax
    Softplus Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
OF_ONNX_RUNTIME = """
    Attention BiasGelu BiasSoftmax DequantizeLinear DynamicQuantizeMatMul FastGelu FusedGemm FusedMatMul Gelu
    MatMulIntegerToFloat MultiHeadAttention QAttention QGemm QLinearAdd QLinearConcat QLinearMul QLinearSigmoid
    QLinearSoftmax QuantizeLinear QuickGelu SkipLayerNormalization
"""
OPERATORS: Mapping[str, frozenset[str]] = {
    "": frozenset(STANDARD.split()),
    "com.microsoft": frozenset(OF_ONNX_RUNTIME.split()),
}
# Types of tensors, by their number in ONNX.
TYPES: Mapping[int, str] = {
    1: "f4",
    2: "u1",
    3: "i1",
    6: "i4",
    7: "i8",
    9: "?",
    10: "f2",
    11: "f8",
}
TYPED_DATA = {4: "f4", 5: "int", 7: "int", 10: "f8"}  # fields of a tensor that hold its values one by one
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types


class Field(NamedTuple):
    """A field that a message may have: its wire types, the message in it, and whether it may be repeated."""

    wires: tuple[int, ...]
    message: str = ""
    many: bool = False


INT, TEXT, FLOAT = Field((VARINT,)), Field((LENGTH,)), Field((FOUR,))
TEXTS, INTS, FLOATS = (Field(wires, many=True) for wires in ((LENGTH,), (VARINT, LENGTH), (FOUR, LENGTH)))


def _one(message: str) -> Field:
    return Field((LENGTH,), message)


def _many(message: str) -> Field:
    return Field((LENGTH,), message, many=True)


# The fields that each message may have, by number. No message contains itself, so that the depth is bounded.
MESSAGES: Mapping[str, Mapping[int, Field]] = {
    "model": {
        1: INT,
        2: TEXT,
        3: TEXT,
        4: TEXT,
        5: INT,
        6: TEXT,
        7: _one("graph"),
        8: _many("opset"),
        14: _many("entry"),
    },
    "opset": {1: TEXT, 2: INT},
    "entry": {1: TEXT, 2: TEXT},
    "graph": {
        1: _many("node"),
        2: TEXT,
        5: _many("tensor"),
        10: TEXT,
        **dict.fromkeys((11, 12, 13), _many("value")),
        16: _many("entry"),
    },
    "node": {1: TEXTS, 2: TEXTS, 3: TEXT, 4: TEXT, 5: _many("attribute"), 6: TEXT, 7: TEXT, 9: _many("entry")},
    "attribute": {
        1: TEXT,
        2: FLOAT,
        3: INT,
        4: TEXT,
        5: _one("tensor"),
        7: FLOATS,
        8: INTS,
        9: TEXTS,
        13: TEXT,
        20: INT,
    },
    "tensor": {
        1: INTS,
        2: INT,
        4: FLOATS,
        5: INTS,
        7: INTS,
        8: TEXT,
        9: TEXT,
        10: Field((EIGHT, LENGTH), many=True),
        12: TEXT,
        14: INT,
        16: _many("entry"),
    },
    "value": {1: TEXT, 2: _one("type"), 3: TEXT, 4: _many("entry")},
    "type": {1: _one("tensor type"), 6: TEXT},
    "tensor type": {1: INT, 2: _one("shape")},
    "shape": {1: _many("dimension")},
    "dimension": {1: INT, 2: TEXT, 3: TEXT},
}
REFUSED: Mapping[tuple[str, int], str] = {
    ("model", 20): "training",
    ("model", 25): "functions",
    ("graph", 15): "sparse tensors",
    ("attribute", 6): "subgraphs",
    ("attribute", 11): "subgraphs",
    ("attribute", 21): "references to a function's attributes",
    ("attribute", 22): "sparse tensors",
    ("attribute", 23): "sparse tensors",
    ("tensor", 3): "segments of tensors",
    ("tensor", 6): "tensors of text",
    ("tensor", 13): "external data",
}
Value = int | memoryview
Fields = Mapping[int, Sequence[Value]]


class _NotAllowedError(ValueError):
    """What is wrong with the graph; the message is one line."""


def check_graph(name: str, file: str, content: bytes) -> None:
    """Check that a graph holds only what bundles may hold.

    Args:
        name: of the bundle.
        file: the graph's file in it.
        content: the bytes of the file.

    Raises:
        BundleError: the bytes are not a graph, or hold something else; names the file and what it is.
    """
    try:
        if 7 not in _read("model", memoryview(content), iter(range(MAX_FIELDS))):
            raise _NotAllowedError("holds no graph")
    except _NotAllowedError as error:
        raise BundleError(f"{file} {error}", where=name) from error


def _read(message: str, data: memoryview, left: Iterator[int]) -> Fields:
    """Return the fields of a message, which is checked with all that it contains; `left` ends with the last allowed."""
    found: dict[int, list[Value]] = {}
    allowed = MESSAGES[message]
    for number, wire, value in _fields(data):
        if number not in allowed:
            raise _NotAllowedError(f"holds {REFUSED.get((message, number), f'field {number} of a {message}')}")
        if next(left, None) is None:
            raise _NotAllowedError(f"holds more than {MAX_FIELDS} fields")
        field = allowed[number]
        if wire not in field.wires or (number in found and not field.many):
            raise _NotAllowedError(f"is damaged: field {number} of a {message}")
        found.setdefault(number, []).append(value)
        if field.message:
            _read(field.message, _bytes(value), left)
    if message == "node":
        _check_node(found)
    elif message == "tensor":
        _check_tensor(found)
    elif message == "dimension" and not 0 <= _number(found, 1) < MAX_SIZE:
        raise _NotAllowedError("has a dimension of impossible size")
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Yield number, wire type and value of each field."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire not in (EIGHT, LENGTH, FOUR):
            raise _NotAllowedError("is not an ONNX graph, or is damaged")
        size, at = _varint(data, at) if wire == LENGTH else (8 if wire == EIGHT else 4, at)
        if size > len(data) - at:
            raise _NotAllowedError("is damaged: it ends too early")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at `at` and the position after it."""
    value = 0
    for place, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise _NotAllowedError("is not an ONNX graph, or is damaged")


def _check_node(node: Fields) -> None:
    operator, domain = _text(node, 4), _text(node, 7)
    if operator not in OPERATORS.get(domain, ()):
        raise _NotAllowedError(f"holds the operator {domain + ':' if domain else ''}{operator}, which no export makes")


def _check_tensor(tensor: Fields) -> None:
    """Refuse a tensor whose values are not in it, are not as many as its shape says, or are not numbers."""
    name, code = _text(tensor, 8), _number(tensor, 2)
    if _number(tensor, 14):
        raise _NotAllowedError(f"holds external data, of {name!r}")
    if code not in TYPES:
        raise _NotAllowedError(f"holds {name!r} of the type {code}, which no export makes")
    dtype = np.dtype(TYPES[code])
    dims = _integers(tensor.get(1, ()))
    count = math.prod(dims)
    if len(dims) > MAX_DIMENSIONS or any(dim < 0 for dim in dims) or count * dtype.itemsize >= MAX_SIZE:
        raise _NotAllowedError(f"holds {name!r} of impossible size: {dims}")
    raw = 9 in tensor
    if raw and len(_bytes(tensor[9][0])) != count * dtype.itemsize:
        raise _NotAllowedError(f"holds {name!r} with {len(_bytes(tensor[9][0]))} bytes, not those of its shape {dims}")
    typed = {number: _count(tensor[number], kind) for number, kind in TYPED_DATA.items() if number in tensor}
    if (not raw and sum(typed.values()) != count) or (raw and typed):
        raise _NotAllowedError(f"holds {name!r} with {sum(typed.values())} values, not those of its shape {dims}")
    if dtype.kind != "f":
        return
    held = [(dtype, tensor[9])] if raw else [(np.dtype(TYPED_DATA[n]), tensor[n]) for n in (4, 10) if n in tensor]
    for kind, parts in held:
        values = np.frombuffer(b"".join(map(_bytes, parts)), kind)
        if np.isnan(values).any() or (count > 1 and not np.isfinite(values).all()):
            raise _NotAllowedError(f"holds {name!r} with values that are not finite")


def _count(parts: Sequence[Value], kind: str) -> int:
    """Return the number of values in packed and single parts of a field."""
    if kind == "int":
        return sum(1 if isinstance(part, int) else _varints_in(part) for part in parts)
    sizes = [len(_bytes(part)) for part in parts]
    if any(size % np.dtype(kind).itemsize for size in sizes):
        raise _NotAllowedError("is damaged: values end too early")
    return sum(sizes) // np.dtype(kind).itemsize


def _varints_in(part: memoryview) -> int:
    return int(np.count_nonzero(np.frombuffer(part, np.uint8) < 128))


def _integers(parts: Sequence[Value]) -> list[int]:
    """Return the numbers in packed and single parts of a field; negative ones as -1."""
    found = []
    for part in parts:
        if isinstance(part, int):
            found.append(part)
            continue
        at, end = 0, min(len(part), MAX_DIMENSIONS * MAX_VARINT_BYTES + 1)
        while at < end:
            value, at = _varint(part, at)
            found.append(value)
    return [value if value < 2**63 else -1 for value in found]


def _bytes(value: Value) -> memoryview:
    assert isinstance(value, memoryview)  # by the wire types that the field may have
    return value


def _number(fields: Fields, number: int) -> int:
    (value,) = fields.get(number, (0,))
    assert isinstance(value, int)  # by the wire types that the field may have
    return value


def _text(fields: Fields, number: int) -> str:
    return bytes(_bytes(fields[number][0])).decode("utf-8", "replace") if number in fields else ""
