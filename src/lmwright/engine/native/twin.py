"""The quantised arithmetic in plain PyTorch: what the kernels compute, where rounding is concerned.

Activations are rounded to 8 bits in groups of 32, each with the scale max|x| / 127, so that a
token's result depends on that token alone. Products of integers are exact; they are scaled and
added up in fp32, group after group.
"""

import copy

import torch
from torch import Tensor, nn

from lmwright.compression.rounding import Grid, quantize_rows
from lmwright.models.transformer import Decoder

GROUP = 32
"""Columns that share a scale, of activations and of weights."""
_SMALLEST = 1e-30  # groups below count as zeros: 127 over their largest value could be infinite


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round to 8 bits in groups.

    Args:
        x: (N, K) float32, K a multiple of 32.

    Returns:
        values (N, K) int8; scales (N, K / 32) float32, with x = values * scale nearly.
    """
    groups = x.view(len(x), -1, GROUP)
    largest = groups.abs().amax(2, keepdim=True)
    inverse = torch.where(largest > _SMALLEST, 127.0 / largest, 0.0)
    values = (groups * inverse).round().to(torch.int8).view(x.shape)
    return values, (largest / 127.0)[:, :, 0]


def product(
    values: Tensor,
    scales: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Rows of quantised activations times quantised weights.

    Args:
        values, scales: as `quantize_activations` gives them.
        weight: (N', K) int8.
        weight_scale: (N', K / 32) float32, or (N', 1).
        bias: (N',) or None.

    Returns:
        (N, N') float32.
    """
    total = torch.zeros(len(values), len(weight))
    for group in range(scales.shape[1]):
        columns = slice(group * GROUP, (group + 1) * GROUP)
        # Exact in fp32: 32 products of at most 127 * 128 stay below 2^24.
        dots = values[:, columns].float() @ weight[:, columns].float().T
        scale = scales[:, group, None]
        if weight_scale.shape[1] > 1:
            scale = scale * weight_scale[:, group]
        total += dots * scale
    if weight_scale.shape[1] == 1:
        total *= weight_scale[:, 0]
    return total if bias is None else total + bias


class TwinLinear(nn.Module):
    """A linear layer with quantised weights and activations.

    Args:
        weight: (N, K) floating point; K divides into groups.
        bias: (N,) or None.
        bits: of the weights.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: int) -> None:
        super().__init__()
        self.values, self.scale = quantize_rows(weight, Grid(bits, GROUP))
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows = quantize_activations(x.reshape(-1, x.shape[-1]).contiguous())
        return product(*rows, self.values, self.scale, self.bias).view(*x.shape[:-1], -1)


def quantized_twin(model: Decoder, bits: int) -> Decoder:
    """A copy of a model that computes what the native kernels compute with weights of `bits`."""
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, TwinLinear(child.weight, child.bias, bits))
    if twin.lm_head is None:
        twin.lm_head = TwinLinear(model.output_weight, None, bits)
    return twin
