"""What RMSNorm must do, in the order in which it is learnt."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Twist, gradients


def stream(draw: Draw, least: int = 2) -> Tensor:
    """x (..., D); its rows differ in length, and their mean is not 0."""
    shape = [draw.size(1, most) for most in draw.choice([(4,), (3, 4), (2, 3, 3)])]
    width = draw.size(least, 12)
    rows = 0.3 + 3 * draw.uniforms(*shape, 1)
    return rows * (draw.normal(*shape, width) + 0.5)


def weight_for(draw: Draw, x: Tensor) -> Tensor:
    """(D,), neither near 0 nor near 1."""
    return (0.3 + draw.uniforms(x.shape[-1])) * draw.choice([1.0, -1.5])


def plain(draw: Draw) -> Case:
    x = stream(draw)
    alone = draw.chance(0.3)
    x = x.flatten(0, -2)[0] if alone else x
    branch = "one vector" if alone else "many"
    return Case((x, torch.ones(x.shape[-1]), 1e-12), branches=frozenset({branch}))


def weighted(draw: Draw) -> Case:
    x = stream(draw)
    return Case((x, weight_for(draw, x), 1e-12))


def with_eps(draw: Draw) -> Case:
    x = stream(draw)
    small = draw.chance(0.5)
    x, eps = (1e-3 * x, 1e-6) if small else (x, draw.uniform(0.3, 1.0))
    branch = "small x" if small else "large eps"
    return Case((x, weight_for(draw, x), eps), branches=frozenset({branch}))


def extreme(draw: Draw, size: float | None = None) -> Case:
    x = stream(draw)
    size = draw.choice([0.0, 0.0, 1e-20, 1e-3, 1e4, 1e15]) if size is None else size
    return Case(
        (size * x, weight_for(draw, x), 1e-6),
        branches=frozenset({"zeros" if size == 0 else "tiny" if size < 1 else "huge"}),
        note=f"numbers of size {size:g}",
    )


def plus_one(draw: Draw) -> Case:
    x = stream(draw)
    return Case((x, 0.6 * draw.normal(x.shape[-1]), 1e-6), {"plus_one": True})


def halves(draw: Draw) -> Case:
    dtype = draw.choice([torch.bfloat16, torch.float16])
    # The square of 300 overflows float16, that of 0.0001 vanishes in it.
    size = draw.choice([1e-4, 1.0, 600.0])
    x = (size * (draw.normal(draw.size(1, 3), draw.size(4, 12)) + 0.5)).to(dtype)
    weight = 0.5 + draw.uniforms(x.shape[-1])
    weight = weight if draw.chance(0.5) else weight.to(dtype)
    branches = {str(dtype).removeprefix("torch."), "tiny" if size < 1 else "not tiny"}
    branches.add("wide weight" if weight.dtype == torch.float32 else "narrow weight")
    return Case(
        (x, weight, 1e-12),
        {"plus_one": draw.chance(0.3)},
        branches=frozenset(branches),
        # Rounded once or twice on the way: both are right.
        tolerance=4e-2 if dtype == torch.bfloat16 else 5e-3,
        note=f"{str(dtype).removeprefix('torch.')} numbers of size {size:g}",
    )


def learnt(draw: Draw) -> Case:
    x = stream(draw)
    return Case(
        (x, weight_for(draw, x), draw.choice([1e-6, 0.1])),
        {"plus_one": draw.chance(0.5)},
        tolerance=1e-4,
    )


PROPERTIES = (
    Property(
        "each vector is divided by the root of the mean of its squares",
        plain,
        branches=frozenset({"one vector", "many"}),
    ),
    Property("each place of a vector is multiplied by its weight", weighted),
    Property(
        "`eps` is added to the mean square, under the root",
        with_eps,
        branches=frozenset({"small x", "large eps"}),
    ),
    Property(
        "zeros stay zeros, and the size of a vector counts for nothing",
        extreme,
        edges={
            "zeros": lambda draw: extreme(draw, 0.0),
            "1e-20": lambda draw: extreme(draw, 1e-20),
            "1e4": lambda draw: extreme(draw, 1e4),
        },
        branches=frozenset({"zeros", "tiny", "huge"}),
    ),
    Property("with `plus_one` what is multiplied by is 1 + weight", plus_one),
    Property(
        "half precision in, half precision out, statistics in float32",
        halves,
        branches=frozenset({"bfloat16", "float16", "tiny", "wide weight", "narrow weight"}),
    ),
    Property("gradients reach x and the weight", learnt, observe=gradients, cases=20),
)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def partial_rms_norm(x: Tensor, weight: Tensor, eps: float, share: float) -> Tensor:
    first = x[..., : math.ceil(share * x.shape[-1])]
    return x * torch.rsqrt(first.square().mean(-1, keepdim=True) + eps) * weight


def group_rms_norm(x: Tensor, weight: Tensor, eps: float, groups: int) -> Tensor:
    apart = x.view(*x.shape[:-1], groups, -1)
    return F.rms_norm(apart, apart.shape[-1:], eps=eps).flatten(-2) * weight


def _with_bias(draw: Draw) -> Case:
    x = stream(draw, least=4)
    return Case((x, weight_for(draw, x), draw.normal(x.shape[-1]), draw.choice([1e-5, 0.3])))


def _learnt_with_bias(draw: Draw) -> Case:
    x, weight, bias, _ = _with_bias(draw).args
    return Case((x, weight, bias, draw.uniform(0.1, 0.5)), tolerance=1e-4)


def _with_share(draw: Draw) -> Case:
    x = stream(draw, least=3)
    # The middle between two whole numbers: no rounding decides.
    share = (draw.size(1, x.shape[-1]) - 0.5) / x.shape[-1]
    return Case((x, weight_for(draw, x), draw.choice([1e-6, 0.3]), share))


def _with_groups(draw: Draw) -> Case:
    groups, width = draw.size(1, 4), draw.size(2, 5)
    x = (draw.normal(draw.size(1, 4), groups, width) + 0.5) * (0.3 + 3 * draw.uniforms(groups, 1))
    x = x.flatten(-2)
    return Case((x, weight_for(draw, x), draw.choice([1e-6, 0.3]), groups))


TWISTS = {
    "layer_norm": Twist(
        "layer_norm",
        "`layer_norm(x, weight, bias, eps)`: the mean of each vector is taken off, the rest is "
        "divided by the root of its variance plus `eps` (the variance is the mean square of what "
        "is left), then multiplied by `weight` (D,) and shifted by `bias` (D,) (Ba et al. 2016, "
        "section 3).",
        layer_norm,
        (
            Property("mean 0 and variance 1, then weight and bias", _with_bias),
            Property(
                "gradients reach x, weight and bias",
                _learnt_with_bias,
                observe=gradients,
                cases=20,
            ),
        ),
    ),
    "partial": Twist(
        "partial_rms_norm",
        "`partial_rms_norm(x, weight, eps, share)`: the mean square is that of the first "
        "ceil(share * D) numbers of each vector alone; all of it is divided by its root (pRMSNorm, "
        "Zhang and Sennrich 2019, section 4).",
        partial_rms_norm,
        (Property("the first numbers speak for all", _with_share),),
    ),
    "groups": Twist(
        "group_rms_norm",
        "`group_rms_norm(x, weight, eps, groups)`: each vector falls into `groups` stretches of "
        "equal length, and each stretch is divided by its own root mean square; `weight` is (D,).",
        group_rms_norm,
        (Property("each stretch has its own root mean square", _with_groups),),
    ),
}
