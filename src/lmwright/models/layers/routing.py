"""Which tokens go to which experts, and the losses that keep all of them at work.

Top-k gating (Shazeer et al. 2017, Outrageously Large Neural Networks, section 2.1) by softmax
(Lepikhin et al. 2020, GShard, section 2.2); capacity (GShard, algorithm 1); load balance (Fedus et
al. 2021, Switch Transformers, section 2.2); z-loss (Zoph et al. 2022, ST-MoE, section 2.2).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Routing(NamedTuple):
    """What the router says of N = B * T tokens."""

    logits: Tensor
    """(N, E), float32."""
    probabilities: Tensor
    """(N, E), softmax of the logits."""
    experts: Tensor
    """(N, k) integers: the chosen experts, the likeliest first."""
    weights: Tensor
    """(N, k): the factor of each chosen expert's output."""


class Dispatch(NamedTuple):
    """The k * N assignments in the order in which experts take them: expert 0's, then 1's ...

    An assignment is numbered choice * N + token, so that first choices come before second ones.
    Those that no expert takes, of padding or beyond capacity, stand at the end.
    """

    order: Tensor
    """(k * N,): which assignment stands at each row."""
    rows: Tensor
    """(k, N): at which row each assignment stands."""
    ends: Tensor
    """(E,): the row after each expert's last."""
    demand: Tensor
    """(E,): how many assignments wanted each expert, before capacity."""


def route(logits: Tensor, choices: int, normalize: bool) -> Routing:
    """Choose each token's experts and weigh them by their probability.

    With `normalize` the weights of a token sum to 1: Mixtral's softmax over the chosen logits
    (Jiang et al. 2024, Mixtral of Experts, section 2.1) and Qwen3's `norm_topk_prob` are the same
    number. Without it a single choice keeps its probability, through which the router of a Switch
    Transformer learns.

    Args:
        logits: (N, E), float32.
        choices: k.
        normalize: whether a token's k weights are divided by their sum.
    """
    probabilities = logits.softmax(-1)
    weights, experts = probabilities.topk(choices, dim=-1)
    if normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return Routing(logits, probabilities, experts, weights)


def dispatch(
    experts: Tensor,
    num_experts: int,
    capacity_factor: float | None = None,
    real: Tensor | None = None,
) -> Dispatch:
    """Sort the assignments by expert; the same input always gives the same order.

    With a capacity, an expert takes at most ceil(k * N / E * factor) assignments, first choices
    before second ones and earlier tokens before later ones; N counts real tokens only. GShard
    also drops second choices at random, in proportion to their weight: not done here, so that a
    forward pass stays a function of its input.

    Args:
        experts: (N, k) chosen experts.
        num_experts: E.
        capacity_factor: None: no expert refuses a token.
        real: (N,) bool, False where a token is padding, which no expert sees.
    """
    expert = experts.t().reshape(-1)
    if real is not None:
        expert = expert.masked_fill(~real.repeat(experts.shape[1]), num_experts)
    sorted_expert, order = expert.sort(stable=True)
    ends = _ends(sorted_expert, num_experts)
    demand = ends.diff(prepend=ends.new_zeros(1))
    row = torch.arange(len(order), device=order.device)
    if capacity_factor is not None:
        capacity = (ends[-1].double() * capacity_factor / num_experts).ceil()
        rank = row - torch.searchsorted(sorted_expert, sorted_expert)
        # Row numbers stay integers, so that the comparison is exact.
        sorted_expert = sorted_expert.masked_fill(rank >= capacity.long(), num_experts)
        sorted_expert, again = sorted_expert.sort(stable=True)
        order, ends = order[again], _ends(sorted_expert, num_experts)
    rows = torch.empty_like(order).scatter_(0, order, row)
    return Dispatch(order, rows.view(experts.shape[1], -1), ends, demand)


def _ends(sorted_expert: Tensor, num_experts: int) -> Tensor:
    """(E,): the row after each expert's last, of sorted experts (k * N,)."""
    expert = torch.arange(num_experts, device=sorted_expert.device)
    return torch.searchsorted(sorted_expert, expert, right=True)


def load_balance_loss(probabilities: Tensor, demand: Tensor, real: Tensor | None = None) -> Tensor:
    """E * sum_i f_i P_i: 1 where all experts get the same, E where one gets all.

    f_i is the share of the k * N assignments that went to expert i, P_i the mean probability that
    the router gave it; only P_i has a gradient. Implementations differ by a constant factor in
    what f_i counts: per token, as in the reference model of Mixtral and in Megatron before its
    division by k, it is k times ours; for k = 1 all equal Switch Transformers, equation 4. GShard
    counts first choices only.

    Args:
        probabilities: (N, E).
        demand: (E,) assignments that wanted each expert.
        real: (N,) bool, False where a token is padding, which does not count.

    Returns:
        Scalar.
    """
    share = demand.to(probabilities.dtype) / demand.sum().clamp(min=1)
    return len(demand) * (share * _mean(probabilities, real)).sum()


def router_z_loss(logits: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean of logsumexp(logits)^2, which keeps the router's logits small (ST-MoE, equation 5).

    Args:
        logits: (N, E), float32.
        real: (N,) bool, False where a token is padding, which does not count.

    Returns:
        Scalar.
    """
    return _mean(logits.logsumexp(-1).square(), real)


def _mean(values: Tensor, real: Tensor | None) -> Tensor:
    """Mean over the first dimension, of real tokens only; 0 where there are none."""
    if real is None:
        return values.mean(0)
    counted = real.view(-1, *[1] * (values.ndim - 1))
    # Selected, not multiplied: what padding holds may be infinite.
    return values.where(counted, 0.0).sum(0) / real.sum().clamp(min=1)
