"""Attention through FlexAttention (Dong et al. 2024): one fused kernel for any rule, on a GPU.

Made for what the fixed kernels lack: soft-caps, and windows whose hidden blocks are skipped. On a
CPU it runs written out, which is how the tests compare it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

if TYPE_CHECKING:
    from lmwright.models.layers.attention import AttentionRule


def attend_flex(q: Tensor, k: Tensor, v: Tensor, rule: "AttentionRule") -> Tensor:
    """`attention.attend` by FlexAttention; a query that may see nothing gets 0.

    Args:
        q: (B, H, T, K) queries, the last T of the S positions.
        k, v: (B, Hkv, S, K); each group of H / Hkv query heads shares one.
        rule: who may look at whom, without dropout; its bias is a tensor.

    Returns:
        (B, H, T, K) in the dtype of `q`.
    """
    run: Any = _compiled() if q.is_cuda else flex_attention
    output: Tensor = run(
        q,
        k,
        v,
        score_mod=_score_change(rule),
        block_mask=_visible(rule, q.shape[2], k.shape[2], q.device),
        scale=rule.scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return output


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)


def _score_change(rule: "AttentionRule") -> Callable[..., Tensor] | None:
    """Soft-cap first, then mask and bias, as `attention.attend` has it."""
    cap, added = rule.soft_cap, [t for t in (rule.mask, rule.bias) if isinstance(t, Tensor)]
    if cap is None and not added:
        return None

    def change(score: Tensor, b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        if cap is not None:
            score = cap * torch.tanh(score / cap)
        for tensor in added:
            value = _at(tensor, b, h, query, key)
            if tensor.dtype == torch.bool:
                score = torch.where(value, score, -torch.inf)
            else:
                score = score + value
        return score

    return change


def _at(tensor: Tensor, *index: Tensor) -> Tensor:
    """The entry of a tensor that broadcasts to (B, H, T, S)."""
    places = (
        i if size > 1 else torch.zeros_like(i) for i, size in zip(index, tensor.shape, strict=True)
    )
    return tensor[tuple(places)]


def _visible(
    rule: "AttentionRule", queries: int, keys: int, device: torch.device
) -> BlockMask | None:
    """Which blocks there are to compute at all; masks that are tensors hide within them."""
    if not rule.causal and rule.window is None:
        return None
    return _block_mask(rule.causal, rule.window, queries, keys, str(device))


@lru_cache(maxsize=64)
def _block_mask(
    causal: bool, window: int | None, queries: int, keys: int, device: str
) -> BlockMask:
    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = query + (keys - queries) - key
        visible = distance >= 0 if causal else distance == distance
        return visible if window is None else visible & (distance.abs() < window)

    return create_block_mask(seen, None, None, queries, keys, device=device)
