"""Weights at the start of training."""

import math

import torch
from torch import Tensor, nn

from lmwright.models.crf import CRF
from lmwright.models.layers.experts import Experts
from lmwright.models.layers.norms import LayerNorm, RMSNorm
from lmwright.models.layers.positions import RelativeBias

# The projections that write into the residual stream.
_OUTPUTS = ("o_proj", "down_proj")
# Those whose outputs are logits.
_LOGITS = ("lm_head", "project", "decoder")


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place, the same for the same generator state.

    Embeddings are normal with `initializer_range`; hidden matrices uniform with standard deviation
    1 / sqrt(fan in), which keeps the scale of activations; projections into the residual stream
    zero, so that every block starts as the identity (Zhang et al. 2019, Fixup, section 3) and the
    first loss is that of the embedding alone; norms one; biases, T5's of distances included, and
    a CRF's scores zero.

    Args:
        model: any module made of linear layers, embeddings, norms and experts.
        generator: source of randomness; drawn from in the order of `named_modules`.
    """
    config = getattr(model, "config", None)
    embedding_std = getattr(config, "initializer_range", 0.02)
    with torch.no_grad():
        for name, module in model.named_modules():
            last = name.rsplit(".", 1)[-1]
            if isinstance(module, RelativeBias):
                module.weight.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, embedding_std, generator=generator)
            elif isinstance(module, nn.Linear):
                if last in _OUTPUTS:
                    module.weight.zero_()
                elif last in _LOGITS:
                    module.weight.normal_(0.0, embedding_std, generator=generator)
                else:
                    _uniform(module.weight, module.in_features, generator)
                if last == "q_proj":
                    module.weight.mul_(_query_scale(config))
            elif isinstance(module, (RMSNorm, LayerNorm, CRF)):
                module.reset()
            elif isinstance(module, Experts):
                for part in (module.gate_proj, module.up_proj):
                    if part is not None:
                        _uniform(part, part.shape[-1], generator)
                module.down_proj.zero_()
        for name, parameter in model.named_parameters():
            if name.rsplit(".", 1)[-1] in ("bias", "output_bias"):
                parameter.zero_()


def _query_scale(config: object) -> float:
    """What keeps first scores at 1 / sqrt(K) of the dot products, where attention scales them
    otherwise (T5 not at all)."""
    scale = getattr(config, "attention_scale", None)
    head_dim = getattr(config, "head_dim", 1)
    return 1.0 if scale is None else head_dim**-0.5 / float(scale)


def _uniform(weight: Tensor, inputs: int, generator: torch.Generator) -> None:
    bound = math.sqrt(3.0 / inputs)
    weight.uniform_(-bound, bound, generator=generator)
