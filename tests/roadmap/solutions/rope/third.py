"""Rotation as a product of complex numbers."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.positions:rotate"


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    wide = x.float()
    points = torch.complex(wide[..., :half].contiguous(), wide[..., half : 2 * half].contiguous())
    turned = points * torch.complex(cos.float(), sin.float())
    return torch.cat((turned.real, turned.imag, wide[..., 2 * half :]), dim=-1).to(x.dtype)
