"""Wrong distributions, each with the idea that it misses."""

import math
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from lmwright.engine.params import SamplingParams
from lmwright.roadmap.properties import Mutant


def _distribution(scores: Tensor, params: Items[SamplingParams], wrong: str) -> Tensor:
    """The filters one row after the other, wrong in one place."""
    dtype = torch.float32 if wrong == "float32" else torch.float64
    each = [params[0]] * len(params) if wrong == "first row" else params
    rows = [_row(s.to(dtype), p, wrong) for s, p in zip(scores, each, strict=True)]
    return torch.stack(rows).double()


def _row(scores: Tensor, params: SamplingParams, wrong: str) -> Tensor:
    if wrong != "no shift":
        scores = scores - scores.max()
    cold = scores
    if wrong == "times":
        scores = scores * params.temperature
    elif wrong not in ("no temperature", "late"):
        scores = scores / params.temperature
    if wrong == "p before k":
        scores = _top_k(_top_p(scores, params.top_p, wrong), params.top_k, wrong)
    else:
        scores = _top_k(scores, params.top_k, wrong)
        scores = _top_p(scores, params.top_p, wrong)
    scores = _min_p(scores, cold, params.min_p, wrong)
    if wrong == "late":
        scores = scores / params.temperature
    probabilities = scores.softmax(-1)
    if wrong == "not renormalised":
        whole = (cold / params.temperature).softmax(-1)
        return whole.masked_fill(scores == -math.inf, 0.0)
    return probabilities


def _top_k(scores: Tensor, k: int, wrong: str) -> Tensor:
    if not k or (k >= len(scores) and wrong != "no clamp"):
        return scores
    if wrong == "all equals":
        return scores.masked_fill(scores < scores.topk(k).values[-1], -math.inf)
    if wrong == "no clamp":
        scores.topk(k)  # raises where there are fewer
    order = scores.argsort(descending=True, stable=True)
    if wrong == "higher ids of k":
        order = len(scores) - 1 - scores.flip(0).argsort(descending=True, stable=True)
    return scores.index_fill(0, order[k:], -math.inf)


def _top_p(scores: Tensor, mass: float, wrong: str) -> Tensor:
    if mass >= 1.0:
        return scores
    order = scores.argsort(descending=True, stable=True)
    if wrong == "higher ids of p":
        order = len(scores) - 1 - scores.flip(0).argsort(descending=True, stable=True)
    ordered = scores[order].softmax(-1)
    total = ordered.cumsum(-1)
    inside = total - ordered < mass
    if wrong == "too few":
        inside = total <= mass
        inside[0] = True
    if wrong == "too many":
        inside = torch.cat((inside[:1], inside[:-1]))
    return scores.index_fill(0, order[~inside], -math.inf)


def _min_p(scores: Tensor, cold: Tensor, share: float, wrong: str) -> Tensor:
    if not share or wrong == "no min-p":
        return scores
    probabilities = scores.softmax(-1)
    least = share * probabilities.max()
    if wrong == "absolute":
        least = torch.tensor(share, dtype=scores.dtype).clamp(max=probabilities.max())
    if wrong == "cold":
        probabilities = cold.softmax(-1)
        least = share * probabilities.max()
    return scores.masked_fill(probabilities < least * (1 - 1e-12), -math.inf)


def _mutant(wrong: str, says: str) -> Mutant:
    def sampling_distribution(scores: Tensor, params: Items[SamplingParams]) -> Tensor:
        return _distribution(scores, params, wrong)

    return Mutant(says, sampling_distribution)


MUTANTS = (
    _mutant("float32", "a distribution computed in float32: convert the scores to float64 first"),
    _mutant("no temperature", "sampling that does not look at the temperature"),
    _mutant("times", "sampling whose scores are multiplied by the temperature, not divided"),
    _mutant("no clamp", "a top-k that fails where k is larger than the vocabulary"),
    _mutant("all equals", "a top-k that keeps every token as likely as the k-th: more than k"),
    _mutant(
        "higher ids of k", "a top-k that keeps the higher ids of equal scores, not the lower ones"
    ),
    _mutant("too few", "a top-p that leaves out the token with which the mass is reached"),
    _mutant("too many", "a top-p that keeps one token more than it needs to reach the mass"),
    _mutant(
        "higher ids of p", "a top-p that keeps the higher ids of equal scores, not the lower ones"
    ),
    _mutant("p before k", "filters with top-p before top-k; top-k comes first"),
    _mutant("no min-p", "sampling that does not look at min-p"),
    _mutant("absolute", "a min-p that is a probability: it is a share of the likeliest token's"),
    _mutant("cold", "a min-p measured before the temperature has changed the probabilities"),
    _mutant("late", "filters that look at the scores before the temperature has changed them"),
    _mutant("not renormalised", "probabilities that no longer sum to 1 after the filters"),
    _mutant("first row", "sampling that uses the first row's parameters for all rows"),
    _mutant(
        "no shift",
        "a division by a tiny temperature that overflows: take the largest score "
        "from all of them first",
    ),
)
