"""Wrong rotations, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.roadmap.properties import Mutant


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, *, wrong: str) -> Tensor:
    """Rotation from its equation, wrong in one place."""
    half = cos.shape[-1]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    if wrong == "last part":
        rest, turned = x[..., : x.shape[-1] - 2 * half], x[..., x.shape[-1] - 2 * half :]
    if wrong == "first row":
        cos, sin = cos[:1], sin[:1]
    if wrong == "normalised":
        length = (cos.square() + sin.square()).sqrt()
        cos, sin = cos / length, sin / length
    if wrong == "neighbours":
        pairs = turned[..., 0::2], turned[..., 1::2]
        return _joined(torch.stack(_turn(*pairs, cos, sin, wrong), -1).flatten(-2), rest, x)
    first, second = turned[..., :half], turned[..., half:]
    if wrong == "neighbouring angles":
        cos, sin = (t.repeat_interleave(2, -1) for t in (cos, sin))
        flipped = torch.cat((-second, first), -1)
        return _joined(turned * cos + flipped * sin, rest, x)
    a, b = _turn(first, second, cos, sin, wrong)
    if wrong == "mixed order":
        return _joined(torch.stack((a, b), -1).flatten(-2), rest, x)
    if wrong == "last part":
        return torch.cat((rest, a, b), -1).to(x.dtype)
    if wrong == "zero rest":
        rest = torch.zeros_like(rest)
    if wrong == "half of head":
        return _half_of_head(x, cos, sin)
    return _joined(torch.cat((a, b), -1), rest, x, wrong)


def _turn(
    first: Tensor, second: Tensor, cos: Tensor, sin: Tensor, wrong: str
) -> tuple[Tensor, Tensor]:
    if wrong == "clockwise":
        sin = -sin
    if wrong == "swapped":
        cos, sin = sin, cos
    if wrong == "no angle":
        return first, second
    if wrong == "one sign":
        return first * cos - second * sin, second * cos - first * sin
    if wrong == "no minus":
        return first * cos + second * sin, second * cos + first * sin
    a = first * cos - second * sin
    if wrong == "second alone":
        return first, second * cos + first * sin
    return a, second * cos + (a if wrong == "one after the other" else first) * sin


def _half_of_head(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs i, i + K/2 also where only R numbers are to be turned."""
    middle, half = x.shape[-1] // 2, cos.shape[-1]
    answer = x.to(torch.promote_types(x.dtype, cos.dtype)).clone()
    first, second = x[..., :half], x[..., middle : middle + half]
    answer[..., :half] = first * cos - second * sin
    answer[..., middle : middle + half] = second * cos + first * sin
    return answer.to(x.dtype)


def _joined(turned: Tensor, rest: Tensor, x: Tensor, wrong: str = "") -> Tensor:
    answer = torch.cat((turned, rest), -1)
    return answer if wrong == "wide out" else answer.to(x.dtype)


def _mutant(wrong: str, says: str) -> Mutant:
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return _rotate(x, cos, sin, wrong=wrong)

    return Mutant(says, rotate)


MUTANTS = (
    _mutant("no angle", "x as it came: nothing is turned"),
    _mutant("clockwise", "a rotation with the clock: the sine has the wrong sign"),
    _mutant("swapped", "a rotation with sine and cosine swapped"),
    _mutant(
        "one sign", "no rotation: the sine is taken off in both lines; it is added in the second"
    ),
    _mutant(
        "no minus", "no rotation: the sine is added in both lines; it is taken off in the first"
    ),
    _mutant("second alone", "a rotation of the second number of each pair alone"),
    _mutant(
        "one after the other",
        "a rotation whose second line uses what the first has just changed",
    ),
    _mutant("neighbours", "a rotation of neighbours (0, 1), (2, 3) where halves form the pairs"),
    _mutant(
        "neighbouring angles",
        "a rotation of halves with the angles of neighbours: repeat cos whole, not each number",
    ),
    _mutant("mixed order", "the right pairs put back as neighbours, not as halves"),
    _mutant("first row", "a rotation that gives every row the positions of the first"),
    _mutant("last part", "a rotation of the last R numbers of a head, not of the first"),
    _mutant("zero rest", "a rotation that loses the numbers it does not turn"),
    _mutant("half of head", "a rotation of pairs i, i + K/2 where only R < K numbers are turned"),
    _mutant("normalised", "a rotation that brings cos and sin back to length 1"),
    _mutant("wide out", "a rotation that returns float32 where cos and sin are in float32"),
)
