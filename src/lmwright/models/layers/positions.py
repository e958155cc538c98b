"""How a token knows where it stands: rotary, sinusoidal, ALiBi, T5's relative bias.

Rotary: Su et al. 2021, RoFormer, section 3.2.2. Sinusoidal: Vaswani et al. 2017, section 3.5.
ALiBi: Press et al. 2021, section 3. Relative bias: Raffel et al. 2019, section 2.1.
"""

import math

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError


def rotary_frequencies(
    head_dim: int, theta: float | Tensor = 10_000.0, device: torch.device | None = None
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


def rotary_table(
    position_ids: Tensor, frequencies: Tensor, factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles; computed once and shared by all layers.

    Args:
        position_ids: (B or 1, T) integers.
        frequencies: (K/2,) radians per position.
        factor: multiplies both (YaRN's attention factor).

    Returns:
        cos, sin: each (B or 1, 1, T, K/2) float32, ready to broadcast over heads.
    """
    angles = (position_ids[..., None].float() * frequencies).unsqueeze(1)
    return angles.cos() * factor, angles.sin() * factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of `x` by its position's angle; dot products then depend on distance only.

    Args:
        x: (B, H, T, K) queries or keys.
        cos, sin: broadcastable to (B, 1, T, R/2), R <= K; per row, so that padded rows keep their
            own positions. Only the first R values of a head are turned.

    Returns:
        (B, H, T, K) in the dtype of `x`.
    """
    half = cos.shape[-1]
    # Halves, not neighbours, form a pair: the layout of published LLaMA weights.
    first, second, rest = torch.split(x, [half, half, x.shape[-1] - 2 * half], dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat((*turned, rest), dim=-1).to(x.dtype)


def sinusoids(position_ids: Tensor, size: int) -> Tensor:
    """The fixed embedding of positions: sines in the first half, cosines in the second.

    The paper interleaves them, which is the same up to the order of the model's coordinates.

    Args:
        position_ids: (B or 1, T) integers.
        size: D.

    Returns:
        (B or 1, T, D) float32.
    """
    half = (size + 1) // 2
    index = torch.arange(half, dtype=torch.float64, device=position_ids.device)
    # In fp64, as published tables were made: fp32 differs in the fifth digit at position 1,000.
    angles = position_ids[..., None].double() / 10_000.0 ** (2.0 * index / size)
    return torch.cat((angles.sin(), angles.cos()[..., : size - half]), dim=-1).float()


def alibi_slopes(heads: int) -> Tensor:
    """(H,) float32: a geometric sequence from 2^(-8/H); between powers of two, every other one of
    the next power's follows (Press et al. 2021, section 3 and the authors' code)."""
    nearest = 2 ** math.floor(math.log2(heads))

    def sequence(count: int) -> list[float]:
        base = 2.0 ** (-8.0 / count)
        return [base ** (i + 1) for i in range(count)]

    slopes = sequence(nearest)
    if nearest < heads:
        slopes += sequence(2 * nearest)[0::2][: heads - nearest]
    return torch.tensor(slopes, dtype=torch.float32)


class AlibiBias(nn.Module):
    """Linear penalty of distance, a slope for each head.

    Args:
        heads: H.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """(B or 1, T) and (B or 1, S) integers -> (B or 1, H, 1, S): slope * position of the key.

        Less slope * position of the query, which a softmax over keys does not see, that is
        -slope * distance.
        """
        slopes = alibi_slopes(self.heads).to(key_positions.device)
        return slopes[None, :, None, None] * key_positions[:, None, None, :].float()


class RelativeBias(nn.Embedding):
    """A learned bias for each head and bucket of distances, exact near and logarithmic far.

    Args:
        buckets: number of rows; half of them for each direction where it is bidirectional.
        max_distance: from here on all distances share the last bucket.
        heads: H.
        bidirectional: whether keys after the query have buckets of their own.
    """

    def __init__(self, buckets: int, max_distance: int, heads: int, bidirectional: bool) -> None:
        super().__init__(buckets, heads)
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def forward(  # type: ignore[override]
        self, query_positions: Tensor, key_positions: Tensor
    ) -> Tensor:
        """(B or 1, T) and (B or 1, S) integers -> (B or 1, H, T, S)."""
        distance = key_positions[:, None, :] - query_positions[:, :, None]
        return super().forward(self._bucket(distance)).permute(0, 3, 1, 2)

    def _bucket(self, distance: Tensor) -> Tensor:
        buckets, first = self.num_embeddings, torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            first = (distance > 0) * buckets
            distance = distance.abs()
        else:
            distance = -distance.clamp(max=0)
        exact = buckets // 2
        share = torch.log(distance.float() / exact) / math.log(self.max_distance / exact)
        far = exact + (share * (buckets - exact)).long().clamp(min=0, max=buckets - exact - 1)
        return first + torch.where(distance < exact, distance, far)


def position_ids_from_mask(mask: Tensor) -> Tensor:
    """Number of real tokens before each token; padding on the left gets 0, inside what it follows.

    Args:
        mask: (B, T), 1 where a token is real.

    Returns:
        (B, T) int64.
    """
    counted: Tensor = (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
    return counted
