"""A learner's own tests of `mine/attention.py`."""

import torch
from mine.attention import attend

from lmwright.models.layers.attention import AttentionRule

OPEN = AttentionRule(causal=False)


def column(*numbers):
    """One row, one head, K = 1."""
    return torch.tensor(numbers, dtype=torch.float32).view(1, 1, -1, 1)


def test_by_hand():
    found = attend(column(2), column(1, 3), column(10, 20), OPEN)
    assert abs(found.item() - 19.8201) < 1e-3


def test_scores_shrink_with_the_width():
    q, k = torch.ones(1, 1, 1, 4), torch.stack([torch.zeros(4), torch.ones(4)])[None, None]
    weight = attend(q, k, column(0, 1), OPEN).item()
    assert abs(weight - torch.sigmoid(torch.tensor(2.0)).item()) < 1e-5


def test_own_scale():
    rule = AttentionRule(causal=False, scale=0.0)
    assert attend(column(2), column(1, 3), column(10, 20), rule).item() == 15.0


def test_two_query_heads_share_a_key_head():
    k = torch.randn(1, 2, 3, 4)
    v = torch.randn(1, 2, 3, 4)
    q = torch.randn(1, 4, 3, 4)
    found = attend(q, k, v, OPEN)
    for head in range(4):
        alone = attend(q[:, [head]], k[:, [head // 2]], v[:, [head // 2]], OPEN)
        assert torch.allclose(found[:, [head]], alone, atol=1e-5)


def test_the_first_sees_itself_alone():
    found = attend(column(1, 1, 1), column(1, 2, 3), column(10, 20, 30), AttentionRule())
    assert found[0, 0, 0].item() == 10.0
    assert found[0, 0, 1].item() < 20.0


def test_with_a_cache_queries_are_the_last():
    q, k, v = column(1, 2, 3), column(1, 2, 3), column(10, 20, 30)
    whole = attend(q, k, v, AttentionRule())
    assert torch.allclose(attend(q[:, :, 1:], k, v, AttentionRule()), whole[:, :, 1:])


def test_a_window_of_one_sees_itself():
    rule = AttentionRule(window=1)
    v = column(10, 20, 30)
    assert torch.equal(attend(column(1, 1, 1), column(1, 2, 3), v, rule), v)


def test_bool_and_float_masks():
    seen = torch.tensor([[[[True, False]]]])
    rule = AttentionRule(mask=seen, causal=False)
    assert attend(column(2), column(1, 3), column(10, 20), rule).item() == 10.0
    even = AttentionRule(mask=torch.tensor([[[[4.0, 0.0]]]]), causal=False)
    assert abs(attend(column(2), column(1, 3), column(10, 20), even).item() - 15.0) < 1e-5


def test_nobody_to_see():
    rule = AttentionRule(mask=torch.zeros(1, 1, 1, 2, dtype=torch.bool), causal=False)
    assert attend(column(2), column(1, 3), column(10, 20), rule).item() == 0.0


def test_the_cap_comes_before_the_bias():
    bias = torch.tensor([[[[0.0, 50.0]]]])
    rule = AttentionRule(causal=False, soft_cap=1.0, bias=bias)
    assert abs(attend(column(9), column(9, -9), column(10, 20), rule).item() - 20.0) < 1e-4


def test_large_scores():
    assert torch.isfinite(attend(column(300), column(1, 300), column(10, 20), OPEN)).all()


def test_a_mask_and_causal_hold_together():
    rule = AttentionRule(mask=torch.ones(1, 1, 1, 2, dtype=torch.bool))
    assert attend(column(1, 1), column(1, 2), column(10, 20), rule)[0, 0, 0].item() == 10.0


def test_half_precision_stays():
    q = column(1, 2).bfloat16()
    assert attend(q, q, q, AttentionRule()).dtype == torch.bfloat16


def test_gradients():
    q, k, v = (column(*numbers).requires_grad_() for numbers in ((2, 1), (1, 0), (10, 20)))
    attend(q, k, v, AttentionRule()).sum().backward()
    assert q.grad.abs().sum() > 0
    assert k.grad.abs().sum() > 0


def test_dropout():
    torch.manual_seed(0)
    rule = AttentionRule(causal=False, dropout=0.5)
    found = attend(torch.zeros(1, 1, 1000, 1), column(1, 1), column(1, 1), rule)
    assert sorted(found.unique().tolist()) == [0.0, 1.0, 2.0]
