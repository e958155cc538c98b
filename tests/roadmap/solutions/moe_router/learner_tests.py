"""A learner's own tests of `mine/moe_router.py`."""

import torch
from mine.moe_router import route

SAME = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])


def test_likeliest_first():
    found = route(torch.tensor([[1.0, 3.0, 2.0]]), 2, False)
    assert found.experts.tolist() == [[1, 2]]
    assert torch.allclose(found.weights, torch.tensor([[0.665241, 0.244728]]), atol=1e-5)


def test_weights_sum_to_one():
    logits = torch.randn(5, 4)
    assert torch.allclose(route(logits, 2, True).weights.sum(1), torch.ones(5))
    assert torch.allclose(route(SAME, 2, True).weights[0], torch.tensor([0.731059, 0.268941]))
    assert (route(logits, 2, False).weights.sum(1) < 0.9999).any()


def test_large_logits():
    assert torch.isfinite(route(1000 * SAME, 2, True).weights).all()


def test_first_come_first_served():
    found = route(SAME, 1, False, 1.0)
    assert found.taken.tolist() == [[True], [True], [False]]
    assert torch.allclose(found.weights[:, 0], torch.tensor([0.731059, 0.880797, 0.952574]))


def test_both_choices_fit():
    assert route(SAME, 2, False, 1.0).taken.all()


def test_second_choices_come_last():
    logits = torch.tensor([[5.0, 4.0, 0.0], [4.0, 5.0, 0.0], [4.0, 5.0, 0.0]])
    # Each expert takes ceil(6 / 3 * 0.5) = 1: expert 1 token 1's first, not token 0's second.
    found = route(logits, 2, False, 0.5)
    assert found.taken.tolist() == [[True, False], [True, False], [False, False]]


def test_padding_takes_no_place():
    real = torch.tensor([False, True, True])
    # ceil(2 / 2) = 1 place.
    assert route(SAME, 1, False, 1.0, real).taken.tolist() == [[False], [True], [False]]
    assert route(SAME, 1, False, None, real).taken.tolist() == [[False], [True], [True]]


def test_gradients():
    logits = SAME.clone().requires_grad_()
    route(logits, 1, False).weights.sum().backward()
    assert logits.grad.abs().sum() > 0
