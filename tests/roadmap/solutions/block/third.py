"""The stream of any number of sublayers, by recursion."""

from torch import Tensor

REPLACES = "lmwright.models.layers.block:residual_stream"


def residual_stream(x: Tensor, sublayers, placement: str, parallel: bool, drop) -> Tensor:
    if not sublayers:
        return x
    if parallel:
        seen = [before(x) for _, before, _ in sublayers]
        changes = [layer[0](value) for layer, value in zip(sublayers, seen, strict=True)]
        total = drop(changes.pop())
        while changes:
            total = total + drop(changes.pop())
        return total + x
    (compute, before, after), *rest = sublayers
    change = compute(before(x))
    if placement == "both":
        change = after(change)
    x = x + drop(change)
    if placement == "post":
        x = after(x)
    return residual_stream(x, rest, placement, parallel, drop)
