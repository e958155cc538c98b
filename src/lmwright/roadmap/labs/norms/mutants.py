"""Wrong RMSNorms, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.roadmap.properties import Mutant


def _rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool, *, wrong: str) -> Tensor:
    """RMSNorm from its equation, wrong in one place."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if wrong == "half statistics":
        wide = x
    if wrong == "mean off":
        wide = wide - wide.mean(-1, keepdim=True)
    factor = weight.to(wide.dtype)
    if (plus_one and wrong != "never plus one") or wrong == "always plus one":
        factor = 1.0 + factor
    if wrong == "no weight":
        factor = torch.ones_like(factor)
    if wrong == "weight first":
        wide, factor = wide * factor, torch.ones_like(factor)
    size = _size(wide.detach() if wrong == "detached" else wide, eps, wrong)
    scaled = wide / size * factor
    return scaled.float() if wrong == "float32 out" else scaled.to(x.dtype)


def _size(x: Tensor, eps: float, wrong: str) -> Tensor:
    """What each vector is divided by."""
    places = {"all positions": tuple(range(x.ndim)), "over positions": (0,)}.get(wrong, (-1,))
    square = x.square().mean(places, keepdim=True)
    if wrong == "sum":
        square = square * x.shape[-1]
    if wrong == "one less":
        square = square * x.shape[-1] / (x.shape[-1] - 1)
    if wrong == "absolute":
        return x.abs().mean(-1, keepdim=True) + eps
    if wrong == "no root":
        return square + eps
    if wrong == "eps outside":
        return square.sqrt() + eps
    if wrong == "largest":
        return square.clamp(min=eps).sqrt()
    return square.sqrt() if wrong == "no eps" else (square + eps).sqrt()


def _mutant(wrong: str, says: str) -> Mutant:
    def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
        return _rms_norm(x, weight, eps, plus_one, wrong=wrong)

    return Mutant(says, rms_norm)


MUTANTS = (
    _mutant("mean off", "RMSNorm that takes the mean off first, as LayerNorm does"),
    _mutant("sum", "RMSNorm by the root of the sum of squares, not of their mean"),
    _mutant(
        "one less", "RMSNorm whose mean square is divided by D - 1, as a variance is estimated"
    ),
    _mutant("absolute", "a norm by the mean of absolute values, not of squares"),
    _mutant("no root", "RMSNorm that divides by the mean square, without its root"),
    _mutant("all positions", "RMSNorm with one root mean square for all vectors together"),
    _mutant("over positions", "RMSNorm over the first dimension, not over the last"),
    _mutant("no weight", "RMSNorm without its weight"),
    _mutant("weight first", "RMSNorm that multiplies by the weight before it measures"),
    _mutant("always plus one", "RMSNorm that adds 1 to the weight also where `plus_one` is False"),
    _mutant("never plus one", "RMSNorm that does not look at `plus_one`"),
    _mutant("no eps", "RMSNorm without `eps`"),
    _mutant("eps outside", "RMSNorm that adds `eps` to the root, not under it"),
    _mutant("largest", "RMSNorm that takes `eps` as the least mean square, and adds nothing"),
    _mutant(
        "half statistics",
        "RMSNorm whose squares are in half precision, where they overflow or vanish",
    ),
    _mutant("float32 out", "RMSNorm that returns float32, whatever came in"),
    _mutant("detached", "RMSNorm whose root mean square is a constant to autograd"),
)
