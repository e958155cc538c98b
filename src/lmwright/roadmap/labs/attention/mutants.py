"""Wrong attentions, each with the idea that it misses."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.layers.attention import AttentionRule, combined_mask
from lmwright.roadmap.properties import Mutant


def _attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, *, wrong: str) -> Tensor:
    """Attention from its equation, wrong in one place."""
    groups = q.shape[1] // k.shape[1]
    if wrong == "tiled":
        k, v = k.repeat(1, groups, 1, 1), v.repeat(1, groups, 1, 1)
    else:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(2, 3)).float() * _scale(q.shape[3], rule, wrong)
    late = wrong == "cap after bias"
    if rule.soft_cap is not None and wrong != "no cap" and not late:
        scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
    mask = _mask(q, k, rule, wrong)
    if mask is not None:
        added = mask
        if mask.dtype == torch.bool:
            added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        scores = scores + (added if wrong == "NaN rows" else added.clamp(min=-1e30))
    if rule.soft_cap is not None and late:
        scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
    weights = _weights(scores, rule, wrong)
    mixed = weights.to(v.dtype) @ v
    mixed = mixed.float() if wrong == "float32 out" else mixed
    if mask is None or wrong in ("mean of all", "NaN rows"):
        return mixed
    hidden = ~mask if mask.dtype == torch.bool else mask == -torch.inf
    return mixed.masked_fill(hidden.all(-1, keepdim=True), 0.0)


def _scale(width: int, rule: AttentionRule, wrong: str) -> float:
    if rule.scale is not None and wrong != "fixed scale":
        return rule.scale
    usual: float = width**-0.5
    return {"no scale": 1.0, "scale K": 1 / width}.get(wrong, usual)


def _weights(scores: Tensor, rule: AttentionRule, wrong: str) -> Tensor:
    weights = scores.softmax(-2 if wrong == "softmax over queries" else -1)
    if wrong == "naive softmax":
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    if wrong == "detached":
        weights = weights.detach()
    if rule.dropout and wrong != "no dropout":
        dropped = F.dropout(weights, rule.dropout)
        return dropped * (1 - rule.dropout) if wrong == "dropout unscaled" else dropped
    return weights


def _mask(q: Tensor, k: Tensor, rule: AttentionRule, wrong: str) -> Tensor | None:
    queries, keys = q.shape[2], k.shape[2]
    mask, window = rule.mask, rule.window
    if wrong == "no mask":
        rule = replace(rule, mask=None)
    if wrong == "float as bool" and mask is not None and mask.dtype != torch.bool:
        rule = replace(rule, mask=mask == 0)
    if wrong == "inverted" and mask is not None and mask.dtype == torch.bool:
        rule = replace(rule, mask=~mask)
    if wrong == "mask or causal" and mask is not None:
        rule = replace(rule, causal=False)
    if wrong == "no bias":
        rule = replace(rule, bias=None)
    if wrong == "no window":
        rule = replace(rule, window=None)
    if wrong == "window too wide" and window is not None:
        rule = replace(rule, window=window + 1)
    if wrong == "not causal":
        rule = replace(rule, causal=False)
    if wrong == "cached from zero" and keys > queries:
        # The same rule for queries that are the first T of the S positions.
        later = torch.cat((q, q[:, :, :1].expand(-1, -1, keys - queries, -1)), 2)
        place = combined_mask(replace(rule, mask=None, bias=None), later, k)
        seen = None if place is None else place[:queries]
        free = replace(rule, causal=False, window=None)
        rule = free if seen is None else _and(free, seen)
    if wrong == "not itself" and rule.causal:
        earlier = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries - 1)
        rule = _and(rule, earlier)
    return combined_mask(rule, q, k)


def _and(rule: AttentionRule, seen: Tensor) -> AttentionRule:
    """The rule with one more condition."""
    if rule.mask is None:
        return replace(rule, mask=seen)
    if rule.mask.dtype == torch.bool:
        return replace(rule, mask=rule.mask & seen)
    return replace(rule, mask=rule.mask.masked_fill(~seen, -torch.inf))


def _mutant(wrong: str, says: str) -> Mutant:
    def attend(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        return _attend(q, k, v, rule, wrong=wrong)

    return Mutant(says, attend)


MUTANTS = (
    _mutant("no scale", "attention without 1 / sqrt(K)"),
    _mutant("scale K", "attention whose scores are divided by K, not by its square root"),
    _mutant("fixed scale", "attention that always uses 1 / sqrt(K), whatever `rule.scale` says"),
    _mutant(
        "softmax over queries", "attention with its softmax over the queries, not over the keys"
    ),
    _mutant(
        "tiled",
        "attention with key heads tiled (0, 1, 0, 1) where they must be repeated (0, 0, 1, 1)",
    ),
    # Before the next one, which does the same wherever a mask is given.
    _mutant(
        "mask or causal", "attention that forgets `rule.causal` where a mask is given; both hold"
    ),
    _mutant("not causal", "attention that looks ahead: `rule.causal` hides every later key"),
    _mutant(
        "cached from zero",
        "attention whose queries begin at position 0: they are the last T of the S positions",
    ),
    _mutant("not itself", "attention in which a query does not see its own position"),
    _mutant("no window", "attention that does not look at `rule.window`"),
    _mutant(
        "window too wide", "attention that looks one position too far: less than `window` away"
    ),
    _mutant("no mask", "attention that does not look at `rule.mask`"),
    _mutant("inverted", "attention that hides where a bool mask is True; True is what may be seen"),
    _mutant(
        "float as bool", "attention that hides all but 0 of a float mask; it is added to the scores"
    ),
    _mutant("no bias", "attention that does not add `rule.bias`"),
    _mutant("no cap", "attention without the soft cap of its scores"),
    _mutant(
        "cap after bias",
        "attention that caps the scores after the bias was added; the cap comes first",
    ),
    _mutant(
        "mean of all",
        "attention in which a query that may see nothing gets a mean of all values, not zeros",
    ),
    _mutant("NaN rows", "attention in which a query that may see nothing gets NaN, not zeros"),
    _mutant(
        "naive softmax",
        "attention whose exponentials overflow: take the largest score from all of them first",
    ),
    _mutant("float32 out", "attention that returns float32, whatever came in"),
    _mutant("detached", "attention whose weights send no gradient back to queries and keys"),
    _mutant("no dropout", "attention that does not look at `rule.dropout`"),
    _mutant(
        "dropout unscaled", "attention whose remaining weights do not make up for the dropped ones"
    ),
)
