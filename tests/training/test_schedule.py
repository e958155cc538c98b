"""The schedules' closed forms."""

import math
from typing import get_args

import pytest

from lmwright.training.commands import LoopConfig, ScheduleName
from lmwright.training.schedule import factor

NAMES = get_args(ScheduleName)


def factors(name, steps=100, warmup=0.1, decay=0.5, floor=0.02):
    return [factor(name, s, steps, warmup=warmup, decay=decay, floor=floor) for s in range(steps)]


def test_default_is_unchanged():
    assert LoopConfig().schedule == "warmup_stable_decay"


def test_linear():
    found = factors("linear")
    for n in range(10):
        assert found[n] == pytest.approx((n + 1) / 10)
    for n in range(10, 100):
        assert found[n] == pytest.approx(1 - 0.98 * (n - 9) / 90)
    assert found[-1] == pytest.approx(0.02)


def test_cosine():
    found = factors("cosine")
    for n in range(10, 100):
        expected = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (n - 9) / 90))
        assert found[n] == pytest.approx(expected)
    assert found[54] == pytest.approx(0.51)  # half way down
    assert found[-1] == pytest.approx(0.02)


def test_inverse_square_root_is_vaswanis_equation():
    """d^-0.5 min(n^-0.5, n w^-1.5), over its largest value; n counts from 1."""
    found = factors("inverse_square_root")
    for n in range(1, 101):
        assert found[n - 1] == pytest.approx(min(n**-0.5, n * 10**-1.5) / 10**-0.5)


def test_plateau_inverse_square_root_is_t5s():
    """1 / sqrt(max(n, k)), over its largest value."""
    found = factors("plateau_inverse_square_root")
    for n in range(1, 101):
        assert found[n - 1] == pytest.approx(max(n, 10) ** -0.5 / 10**-0.5)


def test_constant():
    assert factors("constant")[9:] == [1.0] * 91
    assert factors("constant", warmup=0.0) == [1.0] * 100


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_every_factor_is_above_zero_and_at_most_one(name, steps, warmup):
    assert all(0 < f <= 1 for f in factors(name, steps, warmup=warmup, decay=1.0))


def test_agrees_with_transformers():
    """Their factor is taken before a step, ours counts the step that is being made."""
    import torch
    from transformers import get_scheduler

    weight = torch.nn.Parameter(torch.zeros(1))
    for ours, theirs in (("linear", "linear"), ("cosine", "cosine")):
        optimizer = torch.optim.SGD([weight], lr=1.0)
        scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=10, num_training_steps=100)
        for found in factors(ours, floor=0.0):
            optimizer.step()
            scheduler.step()
            assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
