"""The one training loop; what is learned is the objective's business, the rest the callbacks'."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.utils.deterministic
from torch import nn

from lmwright.training import checkpoint, schedule
from lmwright.training.budget import TrainingPlan
from lmwright.training.callbacks import Callback
from lmwright.training.commands import ScheduleName
from lmwright.training.objectives.loss import Batch, Objective
from lmwright.training.optimizers import Optimizers

# A module whose one attribute is a property that type checkers do not see.
_deterministic: Any = torch.utils.deterministic


class Data(Protocol):
    """Endless batches whose position survives a kill; may hold the live model (rollouts)."""

    def __iter__(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step showed; means over `weight`."""

    loss: float
    gradient_norm: float
    """Of the mean gradient, before clipping."""
    learning_rate: float
    """The schedule's factor of each optimiser's own peak, 0..1."""
    weight: float
    """Trained tokens, pairs, ...: what the loss is a mean over."""
    tokens: int
    """Tokens that went through the model."""
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class LoopSettings:
    """The loop's own few numbers."""

    clip: float = 1.0
    """Largest norm of the mean gradient."""
    warmup: float = 0.02
    decay: float = 0.6
    floor: float = 0.02
    """See `schedule.factor`."""
    schedule: ScheduleName = "warmup_stable_decay"
    seed: int = 0
    """Of what is drawn while training: dropout, and samples of an objective or of the data."""


class Trainer:
    """Steps through `data` until the plan's last step, from the newest checkpoint if there is one.

    Args:
        model: what is trained; in fp32, on its device.
        objective: see `Objective`.
        data: endless batches; a batch has `len()` rows and `slice(start, stop)`.
        optimizers: over the model's and the objective's parameters.
        plan: number of steps, micro-batch, precision; decided before the first step.
        settings: clipping and schedule.
        callbacks: called in order.
        folder: for checkpoints; None trains without any.
        note: tells the person one line.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Data,
        optimizers: Optimizers,
        plan: TrainingPlan,
        *,
        settings: LoopSettings | None = None,
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        note: Any = print,
    ) -> None:
        self.model, self.objective, self.data = model, objective, data
        self.optimizers, self.plan, self.folder, self.note = optimizers, plan, folder, note
        self.settings = settings or LoopSettings()
        self.callbacks = list(callbacks)
        self.step = 0
        self.modules = nn.ModuleDict({"model": model})
        if (extra := objective.module()) is not None:
            self.modules["objective"] = extra

    def train(self) -> None:
        """Run to the end; a checkpoint in `folder` is continued to the bit.

        Raises:
            CheckFailed: from a guard.
            LmwrightError: if the checkpoint is damaged.
        """
        with deterministic(self.plan.threads), in_training_mode(self.modules):
            # Before a checkpoint puts its own state in place: a run that was killed before the
            # first one begins with the same draws as it began with.
            torch.manual_seed(self.settings.seed)
            self._restore()
            try:
                for callback in self.callbacks:
                    callback.on_start(self)
                batches = iter(self.data)
                while self.step < self.plan.steps:
                    result = self._advance(next(batches))
                    for callback in self.callbacks:
                        callback.on_step(self, result)
                for callback in self.callbacks:
                    callback.on_end(self)
            finally:
                for callback in self.callbacks:
                    callback.on_exit(self)

    def _advance(self, batch: Batch) -> StepResult:
        """One optimiser step over a whole batch, micro-batch by micro-batch."""
        s = self.settings
        factor = schedule.factor(
            s.schedule,
            self.step,
            self.plan.steps,
            warmup=s.warmup,
            decay=s.decay,
            floor=s.floor,
        )
        loss, weight, sums = 0.0, 0.0, dict[str, float]()
        for start in range(0, len(batch), self.plan.micro_rows):
            part = self.forward_backward(batch.slice(start, start + self.plan.micro_rows))
            loss += part[0]
            weight += part[1]
            for name, value in part[2].items():
                sums[name] = sums.get(name, 0.0) + value
        norm = self._scale_and_clip(weight)
        self.optimizers.set_factor(factor)
        self.optimizers.step()
        self.optimizers.zero_grad()
        self.step += 1
        scale = 1.0 / weight if weight else float("nan")
        return StepResult(
            loss=loss * scale,
            gradient_norm=norm,
            learning_rate=factor,
            weight=weight,
            tokens=batch.token_count(),
            metrics={name: value * scale for name, value in sums.items()},
        )

    def forward_backward(self, part: Batch) -> tuple[float, float, dict[str, float]]:
        """Add one micro-batch's gradient of the summed loss; return its sums."""
        device = next(self.model.parameters()).device.type
        low = self.plan.precision == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
            result = self.objective.loss(self.model, part)
        if result.weight:
            result.loss.backward()  # type: ignore[no-untyped-call]
        return (
            float(result.loss.detach()),
            result.weight,
            {name: float(value) for name, value in result.metrics.items()},
        )

    def _scale_and_clip(self, weight: float) -> float:
        """Turn summed gradients into the mean's, at most `clip` long; return its norm before.

        The only division by the weight: a result cannot depend on how the batch was cut.
        """
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        if not gradients or not weight:
            return float("nan")
        norm = float(torch.nn.utils.get_total_norm(gradients)) / weight
        scale = min(1.0, self.settings.clip / (norm + 1e-12)) / weight
        torch._foreach_mul_(gradients, scale)
        return norm

    def save_checkpoint(self) -> None:
        """Write everything that the next step depends on."""
        assert self.folder is not None
        checkpoint.save(
            self.folder,
            self.step,
            self.modules,
            self.optimizers.members,
            {
                "data": self.data.state_dict(),
                "objective": self.objective.state_dict(),
                "callbacks": [callback.state_dict() for callback in self.callbacks],
            },
        )

    def _restore(self) -> None:
        found = checkpoint.newest(self.folder) if self.folder else None
        if found is None:
            return
        state = checkpoint.load(found, self.modules, self.optimizers.members)
        self.step = int(state["step"])
        self.data.load_state_dict(state["data"])
        self.objective.load_state_dict(state["objective"])
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.note(f"continues from step {self.step} of {self.plan.steps}")


@contextlib.contextmanager
def in_training_mode(module: nn.Module) -> Iterator[None]:
    """Dropout on, batch statistics gathered; afterwards every part is as it was before."""
    before = {part: part.training for part in module.modules()}
    module.train()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextlib.contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Only kernels whose result is repeatable, on a fixed number of threads.

    Compiled backward passes add atomically in any order unless told so; sums depend on the
    number of threads.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        _deterministic.fill_uninitialized_memory,
        torch.get_num_threads(),
    )
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN is a debugging aid that costs a pass over it.
    _deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        _deterministic.fill_uninitialized_memory = before[1]
        torch.set_num_threads(before[2])
