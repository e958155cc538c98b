"""Storage types of GGUF tensors (ggml, `ggml-common.h`): from blocks of few bits to float32.

A block holds a fixed number of neighbouring values of a row and the scale they share.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int8]]


class Layout(NamedTuple):
    """How a storage type packs values."""

    name: str
    values: int
    """Values in a block."""
    size: int
    """Bytes of a block."""
    unpack: Callable[[Bytes], Floats]
    """(blocks, size) bytes -> (blocks, values) float32."""
    split: Callable[[Bytes], tuple[Integers, Floats]] | None = None
    """(blocks, size) bytes -> (blocks, values) integers and (blocks, 1) scales, whose products are
    the values; None where a block is not made so."""


def dequantize(raw: Bytes, type_id: int) -> Floats:
    """The values of a tensor's bytes, flat, in float32; equal to ggml's own to the bit."""
    layout = LAYOUTS[type_id]
    return layout.unpack(raw.reshape(-1, layout.size)).reshape(-1)


def type_name(type_id: int) -> str:
    """ggml's name of a storage type, or its number where it has none we know."""
    return _NAMES.get(type_id, f"number {type_id}")


def readable() -> str:
    """The storage types that are read, for messages."""
    return ", ".join(layout.name for layout in LAYOUTS.values())


def _f32(blocks: Bytes) -> Floats:
    return blocks.view("<f4").astype(np.float32)


def _f16(blocks: Bytes) -> Floats:
    return blocks.view("<f2").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    # bfloat16 is the upper half of a float32.
    return (blocks.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def _split_q8_0(blocks: Bytes) -> tuple[Integers, Floats]:
    """x = d q, q signed bytes."""
    return blocks[:, 2:].view(np.int8), _f16(blocks[:, :2])


def _split_q4_0(blocks: Bytes) -> tuple[Integers, Floats]:
    """x = d (q - 8); the low halves of the 16 bytes are the first 16 values."""
    nibbles = np.concatenate((blocks[:, 2:] & 15, blocks[:, 2:] >> 4), axis=1)
    return nibbles.astype(np.int8) - np.int8(8), _f16(blocks[:, :2])


def _q8_0(blocks: Bytes) -> Floats:
    return _product(*_split_q8_0(blocks))


def _q4_0(blocks: Bytes) -> Floats:
    return _product(*_split_q4_0(blocks))


def _product(integers: Integers, scales: Floats) -> Floats:
    return scales * integers.astype(np.float32)


def _q6_k(blocks: Bytes) -> Floats:
    """x = d s (q - 32), one signed byte s for 16 values; q has its low 4 bits and its high 2 apart.

    Published q4_0 files store the output projection so.
    """
    count = len(blocks)
    low, high, scales, scale = np.split(blocks, (128, 192, 208), axis=1)
    # Each half block: 64 bytes of low bits, of which the low nibbles come first, and 32 of high.
    low = low.reshape(count, 2, 1, 64) >> np.array([0, 4], np.uint8).reshape(1, 1, 2, 1)
    high = high.reshape(count, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    q = (low & 15).reshape(count, 8, 32) | (high & 3).reshape(count, 8, 32) << 4
    values = (q.astype(np.int8) - np.int8(32)).reshape(count, 16, 16).astype(np.float32)
    steps = _f16(scale) * scales.view(np.int8).astype(np.float32)
    return (steps[:, :, None] * values).reshape(count, 256)


LAYOUTS = {
    0: Layout("f32", 1, 4, _f32),
    1: Layout("f16", 1, 2, _f16),
    30: Layout("bf16", 1, 2, _bf16),
    8: Layout("q8_0", 32, 34, _q8_0, _split_q8_0),
    2: Layout("q4_0", 32, 18, _q4_0, _split_q4_0),
    14: Layout("q6_K", 256, 210, _q6_k),
}
"""ggml's number of a storage type -> its layout; what is not here is not read."""

BITS = {8: 8, 2: 4}
"""ggml's number of a storage type that can be split -> bits of its integers."""

_NAMES = {
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
}
