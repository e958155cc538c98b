"""Attention with query heads grouped beside their key head, so that nothing is repeated."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.layers.attention import AttentionRule, combined_mask

REPLACES = "lmwright.models.layers.attention:attend"


def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    rows, heads, queries, width = q.shape
    keys = k.shape[2]
    grouped = q.reshape(rows, k.shape[1], -1, queries, width)
    scale = width**-0.5 if rule.scale is None else rule.scale
    scores = (grouped.float() @ k.float().unsqueeze(2).transpose(-1, -2)) * scale
    scores = scores.reshape(rows, heads, queries, keys)
    if rule.soft_cap is not None:
        scores = rule.soft_cap * (scores / rule.soft_cap).tanh()
    mask = combined_mask(rule, q, k)
    if mask is not None:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        else:
            scores = scores + mask
    # A row that is hidden as a whole would be NaN: its largest score counts as 0, its sum as 1.
    largest = scores.amax(-1, keepdim=True).detach()
    parts = (scores - largest.masked_fill(largest == -torch.inf, 0.0)).exp()
    total = parts.sum(-1, keepdim=True)
    weights = parts / total.masked_fill(total == 0, 1.0)
    if rule.dropout:
        weights = F.dropout(weights, p=rule.dropout, training=True)
    weights = weights.reshape(rows, k.shape[1], -1, queries, keys)
    mixed = weights.to(v.dtype) @ v.unsqueeze(2)
    return mixed.reshape(rows, heads, queries, v.shape[3])
