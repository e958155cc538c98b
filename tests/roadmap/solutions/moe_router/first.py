"""A router that counts with one-hot vectors and a running sum, and the lab's twists."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.layers.routing import Routing

REPLACES = "lmwright.models.layers.routing:route"


def route(logits, choices, normalize, capacity_factor=None, real=None):
    tokens, number = logits.shape
    probabilities = torch.softmax(logits, dim=1)
    weights, experts = torch.topk(probabilities, choices, dim=1)
    if normalize:
        weights = weights / weights.sum(dim=1, keepdim=True)
    if real is None:
        real = torch.ones(tokens, dtype=torch.bool, device=logits.device)
    taken = real[:, None].repeat(1, choices)
    if capacity_factor is not None:
        capacity = math.ceil(choices * int(real.sum()) * capacity_factor / number)
        wanted = F.one_hot(experts.T.reshape(-1), number) * real.repeat(choices)[:, None]
        place = (wanted.cumsum(0) * wanted).sum(1).view(choices, tokens).T
        taken = taken & (place <= capacity)
    return Routing(logits, probabilities, experts, weights, taken)


def expert_choice(logits: Tensor, capacity: int):
    probabilities = logits.softmax(dim=1)
    order = probabilities.argsort(dim=0, descending=True)[:capacity]
    return order.T, probabilities.gather(0, order).T


def route_with_bias(logits: Tensor, bias: Tensor, choices: int):
    score = torch.sigmoid(logits)
    experts = (score + bias).argsort(dim=1, descending=True)[:, :choices]
    chosen = score.gather(1, experts)
    return experts, chosen / chosen.sum(1, keepdim=True)


def balance_of_first_choices(logits: Tensor) -> Tensor:
    number = logits.shape[1]
    probabilities = logits.softmax(1)
    first = F.one_hot(probabilities.argmax(1), number).float().mean(0)
    return number * (first * probabilities.mean(0)).sum()
