"""Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) with grouped heads
(Ainslie et al. 2023, GQA) and normalised queries and keys (Dehghani et al. 2023, section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig

# This very module: `attention.attend` is looked up at each call, so that a reader's own attention
# may stand in its place.
from lmwright.models.layers import attention, flex
from lmwright.models.layers.norms import make_norm
from lmwright.models.layers.positions import rotate

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine, each (B or 1, 1, T, R/2), of the positions at hand."""

PositionBias = Callable[[Tensor, Tensor], Tensor]
"""Positions (B or 1, T) of queries, (B or 1, S) of keys -> (B or 1, H, T, S) to add to scores."""


@dataclass(frozen=True)
class AttentionRule:
    """Who may look at whom, and how scores are formed. All conditions hold together.

    Queries are the last T of the S positions: T = S without a cache, T < S with one.
    """

    mask: Tensor | None = None
    """(B or 1, 1 or H, T or 1, S): bool, True where a query may look; or float, 0 where it may
    and -inf where not (or a bias), which is cheaper where many layers share one mask."""
    causal: bool = True
    """Whether a query sees no key after it. Where `mask` already says so, False saves work."""
    window: int | None = None
    """How many positions, its own included, a query sees on either side."""
    soft_cap: float | None = None
    """c in c * tanh(score / c) (Gemma 2, section 2)."""
    bias: Tensor | PositionBias | None = None
    """Added to the scores, broadcastable to (B, H, T, S) (ALiBi, T5). A function of positions is
    given to caches only, which know where their keys stand; they call it."""
    positions: Tensor | None = None
    """(B or 1, T) of the queries, where `bias` is a function."""
    bias_in_product: bool = False
    """Whether a half-precision model that is run rounds products and bias once, together, as
    BLOOM's own code does; it was trained so."""
    scale: float | None = None
    """Factor of the dot products; None: 1 / sqrt(K)."""
    dropout: float = 0.0
    """Share of the attention weights that are dropped."""


class Cache(Protocol):
    """What attention asks of a cache; the engine's business otherwise."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        """Store k, v (B, Hkv, T, K) of `layer`, gather all S so far, and call `attention.attend`.

        `rule.mask`, where given, tells which of the S keys are not padding. The cache may replace
        mask and causal by its own mask when its rows differ in length. Where `rule.bias` is a
        function, the cache calls it with the positions of its keys.
        """
        ...

    def memory(
        self, layer: int, project: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (B, Hkv, S, K) of an encoder's output, projected at the first call."""
        ...


def combined_mask(rule: AttentionRule, q: Tensor, k: Tensor) -> Tensor | None:
    """All conditions of `rule` and its bias as one mask, bool or float; None: all is visible.

    Args:
        rule: who may look at whom; its bias is a tensor by now.
        q: (B, H, T, K).
        k: (B, Hkv, S, K).
    """
    mask, bias = rule.mask, rule.bias
    assert not callable(bias) or isinstance(bias, Tensor), "a cache must call the bias"
    queries, keys = q.shape[2], k.shape[2]
    # One query at the end sees every key anyway: decoding needs no causal mask.
    if (rule.causal and queries > 1) or rule.window is not None:
        query = torch.arange(keys - queries, keys, device=q.device)[:, None]
        hidden = hidden_by_distance(
            query - torch.arange(keys, device=q.device), rule.causal, rule.window
        )
        if mask is None:
            mask = ~hidden
        elif mask.dtype == torch.bool:
            mask = mask & ~hidden
        else:
            mask = mask.masked_fill(hidden, -torch.inf)
    if bias is None or mask is None:
        return bias if mask is None else mask
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, -torch.inf)
    return bias + mask


def hidden_by_distance(distance: Tensor, causal: bool, window: int | None) -> Tensor:
    """Bool, True where a key may not be seen, by how far it stands before the query."""
    hidden = distance < 0 if causal else torch.zeros_like(distance, dtype=torch.bool)
    if window is not None:
        hidden = hidden | (distance.abs() >= window)
    return hidden


def combined_rule(rule: AttentionRule, length: int) -> AttentionRule:
    """The same rule for T = S = `length`, its conditions and bias written into one mask.

    Every layer adds it to its scores, forward and backward: three times cheaper than a bool one.
    A rule without mask and bias stays as it is, since kernels know causal attention themselves.
    """
    if rule.mask is None and rule.bias is None:
        return rule
    given = rule.bias if rule.mask is None else rule.mask
    assert isinstance(given, Tensor)
    padding_alone = rule.bias is None and not rule.causal and rule.window is None
    if padding_alone and given.shape[2] == 1:
        return rule  # (B, 1, 1, S) is small, and kernels take it as it is
    place = torch.arange(length, device=given.device)
    seen = ~hidden_by_distance(place[:, None] - place, rule.causal, rule.window)
    if rule.mask is not None:
        seen = rule.mask & seen
    if rule.bias is None:
        additive = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
    else:
        assert isinstance(rule.bias, Tensor)
        additive = rule.bias.masked_fill(~seen, -torch.inf)
    return replace(rule, mask=additive, causal=False, window=None, bias=None, positions=None)


