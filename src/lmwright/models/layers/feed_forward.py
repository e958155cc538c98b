"""The feed-forward layer (Vaswani et al. 2017, section 3.3), plain or gated (Shazeer 2020)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import Activation, TransformerConfig


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu_new(x: Tensor) -> Tensor:
    """The same by GPT-2's own code: rounded at each step where half-precision models are run."""
    if not _run_in_half_precision(x):
        return _gelu_tanh(x)
    # In place: memory, not arithmetic, is what these steps cost.
    inner = x.pow(3.0).mul_(0.044715).add_(x).mul_(math.sqrt(2.0 / math.pi))
    return inner.tanh_().add_(1.0).mul_(0.5 * x)


def _gelu_bloom(x: Tensor) -> Tensor:
    """The same by BLOOM's own code."""
    if not _run_in_half_precision(x):
        return _gelu_tanh(x)
    inner = (0.044715 * x).mul_(x).add_(1.0).mul_(0.79788456 * x)
    return inner.tanh_().add_(1.0).mul_(0.5 * x)


def _run_in_half_precision(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16) and not torch.is_grad_enabled()


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,  # Hendrycks and Gimpel 2016, with the exact normal distribution
    "gelu_tanh": _gelu_tanh,  # the same paper's approximation
    "gelu_new": _gelu_new,
    "gelu_bloom": _gelu_bloom,
    "relu": F.relu,
    "relu2": _relu_squared,  # So et al. 2021, Primer, section 4.1
    "tanh": torch.tanh,
}


class FeedForward(nn.Module):
    """down(a(up(x))), or gated down(a(gate(x)) * up(x)): SwiGLU for silu, GeGLU for gelu.

    Args:
        config: the model's shape.
        intermediate_size: width between the projections; None: the config's.
    """

    def __init__(self, config: TransformerConfig, intermediate_size: int | None = None) -> None:
        super().__init__()
        inner, bias = intermediate_size or config.intermediate_size, config.feed_forward_bias
        self.activation = ACTIVATIONS[config.activation]
        self.gate_proj = nn.Linear(config.hidden_size, inner, bias=bias) if config.gated else None
        self.up_proj = nn.Linear(config.hidden_size, inner, bias=bias)
        self.down_proj = nn.Linear(inner, config.hidden_size, bias=bias)
        self.dropout = nn.Dropout(config.activation_dropout) if config.activation_dropout else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D), each position on its own."""
        if self.gate_proj is None:
            inner = self.activation(self.up_proj(x))
        else:
            inner = self.activation(self.gate_proj(x)) * self.up_proj(x)
        if self.dropout is not None:
            inner = self.dropout(inner)
        output: Tensor = self.down_proj(inner)
        return output
