"""Wrong roundings, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.roadmap.properties import Mutant


def _scale(weight: Tensor, dtype: torch.dtype, wrong: str) -> Tensor:
    """One for each row, wrong in one place."""
    largest = weight.abs().amax(-1)
    if wrong == "whole":
        largest = weight.abs().amax().expand(largest.shape).clone()
    if wrong == "columns":
        largest = weight.abs().amax(0)
    if wrong == "signed":
        largest = weight.amax(-1)
    if wrong == "half range":
        largest = (weight.amax(-1) - weight.amin(-1)) / 2
    if wrong == "deviation":
        largest = 3 * weight.std(-1, correction=0)
    scale = largest / {"128": 128, "255": 255}.get(wrong, 127)
    if wrong == "never halves":
        dtype = torch.float32
    limits = torch.finfo(dtype)
    fits = (scale >= limits.smallest_normal) & (scale <= limits.max)
    if wrong == "always halves":
        fits = torch.ones_like(fits)
    scale = torch.where(fits, scale.to(dtype).float(), scale)
    if wrong == "smallest":
        return scale.clamp(min=1e-8)
    return scale if wrong == "zeros" else scale.masked_fill(scale == 0.0, 1.0)


def _quantize(
    weight: Tensor, dtype: torch.dtype = torch.float32, *, wrong: str
) -> tuple[Tensor, Tensor]:
    """Rounding by its definition, wrong in one place."""
    scale = _scale(weight, dtype, wrong)
    divisor = _scale(weight, torch.float32, wrong) if wrong == "exact scale" else scale
    if wrong != "columns":
        divisor = divisor.unsqueeze(-1)
    steps = weight / divisor
    if wrong == "truncated":
        steps = steps.trunc()
    elif wrong == "floor":
        steps = steps.floor()
    else:
        steps = steps.round()
    if wrong == "floats":
        return steps.clamp(-127, 127), scale
    if wrong == "wraps":  # through int32, so that every machine wraps alike
        return steps.to(torch.int32).to(torch.int8), scale
    return steps.clamp(-128 if wrong == "-128" else -127, 127).to(torch.int8), scale


def _mutant(wrong: str, says: str) -> Mutant:
    def quantize_int8(
        weight: Tensor, scale_dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        return _quantize(weight, scale_dtype, wrong=wrong)

    return Mutant(says, quantize_int8)


MUTANTS = (
    _mutant("128", "a scale of largest / 128: the grid ends at 127 on both sides"),
    _mutant(
        "255", "a scale of largest / 255: a row's values use 255 numbers, but half on each side"
    ),
    _mutant("whole", "one scale for the whole weight: every row has its own"),
    _mutant("columns", "a scale for each column, not for each row"),
    _mutant("signed", "a scale of the largest value, where the largest *absolute* value counts"),
    _mutant("half range", "a scale of half the distance from lowest to highest: 0 is the middle"),
    _mutant("deviation", "a scale of three standard deviations: the largest value must fit too"),
    _mutant("truncated", "values cut off towards zero, where they must be rounded"),
    _mutant("floor", "values rounded down, where the nearest integer is wanted"),
    _mutant("floats", "rounded numbers that are still floats: `.to(torch.int8)`"),
    _mutant("zeros", "a row of zeros divided by its scale of 0"),
    _mutant("smallest", "a smallest scale for rows of zeros, where it is 1"),
    _mutant("never halves", "scales in float32 whatever `scale_dtype` says"),
    _mutant(
        "always halves",
        "scales rounded to float16 where it cannot hold them: they become 0, coarse or infinite",
    ),
    _mutant(
        "exact scale",
        "values rounded with the exact scale, and another given back: round with the stored one",
    ),
    _mutant("wraps", "values that run over the edge of int8 into the other sign: clamp them"),
    _mutant("-128", "values down to -128: the grid is symmetric, -127 to 127"),
)
