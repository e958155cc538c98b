"""Attention head by head, with its mask made from the rule itself."""

import torch
from torch import Tensor

from lmwright.models.layers.attention import AttentionRule

REPLACES = "lmwright.models.layers.attention:attend"


def visible(rule: AttentionRule, queries: int, keys: int, device: torch.device) -> Tensor:
    at = torch.arange(queries, device=device).unsqueeze(1) + keys - queries
    other = torch.arange(keys, device=device).unsqueeze(0)
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if rule.causal:
        seen = seen & (other <= at)
    if rule.window is not None:
        seen = seen & ((at - other).abs() < rule.window)
    return seen


def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
    group = heads // k.shape[1]
    hidden = (~visible(rule, queries, keys, q.device))[None, None]
    added = torch.zeros(1, 1, 1, 1, device=q.device)
    if rule.bias is not None:
        added = added + rule.bias
    if rule.mask is not None and rule.mask.dtype == torch.bool:
        hidden = hidden | ~rule.mask
    elif rule.mask is not None:
        hidden = hidden | (rule.mask == -torch.inf)
        added = added + rule.mask.masked_fill(rule.mask == -torch.inf, 0.0)
    shape = (len(q), heads, queries, keys)
    hidden, added = hidden.expand(shape), added.expand(shape)
    answer = []
    for head in range(heads):
        score = q[:, head].float() @ k[:, head // group].float().transpose(1, 2)
        score = score * (q.shape[3] ** -0.5 if rule.scale is None else rule.scale)
        if rule.soft_cap is not None:
            score = rule.soft_cap * torch.tanh(score / rule.soft_cap)
        score = (score + added[:, head]).masked_fill(hidden[:, head], -1e30)
        weight = score.softmax(-1).masked_fill(hidden[:, head], 0.0)
        if rule.dropout:
            kept = torch.rand_like(weight) >= rule.dropout
            weight = weight * kept / (1 - rule.dropout)
        answer.append(weight @ v[:, head // group].float())
    return torch.stack(answer, 1).to(q.dtype)
