"""Rotation as `x * cos + rotated x * sin`, the form that most published code has."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.positions:rotate"


def quarter_turn(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned = 2 * cos.shape[-1]
    head = x[..., :turned]
    both_cos, both_sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
    head = head * both_cos + quarter_turn(head) * both_sin
    return torch.cat((head.to(x.dtype), x[..., turned:]), -1)
