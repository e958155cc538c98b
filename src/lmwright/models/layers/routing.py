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
    taken: Tensor | None = None
    """(N, k) bool, False where an expert does not take the token: of padding, or beyond capacity.
    None: all are taken."""


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


def route(
    logits: Tensor,
    choices: int,
    normalize: bool,
    capacity_factor: float | None = None,
    real: Tensor | None = None,
) -> Routing:
    """Choose each token's experts, weigh them by their probability, and say who finds a place.

    With `normalize` the weights of a token sum to 1: Mixtral's softmax over the chosen logits
    (Jiang et al. 2024, Mixtral of Experts, section 2.1) and Qwen3's `norm_topk_prob` are the same
    number. Without it a single choice keeps its probability, through which the router of a Switch
    Transformer learns.

    With a capacity, an expert takes at most ceil(k * N / E * factor) assignments, first choices
    before second ones and earlier tokens before later ones; N counts real tokens only. GShard
    also drops second choices at random, in proportion to their weight: not done here, so that a
    forward pass stays a function of its input.

    Args:
        logits: (N, E), float32.
        choices: k.
        normalize: whether a token's k weights are divided by their sum.
        capacity_factor: None: no expert refuses a token.
        real: (N,) bool, False where a token is padding, which no expert takes.
    """
    probabilities = logits.softmax(-1)
    weights, experts = probabilities.topk(choices, dim=-1)
    if normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    taken = None if real is None else real[:, None].expand_as(experts)
    if capacity_factor is not None:
        number = logits.shape[1]
        wanted = experts if taken is None else experts.masked_fill(~taken, number)
        # All first choices, then all second ones; a stable sort keeps this order in each expert.
        ordered, order = wanted.t().reshape(-1).sort(stable=True)
        place = torch.arange(len(order), device=order.device)
        rank = place - torch.searchsorted(ordered, ordered)
        capacity = ((ordered < number).sum().double() * capacity_factor / number).ceil()
        # Compared as integers, that is exactly.
        fits = (rank < capacity.long()) & (ordered < number)
        taken = torch.zeros_like(fits).scatter(0, order, fits).view(choices, -1).t()
    return Routing(logits, probabilities, experts, weights, taken)


def dispatch(experts: Tensor, num_experts: int, taken: Tensor | None = None) -> Dispatch:
    """Sort the assignments by expert; the same input always gives the same order.

    Args:
        experts: (N, k) chosen experts.
        num_experts: E.
        taken: (N, k) bool, False where the expert does not take the token; None: all are taken.
    """
    wanted = experts if taken is None else experts.masked_fill(~taken, num_experts)
    sorted_expert, order = wanted.t().reshape(-1).sort(stable=True)
    row = torch.arange(len(order), device=order.device)
    rows = torch.empty_like(order).scatter_(0, order, row)
    expert = torch.arange(num_experts, device=order.device)
    ends = torch.searchsorted(sorted_expert, expert, right=True)
    return Dispatch(order, rows.view(experts.shape[1], -1), ends)


def demand(experts: Tensor, num_experts: int, real: Tensor | None = None) -> Tensor:
    """How many assignments of real tokens want each expert, capacity or not.

    Args:
        experts: (N, k) chosen experts.
        num_experts: E.
        real: (N,) bool, False where a token is padding; None: all are real.

    Returns:
        (E,) int64.
    """
    counted = torch.ones_like(experts)
    if real is not None:
        counted = counted * real[:, None]
    none = counted.new_zeros(num_experts)
    return none.scatter_add(0, experts.flatten(), counted.flatten())


def load_balance_loss(probabilities: Tensor, wanted: Tensor, real: Tensor | None = None) -> Tensor:
    """E * sum_i f_i P_i: 1 where all experts get the same, E where one gets all.

    f_i is the share of the k * N assignments that went to expert i, P_i the mean probability that
    the router gave it; only P_i has a gradient. Implementations differ by a constant factor in
    what f_i counts: per token, as in the reference model of Mixtral and in Megatron before its
    division by k, it is k times ours; for k = 1 all equal Switch Transformers, equation 4. GShard
    counts first choices only.

    Args:
        probabilities: (N, E).
        wanted: (E,) assignments that want each expert, see `demand`.
        real: (N,) bool, False where a token is padding, which does not count.

    Returns:
        Scalar.
    """
    share = wanted.to(probabilities.dtype) / wanted.sum().clamp(min=1)
    return len(wanted) * (share * _mean(probabilities, real)).sum()


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
