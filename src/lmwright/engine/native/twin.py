"""The quantised arithmetic in plain PyTorch: what the kernels compute, where rounding is concerned.

Activations are rounded to 8 bits in groups, each with the scale max|x| / 127, so that a token's
result depends on that token alone. Products of integers are exact; they are scaled and
added up in fp32, group after group.
"""

import copy

import torch
from torch import Tensor, nn

from lmwright.compression.rounding import Grid, quantize_rows
from lmwright.engine.native.pack import GROUP, WIDE_GROUP
from lmwright.models.transformer import Decoder

_SMALLEST = 1e-30  # groups below count as zeros: 127 over their largest value could be infinite


def group_size(name: str, columns: int, bits: int) -> int:
    """Columns of a linear layer that share a scale, of activations and of weights.

    Weights of 8 bits can do with one for 128, which costs the kernels a quarter of the work that
    one for 32 does. Not so the layer behind the activation: its inputs differ most in size, and
    they are rounded as the layer before makes them, 32 at a time.

    Args:
        name: of the layer, as modules are named.
        columns: K.
        bits: of the weights.
    """
    wide = bits == 8 and columns % WIDE_GROUP == 0 and not name.endswith("down_proj")
    return WIDE_GROUP if wide else GROUP


def quantize_activations(x: Tensor, group: int = GROUP) -> tuple[Tensor, Tensor]:
    """Round to 8 bits in groups.

    Args:
        x: (N, K) float32.
        group: columns that share a scale; K is a multiple.

    Returns:
        values (N, K) int8; scales (N, K / group) float32, with x = values * scale nearly.
    """
    groups = x.view(len(x), -1, group)
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
        weight_scale: (N', K / group) float32, or (N', 1).
        bias: (N',) or None.

    Returns:
        (N, N') float32.
    """
    total = torch.zeros(len(values), len(weight))
    size = values.shape[1] // scales.shape[1]
    for group in range(scales.shape[1]):
        columns = slice(group * size, (group + 1) * size)
        # Exact in fp32: 128 products of at most 127 * 128 stay below 2^24.
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
        group: columns that share a scale.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.values, self.scale = quantize_rows(weight, Grid(bits, group))
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows = quantize_activations(x.reshape(-1, x.shape[-1]).contiguous(), self.group)
        return product(*rows, self.values, self.scale, self.bias).view(*x.shape[:-1], -1)


def quantized_twin(model: Decoder, bits: int) -> Decoder:
    """A copy of a model that computes what the native kernels compute with weights of `bits`."""
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                group = group_size(name, child.in_features, bits)
                setattr(parent, name, TwinLinear(child.weight, child.bias, bits, group))
    if twin.lm_head is None:
        weight = model.output_weight
        group = group_size("lm_head", weight.shape[1], bits)
        twin.lm_head = TwinLinear(weight, None, bits, group)
    return twin
