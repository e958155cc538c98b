"""Muon against the singular value decomposition; AdamW's groups; the schedule."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lmwright.training.muon import Muon, orthogonalize
from lmwright.training.optimizers import build, matrices_and_rest
from lmwright.training.schedule import warmup_stable_decay
from tests.training.cases import tiny_decoder


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 12, 40), (1, 40, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalised_matrices_have_singular_values_near_one(shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(x, dtype))
    reachable = torch.linalg.svdvals(x) > 2e-2 * torch.linalg.matrix_norm(x)[:, None]
    assert float(values[reachable].min()) > 0.85
    assert float(values.max()) < 1.15


def test_orthogonalised_direction_is_the_polar_factor():
    x = torch.randn(2, 10, 30, generator=torch.Generator().manual_seed(2))
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    ours = orthogonalize(x)
    cosine = (ours * (u @ vt)).sum((1, 2)) / (ours.norm(dim=(1, 2)) * (u @ vt).norm(dim=(1, 2)))
    assert float(cosine.min()) > 0.995


def test_muon_is_momentum_then_orthogonalisation():
    """Against the update written out for one matrix, three steps, with decay."""
    generator = torch.Generator().manual_seed(3)
    weight = nn.Parameter(torch.randn(12, 5, generator=generator))
    expected, moment = weight.detach().clone(), torch.zeros(12, 5)
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.2)
    for _ in range(3):
        gradient = torch.randn(12, 5, generator=generator)
        weight.grad = gradient.clone()
        optimizer.step()
        moment = 0.9 * moment + gradient
        direction = orthogonalize((gradient + 0.9 * moment)[None])[0]
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * (12 / 5) ** 0.5 * direction
    assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)


def test_muon_gets_the_blocks_and_adamw_the_rest():
    model = tiny_decoder()
    matrices, rest = matrices_and_rest(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(names[id(p)].startswith("layers.") and p.ndim == 2 for p in matrices)
    assert "embed_tokens.weight" in {names[id(p)] for p in rest}
    assert len(matrices) + len(rest) == len(list(model.parameters()))


def test_weight_decay_spares_norms():
    optimizers = build(
        tiny_decoder(),
        None,
        name="adamw",
        learning_rate=1e-3,
        matrix_learning_rate=0,
        weight_decay=0.1,
    )
    for group in optimizers.members[0].param_groups:
        assert all((p.ndim >= 2) == (group["weight_decay"] == 0.1) for p in group["params"])


def test_schedule_rises_stays_and_falls():
    factors = [warmup_stable_decay(s, 100, warmup=0.1, decay=0.5, floor=0.02) for s in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert all(f == 1.0 for f in factors[9:50])
    assert all(a > b for a, b in itertools.pairwise(factors[49:]))
    assert factors[99] == pytest.approx(0.02)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedule_of_a_few_steps_is_above_zero(steps):
    assert all(warmup_stable_decay(s, steps) > 0 for s in range(steps))
