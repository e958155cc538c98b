"""Ways of multiplying: each is the expanded product; which is taken depends on shapes alone."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lmwright.compression import portable, ways
from lmwright.compression.linear import QuantizedLinear
from tests.compression.cases import refused
from tests.models.cases import relative

GRIDS = [(8, None), (8, 32), (4, None), (4, 32), (4, 64), (4, 128)]
WIDTH, HEIGHT = 256, 96
HALF = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Choices of other tests."""
    monkeypatch.setattr(portable, "_choices", {})


def layer(bits=8, group_size=None, *, bias=False, width=WIDTH, height=HEIGHT):
    torch.manual_seed(bits)
    return QuantizedLinear.from_linear(
        nn.Linear(width, height, bias=bias), bits=bits, group_size=group_size
    )


def rows(count, width=WIDTH, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def expected(x, quantized):
    """In float64, from the integers themselves."""
    integers, scale = quantized.weight.double(), quantized.weight_scale.double()
    weight = (integers.view(*scale.shape, -1) * scale[:, :, None]).view(integers.shape)
    product = x.double() @ weight.T
    return product if quantized.bias is None else product + quantized.bias.double()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(("bits", "group_size"), GRIDS)
@pytest.mark.parametrize("name", ways.WAYS)
@torch.no_grad()
def test_every_way_is_the_expanded_product(name, bits, group_size, count, dtype):
    quantized, way = layer(bits, group_size), ways.WAYS[name]
    product = way.make(quantized, dtype)
    if product is None:
        assert name != "expanded by pieces"
        return
    x = rows(count).to(dtype)
    found = product(x)
    assert found.dtype == dtype
    assert found.shape == (count, HEIGHT)
    # An activation's own rounding to 8 bits: half a step of 1 / 127 of the row's largest value.
    bound = HALF[dtype] if way.exact else 0.1
    assert relative(found, expected(x, quantized)) <= bound


@pytest.mark.parametrize("name", ["fbgemm int8", "oneDNN int8"])
@pytest.mark.parametrize("bits", [8, 4])
@torch.no_grad()
def test_activations_are_rounded_to_the_nearest_of_255_values(name, bits):
    quantized = layer(bits)
    product = ways.WAYS[name].make(quantized, torch.float32)
    if product is None:
        pytest.skip("this processor has no instruction for it")
    x = rows(5) * torch.tensor([1e-4, 1.0, 30.0, 1e4, 0.0])[:, None]
    largest = ways.largest_activation() if "fbgemm" in name else 127
    scale = x.abs().amax(1, keepdim=True).clamp(min=1e-30) / largest
    rounded = (x / scale).round() * scale
    found, wanted = product(x), expected(rounded, quantized)
    for got, row in zip(found[:4], wanted[:4], strict=True):
        assert relative(got, row) <= 2e-5
    assert not found[4].any()


@pytest.mark.parametrize("name", [name for name, way in ways.WAYS.items() if not way.exact])
@torch.no_grad()
def test_rounded_activations_give_a_row_the_same_bits_in_any_batch(name):
    quantized = layer(4, 32, height=4 * HEIGHT) if "int4" in name else layer(height=4 * HEIGHT)
    product = ways.WAYS[name].make(quantized, torch.float32)
    if product is None:
        pytest.skip("this processor has no instruction for it")
    x = rows(70) * torch.logspace(-3, 3, 70)[:, None]
    together = product(x)
    for count in (1, 2, 7, 16, 33):
        apart = torch.cat([product(part) for part in x.split(count)])
        assert torch.equal(together, apart), count


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("bits", "group_size"), GRIDS)
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_layers_multiply_by_what_they_chose(bias, bits, group_size, dtype):
    quantized = layer(bits, group_size, bias=bias).to(dtype)
    assert quantized.weight_scale.dtype == torch.float32
    for shape in ((1,), (2, 5), (3, 7, 9), (0,), (2, 0)):
        x = rows(max(1, torch.Size(shape).numel()))[: torch.Size(shape).numel()]
        x = x.view(*shape, WIDTH).to(dtype)
        found = quantized(x)
        assert found.dtype == dtype
        assert found.shape == (*shape, HEIGHT)
        if x.numel():
            assert relative(found, expected(x, quantized)) <= HALF[dtype]
    assert {choice.way for choice in quantized.chosen().values()} <= {
        name for name, way in ways.WAYS.items() if way.exact
    }


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("height", [1, 8, 17, 48])
@pytest.mark.parametrize("width", [1, 2, 7, 24, 36, 52, 100])
@torch.no_grad()
def test_rows_of_any_length(width, height, dtype):
    for bits in (8, 4):
        quantized = layer(bits, width=width, height=height)
        for count in (1, 2, 5, 40):
            x = rows(count, width).to(dtype)
            difference = quantized(x).double() - expected(x, quantized)
            assert difference.abs().max() <= HALF[dtype] * width**0.5
            quantized.exact = not quantized.exact


