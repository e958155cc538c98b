"""FlexAttention (written out on a CPU) against the written-out attention, for any rule."""

import pytest
import torch

from lmwright.models.layers import attention, flex
from lmwright.models.layers.attention import AttentionRule, attend
from tests.models.cases import relative


@pytest.mark.parametrize("queries", [1, 3, 6])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("added", ["nothing", "bool", "float", "bias"])
def test_flex_is_attend(queries, groups, causal, window, cap, added):
    generator = torch.Generator().manual_seed(queries)
    q = torch.randn(2, 4, queries, 16, generator=generator)
    k, v = (torch.randn(2, 4 // groups, 6, 16, generator=generator) for _ in range(2))
    bias = torch.randn(1, 4, queries, 6, generator=generator)
    seen = torch.rand(2, 1, 1, 6, generator=generator) > 0.3
    extra = {
        "nothing": {},
        "bool": {"mask": seen},
        "float": {"mask": torch.zeros(2, 1, 1, 6).masked_fill(~seen, -torch.inf)},
        "bias": {"bias": bias, "mask": seen},
    }[added]
    rule = AttentionRule(causal=causal, window=window, soft_cap=cap, scale=0.3, **extra)
    assert relative(flex.attend_flex(q, k, v, rule), attend(q, k, v, rule)) <= 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="it goes back on a GPU only")
def test_flex_has_the_same_gradient():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 5, 16), (2, 2, 5, 16), (2, 2, 5, 16))
    ours = [torch.randn(s, generator=generator).cuda().requires_grad_() for s in shapes]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    rule = AttentionRule(soft_cap=2.0, window=3)
    attention._attend_written_out(*theirs, rule).square().sum().backward()
    flex.attend_flex(*ours, rule).square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a.grad, b.grad) <= 1e-5
