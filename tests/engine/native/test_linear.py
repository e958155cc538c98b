"""Single linear layers: packing, tiles and rounding against plain PyTorch."""

import pytest
import torch

from lmwright.compression.rounding import Grid, quantize_rows
from lmwright.engine.native import build as native_build
from lmwright.engine.native import library, twin
from lmwright.engine.native.pack import Source, join, pack, pack_gated
from tests.engine.native.cases import relative

SETS = native_build.usable_sets()
ROWS = [1, 2, 3, 5, 6, 7, 12, 13, 24, 250]


@pytest.fixture(scope="module", params=SETS)
def kernels(request):
    return library.load(request.param)


def multiply(kernels, packed, x, threads=1):
    functions = kernels.functions
    pool = functions.lmw_open_pool(threads)
    out = torch.full((len(x), packed.rows), torch.nan)
    functions.lmw_linear(pool, packed.weights, x.data_ptr(), len(x), out.data_ptr(), 1)
    functions.lmw_close_pool(pool)
    return out


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", ROWS)
def test_float_weights(kernels, rows, dtype):
    weight, bias, x = random(301, 75).to(dtype), random(301, seed=1), random(rows, 75, seed=2)

    ours = multiply(kernels, pack(Source(weight, bias=bias)), x)

    expected = x.double() @ weight.double().T + bias.double()
    assert relative(ours.double(), expected) <= 2e-6


@pytest.mark.parametrize(
    ("bits", "grid", "group"),
    [(8, 32, 32), (8, None, 32), (4, 32, 32), (8, 128, 128), (8, None, 128)],
)
@pytest.mark.parametrize("rows", ROWS)
def test_integer_weights_equal_the_twin(kernels, rows, bits, grid, group):
    weight, bias, x = random(301, 3 * group), random(301, seed=1), random(rows, 3 * group, seed=2)
    values, scale = quantize_rows(weight, Grid(bits, grid))

    ours = multiply(kernels, pack(Source(values, scale, bits, bias, group)), x)

    activations = twin.quantize_activations(x, group)
    assert relative(ours, twin.product(*activations, values, scale, bias)) <= 1e-5


def test_rows_of_tiny_weights_keep_their_digits(kernels):
    weight, x = random(288, 96), random(4, 96, seed=2)
    size = torch.logspace(-6, 0, 288)  # scales of fp16 alone would end at 6e-8
    values, scale = quantize_rows(weight * size[:, None], Grid(8, 32))

    ours = multiply(kernels, pack(Source(values, scale)), x)

    expected = twin.product(*twin.quantize_activations(x), values, scale)
    assert relative(ours / size, expected / size) <= 2e-3  # half a last place of fp16


def test_the_edges_of_the_grids_do_not_saturate(kernels):
    values = torch.full((64, 64), 127, dtype=torch.int8)
    values[::2] = -128
    x = torch.full((3, 64), 5.0)
    x[1] = -5.0

    wide, many = values.repeat(1, 2), x.repeat(1, 2)
    expected = many @ wide.float().T
    packed = pack(Source(wide, torch.ones(64, 1), group=128))
    assert relative(multiply(kernels, packed, many), expected) <= 1e-5
    for packed, edge in (
        (pack(Source(values, torch.ones(64, 1))), values),
        (pack(Source(values >> 4, torch.ones(64, 2), 4)), values >> 4),
    ):
        expected = x @ edge.float().T
        assert relative(multiply(kernels, packed, x), expected) <= 1e-5


@pytest.mark.parametrize("group", [32, 128])
def test_activations_are_rounded_as_the_twin_rounds(kernels, group):
    x = random(7, 256) * torch.logspace(-8, 8, 7)[:, None]
    x[3, 32:64] = 0.0
    x[4, :128] = 1e-36
    values, scales = torch.empty(7, 256, dtype=torch.int8), torch.empty(7, 256 // group)

    kernels.functions.lmw_quantize(
        x.data_ptr(), 7, 256, group, values.data_ptr(), scales.data_ptr()
    )

    expected, expected_scales = twin.quantize_activations(x, group)
    assert torch.equal(values, expected)
    torch.testing.assert_close(scales, expected_scales, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("inner", [96, 100])
def test_panels_of_gate_and_up_take_turns(kernels, bits, inner):
    gate, up, x = random(inner, 64), random(inner, 64, seed=1), random(5, 64, seed=2)

    def source(weight):
        return (
            Source(weight) if bits is None else Source(*quantize_rows(weight, Grid(bits, 32)), bits)
        )

    both = pack_gated(source(gate), source(up))
    both.weights.rows = both.rows = 256  # all eight panels, padding included
    ours = multiply(kernels, both, x).view(5, 4, 2, 32)

    for index, weight in enumerate((gate, up)):
        own = multiply(kernels, pack(source(weight)), x)
        assert relative(ours[:, :, index].reshape(5, 128)[:, :inner], own) <= 1e-5


def test_joined_layers_stand_side_by_side(kernels):
    parts = [Source(random(n, 64, seed=n), bias=random(n)) for n in (33, 16)]

    ours = multiply(kernels, pack(join(parts)), x := random(4, 64, seed=5))

    expected = torch.cat([x @ part.weight.T + part.bias for part in parts], 1)
    assert relative(ours, expected) <= 1e-5


@pytest.mark.parametrize(("bits", "most"), [(8, 0.012), (4, 0.1)])
def test_a_vocabulary_in_integers_scores_nearly_the_same(kernels, bits, most):
    weight, hidden = random(1000, 256), random(8, 256, seed=2)

    logits = multiply(kernels, pack(Source(*quantize_rows(weight, Grid(bits, 32)), bits)), hidden)

    expected = hidden @ weight.T
    assert (logits - expected).square().mean().sqrt() <= most * expected.square().mean().sqrt()


@pytest.mark.parametrize("rows", [1, 16])
def test_threads_change_no_bit(kernels, rows):
    packed = pack(Source(*quantize_rows(random(301, 96), Grid(8, 32))))
    x = random(rows, 96, seed=2)

    one, two, three = (multiply(kernels, packed, x, threads) for threads in (1, 2, 3))

    assert torch.equal(one, two)
    assert torch.equal(one, three)
