"""What a block must do with its stream, in the order in which it is learnt."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.models.layers.block import Sublayer, unchanged
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, gradients
from lmwright.roadmap.values import copied


@dataclass(frozen=True)
class Mix:
    """Stands for attention: each token takes something of those before it, then a projection."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        places = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        mean = x.cumsum(1) / places.to(x.dtype)
        return torch.tanh((x + mean) @ self.weight.to(x.dtype))


@dataclass(frozen=True)
class Project:
    """Stands for a feed-forward layer."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.silu(x @ self.weight.to(x.dtype)) + 0.5 * x


@dataclass(frozen=True)
class Nothing:
    """A sublayer whose output projection is zero, as at the start of many trainings."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Norm:
    """RMSNorm with a gain of its own, so that norms can be told apart."""

    gain: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(
            x.dtype
        ) * self.gain.to(x.dtype)


@dataclass(frozen=True)
class Drop:
    """Dropout that always drops the same places."""

    kept: Tensor

    def __call__(self, change: Tensor) -> Tensor:
        return change * self.kept.to(change.dtype)


def stream(draw: Draw) -> Tensor:
    """x (B, T, D) of size 2 or so."""
    return 2 * draw.normal(draw.size(1, 3), draw.size(1, 5), draw.size(2, 7)) + 0.5


def norm(draw: Draw, wanted: bool, width: int) -> Any:
    return Norm(0.4 + draw.uniforms(width)) if wanted else unchanged


def sublayers(draw: Draw, width: int, count: int, placement: str) -> tuple[Sublayer, ...]:
    before, after = placement in ("pre", "both"), placement in ("post", "both")
    return tuple(
        Sublayer(
            (Project if index == count - 1 else Mix)(draw.normal(width, width)),
            norm(draw, before, width),
            norm(draw, after, width),
        )
        for index in range(count)
    )


def drawn(
    draw: Draw, placement: str, count: int, *, parallel: bool = False, drop: bool = False
) -> Case:
    x = stream(draw)
    layers = sublayers(draw, x.shape[2], count, placement)
    kept = Drop(1.25 * draw.booleans(0.8, *x.shape).float()) if drop else unchanged
    branches = {placement, "parallel" if parallel else "in turn", f"{count} sublayers"}
    return Case((x, layers, placement, parallel, kept), branches=frozenset(branches))


def one(draw: Draw) -> Case:
    return drawn(draw, "pre", 1)


def several(draw: Draw) -> Case:
    return drawn(draw, "pre", draw.choice([2, 3]))


def without_norm(draw: Draw) -> Case:
    case = drawn(draw, "pre", 2)
    x, layers, *rest = case.args
    return Case((x, (layers[0]._replace(before=unchanged), layers[1]), *rest))


def silent(draw: Draw) -> Case:
    case = drawn(draw, "pre", 2, parallel=draw.chance(0.5), drop=True)
    x, layers, *rest = case.args
    quiet = tuple(layer._replace(compute=Nothing()) for layer in layers)
    return Case((x, quiet, *rest), branches=case.branches, tolerance=0.0)


def post(draw: Draw) -> Case:
    return drawn(draw, "post", draw.choice([1, 2, 3]))


def both(draw: Draw) -> Case:
    return drawn(draw, "both", draw.choice([1, 2, 3]))


def parallel(draw: Draw) -> Case:
    return drawn(draw, "pre", draw.choice([1, 2, 3]), parallel=True)


def dropped(draw: Draw) -> Case:
    alike = draw.chance(0.25)
    placement = "pre" if alike else draw.choice(["pre", "post", "both"])
    return drawn(draw, placement, 2, parallel=alike, drop=True)


def halves(draw: Draw) -> Case:
    alike = draw.chance(0.25)
    placement = "pre" if alike else draw.choice(["pre", "post", "both"])
    case = drawn(draw, placement, 2, parallel=alike)
    return Case((case.args[0].bfloat16(), *case.args[1:]), branches=case.branches, tolerance=5e-2)


def learnt(draw: Draw) -> Case:
    alike = draw.chance(0.25)
    placement = "pre" if alike else draw.choice(["pre", "post", "both"])
    case = drawn(draw, placement, 2, parallel=alike, drop=True)
    return Case(case.args, branches=case.branches, tolerance=1e-4)


def asked(subject: Subject, case: Case) -> Any:
    """What each sublayer is given, call by call, and what comes out."""
    x, layers, placement, alike, drop = copied(case.args)
    given: list[list[Tensor]] = [[] for _ in layers]

    def watched(index: int) -> Any:
        def compute(value: Tensor) -> Tensor:
            given[index].append(value.clone())
            found: Tensor = layers[index].compute(value)
            return found

        return compute

    watched_layers = tuple(
        layer._replace(compute=watched(index)) for index, layer in enumerate(layers)
    )
    return subject(x, watched_layers, placement, alike, drop), given


def each_once(found: Any, case: Case) -> str | None:
    _, given = found
    counts = [len(calls) for calls in given]
    if all(count == 1 for count in counts):
        return None
    return f"the sublayers were called {counts} times; a cache would take their keys as often"


def watched_case(draw: Draw) -> Case:
    alike = draw.chance(0.25)
    placement = "pre" if alike else draw.choice(["pre", "post", "both"])
    return drawn(draw, placement, 2 if alike else draw.choice([2, 3]), parallel=alike)


def causal_case(draw: Draw) -> Case:
    case = drawn(draw, draw.choice(["pre", "post", "both"]), 2)
    x, *rest = case.args
    place = draw.size(0, x.shape[1] - 1)
    return Case((x, *rest), {"place": place}, note=f"token {place} is changed")


