"""Grids of 8 and 4 bits: error bounds, edges, and words of 32 bits."""

import pytest
import torch

from lmwright.compression.packing import pack, unpack
from lmwright.compression.rounding import Grid, expand, quantize_int8, quantize_rows
from tests.compression.cases import random_weight, refused

GRIDS = [Grid(8), Grid(8, 32), Grid(8, 128), Grid(4), Grid(4, 32), Grid(4, 64)]


def columns(grid):
    return None if grid.group_size is None else 3 * grid.group_size


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("grid", GRIDS[:3], ids=str)
def test_error_of_8_bits_is_at_most_half_a_step(grid, seed):
    weight = random_weight(seed, columns(grid))
    values, scale = quantize_rows(weight, grid)

    groups = weight.double().view(*scale.shape, -1)
    error = (values.view(groups.shape).double() * scale.double()[..., None] - groups).abs()
    # Dividing in float32 may put a value that is halfway on the other side: 127 roundings of 2^-24.
    assert (error <= scale.double()[..., None] / 2 * (1 + 2e-5)).all()
    assert values.min() >= -127
    assert (values.view(groups.shape).abs().amax(2) == 127).all()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("grid", GRIDS[3:], ids=str)
def test_4_bits_err_no_more_than_with_the_edges_on_the_largest(grid, seed):
    weight = random_weight(seed, columns(grid))
    values, scale = quantize_rows(weight, grid)

    groups = weight.double().view(*scale.shape, -1)
    largest = groups.abs().amax(2, keepdim=True)
    plain = (groups / (largest / 7)).round() * (largest / 7)
    found = values.view(groups.shape).double() * scale.double()[..., None]
    assert ((values >= -8) & (values <= 7)).all()
    assert (scale > 0).all()
    ours, theirs = ((x - groups).square().sum(2) for x in (found, plain))
    assert (ours <= theirs * 1.01 + largest[..., 0].square() * 1e-6).all()  # scales in float16


def test_the_search_lowers_the_error_of_4_bits():
    weight = torch.randn(256, 512, generator=torch.Generator().manual_seed(0))
    found = expand(*quantize_rows(weight, Grid(4, 32)))
    step = weight.view(256, 16, 32).abs().amax(2, keepdim=True) / 7
    plain = ((weight.view(256, 16, 32) / step).round() * step).view_as(weight)
    assert (found - weight).square().mean() < 0.85 * (plain - weight).square().mean()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_quantising_again_changes_nothing(grid, seed):
    values, scale = quantize_rows(random_weight(seed, columns(grid)), grid)
    again, scale_again = quantize_rows(expand(values, scale), grid)
    assert torch.equal(expand(values, scale), expand(again, scale_again)) or torch.allclose(
        expand(values, scale), expand(again, scale_again), rtol=1e-6, atol=0
    )


def test_edges():
    weight = torch.tensor([[0.0, 0.0], [1e-30, -1e-30], [3.0, -1e-9], [-1e30, 1e30]])
    values, scale = quantize_rows(weight)
    assert values.tolist() == [[0, 0], [127, -127], [127, 0], [-127, 127]]
    assert scale.isfinite().all()
    assert (scale > 0).all()
    assert quantize_rows(weight.bfloat16())[1].dtype == torch.float32


@pytest.mark.parametrize("bits", [8, 4])
def test_edges_of_groups(bits):
    weight = torch.zeros(4, 32)
    weight[1, 0], weight[2, 0], weight[3, 0] = 1e-30, -1e30, 0.5
    values, scale = quantize_rows(weight, Grid(bits, 32))
    assert scale[0].item() == 1.0
    assert scale.isfinite().all()
    assert (scale > 0).all()
    assert torch.allclose(expand(values, scale), weight, rtol=1e-3, atol=0)
    assert torch.equal(scale[3].half().float(), scale[3])


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_rows_of_the_last_dimension_with_scales_in_float16(seed):
    weight = random_weight(seed, 96)
    values, scale = quantize_int8(weight.view(len(weight), 3, 32), torch.float16)
    rows, scales = quantize_rows(weight, Grid(8, 32))
    assert torch.equal(values.view_as(rows), rows)
    assert torch.equal(scale, scales)


def test_scales_without_digits_left_stop_at_the_edge():
    steps = torch.tensor([[180.0, -180.0, 5.0]]).double()
    values, scale = quantize_int8((steps * 2.0**-149).float())
    assert values.tolist() == [[127, -127, 5]]
    assert scale.item() == 2.0**-149


def test_what_grids_there_are():
    assert "3 bits" in refused(Grid, 3)
    assert "groups of 48" in refused(Grid, 4, 48)
    assert "32 or 64" in refused(Grid(8, 128).check, 192, "layers.0.mlp.up_proj")
    assert "layers.0" in refused(Grid(8, 32).check, 40, "layers.0.mlp.up_proj")


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 8, 33, 64])
def test_packing_is_that_of_compressed_tensors(columns, bits):
    from compressed_tensors.compressors.pack_quantized.helpers import (
        pack_to_int32,
        unpack_from_int32,
    )

    generator = torch.Generator().manual_seed(columns)
    low, high = (-128, 128) if bits == 8 else (-8, 8)
    values = torch.randint(low, high, (7, columns), generator=generator, dtype=torch.int8)
    words, theirs = pack(values, bits), pack_to_int32(values, bits)
    assert words.shape == theirs.shape
    assert torch.equal(unpack(words, columns, bits), values)
    assert torch.equal(unpack(theirs, columns, bits), values)
    assert torch.equal(unpack_from_int32(words, bits, values.shape), values)
    if columns % (32 // bits) == 0:  # the bits that fill up the last word are nobody's business
        assert torch.equal(words, theirs)
