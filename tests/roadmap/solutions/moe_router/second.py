"""A router that seats assignments one after the other, as one would at a door."""

import math

import torch
from torch import Tensor

from lmwright.models.layers.routing import Routing

REPLACES = "lmwright.models.layers.routing:route"


def route(
    logits: Tensor,
    choices: int,
    normalize: bool,
    capacity_factor: float | None = None,
    real: Tensor | None = None,
) -> Routing:
    shifted = (logits - logits.amax(1, keepdim=True)).exp()
    probabilities = shifted / shifted.sum(1, keepdim=True)
    experts = probabilities.argsort(1, descending=True)[:, :choices]
    weights = probabilities.gather(1, experts)
    if normalize:
        weights = weights / weights.sum(1, keepdim=True)
    if real is None and capacity_factor is None:
        return Routing(logits, probabilities, experts, weights, None)
    inside = [True] * len(logits) if real is None else real.tolist()
    room = math.inf
    if capacity_factor is not None:
        room = math.ceil(choices * sum(inside) * capacity_factor / logits.shape[1])
    seated = [0] * logits.shape[1]
    rows = experts.tolist()
    taken = [[False] * choices for _ in rows]
    for choice in range(choices):
        for token, row in enumerate(rows):
            if inside[token] and seated[row[choice]] < room:
                seated[row[choice]] += 1
                taken[token][choice] = True
    return Routing(logits, probabilities, experts, weights, torch.tensor(taken).view(-1, choices))
