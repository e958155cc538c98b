"""The feed-forward layer (Vaswani et al. 2017, section 3.3), plain or gated (Shazeer 2020)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import Activation, TransformerConfig


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,  # Hendrycks and Gimpel 2016, with the exact normal distribution
    "gelu_tanh": _gelu_tanh,  # the same paper's approximation, which GPT-2 was trained with
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
