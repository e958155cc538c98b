"""What dropout and batch normalisation must do, in the order in which it is learnt."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call, gradients
from lmwright.roadmap.values import copied

MANY = 100_000
DEVIATIONS = 6
"""Of the mean that it may be off: one check in 500 million."""


def to_drop(draw: Draw) -> Case:
    x = draw.normal(draw.size(2, 5), draw.size(4, 8))
    uniforms = draw.uniforms(*x.shape)
    uniforms[0, :2] = torch.tensor([0.0, 0.999])  # one goes and one stays, whatever the share
    return Case((x, uniforms), {"share": draw.uniform(0.15, 0.35) + 0.5 * draw.choice([0, 1])})


def in_use(draw: Draw) -> Case:
    case = to_drop(draw)
    return replace(case, args=(case.args[0], None), note="in use: no uniforms")


def nothing_dropped(draw: Draw) -> Case:
    return replace(to_drop(draw), kwargs={"share": 0.0}, note="a share of 0")


def usual_share(draw: Draw) -> Case:
    return replace(to_drop(draw), kwargs={}, note="the usual share, 0")


def on_the_border(draw: Draw) -> Case:
    x, uniforms = to_drop(draw).args
    uniforms[-1] = 0.25
    return Case((x, uniforms), {"share": 0.25}, note="numbers equal to the share")


def many(draw: Draw) -> Case:
    kwargs = {"share": draw.uniform(0.1, 0.9)}
    return Case((torch.ones(MANY), draw.uniforms(MANY)), kwargs, note="100,000 ones")


def halves_dropped(draw: Draw) -> Case:
    case = to_drop(draw)
    x, uniforms = case.args
    return replace(case, args=(x.bfloat16(), uniforms), tolerance=4e-2)


def batch(draw: Draw, *, training: bool = True) -> Case:
    """Columns of unequal place and spread, and statistics that are not the batch's."""
    rows, width = draw.size(6, 16), draw.size(1, 5)
    x = draw.normal(rows, width) * (0.5 + draw.uniforms(width)) + draw.normal(width)
    weight, bias, mean = 0.5 + draw.uniforms(width), draw.normal(width), draw.normal(width)
    kwargs = {
        "training": training,
        "momentum": draw.uniform(0.05, 0.45),
        "eps": draw.uniform(0.01, 0.5),
    }
    args = (x, weight, bias, mean, 0.3 + draw.uniforms(width))
    return Case(args, kwargs, tolerance=1e-4)


def used(draw: Draw) -> Case:
    return batch(draw, training=False)


def usual(draw: Draw) -> Case:
    case = batch(draw)
    return replace(case, kwargs={"training": True}, note="the usual momentum and eps")


def two_rows(draw: Draw) -> Case:
    case = batch(draw)
    x, *rest = case.args
    return replace(case, args=(x[:2], *rest), note="two rows are enough")


def one_row(draw: Draw) -> Case:
    case = batch(draw, training=draw.chance(0.5))
    x, *rest = case.args
    branch = "in training" if case.kwargs["training"] else "in use"
    return replace(case, args=(x[:1], *rest), branches=frozenset({branch}), note="a single row")


def halves(draw: Draw) -> Case:
    case = batch(draw)
    x, *rest = case.args
    x = (200 + 4 * x).bfloat16()
    return replace(case, args=(x, *rest), tolerance=2e-2, note="bfloat16, far from 0")


def dropped(subject: Subject, case: Case) -> Any:
    """What dropout gives."""
    return call(lambda x, uniforms, **given: subject(**given).dropout(x, uniforms), case)


def dropped_gradient(subject: Subject, case: Case) -> Any:
    """The same, and its gradient by x; uniforms have none."""
    x, uniforms = case.args
    share = case.kwargs["share"]

    def drop(x: Tensor) -> Any:
        return subject(share=share).dropout(x, uniforms.clone())

    return dropped(subject, case), gradients(drop, Case((x,)))


