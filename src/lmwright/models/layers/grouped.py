"""Feed-forward of many experts over rows sorted by expert: no row is padded, none is dropped
(Gale et al. 2022, MegaBlocks, section 4).

How many rows an expert gets is known only when it runs. To a compiler the layer is therefore one
opaque operator with a backward of its own; what stands around it still compiles as a whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.core.device import processor_name
from lmwright.models.config import Activation
from lmwright.models.layers.feed_forward import ACTIVATIONS

_aten = torch.ops.aten

# An operator's arguments have no literal types: here an activation is any string.
_FORWARDS: Mapping[str, Callable[[Tensor], Tensor]] = dict(ACTIVATIONS.items())

# (gradient of the activation's output, its input) -> gradient of its input.
_BACKWARDS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "silu": _aten.silu_backward,
    "gelu": _aten.gelu_backward,
    "gelu_tanh": partial(_aten.gelu_backward, approximate="tanh"),
    "gelu_new": partial(_aten.gelu_backward, approximate="tanh"),
    "gelu_bloom": partial(_aten.gelu_backward, approximate="tanh"),
    "relu": lambda grad, x: _aten.threshold_backward(grad, x, 0),
    "relu2": lambda grad, x: 2 * grad * F.relu(x),
    "tanh": lambda grad, x: grad * (1 - torch.tanh(x).square()),
}

_GRAIN = 16
"""Rows; see `_segments`."""

_MADE_BY_INTEL = "Intel" in processor_name()


def grouped_feed_forward(
    x: Tensor, ends: Tensor, inward: Sequence[Tensor], down: Tensor, activation: Activation
) -> Tensor:
    """down_e(act(gate_e(x)) * up_e(x)) of each row, by the expert e that the row belongs to.

    Args:
        x: (N, D) rows sorted by expert.
        ends: (E,) integers, the row after each expert's last; rows from `ends[-1]` on belong to
            none, and get 0.
        inward: gate and up, each (E, I, D); or up alone: down_e(act(up_e(x))).
        down: (E, D, I).
        activation: its name.

    Returns:
        (N, D) in the dtype of `x`, which the weights must have, too.
    """
    if _kernel_fits(x, down):
        return by_kernel(x, ends, inward, down, activation)
    weights = [*inward, down]
    trained = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights))
    output: Tensor = _forward(x, ends, weights, activation, trained)[0]
    return output


def by_kernel(
    x: Tensor, ends: Tensor, inward: Sequence[Tensor], down: Tensor, activation: Activation
) -> Tensor:
    """`grouped_feed_forward`, same arguments, by the library's grouped product."""
    offsets = ends.int()
    # The kernel leaves rows beyond the last offset as it found them, forward and backward.
    nobody = (torch.arange(len(x), device=x.device) >= ends[-1])[:, None]
    x = x.masked_fill(nobody, 0.0)
    before = [F.grouped_mm(x, weight.transpose(1, 2), offs=offsets) for weight in inward]
    hidden = activate(before, activation)
    output = F.grouped_mm(hidden, down.transpose(1, 2), offs=offsets)
    return output.masked_fill(nobody, 0.0)


def _kernel_fits(x: Tensor, down: Tensor) -> bool:
    """Whether the library has a fused grouped product for this; on CPUs it has a slower loop."""
    if x.device.type != "cuda" or x.dtype != torch.bfloat16:
        return False
    aligned = all(size % 8 == 0 for size in down.shape[1:])  # rows of 16 bytes
    return aligned and torch.cuda.get_device_capability(x.device) >= (8, 0)


@torch.library.custom_op("lmwright::experts", mutates_args=())
def _forward(
    x: Tensor, ends: Tensor, weights: list[Tensor], activation: str, trained: bool
) -> tuple[Tensor, Tensor]:
    """The output and, where `trained`, what a backward needs: (1 or 2, N, I), see `_kept`."""
    *inward, down = weights
    output, kept = torch.empty_like(x), _kept(x, weights, trained)
    # All of one expert's products before the next one's: what is between them stays in the cache.
    for expert, rows, count in _segments(ends, x):
        if not count:
            continue
        before = [
            _product(x[rows], weight[expert].t(), part[rows] if trained else None)
            for weight, part in zip(inward, kept, strict=True)
        ]
        _product(activate(before, activation), down[expert].t(), output[rows])
    output[int(ends[-1]) :].zero_()
    return output, kept


def _kept(x: Tensor, weights: list[Tensor], trained: bool) -> Tensor:
    """Room for the inputs of the activation; none where no backward will ask for them."""
    return x.new_empty(len(weights) - 1, x.shape[0] if trained else 0, weights[-1].shape[2])


