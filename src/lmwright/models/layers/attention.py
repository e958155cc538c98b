"""Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) with grouped heads
(Ainslie et al. 2023, GQA) and normalised queries and keys (Dehghani et al. 2023, section 2.1)."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.layers import attention
from lmwright.models.layers.norms import RMSNorm
from lmwright.models.layers.positions import rotate


@dataclass(frozen=True)
class AttentionRule:
    """Who may look at whom, and how scores are formed. All conditions hold together.

    Queries are the last T of the S positions: T = S without a cache, T < S with one.
    """

    mask: Tensor | None = None
    """(B or 1, 1 or H, T or 1, S): bool, True where a query may look; or float, added to the
    scores, -inf where it may not (cheaper where many layers share one mask)."""
    causal: bool = True
    """Whether a query sees no key after it. Where `mask` already says so, False saves work."""
    window: int | None = None
    """How many positions, its own included, a query sees."""
    soft_cap: float | None = None
    """c in c * tanh(score / c) (Gemma 2, section 2)."""
    bias: Tensor | None = None
    """Added to the scores, broadcastable to (B, H, T, S) (ALiBi, T5)."""
    scale: float | None = None
    """Factor of the dot products; None: 1 / sqrt(K)."""


class Cache(Protocol):
    """What attention asks of a cache; the engine's business otherwise."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Store k, v (B, Hkv, T, K) of `layer`, gather all S so far, and call `attention.attend`.

        `rule.mask`, where given, tells which of the S keys are not padding. The cache may replace
        mask and causal by its own mask when its rows differ in length.
        """
        ...


def visible(rule: AttentionRule, queries: int, keys: int, device: torch.device) -> Tensor | None:
    """The causal and window conditions as a bool mask (T, S); None where all is visible."""
    if not rule.causal and rule.window is None:
        return None
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None, :]
    seen = key <= query if rule.causal else torch.ones_like(key <= query)
    if rule.window is not None:
        seen = seen & (query - key < rule.window)
    return seen


def combined_mask(rule: AttentionRule, q: Tensor, k: Tensor) -> Tensor | None:
    """Mask, causality, window and bias of `rule` as one mask for the kernel; None: see all."""
    mask = rule.mask
    # One query at the end sees every key anyway: decoding needs no causal mask.
    if q.shape[2] > 1 or rule.window is not None:
        seen = visible(rule, q.shape[2], k.shape[2], q.device)
        if mask is None:
            mask = seen
        elif seen is not None:
            mask = mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -torch.inf)
    if rule.bias is None:
        return mask
    if mask is None:
        return rule.bias
    if mask.dtype == torch.bool:
        return rule.bias.masked_fill(~mask, -torch.inf)
    return rule.bias + mask


def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """softmax(scale * q k^T + mask) v; a query that may see nothing gets 0.

    Args:
        q: (B, H, T, K) queries, the last T of the S positions.
        k, v: (B, Hkv, S, K); each group of H / Hkv query heads shares one.
        rule: who may look at whom.

    Returns:
        (B, H, T, K) in the dtype of `q`.
    """
    if rule.soft_cap is not None:
        return attend_explicitly(q, k, v, rule)
    square = q.shape[2] == k.shape[2]
    if rule.mask is None and rule.bias is None and rule.window is None and rule.causal and square:
        mask, causal = None, True
    else:
        mask, causal = combined_mask(rule, q, k), False
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(q.dtype)
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=rule.scale, enable_gqa=grouped
    )


def attend_explicitly(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """`attend` written out, for scores that fused kernels cannot form; same arguments."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scale = q.shape[-1] ** -0.5 if rule.scale is None else rule.scale
    scores = (q @ k.transpose(-2, -1)).float() * scale
    if rule.soft_cap is not None:
        scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
    mask = combined_mask(rule, q, k)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    # Shifted by the row's maximum, but by 0 where the row is all -inf: exp gives 0, not NaN.
    shift = scores.detach().amax(-1, keepdim=True)
    weights = torch.exp(scores - shift.masked_fill(shift == -torch.inf, 0.0))
    total = weights.sum(-1, keepdim=True)
    return (weights / total.masked_fill(total == 0.0, 1.0)).to(v.dtype) @ v


class Attention(nn.Module):
    """Project to heads, normalise and rotate queries and keys, attend, project back.

    Args:
        config: the model's shape.
        layer: index of this layer, by which a cache tells layers apart.
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, rule: AttentionRule, cache: Cache | None = None
    ) -> Tensor:
        """Let every position gather from those it may see.

        Args:
            x: (B, T, D).
            cos, sin: (B or 1, 1, T, K/2) of the positions of `x`.
            rule: who may look at whom.
            cache: keys and values of earlier positions.

        Returns:
            (B, T, D).
        """
        q = rotate(self.q_norm(self._heads(self.q_proj(x))).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self._heads(self.k_proj(x))).transpose(1, 2), cos, sin)
        v = self._heads(self.v_proj(x)).transpose(1, 2)
        if cache is None:
            mixed = attention.attend(q, k, v, rule)
        else:
            mixed = cache.attend(self.layer, q, k, v, rule)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return output

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, H * K) -> (B, T, H, K)."""
        return x.view(*x.shape[:-1], -1, self.head_dim)
