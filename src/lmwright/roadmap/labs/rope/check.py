"""What rotary positions must do, in the order in which it is learnt."""

from typing import Any

import torch
from torch import Tensor

from lmwright.models.layers.positions import rotary_frequencies, rotary_table
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, gradients
from lmwright.roadmap.values import copied


def heads(draw: Draw, *, rest: int = 0, least: int = 1) -> Tensor:
    """x (B, H, T, K): at least `least` pairs, and `rest` numbers beyond them."""
    rows, count, length = (draw.size(1, most) for most in (3, 3, 6))
    return draw.normal(rows, count, length, 2 * draw.size(least, 4) + rest)


def angles(
    draw: Draw, x: Tensor, width: int, *, rows: int = 1, far: int = 50
) -> tuple[Tensor, Tensor]:
    """cos and sin, each (B or 1, 1, T, R/2), of random positions."""
    position_ids = draw.integers(0, far, rows, x.shape[2])
    return rotary_table(position_ids, rotary_frequencies(width, draw.uniform(5.0, 500.0)))


def one_pair(draw: Draw) -> Case:
    x = draw.normal(1, 1, draw.size(1, 4), 2)
    return Case((x, *angles(draw, x, 2)))


def whole(draw: Draw) -> Case:
    x = heads(draw, least=2)
    return Case((x, *angles(draw, x, x.shape[3], far=draw.choice([50, 100_000]))))


def rows_apart(draw: Draw) -> Case:
    x = heads(draw, least=2)
    own = draw.chance(0.6)
    cos, sin = angles(draw, x, x.shape[3], rows=len(x) if own else 1)
    several = own and len(x) > 1
    return Case((x, cos, sin), branches=frozenset({"own positions" if several else "shared"}))


