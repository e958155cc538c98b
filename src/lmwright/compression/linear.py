"""Linear layers with weights of 8 or 4 bits."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.compression.portable import Choice, Products
from lmwright.compression.rounding import Grid, expand, quantize_rows


class QuantizedLinear(nn.Module):
    """x -> x (weight * weight_scale)^T + bias, a scale being of a row or of neighbours in it.

    Args:
        in_features: K.
        out_features: N.
        bias: whether a bias is added.
        bits: of a weight, 8 or 4.
        group_size: neighbours that share a scale, 32, 64 or 128; None: all of a row.

    Raises:
        LmwrightError: for other bits and groups, or if K does not divide into groups.
    """

    weight: Tensor
    """(N, K) int8: for 4 bits -8 .. 7, one value a byte."""
    weight_scale: Tensor
    """(N, G) float32, G = K / group_size, or 1."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        bits: int = 8,
        group_size: int | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.grid = Grid(bits, group_size)
        self.grid.check(in_features, "a linear layer")
        self.exact = True
        """Whether activations are multiplied as they are; see `portable`. May be set."""
        groups = self.grid.groups(in_features)
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features, groups))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._products: Products | None = None

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, *, bits: int = 8, group_size: int | None = None
    ) -> "QuantizedLinear":
        """Quantise a layer's weight and copy its bias."""
        biased = linear.bias is not None
        layer = cls(
            linear.in_features, linear.out_features, biased, bits=bits, group_size=group_size
        )
        layer.weight, layer.weight_scale = quantize_rows(linear.weight, layer.grid)
        if biased:
            layer.bias = nn.Parameter(linear.bias.detach().clone())
        return layer

    @property
    def bits(self) -> int:
        """Of a weight, 8 or 4."""
        return self.grid.bits

    @property
    def group_size(self) -> int | None:
        """Neighbours in a row that share a scale; None: the whole row."""
        return self.grid.group_size

    def expanded(self) -> Tensor:
        """(N, K) float32 weights that the integers stand for."""
        return expand(self.weight, self.weight_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) in the dtype of `x`.

        On the CPU by the way that `portable` chose for this shape and number of rows. Elsewhere,
        where it is compiled, and where a gradient by `x` is wanted: by weights expanded anew.
        """
        rows = x.reshape(-1, self.in_features)
        differentiated = torch.is_grad_enabled() and x.requires_grad
        elsewhere = x.device.type != "cpu" or torch.compiler.is_compiling()
        if elsewhere or differentiated or not len(rows):
            product = F.linear(rows, self.expanded().to(x.dtype))
        else:
            product = self._current()(self, rows)
        product = product.view(*x.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias

    def chosen(self) -> dict[str, Choice]:
        """What was chosen so far, by dtype and number of rows, for logs and benchmarks."""
        made = {} if self._products is None else self._products.choices
        return {
            f"{dtype} {'any' if len(rows) > 1 else rows[0]}": c for (dtype, rows), c in made.items()
        }

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.grid}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "QuantizedLinear":
        scale = self.weight_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not scale.is_meta:  # in another dtype than the activations', scales keep their own
            self.weight_scale = scale.to(self.weight.device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights are made again from those that are copied or stored.
        return self.__dict__ | {"_products": None}

    def _current(self) -> Products:
        if self._products is None or not self._products.of(self):
            self._products = Products(self)
        return self._products
