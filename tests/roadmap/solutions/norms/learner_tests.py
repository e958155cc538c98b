"""A learner's own tests of `mine/norms.py`."""

import torch
from mine.norms import rms_norm

ONES = torch.ones(2)


def test_three_and_four():
    found = rms_norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), 0.0)
    assert torch.allclose(found, torch.tensor([0.848528, 2.262742]), atol=1e-5)


def test_each_row_for_itself():
    x = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    found = rms_norm(x, ONES, 1e-12)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found.square().mean(-1), torch.ones(2), atol=1e-5)


def test_zeros_stay_zeros():
    assert torch.equal(rms_norm(torch.zeros(2), ONES, 1e-6), torch.zeros(2))


def test_eps_is_under_the_root():
    found = rms_norm(torch.tensor([1.0, 1.0]), ONES, 3.0)
    assert torch.allclose(found, torch.tensor([0.5, 0.5]))


def test_plus_one():
    x, weight = torch.tensor([3.0, 4.0]), torch.tensor([0.5, -0.5])
    found = rms_norm(x, weight, 1e-6, plus_one=True)
    assert torch.allclose(found, rms_norm(x, 1 + weight, 1e-6))
    assert not torch.allclose(found, rms_norm(x, weight, 1e-6))


def test_half_precision():
    found = rms_norm(torch.tensor([600.0, 600.0]).half(), ONES.half(), 1e-6)
    assert found.dtype == torch.float16
    assert torch.allclose(found.float(), ONES, atol=1e-2)


def test_the_gradient_stands_at_right_angles():
    x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    rms_norm(x, torch.tensor([1.0, 0.5, 2.0]), 1e-12).sum().backward()
    assert abs((x.grad * x).sum().item()) < 1e-5
