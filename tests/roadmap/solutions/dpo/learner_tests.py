"""What a learner might ask of their own dpo."""

import math

import torch
from mine.dpo import dpo_loss


def numbers():
    return (
        torch.tensor([-5.0, -3.0]),
        torch.tensor([-7.0, -2.0]),
        torch.tensor([-6.0, -4.0]),
        torch.tensor([-6.5, -1.0]),
    )


def test_by_hand():
    losses, good, bad = dpo_loss(*numbers(), 0.5)
    for i, (c, r, rc, rr) in enumerate(zip(*(x.tolist() for x in numbers()), strict=False)):
        z = 0.5 * ((c - rc) - (r - rr))
        assert abs(losses[i].item() - math.log(1 + math.exp(-z))) < 1e-5
        assert abs(good[i].item() - 0.5 * (c - rc)) < 1e-6
        assert abs(bad[i].item() - 0.5 * (r - rr)) < 1e-6


def test_policy_is_reference():
    c, r, _, _ = numbers()
    losses, _, _ = dpo_loss(c, r, c, r, 0.1)
    assert torch.allclose(losses, torch.full((2,), math.log(2)))


def test_large_margin_is_finite():
    c = torch.tensor([-2000.0])
    losses, _, _ = dpo_loss(c, torch.tensor([-10.0]), torch.tensor([-10.0]), c, 1.0)
    assert torch.isfinite(losses).all()
    assert losses.item() > 3000


def test_gradients():
    c, r, rc, rr = numbers()
    c.requires_grad_()
    r.requires_grad_()
    losses, good, bad = dpo_loss(c, r, rc, rr, 0.5)
    losses.sum().backward()
    assert (c.grad < 0).all()
    assert (r.grad > 0).all()
    assert not good.requires_grad
    assert not bad.requires_grad
