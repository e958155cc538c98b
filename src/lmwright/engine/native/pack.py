"""Weights of linear layers in the order in which the kernels read them; `src/linear.h` draws it."""

import math
import mmap
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lmwright.engine.native.library import Format, LinearWeights

PANEL = 32
"""Output rows that lie together."""
GROUP, WIDE_GROUP = 32, 128
"""Columns that share a scale."""
_HUGE = 2**21  # bytes of a huge page; smaller weights gain nothing from them


@dataclass
class Packed:
    """A linear layer's weights, packed; owns the memory that `weights` points to."""

    format: Format
    rows: int
    columns: int
    values: Tensor
    row_scales: Tensor | None = None
    bias: Tensor | None = None
    factor: float = 1.0
    group: int = GROUP
    weights: LinearWeights = field(init=False)

    def __post_init__(self) -> None:
        self.weights = LinearWeights(
            self.values.data_ptr(),
            None if self.row_scales is None else self.row_scales.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            self.factor,
            self.rows,
            self.columns,
            self.format,
            self.group,
        )

    @property
    def bytes(self) -> int:
        """What a pass reads."""
        return self.values.nbytes + (0 if self.row_scales is None else self.row_scales.nbytes)


@dataclass(frozen=True)
class Source:
    """A linear layer as it is given: floats, or integers with scales.

    Args:
        weight: (N, K), float32, bfloat16 or int8.
        scale: (N, G) float32 of integers: G = K / group, or 1; else None.
        bits: of integers.
        bias: (N,) or None.
        group: columns that share a scale of the activations, and of weights with G > 1: 32 or, of
            8 bits, 128.
    """

    weight: Tensor
    scale: Tensor | None = None
    bits: int = 8
    bias: Tensor | None = None
    group: int = GROUP

    @property
    def format(self) -> Format:
        """How it will be packed."""
        if self.scale is None:
            return Format.BF16 if self.weight.dtype == torch.bfloat16 else Format.F32
        if self.bits == 4:
            return Format.INT4_GROUPS
        return Format.INT8_ROWS if self.scale.shape[1] == 1 else Format.INT8_GROUPS


def pack(source: Source) -> Packed:
    """Pack one layer."""
    return _packed(source, [source])


def pack_gated(gate: Source, up: Source) -> Packed:
    """Pack two layers of one shape so that their panels take turns."""
    assert gate.format == up.format, "the caller compares formats"
    assert gate.weight.shape == up.weight.shape, "gate and up are of one shape"
    assert gate.group == up.group, "gate and up read the same input"
    joined = Source(
        torch.cat((gate.weight, up.weight)),
        None if gate.scale is None or up.scale is None else torch.cat((gate.scale, up.scale)),
        gate.bits,
        group=gate.group,
    )
    return _packed(joined, [gate, up])


def join(parts: list[Source]) -> Source:
    """Layers that read the same input as one, their outputs side by side."""
    scales = [part.scale for part in parts if part.scale is not None]
    biases = [part.bias for part in parts if part.bias is not None]
    return Source(
        torch.cat([part.weight for part in parts]),
        torch.cat(scales) if scales else None,
        parts[0].bits,
        torch.cat(biases) if biases else None,
        parts[0].group,
    )


def pages(size: int) -> Tensor:
    """`size` bytes of zeros, in huge pages where the system has them: a stream through small ones
    waits for address translation. Pages that are never touched take no memory."""
    if size < _HUGE:
        memory = np.zeros(size + 64, np.uint8)
        start = -memory.ctypes.data % 64
        return torch.from_numpy(memory[start : start + size])
    mapped = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return torch.from_numpy(np.frombuffer(mapped, np.uint8))


def _packed(whole: Source, parts: list[Source]) -> Packed:
    """`whole` has the rows of `parts`, whose panels take turns."""
    kind, (rows, columns) = whole.format, whole.weight.shape
    scale, factor = whole.scale, 1.0
    if kind in (Format.INT8_GROUPS, Format.INT4_GROUPS):
        assert scale is not None, "integers have scales"
        factor = _power_of_two(scale)
    panels = [_panels(part, kind, factor) for part in parts]
    values = _taking_turns(panels)
    home = pages(values.nbytes)
    home.copy_(values.reshape(-1).view(torch.uint8))
    row_scales = None
    if kind == Format.INT8_ROWS:
        row_scales = _taking_turns(
            [
                _padded(part.scale[:, 0].float()).view(-1, PANEL)
                for part in parts
                if part.scale is not None
            ]
        )
    bias = None
    if any(part.bias is not None for part in parts):
        biases = [torch.zeros(len(p.weight)) if p.bias is None else p.bias.float() for p in parts]
        bias = _taking_turns([_padded(b).view(-1, PANEL) for b in biases])
    return Packed(kind, rows, columns, home, row_scales, bias, factor, whole.group)


def _taking_turns(panels: list[Tensor]) -> Tensor:
    """Several (P, ...) -> (P * count, ...), one of each in turn."""
    return torch.stack(panels, 1).flatten(0, 1).contiguous()


def _padded(rows: Tensor) -> Tensor:
    """With rows of zeros up to a whole panel."""
    missing = -len(rows) % PANEL
    return rows if not missing else torch.cat((rows, rows.new_zeros(missing, *rows.shape[1:])))


def _power_of_two(scale: Tensor) -> float:
    """f, so that scale / f makes the most of fp16: small scales would lose digits in it."""
    largest = float(scale.max())
    return 2.0 ** (math.floor(math.log2(largest)) - 14) if largest > 0 else 1.0


def _panels(source: Source, kind: Format, factor: float) -> Tensor:
    """(P, bytes of a panel) uint8."""
    weight = _padded(source.weight.detach())
    columns = weight.shape[1]
    if kind == Format.F32:
        return _bytes(weight.view(-1, PANEL, columns).transpose(1, 2))
    if kind == Format.BF16:
        halves = weight.view(torch.int16).view(-1, 2, PANEL // 2, columns)
        return _bytes(halves.permute(0, 3, 2, 1))
    # (P, 32 rows, groups, quads) words of four columns
    offset = 8 if kind == Format.INT4_GROUPS else 128
    quads = (weight.short() + offset).to(torch.uint8).view(torch.int32)
    quads = quads.view(-1, PANEL, columns // source.group, source.group // 4)
    if kind == Format.INT4_GROUPS:
        quads = quads[..., 0::2] | (quads[..., 1::2] << 4)
    count = columns // source.group
    groups = _bytes(quads.permute(0, 2, 3, 1).flatten(0, 1)).view(len(quads), count, -1)
    if kind == Format.INT8_ROWS:
        return groups.flatten(1)
    assert source.scale is not None, "integers have scales"
    scales = (_padded(source.scale) / factor).half().view(len(quads), PANEL, -1).transpose(1, 2)
    halves = _bytes(scales.flatten(0, 1)).view(len(quads), count, -1)
    return torch.cat((groups, halves), 2).flatten(1)


def _bytes(tensor: Tensor) -> Tensor:
    """(P, ...) -> (P, bytes) uint8, in the order of the dimensions."""
    return tensor.contiguous().view(len(tensor), -1).view(torch.uint8)
