"""LayerNorm (Ba et al. 2016, section 3) and RMSNorm (Zhang and Sennrich 2019, equation 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, its statistics in float32.

    Args:
        x: (..., D).
        weight: (D,), in the dtype of `x` or float32.
        eps: added to the mean square before the root.
        plus_one: whether `weight` is what is added to 1.

    Returns:
        (..., D) in the dtype of `x`.
    """
    # The sum of squares overflows or loses digits in half precision.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normalized = F.rms_norm(wide, weight.shape, eps=eps)
    if plus_one:
        return (normalized * (1.0 + weight.to(wide.dtype))).to(x.dtype)
    # The weight comes after rounding back, where published models were trained to have it.
    return (normalized.to(x.dtype) * weight).to(x.dtype)


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale by a learned weight.

    Args:
        size: length of the last dimension.
        eps: added to the mean square before the root.
        plus_one: whether the stored weight is what is added to 1 (Gemma); it then multiplies
            before rounding to the input's dtype, as the published models were trained.
    """

    def __init__(self, size: int, eps: float = 1e-6, plus_one: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size) if plus_one else torch.ones(size))
        self.eps = eps
        self.plus_one = plus_one

    def reset(self) -> None:
        """Start again: scale nothing."""
        nn.init.constant_(self.weight, 0.0 if self.plus_one else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., size) -> (..., size) in the dtype of `x`."""
        return rms_norm(x, self.weight, self.eps, self.plus_one)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class LayerNorm(nn.Module):
    """Subtract the mean and divide by the standard deviation, then scale and shift.

    Args:
        size: length of the last dimension.
        eps: added to the variance before the root.
        bias: whether a learned bias is added.
    """

    def __init__(self, size: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None
        self.eps = eps

    def reset(self) -> None:
        """Start again: scale and shift nothing."""
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., size) -> (..., size) in the dtype of `x`."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, bias={self.bias is not None}"


def make_norm(config: TransformerConfig, size: int | None = None) -> nn.Module:
    """The norm that `config` names, over D or over the last `size` values."""
    size = size or config.hidden_size
    if config.norm == "layer_norm":
        return LayerNorm(size, config.norm_eps, config.norm_bias)
    return RMSNorm(size, config.norm_eps, config.norm_plus_one)
