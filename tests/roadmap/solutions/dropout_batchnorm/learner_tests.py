"""A learner's own tests of `mine/dropout_batchnorm.py`."""

import torch
from mine.dropout_batchnorm import Regularizer

from lmwright.core.errors import LmwrightError


def norm(column, *, weight=1.0, bias=0.0, mean=0.0, variance=1.0, training=True, **settings):
    """Batch norm of one column."""
    x = torch.tensor(column, dtype=torch.float32)[:, None]
    others = [torch.tensor([float(v)]) for v in (weight, bias, mean, variance)]
    y, *after = Regularizer(**({"eps": 1e-9} | settings)).batch_norm(x, *others, training=training)
    return y[:, 0].tolist(), *(value.item() for value in after)


def near(found, wanted):
    return all(abs(a - b) < 1e-4 for a, b in zip(found, wanted, strict=True))


def test_nothing_is_dropped_in_use():
    x = torch.randn(3, 4)
    assert torch.equal(Regularizer(share=0.3).dropout(x, None), x)


def test_what_is_kept_grows():
    x, uniforms = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.3, 0.9])
    assert Regularizer(share=0.2).dropout(x, uniforms).tolist() == [0.0, 2.5, 3.75]


def test_each_value_by_itself():
    uniforms = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    found = Regularizer(share=0.5).dropout(torch.ones(2, 2), uniforms)
    assert found.tolist() == [[0.0, 2.0], [2.0, 0.0]]


def test_the_gradient_of_dropout():
    x = torch.ones(2, requires_grad=True)
    Regularizer(share=0.5).dropout(x, torch.tensor([0.1, 0.9])).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0]


def test_by_hand():
    y, mean, variance = norm([1.0, 3.0], weight=2.0, bias=1.0)
    assert near(y, [-1.0, 3.0])
    assert near([mean, variance], [0.2, 1.1])


def test_momentum_is_the_share_of_the_new():
    _, mean, variance = norm([1.0, 3.0], momentum=0.5)
    assert near([mean, variance], [1.0, 1.5])


def test_scale_does_not_matter():
    assert near(norm([1.0, 3.0, 8.0])[0], norm([10.0, 30.0, 80.0])[0])


def test_a_large_eps_stands_under_the_root():
    assert near(norm([-1.0, 1.0], eps=3.0)[0], [-0.5, 0.5])


def test_a_constant_column_stays_finite():
    assert near(norm([5.0, 5.0, 5.0], eps=1e-5)[0], [0.0, 0.0, 0.0])


def test_in_use():
    y, mean, variance = norm([3.0], mean=1.0, variance=4.0, training=False)
    assert near(y, [1.0])
    assert (mean, variance) == (1.0, 4.0)


def test_columns_by_themselves():
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    ones, zeros = torch.ones(2), torch.zeros(2)
    y, _, _ = Regularizer(eps=1e-9).batch_norm(x, ones, zeros, zeros, ones, training=True)
    assert torch.allclose(y, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), atol=1e-4)


def test_one_row_is_refused():
    try:
        norm([1.0])
    except LmwrightError:
        return
    raise AssertionError("one row was trained on")


def test_gradients_know_the_statistics():
    x = torch.randn(6, 1, requires_grad=True)
    one, zero = torch.ones(1), torch.zeros(1)
    y, mean, variance = Regularizer().batch_norm(x, one, zero, zero, one, training=True)
    assert not mean.requires_grad
    assert not variance.requires_grad
    y.sum().backward()  # always 0, whatever x is
    assert x.grad.abs().max() < 1e-5


def test_half_precision_far_from_zero():
    x = (200 + 4 * torch.randn(64, 1)).bfloat16()
    one, zero = torch.ones(1), torch.zeros(1)
    y, _, _ = Regularizer().batch_norm(x, one, zero, zero, one, training=True)
    assert y.dtype == torch.bfloat16
    assert abs(y.float().mean().item()) < 0.01
