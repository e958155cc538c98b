"""Linear layers with int8 weights (Jacob et al. 2018, section 2.1; symmetric, one scale a row)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 127  # -128 has no positive partner: leaving it out keeps the grid symmetric

# Expanding int8 costs more than multiplying when few rows share it: for one row of 256 -> 704,
# 20 us against 10 us with fp32 weights at hand (Zen 5, one core). Up to 4 MB of them are kept.
_HELD_VALUES = 2**20
# torch's int8 kernel takes rows one by one: 5.7 us against 40 for one row in bf16, even at 16.
_PACKED_ROWS = 8


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to its own grid of 255 values, with an error of at most half a step.

    Args:
        weight: (N, K) floating point.

    Returns:
        values (N, K) int8 in -127 .. 127; scale (N, 1) float32, with weight = values * scale
        nearly. A row of zeros has scale 1.
    """
    wide = weight.detach().float()
    scale = wide.abs().amax(1, keepdim=True) / LARGEST
    scale = scale.masked_fill(scale == 0.0, 1.0)
    values = (wide / scale).round().clamp(-LARGEST, LARGEST)
    return values.to(torch.int8), scale


class QuantizedLinear(nn.Module):
    """x -> x (weight * weight_scale)^T + bias; activations are not quantised.

    Quantising activations too would be faster still, but the usual kernels use one scale for the
    whole batch, so that an answer would depend on what else is being answered.

    Args:
        in_features: K.
        out_features: N.
        bias: whether a bias is added.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features, 1))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._held: Tensor | None = None

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "QuantizedLinear":
        """Quantise a layer's weight and copy its bias."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None)
        layer.weight, layer.weight_scale = quantize_rows(linear.weight)
        if linear.bias is not None:
            layer.bias = nn.Parameter(linear.bias.detach().clone())
        return layer

    def expanded(self) -> Tensor:
        """(N, K) float32 weights that the integers stand for."""
        return self.weight * self.weight_scale

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) in the dtype of `x`.

        Which of the three ways is taken depends on shapes and dtype alone, never on a timing: the
        same prompt is rounded the same way every time.
        """
        half_on_cpu = x.dtype in (torch.bfloat16, torch.float16) and x.device.type == "cpu"
        if x.dtype == torch.float32 and self.weight.numel() <= _HELD_VALUES:
            return F.linear(x, self._kept(), self.bias)
        if half_on_cpu and x.numel() <= _PACKED_ROWS * self.in_features:
            rows = x.reshape(-1, self.in_features)
            product = torch._weight_int8pack_mm(
                rows, self.weight, self.weight_scale[:, 0].to(x.dtype)
            )
            product = product.view(*x.shape[:-1], self.out_features)
        else:
            product = F.linear(x, self.weight.to(x.dtype)) * self.weight_scale[:, 0].to(x.dtype)
        return product if self.bias is None else product + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, int8, bias={self.bias is not None}"

    def _kept(self) -> Tensor:
        if self._held is None or self._held.device != self.weight.device:
            self._held = self.expanded()
        return self._held
