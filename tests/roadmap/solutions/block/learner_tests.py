"""A learner's own tests of `mine/block.py`, on numbers in place of vectors."""

import torch
from mine.block import residual_stream

from lmwright.models.layers.block import Sublayer, unchanged


def number(value):
    return torch.tensor([[[float(value)]]])


def double(x):
    return 2 * x


def one_less(x):
    return x - 1


def to_one(x):
    return x / x.abs()


def run(layers, placement="pre", parallel=False, drop=unchanged, x=3):
    return residual_stream(number(x), layers, placement, parallel, drop).item()


BARE = [Sublayer(double, unchanged, unchanged), Sublayer(one_less, unchanged, unchanged)]


def test_in_turn():
    assert run(BARE) == 17.0


def test_in_parallel():
    assert run(BARE, parallel=True) == 11.0


def test_pre_normalises_what_is_read():
    assert run([Sublayer(double, to_one, unchanged)], x=5) == 7.0


def test_each_layer_has_its_own_norm():
    layers = [Sublayer(double, to_one, unchanged), Sublayer(double, unchanged, unchanged)]
    assert run(layers, x=5) == 21.0
    assert run(layers, parallel=True, x=5) == 17.0


def test_post_normalises_the_sum():
    assert run([Sublayer(double, unchanged, to_one)], "post", x=5) == 1.0


def test_both_normalises_the_change():
    assert run([Sublayer(double, to_one, to_one)], "both", x=5) == 6.0


def test_only_changes_are_dropped():
    def half(x):
        return x / 2

    assert run(BARE, drop=half) == 8.5
    assert run([Sublayer(double, to_one, to_one)], "both", drop=half, x=5) == 5.5
    assert run([Sublayer(double, unchanged, to_one)], "post", drop=half, x=5) == 1.0


def test_three_layers_and_one_call_each():
    calls = []

    def watched(x):
        calls.append(x.item())
        return double(x)

    assert run([Sublayer(watched, unchanged, unchanged)] * 3, x=1) == 27.0
    assert calls == [1.0, 3.0, 9.0]


def test_gradients_pass_through_the_layers():
    x = number(2).requires_grad_()
    residual_stream(x, BARE[:1], "pre", False, unchanged).backward()
    assert x.grad.item() == 3.0
