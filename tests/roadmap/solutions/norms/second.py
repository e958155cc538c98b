"""RMSNorm by the length of the vector, rounded before the weight as published models are."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.norms:rms_norm"


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    normed = exact * torch.rsqrt(exact.square().sum(-1, keepdim=True) / x.size(-1) + eps)
    if plus_one:
        return (normed + normed * weight).to(x.dtype)
    return (normed.to(x.dtype) * weight).to(x.dtype)
