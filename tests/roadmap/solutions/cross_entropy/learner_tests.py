"""A learner's own tests of `mine/cross_entropy.py`."""

import math

import torch
from mine.cross_entropy import linear_cross_entropy

EYE = torch.eye(3)


def loss(logits, targets, **options):
    """The loss of logits that are given."""
    return linear_cross_entropy(torch.tensor(logits), EYE, torch.tensor(targets), **options)


def near(a, b, tolerance=1e-4):
    return abs(float(a) - b) <= tolerance * max(1.0, abs(b))


def gradient(logits, targets, factor=1.0, **options):
    hidden = torch.tensor(logits, requires_grad=True)
    (factor * linear_cross_entropy(hidden, EYE, torch.tensor(targets), **options)).backward()
    return hidden.grad


def test_even_logits_and_a_sum():
    assert near(loss([[0.0, 0.0, 0.0]], [1]), math.log(3))
    assert near(loss([[0.0, 0.0, 0.0]] * 5, [1, 0, 2, 1, 1]), 5 * math.log(3))


def test_ignored():
    assert near(loss([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]], [1, -100]), math.log(3))
    assert loss([[1.0, 0.0, 0.0]], [-100]).item() == 0.0


def test_ignored_rows_learn_nothing():
    found = gradient([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]], [1, -100])
    assert found[1].tolist() == [0.0, 0.0, 0.0]


def test_bias():
    bias = torch.tensor([5.0, 0.0, 0.0], requires_grad=True)
    found = loss([[0.0, 0.0, 0.0]], [0], bias=bias)
    assert near(found, math.log(1 + 2 * math.exp(-5)))
    found.backward()
    assert bias.grad.abs().sum() > 0


def test_large_logits():
    assert near(loss([[1e4, 0.0, 0.0]], [1]), 1e4)


def test_gradient_by_hand():
    found = gradient([[0.0, 0.0, 0.0]], [2])
    assert torch.allclose(found, torch.tensor([[1 / 3, 1 / 3, -2 / 3]]), atol=1e-5)


def test_the_gradient_from_above_counts():
    once, twice = gradient([[1.0, 0.0, 0.0]], [1]), gradient([[1.0, 0.0, 0.0]], [1], factor=2.0)
    assert torch.allclose(2 * once, twice)


def test_many_rows_like_few():
    rows, targets = [[1.0, 0.0, 0.0]] * 1500, [1] * 1500
    assert near(loss(rows, targets), 1500 * float(loss(rows[:1], targets[:1])))
    weight = torch.eye(3, requires_grad=True)
    linear_cross_entropy(torch.tensor(rows), weight, torch.tensor(targets)).backward()
    alone = torch.eye(3, requires_grad=True)
    linear_cross_entropy(torch.tensor(rows[:1]), alone, torch.tensor(targets[:1])).backward()
    assert torch.allclose(weight.grad, 1500 * alone.grad, rtol=1e-3)


def test_smoothing():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits.log_softmax(1)[0]
    wanted = 0.7 * -log_p[0] + 0.3 * -log_p.mean()
    assert near(loss(logits.tolist(), [0], label_smoothing=0.3), float(wanted))


def test_soft_cap():
    bent = [[2 * math.tanh(3.0), 0.0, 0.0]]
    assert near(loss([[6.0, 0.0, 0.0]], [1], soft_cap=2.0), float(loss(bent, [1])))
    assert gradient([[50.0, 0.0, 0.0]], [1], soft_cap=2.0)[0, 0].abs() < 1e-3


def test_float32_out():
    found = linear_cross_entropy(EYE.bfloat16(), EYE.bfloat16(), torch.tensor([0, 1, 2]))
    assert found.dtype == torch.float32
