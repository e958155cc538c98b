"""The readable AdamW against torch's, and in its place."""

import pytest
import torch
from torch import nn

from lmwright.core import parts
from lmwright.training import checkpoint
from lmwright.training.adamw import AdamW, adamw_step
from lmwright.training.optimizers import build

SHAPES = ((7, 5), (6,), ())


def parameters(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(steps, seed=1):
    """Of unlike sizes; each parameter has none in some steps."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        yield [
            None
            if torch.rand((), generator=generator) < 0.2
            else torch.randn(shape, generator=generator) * 10.0 ** (step % 5 - 2)
            for shape in SHAPES
        ]


def walk(optimizer, weights, steps):
    for step in steps:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = None if gradient is None else gradient.to(weight.dtype)
        optimizer.step()


def relative(found, expected):
    size = float(expected.detach().square().mean().sqrt())
    return float((found - expected).detach().abs().max()) / size


@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_steps_equal_torchs(seed):
    draw = torch.Generator().manual_seed(seed)
    a, b, c, d = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
    settings = {
        "lr": 10 ** (-3 * a - 1),
        "betas": (0.5 + 0.49 * b, 0.9 + 0.0999 * c),
        "eps": 10 ** (-8 * d),
        "weight_decay": 0.5 * a,
    }
    mine, theirs = parameters(torch.float64), parameters(torch.float64)
    walk(AdamW(mine, **settings), mine, gradients(200))
    walk(torch.optim.AdamW(theirs, **settings), theirs, gradients(200))
    for found, expected in zip(mine, theirs, strict=True):
        assert relative(found, expected) <= 1e-6


def test_the_defaults_are_torchs():
    mine, theirs = parameters(), parameters()
    walk(AdamW(mine), mine, gradients(20))
    walk(torch.optim.AdamW(theirs), theirs, gradients(20))
    for found, expected in zip(mine, theirs, strict=True):
        assert relative(found, expected) <= 1e-6


def test_a_weight_without_gradient_stays_and_does_not_decay():
    mine = parameters()
    before = [weight.detach().clone() for weight in mine]
    walk(AdamW(mine, weight_decay=0.5), mine, [[None, torch.ones(6), None]])
    assert torch.equal(mine[0], before[0])
    assert not torch.equal(mine[1], before[1])


@pytest.mark.parametrize("kinds", [(AdamW, AdamW), (torch.optim.AdamW, AdamW)])
def test_goes_on_from_a_checkpoint(kinds, tmp_path):
    """To the bit with itself; from torch's own state as well as torch would."""
    steps = list(gradients(12))
    whole = parameters()
    walk(AdamW(whole, lr=0.01), whole, steps)

    first, second = nn.ParameterList(parameters()), nn.ParameterList(parameters(seed=5))
    before, after = (
        kind(x.parameters(), lr=0.01) for kind, x in zip(kinds, (first, second), strict=True)
    )
    walk(before, list(first), steps[:6])
    saved = checkpoint.save(tmp_path, 6, first, [before], {})
    checkpoint.load(saved, second, [after])
    walk(after, list(second), steps[6:])
    for found, expected in zip(second, whole, strict=True):
        if kinds[0] is AdamW:
            assert torch.equal(found, expected)
        assert relative(found, expected) <= 1e-5


def test_what_is_given_is_not_changed():
    given = [torch.full((3,), float(x)) for x in range(4)]
    adamw_step(*given, 2, lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    assert all(torch.equal(x, torch.full((3,), float(n))) for n, x in enumerate(given))


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", AdamW), ("muon", AdamW), ("adam", torch.optim.Adam)]
)
def test_takes_torchs_place_when_in_use(name, kind, monkeypatch):
    monkeypatch.setattr(parts, "in_use", lambda target: target.endswith(":adamw_step"))
    shape = {"learning_rate": 0.1, "matrix_learning_rate": 0.1, "weight_decay": 0.1}
    members = build(nn.Linear(3, 4), None, name=name, **shape).members
    assert type(members[-1]) is kind
    monkeypatch.undo()
    assert type(build(nn.Linear(3, 4), None, name=name, **shape).members[-1]) is not AdamW
