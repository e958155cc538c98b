"""The stream as three formulas, and the lab's twists."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.block:residual_stream"


def residual_stream(x, sublayers, placement, parallel, drop):
    if parallel:
        answer = x
        for layer in sublayers:
            answer = answer + drop(layer.compute(layer.before(x)))
        return answer
    for layer in sublayers:
        if placement == "pre":
            x = x + drop(layer.compute(layer.before(x)))
        elif placement == "post":
            x = layer.after(x + drop(layer.compute(x)))
        else:
            x = x + drop(layer.after(layer.compute(layer.before(x))))
    return x


def deep_norm_stream(x, sublayers, alpha):
    for layer in sublayers:
        x = layer.after(x * alpha + layer.compute(x))
    return x


def scaled_stream(x, sublayers, gains):
    for i, layer in enumerate(sublayers):
        x = x + layer.compute(layer.before(x)) * gains[i]
    return x


def stream_with_depth_drop(x, sublayers, kept, rate):
    for i, layer in enumerate(sublayers):
        change = layer.compute(layer.before(x)) / (1 - rate)
        x = torch.where(kept[i][:, None, None], x + change, x)
    return x


def swiglu_block(x: Tensor, attention, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    x = x + attention.compute(attention.before(x))
    seen = attention.after(x)
    gated = seen @ gate.T
    return x + (gated * torch.sigmoid(gated) * (seen @ up.T)) @ down.T
