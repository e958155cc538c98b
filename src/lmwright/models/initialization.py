"""Weights at the start of training."""

import math

import torch
from torch import nn

# The projections that write into the residual stream.
_OUTPUTS = ("o_proj", "down_proj")


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place, the same for the same generator state.

    Embeddings are normal with `initializer_range`; hidden matrices uniform with standard deviation
    1 / sqrt(fan in), which keeps the scale of activations; projections into the residual stream
    zero, so that every block starts as the identity (Zhang et al. 2019, Fixup, section 3) and the
    first loss is that of the embedding alone; norms one, biases zero.

    Args:
        model: a `Decoder`, or any module made of linear layers, embeddings and norms.
        generator: source of randomness; drawn from in the order of `named_modules`.
    """
    config = getattr(model, "config", None)
    embedding_std = getattr(config, "initializer_range", 0.02)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, embedding_std, generator=generator)
            elif isinstance(module, nn.Linear):
                if name.rsplit(".", 1)[-1] in _OUTPUTS:
                    module.weight.zero_()
                elif name == "lm_head":
                    module.weight.normal_(0.0, embedding_std, generator=generator)
                else:
                    bound = math.sqrt(3.0 / module.in_features)
                    module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif hasattr(module, "eps") and isinstance(module.weight, nn.Parameter):
                module.weight.fill_(1.0)
