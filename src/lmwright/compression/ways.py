"""Ways of multiplying rows with integer weights that PyTorch brings along; `portable` chooses."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lmwright.compression.rounding import expand

if TYPE_CHECKING:
    from lmwright.compression.linear import QuantizedLinear

Product = Callable[[Tensor], Tensor]
"""(M, K) -> (M, N) in the same dtype, without the bias."""

Make = Callable[["QuantizedLinear", torch.dtype], Product | None]

HELD_VALUES = 2**20
"""Weights of a layer that may be kept expanded: 4 MB in float32."""

_PIECE_VALUES = 2**18  # weights expanded at a time: 1 MB in float32, which stays in the L2 cache


class Way(NamedTuple):
    """One way of multiplying."""

    make: "Make"
    """The product for a layer and a dtype of activations; None where it does not fit."""
    exact: bool = True
    """Whether activations are multiplied as they are."""


def _kept(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """Weights expanded once, where they are few."""
    if layer.weight.numel() > HELD_VALUES or dtype != torch.float32:
        return None
    weight = layer.expanded().t()
    return lambda x: torch.mm(x, weight)


def _kept_onednn(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """The same by oneDNN: `torch.mm` multiplies float32 by a library that favours Intel."""
    if layer.weight.numel() > HELD_VALUES or dtype != torch.float32:
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    weight = layer.expanded()
    multiply = torch.ops.mkldnn._linear_pointwise

    def product(x: Tensor) -> Tensor:
        result: Tensor = multiply(x, weight, None, "none", [], "")
        return result

    return product


def _pieces(layer: "QuantizedLinear", dtype: torch.dtype) -> Product:
    """Weights expanded at every product, a piece of the rows at a time; fits always."""
    weight, scale = layer.weight, layer.weight_scale
    rows, columns = weight.shape
    step = max(1, _PIECE_VALUES // columns)
    by_row = layer.group_size is None

    def product(x: Tensor) -> Tensor:
        result = x.new_empty(len(x), rows)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            if by_row and dtype != torch.float16:
                piece = weight[part].to(dtype)  # 8 bits lose nothing in bfloat16
            else:  # unscaled sums may be too large for float16
                piece = expand(weight[part], scale[part]).to(dtype)
            torch.mm(x, piece.t(), out=result[:, part])
        return result.mul_(scale[:, 0].to(dtype)) if by_row and dtype != torch.float16 else result

    return product


def _int8pack(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """PyTorch's product of bfloat16 rows with int8 weights, one scale a row.

    Its kernels for other dtypes are not vectorised: 18 to 200 times slower than this one.
    """
    # With half-precision rows of other lengths, the kernel reads beyond their end (torch 2.13).
    if dtype != torch.bfloat16 or layer.group_size is not None or layer.in_features % 32:
        return None
    weight, scale = layer.weight, layer.weight_scale[:, 0].to(dtype).contiguous()
    return lambda x: torch._weight_int8pack_mm(x, weight, scale)


def _int4pack(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """PyTorch's product of bfloat16 rows with int4 weights in groups; see `_int8pack`."""
    rows, columns = layer.weight.shape
    size = layer.group_size
    if dtype != torch.bfloat16 or layer.bits != 4 or size is None:
        return None
    if rows % 16 or columns % 32:
        return None
    packed = torch._convert_weight_to_int4pack_for_cpu(layer.weight.int() + 8, 2)
    scale = layer.weight_scale.t().to(dtype)
    both = torch.stack((scale, torch.zeros_like(scale)), dim=2).contiguous()  # (G, N, 2): no offset
    return lambda x: torch._weight_int4pack_mm_for_cpu(x, packed, size, both)


def _through_bfloat16(make: Make) -> Make:
    """A way for bfloat16 rows, for float32 ones: each activation is rounded on its own."""

    def rounded(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
        product = make(layer, torch.bfloat16) if dtype == torch.float32 else None
        return None if product is None else lambda x: product(x.bfloat16()).float()

    return rounded


def _fbgemm(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """Both sides in int8, by PyTorch's quantised linear layer; each row with a scale of its own."""
    if layer.group_size is not None:
        return None
    zeros = torch.zeros(layer.out_features, dtype=torch.int64)
    weight = torch._make_per_channel_quantized_tensor(
        layer.weight, layer.weight_scale[:, 0].double(), zeros, 0
    )
    packed = torch.ops.quantized.linear_prepack(weight, None)
    multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    largest = largest_activation()

    def product(x: Tensor) -> Tensor:
        x, scale = _by_row(x, largest)
        result: Tensor = multiply(x, 1.0, largest + 1, packed)
        return result.mul_(scale).to(dtype)

    return product


def _onednn(layer: "QuantizedLinear", dtype: torch.dtype) -> Product | None:
    """Both sides in int8, by oneDNN; each row with a scale of its own."""
    if layer.group_size is not None or not torch.cpu._is_vnni_supported():
        return None
    packed = torch.ops.onednn.qlinear_prepack(layer.weight, None)
    scale = layer.weight_scale[:, 0].contiguous()
    zeros = torch.zeros(layer.out_features, dtype=torch.int64)
    multiply = torch.ops.onednn.qlinear_pointwise

    def product(x: Tensor) -> Tensor:
        x, own = _by_row(x, 127)
        rounded = x.round_().add_(128.0).to(torch.uint8)
        result: Tensor = multiply(
            rounded, 1.0, 128, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return result.mul_(own).to(dtype)

    return product


def _by_row(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Rows in float32 whose largest value is `largest`, and the scale (M, 1) of each."""
    x = x.float()
    scale = x.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / largest
    return x / scale, scale


def largest_activation() -> int:
    """127, or 63 where the instruction for sums of int8 products stops at 16 bits."""
    return 127 if torch.cpu._is_vnni_supported() else 63


WAYS: Mapping[str, Way] = {
    "expanded once": Way(_kept),
    "expanded once, oneDNN": Way(_kept_onednn),
    "int8pack": Way(_int8pack),
    "int4pack": Way(_int4pack),
    "int8pack through bf16": Way(_through_bfloat16(_int8pack), exact=False),
    "int4pack through bf16": Way(_through_bfloat16(_int4pack), exact=False),
    "fbgemm int8": Way(_fbgemm, exact=False),
    "oneDNN int8": Way(_onednn, exact=False),
    "expanded by pieces": Way(_pieces),
}
"""All ways by their names; the last one always fits."""