def _norm(subject: Subject) -> Subject:
    def batch_norm(
        x: Tensor, *others: Tensor, training: bool, **given: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = subject(**given)
        found: tuple[Tensor, Tensor, Tensor] = layer.batch_norm(x, *others, training=training)
        return found

    return batch_norm


def normed(subject: Subject, case: Case) -> Any:
    """All three that batch normalisation gives."""
    return call(_norm(subject), case)


def normed_alone(subject: Subject, case: Case) -> Any:
    """The normalised values alone."""
    found = call(_norm(subject), case)
    return found[0] if isinstance(found, tuple) else found


def normed_gradient(subject: Subject, case: Case) -> Any:
    """The gradient of the normalised values by x, weight and bias."""
    *learnt, mean, variance = case.args

    def values(x: Tensor, weight: Tensor, bias: Tensor, **settings: Any) -> Any:
        return _norm(subject)(x, weight, bias, mean.clone(), variance.clone(), **settings)[0]

    return gradients(values, replace(case, args=tuple(learnt)))


def remembered(subject: Subject, case: Case) -> Any:
    """Whether the running statistics hang on the batch's graph."""
    x, *others = copied(case.args)
    with torch.enable_grad():
        _, mean, variance = _norm(subject)(x.requires_grad_(True), *others, **case.kwargs)
    return mean.requires_grad, variance.requires_grad


def refused(subject: Subject, case: Case) -> Any:
    """What `normed` sees, or that it was refused."""
    try:
        return normed(subject, case)
    except (LmwrightError, ValueError):
        return "refused"


def mean_stays(found: Any, case: Case) -> str | None:
    share = case.kwargs["share"]
    mean = float(found.mean())
    if abs(mean - 1.0) > DEVIATIONS * (share / (1 - share) / MANY) ** 0.5:
        return f"100,000 ones have the mean {mean:.3f} after it"
    return None


def stays_attached(found: Any, case: Case) -> str | None:
    if any(found):
        return "the running statistics keep the graph of every batch alive: detach them"
    return None


PROPERTIES = (
    Property(
        "dropout: in use nothing changes",
        in_use,
        observe=dropped,
        edges={"a share of 0": nothing_dropped, "the usual share": usual_share},
    ),
    Property(
        "in training a value is 0 where its number is below the share, the rest is / (1 - share)",
        to_drop,
        observe=dropped,
        edges={"bfloat16": halves_dropped, "on the border": on_the_border},
    ),
    Property("so the mean stays", many, cases=5, observe=dropped, holds=mean_stays),
    Property(
        "the gradient goes where the values went, and as large",
        to_drop,
        observe=dropped_gradient,
        tolerance=1e-4,
    ),
    Property(
        "batch norm: in training each column gets mean 0 and variance 1, then weight and bias",
        batch,
        observe=normed_alone,
    ),
    Property(
        "the running statistics move towards the batch's; its variance over N - 1",
        batch,
        observe=normed,
        edges={"usual settings": usual},
    ),
    Property("in use the running statistics normalise, and stay", used, observe=normed),
    Property(
        "a single row cannot be trained on; in use it can be one",
        one_row,
        observe=refused,
        edges={"two rows": two_rows},
        branches=frozenset({"in training", "in use"}),
    ),
    Property(
        "gradients also flow through the batch's mean and variance",
        batch,
        observe=normed_gradient,
        tolerance=1e-3,
    ),
    Property(
        "the running statistics keep no graph",
        batch,
        cases=3,
        observe=remembered,
        holds=stays_attached,
    ),
    Property("bfloat16 in and out, statistics in float32", halves, observe=normed),
)


def locked_dropout(x: Tensor, uniforms: Tensor, share: float) -> Tensor:
    return x * (uniforms >= share)[:, None] / (1 - share)


def gaussian_dropout(x: Tensor, noise: Tensor, share: float) -> Tensor:
    return x * (1 + math.sqrt(share / (1 - share)) * noise)


def ghost_batch_norm(x: Tensor, weight: Tensor, bias: Tensor, size: int, eps: float) -> Tensor:
    parts = x.view(-1, size, x.shape[1])
    centred = parts - parts.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()
    y: Tensor = normed.flatten(0, 1) * weight + bias
    return y


def _sequences(draw: Draw) -> Case:
    x = draw.normal(draw.size(1, 3), draw.size(2, 5), draw.size(4, 8))
    return Case((x, draw.uniforms(len(x), x.shape[2]), draw.uniform(0.2, 0.7)))


def _noisy(draw: Draw) -> Case:
    x = draw.normal(draw.size(2, 4), draw.size(2, 8))
    return Case((x, draw.normal(*x.shape), draw.uniform(0.1, 0.8)))


def _in_parts(draw: Draw) -> Case:
    size = draw.size(6, 9)
    x, weight, bias, *_ = batch(draw).args
    x = draw.normal(size * draw.size(1, 3), x.shape[1]) + 2 * draw.normal(x.shape[1])
    return Case((x, weight, bias, size, draw.uniform(0.01, 0.5)), tolerance=1e-4)


TWISTS = {
    "locked": Twist(
        "locked_dropout",
        "`locked_dropout(x, uniforms, share)`: `x` is (B, T, D), `uniforms` (B, D): what is "
        "dropped is dropped at every one of a row's T steps (Gal and Ghahramani 2016), the rest "
        "scaled as in dropout.",
        locked_dropout,
        (Property("each row drops the same features at all its steps", _sequences),),
    ),
    "gaussian": Twist(
        "gaussian_dropout",
        "`gaussian_dropout(x, noise, share)`: no value is zeroed; each is multiplied by a number "
        "of mean 1 and of the variance that inverted dropout's factor has, share / (1 - share): "
        "`noise` is standard normal, of the shape of `x`.",
        gaussian_dropout,
        (Property("the factor has mean 1 and variance share / (1 - share)", _noisy),),
    ),
    "ghost": Twist(
        "ghost_batch_norm",
        "`ghost_batch_norm(x, weight, bias, size, eps)`: batch norm in training, without running "
        "statistics, of each `size` neighbouring rows by themselves (Hoffer et al. 2017); `x` is "
        "(N, C), N a multiple of `size`.",
        ghost_batch_norm,
        (Property("each `size` rows are normalised by themselves", _in_parts),),
    ),
}