def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """softmax(scale * q k^T + mask) v; a query that may see nothing gets 0.

    Args:
        q: (B, H, T, K) queries, the last T of the S positions.
        k, v: (B, Hkv, S, K); each group of H / Hkv query heads shares one.
        rule: who may look at whom.

    Returns:
        (B, H, T, K) in the dtype of `q`.
    """
    if _flex_is_better(q, rule):
        return flex.attend_flex(q, k, v, rule)
    if _written_out_is_better(q, k, rule):
        return _attend_written_out(q, k, v, rule)
    # Told that the mask is the plain causal one, the kernel skips what it hides.
    unmasked = rule.mask is None and rule.bias is None and rule.window is None
    causal = unmasked and rule.causal and q.shape[2] == k.shape[2]
    mask = None if causal else combined_mask(rule, q, k)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(q.dtype)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        dropout_p=rule.dropout,
        is_causal=causal,
        scale=rule.scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def _flex_is_better(q: Tensor, rule: AttentionRule) -> bool:
    # The fixed kernels know no cap, and compute what a window hides.
    flexible = rule.soft_cap is not None or (rule.window is not None and rule.mask is None)
    return q.is_cuda and flexible and not rule.dropout


def _written_out_is_better(q: Tensor, k: Tensor, rule: AttentionRule) -> bool:
    """Whether the fused kernel cannot do what the rule says, or is slower."""
    # The CPU's fused kernel is slow in half precision: for 16 rows of 128 (4 heads of 64) it goes
    # back in 20 ms a layer against 5 ms written out and compiled; from 1,024 keys on it is even
    # (Zen 5). Forward alone it costs a compiled model a seventh; eager it rounds less. In fp32 it
    # costs a compiled training of short rows 5 to 7 % (a Xeon).
    half = q.dtype in (torch.bfloat16, torch.float16)
    training, compiled = torch.is_grad_enabled(), torch.compiler.is_compiling()
    short = q.shape[2] > 1 and k.shape[2] <= 512
    better = (training or compiled) if half else (training and compiled)
    slow = q.device.type == "cpu" and short and better
    return rule.soft_cap is not None or slow or _rounds_bias(q, rule)


def _rounds_bias(q: Tensor, rule: AttentionRule) -> bool:
    half = q.dtype in (torch.bfloat16, torch.float16)
    return rule.bias_in_product and half and not torch.is_grad_enabled()


def _attend_written_out(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    """`attend` without a fused kernel, same arguments."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scale = q.shape[-1] ** -0.5 if rule.scale is None else rule.scale
    mask = combined_mask(rule, q, k)
    if _rounds_bias(q, rule) and mask is not None:
        hidden = mask == -torch.inf
        bias = mask.masked_fill(hidden, 0.0).to(q.dtype).expand(*q.shape[:3], k.shape[2])
        flat = (bias.flatten(0, 1), q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
        scores = torch.baddbmm(*flat, alpha=scale).view(bias.shape)
        mask = mask.masked_fill(~hidden, 0.0)
    elif rule.soft_cap is not None:  # rounded at each step, too
        scores = (q @ k.transpose(-2, -1)) * scale
        scores = torch.tanh(scores / rule.soft_cap) * rule.soft_cap
    else:
        scores = (q * scale) @ k.transpose(-2, -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, device=q.device).masked_fill(~mask, -torch.inf)
        # Softmax of a row that is all -inf is NaN: such rows are evened out here.
        scores = scores + mask.clamp(min=-1e30)
    weights = scores.softmax(-1)
    if rule.dropout:
        weights = F.dropout(weights, rule.dropout)
    output = weights.to(v.dtype) @ v
    if rule.mask is None or mask is None:
        return output  # causal or not, with a window or not, a query sees itself
    return output.masked_fill(mask.amax(-1, keepdim=True) == -torch.inf, 0.0)


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
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.attention_output_bias)
        normalized = config.query_key_norm
        self.q_norm = make_norm(config, config.head_dim) if normalized else None
        self.k_norm = make_norm(config, config.head_dim) if normalized else None

    def forward(
        self,
        x: Tensor,
        rotary: Rotary | None,
        rule: AttentionRule,
        cache: Cache | None = None,
    ) -> Tensor:
        """Let every position gather from those it may see.

        Args:
            x: (B, T, D).
            rotary: angles of the positions of `x`; None where positions are no rotations.
            rule: who may look at whom.
            cache: keys and values of earlier positions.

        Returns:
            (B, T, D).
        """
        q, k = self._heads(self.q_proj(x)), self._heads(self.k_proj(x))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        v = self._heads(self.v_proj(x)).transpose(1, 2)
        if cache is None:
            mixed = attention.attend(q, k, v, rule)
        else:
            mixed = cache.attend(self.layer, q, k, v, rule)
        return self._back(mixed)

    def look_at(
        self, x: Tensor, memory: Tensor, rule: AttentionRule, cache: Cache | None = None
    ) -> Tensor:
        """Cross-attention: let every position of `x` gather from another sequence.

        Args:
            x: (B, T, D).
            memory: (B, S, D), an encoder's output.
            rule: which of the S positions are real; not causal.
            cache: keeps the memory's keys and values.

        Returns:
            (B, T, D).
        """

        def project() -> tuple[Tensor, Tensor]:
            k, v = self._heads(self.k_proj(memory)), self._heads(self.v_proj(memory))
            return k.transpose(1, 2), v.transpose(1, 2)

        k, v = project() if cache is None else cache.memory(self.layer, project)
        q = self._heads(self.q_proj(x)).transpose(1, 2)
        return self._back(attention.attend(q, k, v, rule))

    def _heads(self, projected: Tensor) -> Tensor:
        """(B, T, H * K) -> (B, T, H, K)."""
        width = projected.shape[-1]  # -1 for H would be ambiguous where B or T is 0
        return projected.view(*projected.shape[:-1], width // self.head_dim, self.head_dim)

    def _back(self, mixed: Tensor) -> Tensor:
        """(B, H, T, K) -> (B, T, D)."""
        output: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(-2))
        return output
