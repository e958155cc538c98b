"""RMSNorm as its equation stands, and the lab's twists."""

import math

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.norms:rms_norm"


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    rms = torch.sqrt((wide**2).mean(dim=-1, keepdim=True) + eps)
    factor = weight.to(wide.dtype) + (1.0 if plus_one else 0.0)
    return (wide / rms * factor).to(x.dtype)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * weight + bias


def partial_rms_norm(x: Tensor, weight: Tensor, eps: float, share: float) -> Tensor:
    counted = math.ceil(share * x.shape[-1])
    rms = torch.sqrt(x[..., :counted].square().mean(-1, keepdim=True) + eps)
    return x / rms * weight


def group_rms_norm(x: Tensor, weight: Tensor, eps: float, groups: int) -> Tensor:
    parts = x.chunk(groups, dim=-1)
    done = [part / torch.sqrt(part.square().mean(-1, keepdim=True) + eps) for part in parts]
    return torch.cat(done, dim=-1) * weight
