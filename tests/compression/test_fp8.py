import pytest
import torch
from torch import nn

from lmwright.compression import fp8
from lmwright.compression.fp8 import Fp8Linear
from lmwright.core.errors import LmwrightError
from tests.engine.conftest import build_model

STEP = 2.0**-4
"""Half of the distance of two neighbours, relative: three bits stand behind the one."""


def test_rows_keep_their_largest_and_are_off_by_half_a_step():
    torch.manual_seed(0)
    rows = torch.randn(9, 48) * torch.logspace(-6, 6, 9)[:, None]
    rows[3] = 0
    found, scale = fp8.rounded(rows)
    assert found.dtype == torch.float8_e4m3fn
    back = found.float() * scale
    assert torch.isfinite(back).all()
    # Near zero the steps do not shrink any more.
    allowed = torch.maximum(rows.abs() * STEP, scale * 2.0**-10)
    assert ((back - rows).abs() <= allowed * (1 + 1e-5)).all()
    assert torch.allclose(back.abs().amax(1), rows.abs().amax(1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_multiplies_what_was_rounded(dtype, bias):
    torch.manual_seed(1)
    linear = nn.Linear(48, 32, bias=bias).to(dtype)
    layer = Fp8Linear(linear)
    x = torch.randn(2, 5, 48).to(dtype)
    rows, scale = fp8.rounded(x.view(10, 48))
    factors = rows.double() * scale, layer.weight.double() * layer.weight_scale
    expected = (factors[0] @ factors[1].T).view(2, 5, 32)
    if bias:
        expected = expected + linear.bias.double()
    found = layer(x)
    assert found.dtype == dtype
    assert found.shape == (2, 5, 32)
    assert (found.double() - expected).abs().max() <= 2**-7 * expected.abs().max()
    error = (found - linear(x)).float().square().mean().sqrt()
    assert error <= 0.06 * linear(x).float().square().mean().sqrt()


def test_a_model_keeps_what_is_no_layer_of_a_block():
    model = build_model(num_hidden_layers=1, tie_word_embeddings=False)
    found = fp8.quantize(model)
    kinds = {name: type(module) for name, module in found.named_modules()}
    changed = {name for name, kind in kinds.items() if kind is Fp8Linear}
    linear = {n for n, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert changed == linear - {"lm_head"}
    assert kinds["lm_head"] is nn.Linear
    assert not any(isinstance(module, Fp8Linear) for module in model.modules())
    narrower = found.to(torch.bfloat16)
    layer = next(m for m in narrower.modules() if isinstance(m, Fp8Linear))
    assert (layer.weight.dtype, layer.weight_scale.dtype) == (torch.float8_e4m3fn, torch.float32)


def test_a_model_without_layers_that_fit_is_refused():
    with pytest.raises(LmwrightError, match="multiples of 16"):
        fp8.quantize(build_model(hidden_size=24, num_hidden_layers=1))
