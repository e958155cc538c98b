"""A learner's own tests of `mine/adamw.py`."""

import torch
from mine.adamw import adamw_step

USUAL = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0}


def step(parameter, gradient, first=0.0, second=0.0, number=1, **changes):
    tensors = [torch.tensor([float(x)]) for x in (parameter, gradient, first, second)]
    found = adamw_step(*tensors, number, **(USUAL | changes))
    return [x.item() for x in found]


def near(a, b):
    return abs(a - b) <= 1e-5 * max(1.0, abs(b))


def test_by_hand():
    parameter, first, second = step(1.0, 0.5, weight_decay=0.1)
    assert near(parameter, 0.89)
    assert near(first, 0.05)
    assert near(second, 0.0025)


def test_the_first_step_is_lr_whatever_the_gradient():
    assert near(step(1.0, 1000.0)[0], 0.9)
    assert near(step(1.0, 0.001)[0], 0.9)
    assert near(step(1.0, -7.0)[0], 1.1)


def test_the_second_step():
    _, first, second = step(1.0, 1.0)
    parameter, first, second = step(0.9, 3.0, first, second, 2)
    assert near(first, 0.9 * 0.1 + 0.1 * 3)
    assert near(second, 0.99 * 0.01 + 0.01 * 9)
    mean, root = 0.39 / 0.19, (0.0999 / 0.0199) ** 0.5
    assert near(parameter, 0.9 - 0.1 * mean / root)


def test_nothing_moves_without_a_gradient():
    assert step(2.0, 0.0) == [2.0, 0.0, 0.0]


def test_decay_without_a_gradient():
    parameter, first, second = step(2.0, 0.0, weight_decay=0.5)
    assert near(parameter, 2.0 * 0.95)
    assert first == second == 0.0


def test_decay_does_not_depend_on_the_gradient():
    large, small = step(2.0, 100.0, weight_decay=0.5)[0], step(2.0, 100.0)[0]
    assert near(small - large, 0.1)


def test_a_large_eps_makes_small_steps():
    assert near(step(1.0, 0.5, eps=0.5)[0], 1 - 0.1 * 0.5 / (0.5 + 0.5))


def test_half_precision_stays():
    tensors = [torch.ones(3, dtype=torch.bfloat16) for _ in range(4)]
    assert all(x.dtype == torch.bfloat16 for x in adamw_step(*tensors, 5, **USUAL))


def test_what_is_given_stays():
    tensors = [torch.ones(3) for _ in range(4)]
    adamw_step(*tensors, 5, **USUAL)
    assert all(torch.equal(x, torch.ones(3)) for x in tensors)
