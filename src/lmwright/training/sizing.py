"""A model that this machine can train: where the shape wanted would be too slow, a smaller one.

A model that has been through too few steps knows nothing, however many parameters it has.
"""

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from lmwright.core.duration import Duration
from lmwright.models import accounting
from lmwright.training.budget import MARGIN
from lmwright.training.commands import ShapeConfig
from lmwright.training.objectives.loss import Batch, Objective
from lmwright.training.shape import USUAL_VOCABULARY, transformer_config
from lmwright.training.timing import Tries, precisions_worth_timing

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

ShapeT = TypeVar("ShapeT", bound=ShapeConfig)

SHARE_TIMED = 4
"""One in so many of a batch's rows is timed: what a row costs hardly depends on their number."""


def affordable(
    config: ShapeT,
    run: "StepRun",
    length: Duration | None,
    batch: Batch,
    make: Callable[[ShapeT], tuple[Any, Objective]],
    *,
    started: float,
) -> ShapeT:
    """The config, or with the first of its smaller shapes that trains for enough steps here.

    Recorded, so that a resumed step trains the same model.

    Args:
        config: with `least_steps`; without it, or with a length that is no time, it comes back.
        run: the step's run.
        length: of the training.
        batch: one batch of it.
        make: gives a model with fresh weights, and what it learns.
        started: `perf_counter()` when the step began; its time counts in the budget.
    """
    least = config.least_steps
    if least is None or length is None or length.unit != "seconds":
        return config
    shapes = _ever_smaller(config)

    def enough(shape: ShapeT) -> bool:
        model, objective = make(shape)
        each = seconds_per_step(model, objective, batch, shape.precision)
        steps = int((length.amount - (perf_counter() - started)) / (each * MARGIN))
        parameters = sum(weight.numel() for weight in model.parameters())
        run.note(
            f"{parameters / 1e6:.1f} M parameters: {each * 1000:.0f} ms a step, about {steps} "
            f"steps in the time left, where {least} are wanted"
        )
        return steps >= least

    def choose() -> int:
        return next((i for i, s in enumerate(shapes[:-1]) if enough(s)), len(shapes) - 1)

    chosen: int = run.decide("shape", choose)
    return shapes[chosen]


def _ever_smaller(config: ShapeT) -> list[ShapeT]:
    """The config and its smaller shapes, without any that its own keys make the larger one."""
    shapes = [config]
    for changes in config.smaller:
        shape = config.model_copy(update=changes)
        if _parameters(shape) < _parameters(shapes[-1]):
            shapes.append(shape)
    return shapes


def _parameters(shape: ShapeConfig) -> int:
    return accounting.parameters(transformer_config(shape, USUAL_VOCABULARY))["total"]


def seconds_per_step(
    model: Any,
    objective: Objective,
    batch: Batch,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
) -> float:
    """Forward and backward of a batch, uncompiled, from a part of it; `auto`: the faster one."""
    rows = -(-len(batch) // SHARE_TIMED)
    precisions = precisions_worth_timing() if precision == "auto" else (precision,)
    with torch.random.fork_rng():
        tries = Tries(model, objective, batch, rows)
        timed = [tries.time(p, compiled=False, repeats=1) for p in precisions]
    return min(variant.seconds for variant in timed) * len(batch) / rows
