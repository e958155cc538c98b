"""Products with integer weights where no compiler is at hand: PyTorch brings several ways along,
and a short probe chooses.

Which way is the fastest differs between machines, shapes and numbers of rows by factors
(docs/experiments.md, 2026-11-28). So a layer's first product with one, a few, some or many rows
times all ways that fit, on random rows; what it chose is recorded on the layer, and holds for all
layers of that shape in the process. It depends on how many rows there are, never on what is in
them.

Two kinds of ways are kept apart, because their answers differ by more than rounding in float32:

- exact ones multiply the activations as they are, so that the ways agree to the last digits of the
  dtype: a prompt is answered alike alone or in a batch, whichever way either takes;
- those that round activations, too, to int8 or from float32 to bfloat16 (for layers with
  `exact=False`). PyTorch's usual one, `quantized.linear_dynamic`, takes one scale for the whole
  batch, so that an answer would depend on what else is being answered. Ours give every row a scale
  of its own before the same kernels run; integer sums are exact, and one way is chosen for all
  numbers of rows: a row's result has the same bits in any batch.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lmwright.compression.rounding import Grid
from lmwright.compression.ways import WAYS, Product

if TYPE_CHECKING:
    from lmwright.compression.linear import QuantizedLinear

_ROWS = (1, 4, 16, 128)
"""Numbers of rows that are probed; others go with the next larger, or the last."""
_ROUNDS, _PATIENCE = 5, 3.0  # timings of a way; none for one that is so much slower than the best
_ENOUGH = 0.02  # seconds that a way is timed for


class Choice(NamedTuple):
    """What was chosen, and how long one product took at each probed number of rows."""

    way: str
    seconds: Mapping[str, tuple[float, ...]]
    """Of each way that fits; infinite where it was given up."""


@dataclass(frozen=True)
class _Question:
    """What a choice depends on."""

    shape: tuple[int, ...]
    grid: Grid
    dtype: torch.dtype
    rows: tuple[int, ...]
    exact: bool
    threads: int


_choices: dict[_Question, Choice] = {}


class Products:
    """The products of one layer, each made when it is first wanted.

    Args:
        layer: its weights must not change afterwards; `of` says whether they have.
    """

    def __init__(self, layer: "QuantizedLinear") -> None:
        self._tensors = layer.weight, layer.weight_scale
        self._state = _state(layer)
        self._made: dict[tuple[torch.dtype, tuple[int, ...]], Product] = {}
        self._by_way: dict[tuple[torch.dtype, str], Product] = {}
        self.choices: dict[tuple[torch.dtype, tuple[int, ...]], Choice] = {}

    def of(self, layer: "QuantizedLinear") -> bool:
        """Whether the layer still is as it was: the same weights, not written to."""
        weight, scale = self._tensors
        same = layer.weight is weight and layer.weight_scale is scale
        return same and self._state == _state(layer)

    def __call__(self, layer: "QuantizedLinear", x: Tensor) -> Tensor:
        """(M, K) on the CPU, M > 0 -> (M, N) in the dtype of `x`, without the bias."""
        rows = _bucket(len(x)) if layer.exact else _ROWS
        product = self._made.get((x.dtype, rows))
        if product is None:
            product = self._make(layer, x.dtype, rows)
        return product(x.contiguous())

    def _make(self, layer: "QuantizedLinear", dtype: torch.dtype, rows: tuple[int, ...]) -> Product:
        question = _Question(
            tuple(layer.weight.shape),
            layer.grid,
            dtype,
            rows,
            layer.exact,
            torch.get_num_threads(),
        )
        if question not in _choices:
            _choices[question] = choose(layer, dtype, rows)
        choice = self.choices[dtype, rows] = _choices[question]
        product = self._by_way.get((dtype, choice.way)) or WAYS[choice.way].make(layer, dtype)
        assert product is not None, "it was timed on a layer of the same shape"
        self._made[dtype, rows] = self._by_way[dtype, choice.way] = product
        return product


def choose(layer: "QuantizedLinear", dtype: torch.dtype, rows: tuple[int, ...]) -> Choice:
    """Time every way that fits, on random rows.

    Args:
        layer: on the CPU.
        dtype: of the activations.
        rows: numbers of rows; the way with the least product of its times over them is chosen.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(m, layer.in_features, generator=generator).to(dtype) for m in rows]
    found: dict[str, tuple[float, ...]] = {}
    best = [math.inf] * len(rows)
    for name, way in WAYS.items():
        if layer.exact and not way.exact:
            continue
        product = way.make(layer, dtype)
        if product is None:
            continue
        times = [_seconds(product, x, least) for x, least in zip(inputs, best, strict=True)]
        if len(rows) == 1:  # else the best for few rows might be given up for being slow with many
            best = [min(best[0], times[0])]
        found[name] = tuple(times)
    return Choice(min(found, key=lambda name: math.prod(found[name])), found)


@torch.no_grad()
def _seconds(product: Product, x: Tensor, best: float) -> float:
    """The shortest of some timings; infinite if the first ones say that it is far from the best."""
    product(x)  # code is generated, memory is claimed
    shortest = math.inf
    begin = time.perf_counter()
    for number in range(_ROUNDS):
        start = time.perf_counter()
        product(x)
        end = time.perf_counter()
        shortest = min(shortest, end - start)
        if number == 1 and shortest > _PATIENCE * best:
            return math.inf
        if end - begin > _ENOUGH:
            break
    return shortest


def _bucket(rows: int) -> tuple[int]:
    return (next((m for m in _ROWS if rows <= m), _ROWS[-1]),)


def _state(layer: "QuantizedLinear") -> tuple[Any, ...]:
    """Changes when the weights are written to, or other ways are allowed."""
    tensors = (layer.weight, layer.weight_scale)
    return (layer.exact, *(None if t.is_inference() else t._version for t in tensors))
