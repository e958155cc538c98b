"""Rotary position embedding (Su et al. 2021, RoFormer, section 3.2.2)."""

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError


def rotary_frequencies(
    head_dim: int, theta: float = 10_000.0, device: torch.device | None = None
) -> Tensor:
    """Angular frequency of each rotated pair.

    Args:
        head_dim: K, even.
        theta: base of the geometric progression; larger reaches further.
        device: where to make it.

    Returns:
        (K/2,) float32, radians per position.

    Raises:
        LmwrightError: if `head_dim` is odd.
    """
    if head_dim % 2:
        raise LmwrightError(
            f"head_dim {head_dim} is odd; rotary positions rotate pairs",
            hint="choose an even head_dim",
        )
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    # 1 / theta**x, not theta**-x: published models round this way, and position 30,000 shows it.
    return 1.0 / (theta**exponents)


def rotary_table(position_ids: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles; computed once and shared by all layers.

    Args:
        position_ids: (B or 1, T) integers.
        frequencies: (K/2,) radians per position.

    Returns:
        cos, sin: each (B or 1, 1, T, K/2) float32, ready to broadcast over heads.
    """
    angles = (position_ids[..., None].float() * frequencies).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of `x` by its position's angle; dot products then depend on distance only.

    Args:
        x: (B, H, T, K) queries or keys.
        cos, sin: broadcastable to (B, 1, T, K/2); per row, so that padded rows keep their own
            positions.

    Returns:
        (B, H, T, K) in the dtype of `x`.
    """
    # Halves, not neighbours, form a pair: the layout of published LLaMA weights.
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)
