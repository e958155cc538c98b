"""What a step of AdamW must do, in the order in which it is learnt."""

from typing import Any

import torch
from torch import Tensor

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist
from lmwright.roadmap.values import copied

MANY_STEPS = 200


def settings(draw: Draw, *, decay: bool = False, eps: float = 1e-12) -> dict[str, Any]:
    """Keyword arguments of a step."""
    return {
        "lr": draw.uniform(0.01, 0.1),
        "betas": (draw.uniform(0.5, 0.9), draw.uniform(0.91, 0.999)),
        "eps": eps,
        "weight_decay": draw.uniform(0.5, 2.0) if decay else 0.0,
    }


def shape(draw: Draw) -> tuple[int, ...]:
    """Of a vector or a matrix."""
    vector = (draw.size(2, 6),)
    return vector if draw.chance(0.3) else (draw.size(1, 4), *vector)


def first_step(draw: Draw) -> Case:
    size = shape(draw)
    parameter, gradient = draw.normal(*size), draw.normal(*size)
    zeros = torch.zeros(size)
    return Case((parameter, gradient, zeros, zeros, 1), settings(draw), note="the first step")


def later_step(draw: Draw, **wishes: Any) -> Case:
    size, chosen = shape(draw), settings(draw, **wishes)
    parameter, gradient, first = (draw.normal(*size) for _ in range(3))
    second = 0.1 + draw.uniforms(*size)
    return Case((parameter, gradient, first, second, draw.size(2, 30)), chosen)


def decayed(draw: Draw) -> Case:
    return later_step(draw, decay=True)


def large_eps(draw: Draw) -> Case:
    return later_step(draw, eps=draw.uniform(0.05, 0.5))


def no_gradient(draw: Draw) -> Case:
    """Rows of an embedding that no token of the batch used."""
    case = first_step(draw)
    parameter, gradient, *rest = case.args
    gradient[..., 0] = 0.0
    kwargs = {**case.kwargs, "eps": 1e-8}
    return Case((parameter, gradient, *rest), kwargs, note="an entry whose gradient is 0")


def path(draw: Draw) -> Case:
    """A parameter and the gradients of many steps."""
    size = shape(draw)
    chosen = settings(draw, decay=draw.chance(0.7), eps=10 ** draw.uniform(-8, -2))
    chosen["lr"] = draw.uniform(0.001, 0.02)
    # In float64: 0.999 as a float32 is so far off that 200 steps with it show.
    slopes = 10 ** draw.uniform(-2, 2) * draw.normal(MANY_STEPS, *size, dtype=torch.float64)
    parameter = draw.normal(*size, dtype=torch.float64)
    return Case((parameter, slopes), chosen, tolerance=1e-6, note="200 steps, one after the other")


def halves(draw: Draw) -> Case:
    size = (draw.size(2, 6), 16)  # of so many numbers the mean square is never small
    chosen = settings(draw, decay=True)
    tensors = [draw.normal(*size, dtype=torch.bfloat16) for _ in range(3)]
    second = (0.1 + draw.uniforms(*size)).bfloat16()
    # Right answers round in different places, three times, by 2^-9 of numbers up to 4.
    args = (*tensors, second, draw.size(2, 30))
    return Case(args, chosen, tolerance=6e-2, note="bfloat16 throughout")


def walked(subject: Subject, case: Case) -> Any:
    """Parameter and both means after every tenth of the steps."""
    (parameter, slopes), chosen = copied(case.args), dict(case.kwargs)
    first = second = torch.zeros_like(parameter)
    seen = []
    for step, slope in enumerate(slopes, start=1):
        parameter, first, second = subject(parameter, slope, first, second, step, **chosen)
        if step in (1, 2, 3, 10, 50, MANY_STEPS):
            seen.append((parameter, first, second))
    return seen


PROPERTIES = (
    Property(
        "the first step moves every entry by about lr against the sign of its gradient",
        first_step,
        edges={"an entry without gradient": no_gradient},
    ),
    Property("later steps: both means, both corrected by their own 1 - beta^t", later_step),
    Property("eps is added to the corrected root, not under it", large_eps),
    Property(
        "decay takes lr * weight_decay of the parameter, and does not pass through the means",
        decayed,
    ),
    Property("200 steps in a row stay together", path, cases=12, observe=walked),
    Property("bfloat16 in, bfloat16 out", halves),
)


def nesterov(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient**2
    ahead = betas[0] * first + (1 - betas[0]) * gradient
    mean = ahead / (1 - betas[0] ** step)
    size = (second / (1 - betas[1] ** step)).sqrt() + eps
    return parameter * (1 - lr * weight_decay) - lr * mean / size, first, second


def amsgrad(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    largest: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient**2
    largest = torch.maximum(largest, second)
    mean = first / (1 - betas[0] ** step)
    size = (largest / (1 - betas[1] ** step)).sqrt() + eps
    return parameter * (1 - lr * weight_decay) - lr * mean / size, first, second, largest


def clipped(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient**2
    corrected = second / (1 - betas[1] ** step)
    surprise = (gradient**2 / corrected.clamp(min=eps**2)).mean().sqrt()
    lr = lr / max(1.0, float(surprise))
    mean = first / (1 - betas[0] ** step)
    update = lr * mean / (corrected.sqrt() + eps)
    return parameter * (1 - lr * weight_decay) - update, first, second


def _with_largest(draw: Draw) -> Case:
    case = decayed(draw)
    *means, step = case.args
    largest = 2 * draw.uniforms(*means[0].shape)
    return Case((*means, largest, step), case.kwargs)


def _surprising(draw: Draw) -> Case:
    case = decayed(draw)
    parameter, gradient, *rest = case.args
    factor = draw.choice([0.3, 3.0])
    branches = frozenset({"calm" if factor < 1 else "surprising"})
    return Case((parameter, factor * gradient, *rest), case.kwargs, branches=branches)


TWISTS = {
    "nesterov": Twist(
        "nadamw_step",
        "`nadamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, "
        "weight_decay)`: as `adamw_step`, but the mean that is divided looks one step ahead: b1 * "
        "m + (1 - b1) * g, with m already updated, corrected by 1 - b1^t. Returns the same three.",
        nesterov,
        (Property("the mean of the step looks ahead", decayed),),
    ),
    "amsgrad": Twist(
        "amsgrad_step",
        "`amsgrad_step(parameter, gradient, first, second, largest, step, *, lr, betas, eps, "
        "weight_decay)`: as `adamw_step`, but the root is of the entrywise maximum of `largest` "
        "and the updated v, corrected by 1 - b2^t as before (Reddi et al. 2018). Returns "
        "parameter, first, second, and that maximum.",
        amsgrad,
        (Property("the root never gets smaller", _with_largest),),
    ),
    "clipped": Twist(
        "stable_adamw_step",
        "`stable_adamw_step(parameter, gradient, first, second, step, *, lr, betas, eps, "
        "weight_decay)`: as `adamw_step`, but lr is divided by max(1, R) for both decay and "
        "update, where R is the root of the mean over all entries of g^2 / max(v / (1 - b2^t), "
        "eps^2), v already updated (Wortsman et al. 2023, algorithm 2): surprising gradients take "
        "smaller steps.",
        clipped,
        (
            Property(
                "surprising gradients take smaller steps",
                _surprising,
                branches=frozenset({"calm", "surprising"}),
            ),
        ),
    ),
}
