"""Routing: who goes where, who is refused, and the losses that keep all experts at work."""

import copy

import pytest
import torch
import torch.nn.functional as F

from lmwright.models.layers.experts import auxiliary_losses
from lmwright.models.layers.routing import (
    demand,
    dispatch,
    load_balance_loss,
    route,
    router_z_loss,
)
from tests.models.expert_layers import layer, planned, stream


def test_load_balance_spans_from_even_to_one_expert():
    even = torch.full((8, 4), 0.25)
    one = F.one_hot(torch.zeros(8, dtype=torch.long), 4).float()

    assert load_balance_loss(even, torch.tensor([2, 2, 2, 2])).item() == pytest.approx(1.0)
    assert load_balance_loss(one, torch.tensor([8, 0, 0, 0])).item() == pytest.approx(4.0)


def test_z_loss_is_the_mean_square_of_the_normaliser():
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0], [9.0, -9.0]])
    real = torch.tensor([True, True, False])
    log2 = torch.tensor(2.0).log().item()

    found = router_z_loss(logits, real).item()

    assert found == pytest.approx((log2**2 + (1 + log2) ** 2) / 2, rel=1e-6)


def test_losses_sum_over_layers_and_know_their_coefficients():
    values = {"load_balance_coefficient": 0.02, "z_coefficient": 0.003}
    model = torch.nn.Sequential(layer(0, **values), torch.nn.Tanh(), layer(1, **values))
    x = stream(2, 8)
    model(x)

    found = auxiliary_losses(model)

    balance, z = 0.0, 0.0
    for experts, y in ((model[0], x), (model[2], model[:2](x))):
        _, routing, _ = planned(experts, y)
        wanted = demand(routing.experts, experts.settings.num_experts)
        balance += 0.02 * load_balance_loss(routing.probabilities, wanted)
        z += 0.003 * router_z_loss(routing.logits)
    assert found["load_balance_loss"].item() == pytest.approx(balance.item(), rel=1e-5)
    assert found["router_z_loss"].item() == pytest.approx(z.item(), rel=1e-5)
    assert found["dropped_assignments"].item() == 0.0
    assert not found["expert_load_max"].requires_grad
    assert 1.0 <= found["expert_load_max"].item() <= 5 / 2


def test_only_training_with_experts_has_losses():
    experts = layer()
    assert auxiliary_losses(torch.nn.Linear(2, 2)) == {}
    assert auxiliary_losses(experts) == {}

    experts(stream(1, 4))
    assert auxiliary_losses(experts)
    experts.eval()(stream(1, 4))
    assert auxiliary_losses(experts) == {}


def test_a_layer_can_be_copied_after_a_step():
    experts = layer()
    experts(stream(1, 4))

    twin = copy.deepcopy(experts)

    assert torch.equal(twin(stream(1, 4)), experts(stream(1, 4)))


def test_capacity_by_hand():
    """4 tokens, 2 choices of 3 experts, factor 0.75: each expert takes ceil(8 / 3 * 0.75) = 2."""
    chosen = torch.tensor([[0, 1], [0, 2], [1, 0], [0, 1]])
    logits = torch.zeros(4, 3).scatter(1, chosen, torch.tensor([[2.0, 1.0]]).expand(4, 2))

    routing = route(logits, 2, normalize=True, capacity_factor=0.75)
    plan = dispatch(routing.experts, 3, routing.taken)

    # First choices come first: expert 0 takes those of tokens 0 and 1, not 3's; expert 1 that of
    # token 2, then token 0's second choice, not 3's; expert 2 the second choice of token 1.
    taken = [[True, True, True, False], [True, True, False, False]]
    assert routing.taken.t().tolist() == taken
    assert (plan.rows < plan.ends[-1]).tolist() == taken
    assert plan.ends.tolist() == [2, 4, 5]
    assert plan.order[:5].tolist() == [0, 1, 2, 4, 5]
    assert demand(routing.experts, 3).tolist() == [4, 3, 1]


def test_a_token_whose_experts_are_full_gets_nothing():
    experts = layer(num_experts=4, num_experts_per_tok=2, capacity_factor=0.5)
    x = stream(1, 1).expand(1, 8, 6)  # of eight equal tokens two find a place

    output = experts(x)[0]

    assert torch.equal(output[2:], torch.zeros(6, 6))
    assert output[:2].abs().min() > 0
    assert auxiliary_losses(experts)["dropped_assignments"].item() == pytest.approx(12 / 16)


def test_a_generous_capacity_drops_nothing():
    x = stream(2, 9)
    free, roomy = layer(4), layer(4, capacity_factor=2.5)

    assert torch.equal(free(x), roomy(x))
    assert auxiliary_losses(roomy)["dropped_assignments"].item() == 0.0
