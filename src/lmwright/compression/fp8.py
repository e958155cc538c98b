"""Linear layers whose products are in fp8 (Micikevicius et al. 2022, FP8 Formats, the format E4M3).

Weights have a scale for each row, found once; activations one for each token, found as they come.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.models.transformer import Decoder

LARGEST = 448.0
"""Of E4M3."""
MULTIPLE = 16
"""What the products' kernels ask of rows and columns."""


class Fp8Linear(nn.Module):
    """x -> x weight^T + bias, both factors rounded to fp8, the products summed in fp32.

    The result is rounded to bfloat16, which is all that the GPUs' kernels write.

    Args:
        linear: is read, and not kept; its sizes are multiples of `MULTIPLE`.
    """

    weight: Tensor
    """(N, K) float8_e4m3fn."""
    weight_scale: Tensor
    """(N, 1) float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = rounded(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) in the dtype of `x`."""
        rows, scale = rounded(x.reshape(-1, self.in_features))
        product = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.weight_scale.t(),
            out_dtype=torch.bfloat16,
        )
        product = product.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Fp8Linear":
        weight, scale = self.weight, self.weight_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A cast of the model is one of what it computes in; these keep their own dtypes.
        self.weight = weight.to(self.weight.device)
        self.weight_scale = scale.to(self.weight.device)
        return self


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in fp8, and the scales that give them back.

    Args:
        rows: (M, K) floating point.

    Returns:
        (M, K) float8_e4m3fn, (M, 1) float32; a row's largest value becomes `LARGEST`.
    """
    wide = rows.float()
    scale = wide.abs().amax(dim=-1, keepdim=True).div(LARGEST).clamp(min=1e-12)
    # Held in bounds once more: the quotient may be an ulp too large, and would then be NaN.
    return (wide / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale


def quantize(model: Decoder) -> Decoder:
    """A copy of `model` whose blocks' linear layers multiply in fp8; it cannot be trained.

    As with `weights.quantize`, embedding, output projection, norms and experts stay as they are;
    so do layers whose sizes the kernels do not take.

    Raises:
        LmwrightError: if that leaves no layer at all.
    """
    result = copy.deepcopy(model)
    found = 0
    for name, module in list(result.named_modules()):
        if not (name.startswith("layers.") and isinstance(module, nn.Linear)):
            continue
        fits = module.in_features % MULTIPLE == 0 == module.out_features % MULTIPLE
        if fits and not name.endswith(".router"):
            owner, _, last = name.rpartition(".")
            setattr(result.get_submodule(owner), last, Fp8Linear(module))
            found += 1
    if not found:
        raise LmwrightError(
            f"weights=fp8: no linear layer has sizes that are multiples of {MULTIPLE}",
            hint="leave weights as they are stored, or use int8",
        )
    return result.requires_grad_(False).eval()