@torch.library.custom_op("lmwright::experts_backward", mutates_args=())
def _backward(
    grad: Tensor,
    x: Tensor,
    before: Tensor,
    ends: Tensor,
    weights: list[Tensor],
    activation: str,
    train_weights: bool,
) -> list[Tensor]:
    """Gradient of `x` and, with `train_weights`, those of `weights` in their order."""
    *inward, down = weights
    grad_x = torch.empty_like(x)
    grad_weights = [torch.empty_like(weight) for weight in weights] if train_weights else []
    for expert, rows, count in _segments(ends, x):
        if not count:
            for grad_weight in grad_weights:
                grad_weight[expert].zero_()
            continue
        grad_hidden = _product(grad[rows], down[expert])
        hidden, grad_before = _activate_backward(grad_hidden, before[:, rows].unbind(), activation)
        for number, (part, weight) in enumerate(zip(grad_before, inward, strict=True)):
            _product(part, weight[expert], grad_x[rows], add=number > 0)
        if train_weights:
            for part in (hidden, *grad_before):
                part[count:].zero_()
            _product(grad[rows].t(), hidden, grad_weights[-1][expert])
            for part, grad_weight in zip(grad_before, grad_weights, strict=False):
                _product(part.t(), x[rows], grad_weight[expert])
    grad_x[int(ends[-1]) :].zero_()
    return [grad_x, *grad_weights]


def _segments(ends: Tensor, x: Tensor) -> Iterator[tuple[int, slice, int]]:
    """Each expert, its rows rounded up to a multiple of a grain, and how many are its own.

    oneDNN generates a product's code for its shape: rounded shapes come again, step after step. The
    rows too many are those of the next expert, which comes later and overwrites them.
    """
    grain = 1 if _MADE_BY_INTEL and x.dtype == torch.float32 else _GRAIN
    start = 0
    for expert, end in enumerate(ends.tolist()):  # waits for the device, once
        count = end - start
        stop = end if count < grain else min(start + -(-count // grain) * grain, len(x))
        yield expert, slice(start, stop), count
        start = end


def _product(left: Tensor, right: Tensor, out: Tensor | None = None, add: bool = False) -> Tensor:
    """left @ right; written to `out`, or added to it."""
    if not _onednn_is_faster(left, right):
        if add and out is not None:
            return out.addmm_(left, right)
        return torch.mm(left, right, out=out)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    if out is None:
        return result
    return out.add_(result) if add else out.copy_(result)


def _onednn_is_faster(left: Tensor, right: Tensor) -> bool:
    """Whether to go round `torch.mm`, which multiplies float32 by a library of Intel's own.

    On two cores of an AMD Zen 5: 500 GFLOP/s against 220; on a Xeon 0.88 of its speed. The maker
    decides, not a measurement: a run that goes on must round as it did before. bfloat16 goes to
    oneDNN anyhow.
    """
    if _MADE_BY_INTEL or left.dtype != torch.float32 or left.device.type != "cpu":
        return False
    few = min(*left.shape, right.shape[1]) < _GRAIN  # where setting up costs more than it saves
    return not few and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def activate(before: Sequence[Tensor], activation: str) -> Tensor:
    """act(gate) * up, or act(up) where there is no gate."""
    first = _FORWARDS[activation](before[0])
    return first * before[1] if len(before) == 2 else first


def _activate_backward(
    grad: Tensor, before: Sequence[Tensor], activation: str
) -> tuple[Tensor, list[Tensor]]:
    """`activate` once more, and the gradients of what it was given; `grad` is used up."""
    first, backward = _FORWARDS[activation](before[0]), _BACKWARDS[activation]
    if len(before) == 1:
        return first, [backward(grad, before[0])]
    hidden, grad_second = first * before[1], first.mul_(grad)
    return hidden, [backward(grad.mul_(before[1]), before[0]), grad_second]


@_forward.register_fake
def _(
    x: Tensor, ends: Tensor, weights: list[Tensor], activation: str, trained: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), _kept(x, weights, trained)


@_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    before: Tensor,
    ends: Tensor,
    weights: list[Tensor],
    activation: str,
    train_weights: bool,
) -> list[Tensor]:
    return [torch.empty_like(w) for w in (x, *(weights if train_weights else []))]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ends, weights, ctx.activation, _ = inputs
    # Nobody uses the second output but the backward: no gradient of zeros is made for it.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, ends, output[1], *weights)


def _differentiate(ctx: Any, grad: Tensor | None, _: None) -> tuple[Any, ...]:
    x, ends, before, *weights = ctx.saved_tensors
    if grad is None:
        return None, None, [None] * len(weights), None, None
    train = any(ctx.needs_input_grad[2])
    grad_x, *grad_weights = _backward(
        grad.contiguous(), x, before, ends, weights, ctx.activation, train
    )
    return grad_x, None, grad_weights or [None] * len(weights), None, None


_forward.register_autograd(_differentiate, setup_context=_remember)
