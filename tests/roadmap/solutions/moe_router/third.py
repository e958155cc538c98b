"""A router that asks of each expert which of its assignments come first."""

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
    probabilities = torch.exp(torch.log_softmax(logits, -1))
    best = probabilities.sort(-1, descending=True)
    weights, experts = best.values[:, :choices], best.indices[:, :choices]
    if normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    here = torch.ones(len(logits), dtype=torch.bool) if real is None else real
    taken = here[:, None].expand(-1, choices).clone()
    if capacity_factor is not None:
        assignments = choices * here.sum().item()
        capacity = -int(-assignments * capacity_factor / logits.shape[1] // 1)
        for expert in range(logits.shape[1]):
            # Transposed: first choices of all tokens, then second ones.
            wants = (experts == expert).T & here
            late = wants.flatten().cumsum(0).view(wants.shape) > capacity
            taken &= ~(wants & late).T
    return Routing(logits, probabilities, experts, weights, taken)
