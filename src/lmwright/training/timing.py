"""Ways to run a training step, and how long each takes on this machine."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch
from torch import nn

from lmwright.core import device
from lmwright.training.objectives.loss import Batch, Objective

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

HOPELESS = 3.0
"""A first run that takes so many times the best variant's seconds is not repeated: warming up never
cost that much, and bf16 on a processor without it took 16 of a small budget's 60 s."""

LEAST_PEAK = 0.8
"""bf16 is timed where its products run at this share of fp32's speed or more. It halves what is
read and written, which is worth less; a Xeon without it has 0.3, and timing and compiling it there
took 30 s of a budget of 350."""

PROBE_SECONDS = 0.05
"""Of products in each precision, to see that: a small budget is a few seconds for each training."""


@dataclass(frozen=True)
class Variant:
    """One way to run a step, and the seconds it took."""

    precision: Precision
    compile: bool
    seconds: float


class Tries:
    """A copy of the model to time variants on."""

    def __init__(
        self, model: nn.Module, objective: Objective, batch: Batch, micro_rows: int
    ) -> None:
        self.model = copy.deepcopy(model).train()
        self.objective = objective
        self.part = batch.slice(0, micro_rows)
        self.done: list[Variant] = []

    def time(self, precision: Precision, compiled: bool, repeats: int = 2) -> Variant:
        """Seconds of forward and backward over one micro-batch: the best of `repeats`."""
        stance = "default" if compiled else "force_eager"
        best = min((variant.seconds for variant in self.done), default=float("inf"))
        times = []
        with torch.compiler.set_stance(stance):
            for _ in range(repeats + 1):  # the first warms up, or compiles
                start = perf_counter()
                self._once(precision)
                times.append(perf_counter() - start)
                if not compiled and times[0] > HOPELESS * best:
                    break
        self.model.zero_grad(set_to_none=True)
        self.done.append(Variant(precision, compiled, min(times[1:] or times)))
        return self.done[-1]

    def _once(self, precision: Precision) -> None:
        kind = next(self.model.parameters()).device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            result = self.objective.loss(self.model, self.part)
        result.loss.backward()  # type: ignore[no-untyped-call]


def precisions_worth_timing() -> tuple[Precision, ...]:
    """fp32, and bf16 where its products alone do not rule it out."""
    speeds = {kind: device.matmul_peak(kind, seconds=PROBE_SECONDS) for kind in PRECISIONS}
    return PRECISIONS if speeds["bfloat16"] >= LEAST_PEAK * speeds["float32"] else ("float32",)


def time_optimizer(
    model: nn.Module,
    optimizer_step: Callable[[nn.Module, torch.dtype], Callable[[], None]],
    choices: Sequence[Precision],
) -> tuple[Precision, float]:
    """Which precision makes the optimiser's matrix products faster here, and its seconds."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    timed: dict[Precision, float] = {}
    for name in choices:
        step = optimizer_step(model, getattr(torch, name))
        step()
        start = perf_counter()
        step()
        timed[name] = perf_counter() - start
    best = min(timed, key=lambda name: timed[name])
    return best, timed[best]