def part(draw: Draw) -> Case:
    x = heads(draw, rest=draw.size(1, 5), least=2)
    width = 2 * draw.size(1, (x.shape[3] - 1) // 2)
    return Case((x, *angles(draw, x, width)), note=f"{width} of {x.shape[3]} numbers are turned")


def stretched(draw: Draw) -> Case:
    x = heads(draw, least=2)
    cos, sin = angles(draw, x, x.shape[3])
    factor = draw.uniform(1.05, 1.5)
    return Case((x, factor * cos, factor * sin), note=f"cos and sin are both times {factor:.2f}")


def pair_of_heads(draw: Draw) -> Case:
    """q and k of one head, where they stand, and by how much both are moved."""
    width, places = 2 * draw.size(2, 4), (draw.size(0, 40), draw.size(0, 40))
    q, k = (draw.normal(1, 1, 1, width) for _ in range(2))
    tables = [
        rotary_table(torch.tensor([[place + shift]]), rotary_frequencies(width, 100.0))
        for shift in (0, draw.size(1, 200))
        for place in places
    ]
    return Case((q, k, *(t for table in tables for t in table)))


def scores(subject: Subject, case: Case) -> Any:
    """q . k of a head before and after both were moved."""
    q, k, *tables = copied(case.args)
    at = [(tables[2 * i], tables[2 * i + 1]) for i in range(4)]
    return tuple(
        (subject(q, *at[2 * i]) * subject(k, *at[2 * i + 1])).sum(-1) / q.norm() / k.norm()
        for i in range(2)
    )


def keeps_the_score(found: Any, case: Case) -> str | None:
    before, after = found
    gap = float((before - after).abs().max())
    return f"the score changed by {gap:.2g} when both moved alike" if gap > 1e-5 else None


def keeps_the_length(found: Any, case: Case) -> str | None:
    before, after = case.args[0].norm(dim=-1), found.norm(dim=-1)
    gap = float(((before - after).abs() / before).max())
    return f"a vector's length changed by {gap:.2g} of it" if gap > 1e-5 else None


def halves(draw: Draw) -> Case:
    x = heads(draw, rest=draw.choice([0, 0, 3]), least=2).bfloat16()
    cos, sin = angles(draw, x, x.shape[3] // 2 * 2)
    wide = draw.chance(0.5)
    if not wide:
        cos, sin = cos.bfloat16(), sin.bfloat16()
    branch = "float32 tables" if wide else "bfloat16 tables"
    return Case((x, cos, sin), branches=frozenset({branch}), tolerance=4e-2)


def learnt(draw: Draw) -> Case:
    x = heads(draw, rest=draw.choice([0, 3]), least=2)
    return Case((x, *angles(draw, x, x.shape[3] // 2 * 2)), tolerance=1e-4)


PROPERTIES = (
    Property("a pair turns by its angle, against the clock", one_pair),
    Property(
        "number i of a head forms a pair with number i + K/2, and turns by angle i",
        whole,
        holds=keeps_the_length,
    ),
    Property(
        "rows of a batch may stand at positions of their own",
        rows_apart,
        branches=frozenset({"own positions", "shared"}),
    ),
    Property("only the first R numbers of a head are turned, in pairs i, i + R/2", part),
    Property("cos and sin are used as they are given, of length 1 or not", stretched),
    Property(
        "scores depend on the distance alone",
        pair_of_heads,
        observe=scores,
        compare=False,  # a score may be near 0
        holds=keeps_the_score,
    ),
    Property(
        "bfloat16 in, bfloat16 out, whatever cos and sin are in",
        halves,
        branches=frozenset({"float32 tables", "bfloat16 tables"}),
    ),
    Property("gradients reach x", learnt, observe=gradients, cases=20),
)


def _turn(first: Tensor, second: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = angle.cos(), angle.sin()
    return first * cos - second * sin, second * cos + first * sin


def _halves(x: Tensor, angle: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat(_turn(first, second, angle), -1)


def _angles(position_ids: Tensor, width: int, theta: float) -> Tensor:
    """(B or 1, 1, T, K/2)."""
    return (position_ids[..., None] * rotary_frequencies(width, theta))[:, None]


def neighbours(x: Tensor, position_ids: Tensor, theta: float) -> Tensor:
    angle = _angles(position_ids, x.shape[3], theta)
    return torch.stack(_turn(x[..., 0::2], x[..., 1::2], angle), -1).flatten(-2)


def plane(x: Tensor, rows: Tensor, columns: Tensor, theta: float) -> Tensor:
    both = zip(x.chunk(2, -1), (rows, columns), strict=True)
    turned = [_halves(half, _angles(places, half.shape[3], theta)) for half, places in both]
    return torch.cat(turned, -1)


def longer(x: Tensor, position_ids: Tensor, theta: float, stretch: float) -> Tensor:
    width = x.shape[3]
    angle = _angles(position_ids, width, theta * stretch ** (width / (width - 2)))
    return _halves(x, angle)


def _placed(draw: Draw, x: Tensor, count: int = 1) -> tuple[Tensor, ...]:
    return tuple(draw.integers(0, 50, draw.choice([1, len(x)]), x.shape[2]) for _ in range(count))


def _one_line(draw: Draw) -> Case:
    x = heads(draw, least=2)
    return Case((x, *_placed(draw, x), draw.uniform(5.0, 500.0)), tolerance=1e-4)


def _on_a_plane(draw: Draw) -> Case:
    x = draw.normal(draw.size(1, 3), draw.size(1, 3), draw.size(1, 6), 4 * draw.size(1, 3))
    return Case((x, *_placed(draw, x, 2), draw.uniform(5.0, 500.0)), tolerance=1e-4)


def _longer(draw: Draw) -> Case:
    case = _one_line(draw)
    return Case((*case.args, draw.uniform(1.5, 8.0)), tolerance=1e-4)


_FREQUENCIES = (
    "Pair i of P pairs turns by position * theta^(-i / P) radians; make these angles yourself."
)

TWISTS = {
    "neighbours": Twist(
        "rotate_neighbours",
        "`rotate_neighbours(x, position_ids, theta)`: `x` (B, H, T, K), `position_ids` (B or 1, T) "
        "integers. Numbers 2i and 2i + 1 form pair i (the layout of the paper, and of llama2.c). "
        + _FREQUENCIES,
        neighbours,
        (Property("neighbours form pairs", _one_line),),
    ),
    "plane": Twist(
        "rotate_on_plane",
        "`rotate_on_plane(x, rows, columns, theta)`: patches of an image have two positions, "
        "each (B or 1, T) integers. The first half of each head is turned by its row, the second "
        "half by its "
        "column, each half as a head of K/2 numbers of its own, in pairs i, i + K/4. "
        + _FREQUENCIES,
        plane,
        (Property("the first half knows its row, the second its column", _on_a_plane),),
    ),
    "longer": Twist(
        "rotate_longer",
        "`rotate_longer(x, position_ids, theta, stretch)`: as `rotate` of the whole head (pairs "
        "i, i + K/2), for texts `stretch` times as long as the model was trained on: theta is "
        "replaced by "
        "theta * stretch^(K / (K - 2)) (NTK-aware scaling). " + _FREQUENCIES,
        longer,
        (
            Property(
                "the slowest pair turns `stretch` times slower, the fastest as before", _longer
            ),
        ),
    ),
}
