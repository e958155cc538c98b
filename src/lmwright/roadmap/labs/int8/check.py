"""What rounding to eight bits must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.int8.rounded import (
    CLOSE,
    Rounded,
    nearest,
    rounded,
    same_scales,
    weights,
)
from lmwright.roadmap.labs.int8.twists import TWISTS
from lmwright.roadmap.properties import Case, Property, Subject, call

__all__ = ["PROPERTIES", "TWISTS"]


def scales(subject: Subject, case: Case) -> Any:
    """The scales alone."""
    return call(subject, case)[1]


def kinds(subject: Subject, case: Case) -> Any:
    """Dtypes and shapes."""
    return [(str(each.dtype), tuple(each.shape)) for each in call(subject, case)]


def again(subject: Subject, case: Case) -> Any:
    """What rounding gives for weights that were rounded before."""
    others = case.args[1:]
    values, scale = call(subject, case)
    once = values.float() * scale.unsqueeze(-1)
    return once, rounded(subject, Case((once, *others)))


def plain(draw: Draw) -> Case:
    return Case((weights(draw),))


def in_groups(draw: Draw) -> Case:
    rows, groups, columns = draw.size(1, 4), draw.size(1, 4), draw.size(2, 16)
    return Case((draw.normal(rows, groups, columns) * torch.exp(draw.normal(rows, groups, 1)),))


def shaped(draw: Draw) -> Case:
    deep = draw.chance(0.5)
    case = in_groups(draw) if deep else plain(draw)
    return replace(case, branches=frozenset({"groups" if deep else "rows"}))


def with_zeros(draw: Draw) -> Case:
    case = plain(draw)
    case.args[0][draw.size(0, len(case.args[0]) - 1)] = 0.0
    return replace(case, note="a row of zeros")


def tiny(draw: Draw) -> Case:
    """Rows at the lower end of float32: the scale has one or two bits left."""
    rows = draw.size(1, 4)
    unit = 2.0**-149  # the smallest positive float32
    steps = draw.integers(-60, 60, rows, 5)
    steps[:, 0] = draw.integers(150, 190, rows)  # 1.2 to 1.5 units a step, of which 1 is stored
    steps[:, 1] = -steps[:, 0]
    return Case((steps.double().mul(unit).float(),), note="weights of 1e-43")


def in_halves(draw: Draw) -> Case:
    """Scales that float16 holds, and such as are too small or too large for it."""
    kind = draw.choice(["usual", "tiny", "huge"])
    low, high = {"usual": (0.1, 10.0), "tiny": (1e-4, 5e-3), "huge": (1e7, 1e9)}[kind]
    weight = in_groups(draw).args[0]
    largest = weight.abs().amax(-1, keepdim=True)
    weight = weight / largest * (low + (high - low) * draw.uniforms(*largest.shape))
    return Case((weight, torch.float16), branches=frozenset({kind}))


def zeros_stay(yours: Rounded, case: Case) -> str | None:
    """Rows of zeros have scale 1 and values 0."""
    dead = (case.args[0] == 0).all(-1)
    if not bool((yours.scale[dead] == 1).all()):
        return f"a row of zeros has scale {yours.scale[dead][0]:.6g}, not 1"
    if bool((yours.values[dead] != 0).any()):
        return "a row of zeros has values other than 0"
    return nearest(yours, case)


def within(yours: Rounded, case: Case) -> str | None:
    """Nothing wraps around where the scale is too coarse."""
    weight, values = case.args[0].double(), yours.values.double()
    if bool((values.abs() > 127).any()):
        return "a value lies outside -127 .. 127"
    if bool((values * weight < 0).any()):
        return "a value has another sign than its weight: it ran over the edge of int8"
    if bool((values[weight.abs() >= 127 * yours.scale.double().unsqueeze(-1)].abs() != 127).any()):
        return "a weight beyond 127 steps is not at the edge of the grid"
    return None


def stored(yours: Rounded, case: Case) -> str | None:
    """Scales that float16 holds are numbers of float16, and the values fit them."""
    weight = case.args[0].double()
    exact, found = weight.abs().amax(-1) / 127, yours.scale.double()
    half = torch.finfo(torch.float16)
    normal = (exact > 1.01 * half.smallest_normal) & (exact < 0.99 * half.max)
    beyond = (exact < 0.99 * half.smallest_normal) | (exact > 1.01 * half.max)
    if bool((yours.scale.half().float() != yours.scale)[normal].any()):
        return "a scale is no number of float16, in which it will be stored"
    if bool(((found - exact).abs() > exact / 1024)[normal].any()):
        return "a scale is not the float16 number nearest to the largest value over 127"
    if bool(((found - exact).abs() > 1e-5 * exact)[beyond].any()):
        return "a scale that float16 cannot hold as a normal number is not kept in float32"
    return nearest(yours, case)


def unchanged(yours: Any, case: Case) -> str | None:
    """Rounded weights are on the grid: rounding them again moves nothing."""
    once, twice = yours[0].double(), yours[1]
    if bool(((twice.restored - once).abs() > 1e-5 * once.abs()).any()):
        return "weights that were rounded before move when they are rounded again"
    return None


PROPERTIES = (
    Property(
        "a row's scale is its largest absolute value / 127",
        plain,
        observe=scales,
        compare=False,
        holds=same_scales,
    ),
    Property(
        "every weight comes back within half a step, from -127 to 127",
        plain,
        observe=rounded,
        compare=False,
        tolerance=CLOSE,
        holds=nearest,
    ),
    Property(
        "int8 values and float32 scales; each row of the last dimension has one",
        shaped,
        observe=kinds,
        branches=frozenset({"groups", "rows"}),
    ),
    Property(
        "each group of a row is a row of its own",
        in_groups,
        observe=rounded,
        compare=False,
        tolerance=CLOSE,
        holds=nearest,
    ),
    Property(
        "a row of zeros has scale 1",
        with_zeros,
        observe=rounded,
        compare=False,
        tolerance=CLOSE,
        holds=zeros_stay,
    ),
    Property(
        "scales that will be stored in float16 are rounded first, and the values with them",
        in_halves,
        observe=rounded,
        compare=False,
        tolerance=CLOSE,
        holds=stored,
        branches=frozenset({"usual", "tiny", "huge"}),
    ),
    Property(
        "rounding twice is rounding once",
        plain,
        observe=again,
        compare=False,
        tolerance=CLOSE,
        holds=unchanged,
    ),
    Property(
        "where the scale is as small as float32 can count, values stop at 127",
        tiny,
        cases=20,
        observe=rounded,
        compare=False,
        tolerance=CLOSE,
        holds=within,
    ),
)
