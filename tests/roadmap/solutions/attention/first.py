"""Attention as its equation stands, and the lab's twists."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.layers.attention import AttentionRule, combined_mask

REPLACES = "lmwright.models.layers.attention:attend"


def scores_of(q: Tensor, k: Tensor, rule: AttentionRule) -> Tensor:
    scale = rule.scale if rule.scale is not None else q.shape[-1] ** -0.5
    scores = torch.einsum("bhtk,bhsk->bhts", q.float(), k.float()) * scale
    if rule.soft_cap is not None:
        scores = torch.tanh(scores / rule.soft_cap) * rule.soft_cap
    return scores


def repeated(x: Tensor, heads: int) -> Tensor:
    return torch.repeat_interleave(x, heads // x.shape[1], dim=1)


def mix(scores: Tensor, v: Tensor, rule: AttentionRule, mask: Tensor | None) -> Tensor:
    dead = None
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.where(mask, 0.0, -torch.inf)
        dead = (mask == -torch.inf).all(-1, keepdim=True)
        scores = scores + torch.clamp(mask.float(), min=-1e30)
    weights = torch.softmax(scores, dim=-1)
    if rule.dropout > 0:
        weights = F.dropout(weights, rule.dropout)
    answer = (weights @ v.float()).to(v.dtype)
    return answer if dead is None else answer.masked_fill(dead, 0.0)


def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    k, v = repeated(k, q.shape[1]), repeated(v, q.shape[1])
    return mix(scores_of(q, k, rule), v, rule, combined_mask(rule, q, k))


def attend_with_temperature(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, temperature: Tensor
) -> Tensor:
    k, v = repeated(k, q.shape[1]), repeated(v, q.shape[1])
    scores = scores_of(q, k, rule) / temperature.view(-1, 1, 1)
    return mix(scores, v, rule, combined_mask(rule, q, k))


def attend_with_sink(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    k, v = repeated(k, q.shape[1]), repeated(v, q.shape[1])
    scores = scores_of(q, k, rule)
    mask = combined_mask(rule, q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    top = scores.amax(-1, keepdim=True).clamp(min=0.0)
    parts = (scores - top).exp()
    return parts / (parts.sum(-1, keepdim=True) + (-top).exp()) @ v


def attend_with_slope(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, slope: float) -> Tensor:
    queries, keys = q.shape[2], k.shape[2]
    distance = [[abs(keys - queries + t - s) for s in range(keys)] for t in range(queries)]
    return attend(q, k, v, replace(rule, bias=-slope * torch.tensor(distance).float()))