@torch.no_grad()
def test_the_choice_holds_for_all_layers_of_a_shape(monkeypatch):
    asked = []
    choose = portable.choose
    monkeypatch.setattr(portable, "choose", lambda *given: asked.append(given) or choose(*given))
    first, second = layer(), layer()
    for count in (1, 2, 3, 4, 9, 16, 500, 128):
        first(rows(count))
        second(rows(count, seed=count))
    assert [given[2] for given in asked] == [(1,), (4,), (16,), (128,)]
    assert first.chosen() == second.chosen()
    layer(4)(rows(1))
    assert len(asked) == 5


@torch.no_grad()
def test_the_fastest_is_chosen(monkeypatch):
    seconds = {"expanded once, oneDNN": 3.0, "expanded by pieces": 2.0, "expanded once": 4.0}
    made = {}

    def way(name):
        def make(quantized, dtype):
            product = ways.WAYS[name].make(quantized, dtype)
            made[product] = seconds[name]
            return product

        return ways.Way(make)

    monkeypatch.setattr(portable, "WAYS", {name: way(name) for name in seconds})
    monkeypatch.setattr(portable, "_seconds", lambda product, x, best: made[product])
    quantized = layer()
    quantized(rows(1))
    (choice,) = quantized.chosen().values()
    assert choice.way == "expanded by pieces"
    assert {name: times[0] for name, times in choice.seconds.items()} == seconds


@torch.no_grad()
def test_one_way_for_all_numbers_of_rows_where_activations_may_be_rounded():
    quantized = layer(height=4 * HEIGHT)
    quantized.exact = False
    x = rows(50)
    together = quantized(x)
    assert len(quantized.chosen()) == 1
    (choice,) = quantized.chosen().values()
    rounds = not ways.WAYS[choice.way].exact
    apart = torch.cat([quantized(row[None]) for row in x])
    assert relative(apart, together) <= (0.0 if rounds else 1e-5)
    quantized.exact = True
    assert relative(quantized(x), expected(x, quantized)) <= 1e-5


@torch.no_grad()
def test_new_weights_are_noticed():
    quantized, other = layer(), layer(bias=False)
    other.weight, other.weight_scale = other.weight.flip(0), other.weight_scale.flip(0)
    x = rows(2)
    quantized(x)
    quantized.load_state_dict(other.state_dict())
    assert relative(quantized(x), expected(x, other)) <= 1e-5
    quantized.weight = torch.zeros_like(other.weight)
    assert not quantized(x).any()


@torch.no_grad()
def test_copies_take_no_packed_weights_along():
    quantized = layer(bias=True)
    x = rows(3)
    found = quantized(x)
    for again in (copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized))):
        assert again.chosen() == {}
        again.weight.zero_()
        assert torch.equal(again(x), quantized.bias.expand(3, -1))
    assert torch.equal(quantized(x), found)


def test_gradients_by_activations():
    quantized = layer(4, 32)
    x = rows(3).requires_grad_()
    quantized(x).sum().backward()
    assert relative(x.grad, quantized.expanded().sum(0).expand(3, -1)) <= 1e-5


@torch.no_grad()
def test_large_sums_do_not_overflow_in_float16():
    quantized = layer(8, width=4096)
    quantized.weight.fill_(127)
    quantized.weight_scale.fill_(1e-4)
    x = torch.ones(20, 4096, dtype=torch.float16)
    assert relative(quantized(x), torch.full((20, HEIGHT), 127 * 4096 * 1e-4)) <= 1e-2


def test_rows_must_divide_into_groups():
    assert "groups of 64" in refused(QuantizedLinear, 96, 8, group_size=64)