def change_one_token(subject: Subject, case: Case) -> Any:
    """What comes out before a token that is changed, and from it on."""
    (x, *rest), place = copied(case.args), case.kwargs["place"]
    other = x.clone()
    other[:, place] = -other[:, place]
    first, second = subject(x, *rest), subject(other, *copied(tuple(rest)))
    return first, second


def nothing_before(found: Any, case: Case) -> str | None:
    place = case.kwargs["place"]
    if torch.equal(found[0][:, :place], found[1][:, :place]):
        return None
    return "a token before the changed one came out differently: somebody looked ahead"


_WAYS = frozenset({"pre", "post", "both", "parallel"})

PROPERTIES = (
    Property('"pre": what a sublayer makes of the normalised stream is added to the stream', one),
    Property(
        "sublayers follow each other, and each reads what those before it have added",
        several,
        branches=frozenset({"2 sublayers", "3 sublayers"}),
    ),
    Property("each sublayer has a norm of its own, or none", without_norm),
    Property(
        "sublayers that give nothing leave the stream as it is, to the bit",
        silent,
        branches=frozenset({"parallel", "in turn"}),
    ),
    Property('"post": the norm comes after the addition', post),
    Property('"both": the second norm is the change\'s alone, before it is added', both),
    Property("in parallel all sublayers read the same stream, which is added once", parallel),
    Property(
        "what is dropped is what is added, last of all; the stream never", dropped, branches=_WAYS
    ),
    Property(
        "each sublayer is asked once",
        watched_case,
        observe=asked,
        holds=each_once,
        branches=_WAYS,
    ),
    Property(
        "changing a token moves nothing before it",
        causal_case,
        cases=20,
        observe=change_one_token,
        holds=nothing_before,
    ),
    Property("bfloat16 in, bfloat16 out", halves, branches=_WAYS),
    Property(
        "gradients pass beside the sublayers and through them",
        learnt,
        observe=gradients,
        branches=_WAYS,
    ),
)


def deep_norm(x: Tensor, sublayers: tuple[Sublayer, ...], alpha: float) -> Tensor:
    for layer in sublayers:
        x = layer.after(alpha * x + layer.compute(x))
    return x


def layer_scale(x: Tensor, sublayers: tuple[Sublayer, ...], gains: Tensor) -> Tensor:
    for layer, gain in zip(sublayers, gains, strict=True):
        x = x + gain * layer.compute(layer.before(x))
    return x


def drop_path(x: Tensor, sublayers: tuple[Sublayer, ...], kept: Tensor, rate: float) -> Tensor:
    for layer, rows in zip(sublayers, kept, strict=True):
        factor = rows.to(x.dtype)[:, None, None] / (1 - rate)
        x = x + factor * layer.compute(layer.before(x))
    return x


def swiglu_block(x: Tensor, attention: Sublayer, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    x = x + attention.compute(attention.before(x))
    seen = attention.after(x)
    return x + (F.silu(seen @ gate.t()) * (seen @ up.t())) @ down.t()


def _deep(draw: Draw) -> Case:
    x, layers, *_ = drawn(draw, "post", 2).args
    return Case((x, layers, draw.uniform(1.2, 3.0)))


def _scaled(draw: Draw) -> Case:
    x, layers, *_ = drawn(draw, "pre", draw.choice([1, 2, 3])).args
    return Case((x, layers, 0.2 + draw.uniforms(len(layers), x.shape[2])))


def _kept(draw: Draw) -> Case:
    x, layers, *_ = drawn(draw, "pre", draw.choice([1, 2, 3])).args
    return Case((x, layers, draw.booleans(0.6, len(layers), len(x)), draw.choice([0.25, 0.4])))


def _gated(draw: Draw) -> Case:
    x, layers, *_ = drawn(draw, "both", 1).args
    width, inner = x.shape[2], draw.size(1, 6)
    inward = (draw.normal(inner, width) for _ in range(2))
    return Case((x, layers[0], *inward, draw.normal(width, inner)))


TWISTS = {
    "deep_norm": Twist(
        "deep_norm_stream",
        '`deep_norm_stream(x, sublayers, alpha)`: as `residual_stream` with "post", in turn, '
        "without dropout, but the stream is multiplied by `alpha` (a float) before the change is "
        "added (DeepNorm, Wang et al. 2022, section 4).",
        deep_norm,
        (Property("the stream counts `alpha` times in each sum", _deep),),
    ),
    "layer_scale": Twist(
        "scaled_stream",
        '`scaled_stream(x, sublayers, gains)`: as "pre", in turn, without dropout, but what '
        "sublayer i gives is multiplied by `gains[i]`, (D,), before it is added (LayerScale, "
        "Touvron et al. 2021).",
        layer_scale,
        (Property("each change has a gain for each place", _scaled),),
    ),
    "drop_path": Twist(
        "stream_with_depth_drop",
        '`stream_with_depth_drop(x, sublayers, kept, rate)`: as "pre", in turn, without dropout, '
        "but row b leaves out sublayer i where `kept[i, b]` (bool) is False; where it is True, "
        "what the sublayer gives is divided by 1 - `rate`, so that the mean is kept (stochastic "
        "depth).",
        drop_path,
        (Property("rows leave out sublayers, and the rest makes up for it", _kept),),
    ),
    "swiglu": Twist(
        "swiglu_block",
        "`swiglu_block(x, attention, gate, up, down)`: a whole LLaMA block. `attention` is a "
        "`Sublayer`: its `before` is the norm before attention, its `after` the norm before the "
        "feed-forward. The feed-forward of a vector v is down (silu(gate v) * (up v)), with "
        "weights `gate` and `up` (I, D) and `down` (D, I) (Shazeer 2020, equation 6). Both are "
        'added as in "pre".',
        swiglu_block,
        (Property("attention, then the gated feed-forward, each added", _gated),),
    ),
}
