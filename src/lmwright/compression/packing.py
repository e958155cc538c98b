"""Integers of 8 or 4 bits in words of 32: compressed-tensors' layout `pack-quantized`."""

import torch
import torch.nn.functional as F
from torch import Tensor


def words(columns: int, bits: int) -> int:
    """Words that a row of `columns` values takes."""
    return -(-columns * bits // 32)


def pack(values: Tensor, bits: int = 8) -> Tensor:
    """(N, K) int8 -> (N, W) int32: 2^(bits - 1) is added, the first value has the lowest bits.

    The bits that fill up the last word stand for zeros.
    """
    padded = F.pad(values, (0, -values.shape[1] % (32 // bits))).contiguous().view(torch.uint8)
    if bits == 8:
        return (padded ^ 0x80).view(torch.int32)  # flipping the sign bit adds 128
    raised = (padded + 8) & 15
    return (raised[:, ::2] | raised[:, 1::2] << 4).view(torch.int32)


def unpack(packed: Tensor, columns: int, bits: int = 8) -> Tensor:
    """`pack` undone: (N, W) int32 -> (N, columns) int8."""
    raw = packed.contiguous().view(torch.uint8)
    if bits == 8:
        return (raw ^ 0x80).view(torch.int8)[:, :columns]
    nibbles = torch.stack((raw & 15, raw >> 4), dim=2).view(torch.int8).flatten(1)
    return (nibbles - 8)[:, :columns]
