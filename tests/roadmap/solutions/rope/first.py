"""Rotation written down as the two lines of the paper, and the lab's twists."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.positions:rotate"


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    new_first = first * cos - second * sin
    new_second = second * cos + first * sin
    return torch.cat([new_first.to(x.dtype), new_second.to(x.dtype), rest], dim=-1)


def angles(position_ids: Tensor, pairs: int, theta: float) -> Tensor:
    speeds = torch.tensor([theta ** (-i / pairs) for i in range(pairs)])
    return (position_ids.unsqueeze(-1) * speeds).unsqueeze(1)


def rotate_neighbours(x: Tensor, position_ids: Tensor, theta: float) -> Tensor:
    angle = angles(position_ids, x.shape[3] // 2, theta)
    even, odd = x[..., ::2], x[..., 1::2]
    answer = torch.empty_like(x)
    answer[..., ::2] = even * angle.cos() - odd * angle.sin()
    answer[..., 1::2] = odd * angle.cos() + even * angle.sin()
    return answer


def rotate_on_plane(x: Tensor, rows: Tensor, columns: Tensor, theta: float) -> Tensor:
    half, pairs = x.shape[3] // 2, x.shape[3] // 4
    upper, lower = angles(rows, pairs, theta), angles(columns, pairs, theta)
    return torch.cat(
        [
            rotate(x[..., :half], upper.cos(), upper.sin()),
            rotate(x[..., half:], lower.cos(), lower.sin()),
        ],
        dim=-1,
    )


def rotate_longer(x: Tensor, position_ids: Tensor, theta: float, stretch: float) -> Tensor:
    width = x.shape[3]
    angle = angles(position_ids, width // 2, theta * stretch ** (width / (width - 2)))
    return rotate(x, angle.cos(), angle.sin())
