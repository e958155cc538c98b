"""Other ways to round to eight bits, and what is done with the integers."""

from typing import Any

import torch
from torch import Tensor

from lmwright.compression.rounding import quantize_int8
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.int8.rounded import (
    CLOSE,
    Rounded,
    nearest,
    rounded,
    same_scales,
    weights,
)
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call


def with_offset(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = weight.amin(-1).clamp(max=0.0), weight.amax(-1).clamp(min=0.0)
    scale = ((high - low) / 255).masked_fill(high == low, 1.0)
    offset = -128 - (low / scale).round()
    values = (weight / scale.unsqueeze(-1)).round() + offset.unsqueeze(-1)
    return values.clamp(-128, 127).to(torch.int8), scale, offset


def clipped(weight: Tensor, share: float) -> tuple[Tensor, Tensor]:
    edge = share * weight.abs().amax(-1, keepdim=True)
    return quantize_int8(torch.maximum(torch.minimum(weight, edge), -edge))


def product(values: Tensor, scale: Tensor, vectors: Tensor) -> Tensor:
    return vectors @ (values.float() * scale.unsqueeze(-1)).t()


def _restored_with_offset(subject: Subject, case: Case) -> Any:
    values, scale, offset = call(subject, case)
    return (values.double() - offset.double().unsqueeze(-1)) * scale.double().unsqueeze(-1)


def _within_offset(yours: Any, case: Case) -> str | None:
    weight = case.args[0].double()
    low, high = weight.amin(-1, True).clamp(max=0.0), weight.amax(-1, True).clamp(min=0.0)
    # Zero must be on the grid, so that the edges may miss by half a step more.
    allowed = (high - low) / 255 * 1.01
    if yours.shape != weight.shape or not bool(((yours - weight).abs() <= allowed).all()):
        return "a weight does not come back within a step of the grid from lowest to highest"
    if bool((yours[weight == 0] != 0).any()):
        return "zero does not come back as zero"
    return None


def _lopsided(draw: Draw) -> Case:
    weight = weights(draw) + 2.0 * draw.choice([-1.0, 0.0, 1.0])
    weight[draw.booleans(0.1, *weight.shape)] = 0.0
    return Case((weight,))


def _clipping(draw: Draw) -> Case:
    return Case((weights(draw), draw.uniform(0.5, 1.0)))


def _clipped_near(yours: Rounded, case: Case) -> str | None:
    weight, share = case.args
    edge = share * weight.abs().amax(-1, keepdim=True)
    cut = torch.maximum(torch.minimum(weight, edge), -edge)
    return same_scales(yours.scale, Case((cut,))) or nearest(yours, Case((cut,)))


def _multiplied(draw: Draw) -> Case:
    weight = weights(draw)
    values, scale = quantize_int8(weight)
    return Case((values, scale, draw.normal(draw.size(1, 5), weight.shape[1])))


TWISTS = {
    "offset": Twist(
        "quantize_with_offset",
        "`quantize_with_offset(weight)` rounds each row of a (..., K) float32 weight to a grid "
        "that need not be symmetric: from its lowest to its highest value, both taken as 0 where 0 "
        "lies outside, in 255 steps. It gives values (..., K) int8 in -128 .. 127, scale (...) "
        "float32 and offset (...) float32, a whole number, with weight = (values - offset) * scale "
        "nearly, and exactly where the weight is 0. Rows of zeros have scale 1.",
        with_offset,
        (
            Property(
                "lowest to highest in 255 steps, zero on the grid",
                _lopsided,
                observe=_restored_with_offset,
                compare=False,
                holds=_within_offset,
            ),
        ),
    ),
    "clipped": Twist(
        "quantize_clipped",
        "`quantize_clipped(weight, share)` cuts each row's weights off at `share` (a float, 0.5 to "
        "1) of its largest absolute value, on both sides, and rounds what is left as "
        "`quantize_int8` does: a finer grid, paid for by the few largest. Gives values and scale.",
        clipped,
        (
            Property(
                "what lies beyond the share is at the edge, the rest within half a step",
                _clipping,
                observe=rounded,
                compare=False,
                tolerance=CLOSE,
                holds=_clipped_near,
            ),
        ),
    ),
    "product": Twist(
        "multiply_int8",
        "`multiply_int8(values, scale, vectors)` gives vectors @ weight.T for the (N, K) int8 "
        "`values` and (N,) float32 `scale` of a weight: (M, K) float32 in, (M, N) float32 out. The "
        "scale of an output is one number: it can be multiplied once, at the end.",
        product,
        (Property("the product with the weights that integers and scales stand for", _multiplied),),
    ),
}
