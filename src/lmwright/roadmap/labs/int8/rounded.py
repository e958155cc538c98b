"""What a rounding gave, and how near it is to the weights: for the check and its twists."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Subject, call

# A quotient that lies halfway may be rounded to either side once float32 has rounded it: 127 steps
# of 2^-24.
HALF_A_STEP = 0.5 * (1 + 4e-5)

CLOSE = 1e-5  # of float64 products of float32 scales, where a wrong answer is told by its mutant


@dataclass(frozen=True)
class Rounded:
    """What came out, and what the numbers stand for.

    Args:
        values: (..., K) integers.
        scale: (...) of each row.
        restored: (..., K) float64, values * scale.
    """

    values: Tensor
    scale: Tensor
    restored: Tensor


def rounded(subject: Subject, case: Case) -> Any:
    """Both results, with the weights that they stand for."""
    values, scale = call(subject, case)
    return Rounded(values, scale, values.double() * scale.double().unsqueeze(-1))


def weights(draw: Draw) -> Tensor:
    """Rows of very different sizes, seldom with their largest value in front."""
    rows, columns = draw.size(1, 6), draw.size(1, 24)
    sizes = torch.exp(draw.uniforms(rows, 1) * 8 - 6)
    return draw.normal(rows, columns) * sizes


def same_scales(yours: Any, case: Case) -> str | None:
    """Largest absolute value of each row over 127."""
    largest = case.args[0].double().abs().amax(-1)
    found = yours.double()
    if found.shape != largest.shape:
        return f"the scales have shape {tuple(found.shape)}, not {tuple(largest.shape)}"
    wrong = (found * 127 - largest).abs() > 1e-5 * largest
    if bool(wrong.any()):
        row = tuple(wrong.nonzero()[0].tolist())
        return (
            f"row {list(row)} has largest absolute value {largest[row]:.6g} and scale "
            f"{found[row]:.6g}, which times 127 is {found[row] * 127:.6g}"
        )
    return None


def nearest(yours: Rounded, case: Case) -> str | None:
    """Every value within half a step, none of them -128."""
    weight = case.args[0].double()
    if yours.values.shape != weight.shape:
        return f"the values have shape {tuple(yours.values.shape)}, not {tuple(weight.shape)}"
    if bool((yours.values.abs() > 127).any()):
        return "a value lies outside -127 .. 127"
    allowed = HALF_A_STEP * yours.scale.double().unsqueeze(-1)
    wrong = ~((yours.restored - weight).abs() <= allowed)
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        return (
            f"weight {list(place)} is {weight[place]:.6g} and comes back as "
            f"{yours.restored[place]:.6g}; half a step is {allowed[place[:-1]].item():.3g}"
        )
    return None
