"""The stream with one function for each sublayer."""

from functools import reduce

from torch import Tensor

REPLACES = "lmwright.models.layers.block:residual_stream"


def residual_stream(x: Tensor, sublayers, placement, parallel, drop) -> Tensor:
    def change(stream, layer):
        return layer.compute(layer.before(stream))

    def step(stream, layer):
        if placement == "both":
            return stream + drop(layer.after(change(stream, layer)))
        return layer.after(stream + drop(change(stream, layer)))

    if parallel:
        return sum((drop(change(x, layer)) for layer in reversed(sublayers)), start=0) + x
    return reduce(step, sublayers, x)
