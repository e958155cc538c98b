"""What a learner might ask of their own int8."""

import torch
from mine.int8 import quantize_int8


def weight():
    generator = torch.Generator().manual_seed(3)
    made = torch.randn(6, 17, generator=generator)
    made[0] *= 100
    made[1] = -made[1].abs() - 1
    made[2] *= 1e-4
    return made


def test_error_is_half_a_step():
    values, scale = quantize_int8(weight())
    error = (values.double() * scale.double()[:, None] - weight().double()).abs()
    assert (error <= scale.double()[:, None] * 0.50002).all()


def test_largest_is_127():
    values, scale = quantize_int8(weight())
    assert (values.int().abs().amax(1) == 127).all()
    assert torch.allclose(scale * 127, weight().abs().amax(1))


def test_types_and_zeros():
    values, scale = quantize_int8(torch.zeros(2, 3))
    assert values.dtype == torch.int8
    assert values.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert scale.tolist() == [1.0, 1.0]


def test_stored_scale_is_used():
    big = torch.randn(50, 4, 32, generator=torch.Generator().manual_seed(1))
    values, scale = quantize_int8(big, torch.float16)
    assert torch.equal(scale.half().float(), scale)
    error = (values.double() * scale.double()[..., None] - big.double()).abs()
    assert (error <= scale.double()[..., None] * 0.50002).all()


def test_scales_that_halves_cannot_hold():
    _, scale = quantize_int8(torch.tensor([[1e-6, 0.0], [1e9, 1.0]]), torch.float16)
    assert torch.allclose(scale, torch.tensor([1e-6 / 127, 1e9 / 127]))


def test_edge_of_the_grid():
    row = torch.tensor([[180.0, -180.0, 5.0]]).double().mul(2.0**-149).float()
    values, _ = quantize_int8(row)
    assert values.tolist() == [[127, -127, 5]]
