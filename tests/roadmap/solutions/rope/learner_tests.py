"""A learner's own tests of `mine/rope.py`."""

import torch
from mine.rope import rotate


def table(*turns):
    """cos and sin of one token's pairs, in quarters of a turn."""
    angle = torch.tensor(turns, dtype=torch.float64) * torch.pi / 2
    return angle.cos().float()[None, None, None], angle.sin().float()[None, None, None]


X = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])


def test_by_hand():
    found = rotate(X, *table(1, 2))
    assert torch.allclose(found, torch.tensor([[[[-3.0, -2.0, 1.0, -4.0]]]]), atol=1e-5)


def test_only_one_pair_turns():
    found = rotate(X, *table(1, 0))
    assert torch.allclose(found, torch.tensor([[[[-3.0, 2.0, 1.0, 4.0]]]]), atol=1e-5)


def test_no_angle_changes_nothing():
    assert torch.equal(rotate(X, *table(0, 0)), X)


def test_what_is_not_turned_stays():
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]])
    found = rotate(x, *table(1))
    assert torch.allclose(found, torch.tensor([[[[-2.0, 1.0, 3.0, 4.0, 5.0]]]]), atol=1e-5)


def test_rows_have_their_own_positions():
    cos, sin = (torch.cat(pair) for pair in zip(table(0, 0), table(1, 2), strict=True))
    found = rotate(X.expand(2, -1, -1, -1), cos, sin)
    assert torch.allclose(found[0], X[0])
    assert not torch.allclose(found[1], X[0])


def test_lengths_are_kept():
    x = torch.randn(2, 3, 1, 4)
    assert torch.allclose(rotate(x, *table(0.3, 0.7)).norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_larger_tables_make_larger_vectors():
    cos, sin = table(1, 2)
    assert torch.allclose(rotate(X, 2 * cos, 2 * sin), 2 * rotate(X, cos, sin), atol=1e-5)


def test_half_precision_stays():
    assert rotate(X.bfloat16(), *table(1, 2)).dtype == torch.bfloat16
