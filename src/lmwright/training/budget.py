"""From a budget to a plan: measure this machine, choose once, write it down, never look again.

Nothing here changes the model: it is measured on a copy. The plan is recorded before the first
optimiser step, so that a killed training replays it whatever the machine does the second time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Literal

import torch
from torch import nn

from lmwright.core import device, parts
from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.models.layers.block import Block
from lmwright.training.objectives.loss import Batch, Objective
from lmwright.training.timing import (
    PRECISIONS,
    Precision,
    Tries,
    Variant,
    precisions_worth_timing,
    time_optimizer,
)

MARGIN = 1.10
"""Planned steps take this much longer than measured ones: shared machines slow down unannounced."""

COMPILE_PAYS_AFTER: Mapping[Precision, float] = {"bfloat16": 40.0, "float32": 150.0}
"""Seconds of training left below which compiling blocks is not tried, by the precision that gains.

It takes 7 to 25 s with a cold cache. bf16 then runs up to twice as fast where the processor has it
(Zen 5), fp32 0 to 15 % faster (a Xeon without bf16).
"""

MEMORY_SHARE = 0.7
"""Of the memory that is available when training starts, what a micro-batch may fill."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a training step will do; equal plans from equal states give equal bits."""

    steps: int
    micro_rows: int
    precision: Precision = "float32"
    compile: bool = False
    threads: int = field(default_factory=torch.get_num_threads)
    matrix_precision: Precision = "float32"
    """Of Muon's products."""
    checkpoint_every: int = 1_000_000
    seconds_per_step: float = 0.0
    """Measured, without the margin; 0 where nothing was measured."""
    peaks: Mapping[Precision, float] = field(default_factory=dict)
    """Fastest measured matrix multiplication in each precision, FLOP/s."""
    reasons: tuple[str, ...] = ()

    @property
    def peak_flops(self) -> float:
        """The faster of the measured peaks; 1 where nothing was measured."""
        return max(self.peaks.values(), default=1.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `run.decide`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TrainingPlan":
        """The plan that `to_json` wrote."""
        return cls(**{**value, "reasons": tuple(value["reasons"])})


@dataclass(frozen=True)
class Wishes:
    """What the person asked for; `auto` where the machine shall decide."""

    budget: Duration | None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    matrix_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    micro_rows: int | None = None
    checkpoint_every: Duration | None = None
    reserve_seconds: float = 0.0
    """Kept back from a budget in time for evaluations and saving."""
    most_steps: int | None = None
    """Whatever the budget allows."""


def choose_plan(
    wishes: Wishes,
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    *,
    started: float,
    memory_needed: Callable[[int, Precision], int],
    optimizer_step: Callable[[nn.Module, torch.dtype], Callable[[], None]],
) -> TrainingPlan:
    """Measure a copy of the model on a real batch and choose precision, compilation and length.

    Args:
        wishes: the configuration.
        model: in fp32; not changed.
        objective: its loss is what is timed.
        batch: one batch of the training, of the usual shape.
        started: `perf_counter()` when the training step began; its time counts in the budget.
        memory_needed: bytes for (micro-batch rows, precision).
        optimizer_step: gives a function that steps an optimiser over a module, to be timed.

    Raises:
        LmwrightError: if not even one row fits into memory, with the arithmetic.
    """
    assert wishes.budget is not None
    reasons: list[str] = []
    worth = precisions_worth_timing()
    micro_rows = _micro_rows(wishes, len(batch), memory_needed, reasons)
    tries = Tries(model, objective, batch, micro_rows)
    # A resumed training does not measure: what was drawn for it must not change what follows.
    state = objective.state_dict()
    with torch.random.fork_rng():
        best = _choose_variant(wishes, tries, started, worth, reasons)
    objective.load_state_dict(state)
    matrix_precision, optimizer_seconds = time_optimizer(
        tries.model,
        optimizer_step,
        worth if wishes.matrix_precision == "auto" else (wishes.matrix_precision,),
    )
    seconds = best.seconds * -(-len(batch) // micro_rows) + optimizer_seconds
    remaining = wishes.budget.amount - wishes.reserve_seconds - (perf_counter() - started)
    tokens = max(1, batch.token_count())
    steps = _steps(wishes.budget, remaining, seconds, tokens)
    if wishes.most_steps is not None and steps > wishes.most_steps:
        steps = wishes.most_steps
        reasons.append(f"{steps} steps are as often as this data should be seen")
    every = wishes.checkpoint_every or Duration(20.0, "seconds")
    return TrainingPlan(
        steps=steps,
        micro_rows=micro_rows,
        precision=best.precision,
        compile=best.compile,
        matrix_precision=matrix_precision,
        checkpoint_every=max(1, _steps(every, every.amount, seconds, tokens)),
        seconds_per_step=seconds,
        peaks={kind: device.matmul_peak(kind) for kind in PRECISIONS},
        reasons=tuple(reasons),
    )


def _steps(budget: Duration, remaining: float, seconds_per_step: float, tokens: int) -> int:
    if budget.unit == "steps":
        return int(budget.amount)
    if budget.unit == "tokens":
        return max(1, -(-int(budget.amount) // tokens))
    return max(1, int(remaining / (seconds_per_step * MARGIN)))


def _micro_rows(
    wishes: Wishes, rows: int, memory_needed: Callable[[int, Precision], int], reasons: list[str]
) -> int:
    """The most rows at once whose estimated memory fits; halved until it does."""
    if wishes.micro_rows is not None:
        return min(rows, wishes.micro_rows)
    precision: Precision = "bfloat16" if wishes.precision == "bfloat16" else "float32"
    limit = int(device.available_memory_bytes() * MEMORY_SHARE)
    micro = rows
    while (needed := memory_needed(micro, precision)) > limit:
        if micro == 1:
            raise LmwrightError(
                f"one row of this model needs {needed / 1e9:.2f} GB to train, and "
                f"{limit / 1e9:.2f} GB are to be had",
                hint="use a smaller model or shorter rows",
            )
        micro = -(-micro // 2)
    parts = -(-rows // micro)
    reasons.append(
        f"micro-batch {micro} rows x {parts} = the effective batch of {rows} rows "
        f"(about {needed / 1e9:.2f} GB of {limit / 1e9:.2f} GB)"
    )
    return micro


def _choose_variant(
    wishes: Wishes,
    tries: Tries,
    started: float,
    worth: Sequence[Precision],
    reasons: list[str],
) -> Variant:
    """The fastest of eager and compiled, fp32 and bf16, among those worth trying."""
    precisions = worth if wishes.precision == "auto" else (wishes.precision,)
    eager = [tries.time(p, compiled=False) for p in precisions]
    best = min(eager, key=lambda v: v.seconds)
    # bf16 gains more from compiling than fp32 does, so being slower eager is no verdict.
    hopeful = [v for v in eager if v.seconds < 2.0 * best.seconds]
    if _worth_compiling(wishes, hopeful, started, reasons):
        compile_blocks(tries.model)
        compiled = [tries.time(v.precision, compiled=True) for v in hopeful]
        best = min(
            [*compiled, *([] if wishes.compile == "on" else [best])], key=lambda v: v.seconds
        )
    shown = ", ".join(
        f"{v.precision}{' compiled' if v.compile else ''} {v.seconds * 1000:.0f} ms"
        for v in tries.done
    )
    reasons.append(
        f"{best.precision}{', compiled' if best.compile else ', eager'} "
        f"(forward and backward of {len(tries.part)} rows: {shown})"
    )
    return best


def _worth_compiling(
    wishes: Wishes, hopeful: Sequence[Variant], started: float, reasons: list[str]
) -> bool:
    """Whether a compiler is there, and enough training to come for one of `hopeful` to gain."""
    assert wishes.budget is not None
    if wishes.compile == "off":
        return False
    missing = device.compiler_works()
    if missing is not None:
        if wishes.compile == "on":
            raise LmwrightError(
                f"compile=on, but {missing}", hint="install g++, or use compile=auto"
            )
        reasons.append(f"training runs eager: {missing}")
        return False
    if wishes.compile == "on":
        return True
    budget = wishes.budget
    if budget.unit == "tokens":
        return True
    left = budget.amount - wishes.reserve_seconds - (perf_counter() - started)
    return any(
        (budget.amount * v.seconds if budget.unit == "steps" else left)
        > COMPILE_PAYS_AFTER[v.precision]
        for v in hopeful
    )


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of a transformer on its own: one compilation serves them all.

    Per block, a resumed training repeats to the bit, and a cold start costs seconds, not half a
    minute. Fixed shapes: a second shape would otherwise recompile for all shapes at once.
    """
    import torch._inductor.config as inductor

    inductor.compile_threads = 2  # each worker is a process that holds PyTorch
    for module in model.modules():
        if isinstance(module, Block):
            # A reader's own part may do what the compiler cannot follow; it then runs in pieces.
            module.compile(dynamic=False, fullgraph=not parts.active())
