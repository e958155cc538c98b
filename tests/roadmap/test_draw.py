"""One seed gives one case; a small scale gives a small one."""

import pytest
import torch

from lmwright.roadmap.draw import Draw


def everything(draw: Draw) -> list:
    return [
        draw.size(1, 50),
        draw.choice("abcdefgh"),
        draw.chance(0.5),
        draw.uniform(-1.0, 1.0),
        draw.normal(3, 2).tolist(),
        draw.uniforms(4).tolist(),
        draw.integers(-5, 5, 6).tolist(),
        draw.booleans(0.5, 7).tolist(),
    ]


def test_a_seed_repeats_a_case_and_another_gives_another():
    assert everything(Draw(3)) == everything(Draw(3))
    assert everything(Draw(3)) != everything(Draw(4))


def test_both_ends_of_a_range_come_up():
    draw = Draw(0)
    assert {draw.size(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert set(draw.integers(-1, 1, 200).tolist()) == {-1, 0, 1}
    assert {draw.choice([True, False]) for _ in range(50)} == {True, False}


def test_scale_bounds_sizes_alone():
    smallest, half = Draw(0, 0.0), Draw(0, 0.5)
    assert {smallest.size(3, 90) for _ in range(100)} == {3}
    assert max(half.size(0, 90) for _ in range(500)) == 45
    assert {smallest.choice("abc") for _ in range(100)} == set("abc")


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
def test_normal_numbers_have_mean_0_and_variance_1(dtype):
    drawn = Draw(0).normal(20_000, dtype=dtype)
    assert drawn.dtype == (dtype or torch.float32)
    # Six standard errors of each.
    assert abs(drawn.double().mean()) < 6 * 20_000**-0.5
    assert abs(drawn.double().var() - 1) < 6 * (2 / 20_000) ** 0.5


def test_booleans_are_true_with_their_probability():
    share = Draw(0).booleans(0.3, 20_000).double().mean()
    assert abs(share - 0.3) < 6 * (0.21 / 20_000) ** 0.5


def test_tensors_do_not_disturb_the_other_numbers():
    with_tensors, without = Draw(5), Draw(5)
    with_tensors.normal(3)
    without.normal(9)
    assert with_tensors.uniform(0, 1) == without.uniform(0, 1)
