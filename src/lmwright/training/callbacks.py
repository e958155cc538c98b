"""What the loop does not know: logging, evaluation, checkpoints, guards; each with its state."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lmwright.core import files
from lmwright.core.errors import CheckFailed

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun
    from lmwright.training.trainer import StepResult, Trainer

_CALMER = "lower the learning rate or set precision=float32; the last checkpoint is kept"


_SETTLED = 3
"""After so many steps every weight that anything depends on has moved."""


class Callback:
    """Called by the loop around its steps; `state_dict` (JSON) is part of every checkpoint."""

    def on_start(self, trainer: "Trainer") -> None:
        """Before the first step of this process, after a checkpoint was loaded."""

    def on_step(self, trainer: "Trainer", result: "StepResult") -> None:
        """After each optimiser step; `trainer.step` already counts it."""

    def on_end(self, trainer: "Trainer") -> None:
        """After the last step of all."""

    def on_exit(self, trainer: "Trainer") -> None:
        """Always, also after an error or an interrupt."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a kill."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class Guards(Callback):
    """Stops a run that is broken, and says why: NaN, a loss of zero, a spike, weights that stay.

    A spike is `patience` steps in a row whose loss lies more than `threshold` times above the
    median of the last `window`.
    """

    def __init__(self, window: int = 50, threshold: float = 2.0, patience: int = 10) -> None:
        self.window, self.threshold, self.patience = window, threshold, patience
        self.recent: list[float] = []
        self.high = 0
        self.before: dict[str, float] = {}

    def on_start(self, trainer: "Trainer") -> None:
        self.before = {} if trainer.step else _fingerprints(trainer.modules)

    def on_step(self, trainer: "Trainer", result: "StepResult") -> None:
        step, loss = trainer.step, result.loss
        for what, value in (("loss", loss), ("gradient's norm", result.gradient_norm)):
            if not math.isfinite(value):
                raise CheckFailed(f"the {what} is {value} at step {step}", hint=_CALMER)
        if loss == 0.0 and step == 1:
            raise CheckFailed(
                "the loss is exactly 0 at step 1: there is nothing to learn in this data",
                hint="`lmwright doctor FILE` shows which tokens are trained",
            )
        if step in (1, _SETTLED):
            self._refuse_unchanged(trainer)
        self._watch_for_spikes(step, loss)

    def _refuse_unchanged(self, trainer: "Trainer") -> None:
        after = _fingerprints(trainer.modules)
        still = [name for name, value in self.before.items() if after[name] == value]
        if len(still) == len(after):
            raise CheckFailed(
                f"no weight changed in {trainer.step} step(s)",
                hint="is the learning rate above 0, and do the parameters require gradients?",
            )
        # Behind projections that start at zero nothing has a gradient in the very first step.
        if still and trainer.step == _SETTLED:
            trainer.note(
                f"{len(still)} of {len(after)} weights have not changed in {_SETTLED} steps, "
                f"{still[0]} among them: nothing depends on them"
            )

    def _watch_for_spikes(self, step: int, loss: float) -> None:
        if len(self.recent) == self.window and loss > self.threshold * median(self.recent) + 0.5:
            self.high += 1
        else:
            self.high = 0
            self.recent = [*self.recent, loss][-self.window :]
        if self.high >= self.patience:
            raise CheckFailed(
                f"the loss has stayed above {self.threshold:g} times its recent median "
                f"({median(self.recent):.3f}) for {self.patience} steps, now {loss:.3f} at {step}",
                hint=_CALMER,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"recent": self.recent, "high": self.high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.recent, self.high = list(state["recent"]), int(state["high"])


def _fingerprints(modules: nn.Module) -> dict[str, float]:
    """One number per trained parameter that almost surely changes when the parameter does."""
    with torch.no_grad():
        return {
            name: float(p.double().abs().sum() + p.double().square().sum())
            for name, p in modules.named_parameters()
            if p.requires_grad
        }


class Log(Callback):
    """Writes each step's numbers to the run's metrics, and shows progress.

    Args:
        run: the step's run.
        flops_per_token: of training, for the utilisation.
        peak_flops: the fastest measured matrix multiplication, FLOP/s.
    """

    def __init__(self, run: "StepRun", flops_per_token: float, peak_flops: float) -> None:
        self.run, self.flops_per_token, self.peak_flops = run, flops_per_token, peak_flops
        self.seconds = 0.0
        self.tokens = 0
        self.times: list[float] = []
        self.clock = 0.0
        self.context: AbstractContextManager[Any] | None = None
        self.task: Any = None

    def on_start(self, trainer: "Trainer") -> None:
        self.run.rewind(trainer.step or -1)  # a fresh start measures step 0 again
        self.context = self.run.progress(self.run.name, trainer.plan.steps)
        self.task = self.context.__enter__()
        self.task.advance(trainer.step)
        self.clock = perf_counter()

    def on_step(self, trainer: "Trainer", result: "StepResult") -> None:
        now = perf_counter()
        seconds, self.clock = now - self.clock, now
        self.seconds += seconds
        self.tokens += result.tokens
        self.times.append(seconds)
        self.run.log(
            {
                "loss": result.loss,
                "learning_rate": result.learning_rate,
                "gradient_norm": result.gradient_norm,
                "tokens": result.tokens,
                "trained": result.weight,
                "tokens_per_second": result.tokens / seconds,
                "utilization": result.tokens * self.flops_per_token / seconds / self.peak_flops,
                **result.metrics,
            },
            step=trainer.step,
        )
        self.task.advance(1, loss=result.loss, tokens_per_second=result.tokens / seconds)

    def on_exit(self, trainer: "Trainer") -> None:
        if self.context is not None:
            self.context.__exit__(None, None, None)

    @property
    def tokens_per_second(self) -> float:
        """Over every step so far, of this and of interrupted processes."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def utilization(self) -> float:
        """Model FLOPs per second over the measured peak."""
        return self.tokens_per_second * self.flops_per_token / self.peak_flops

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seconds, self.tokens = float(state["seconds"]), int(state["tokens"])


class Evaluate(Callback):
    """Measures the model every so many steps and at the end, and logs what it finds.

    Args:
        every: steps between two measurements.
        measure: numbers for the log; called in evaluation mode, without gradients;
            what it draws leaves the training's random numbers alone.
        run: where they are logged.
        better: optional; of the numbers, a score: the weights of the highest are kept in
            `run.work` and put back at the end, so that the last step need not be the best one.
        untrained_counts: whether the model before the first step may be the best.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[nn.Module], Mapping[str, float]],
        run: "StepRun",
        better: Callable[[Mapping[str, float]], float] | None = None,
        untrained_counts: bool = True,
    ) -> None:
        self.every, self.measure, self.run, self.better = every, measure, run, better
        self.untrained_counts = untrained_counts
        self.best_step = -1
        self.best_score = float("-inf")
        self.latest: dict[str, float] = {}

    def on_start(self, trainer: "Trainer") -> None:
        if trainer.step == 0 and self.better is not None:
            self._measure(trainer)

    def on_step(self, trainer: "Trainer", result: "StepResult") -> None:
        if trainer.step % self.every == 0 or trainer.step == trainer.plan.steps:
            self._measure(trainer)

    def _measure(self, trainer: "Trainer") -> None:
        model = trainer.model
        training = model.training
        model.eval()
        # What a measurement samples must not move the training's own draws: dropout would depend
        # on how often one looks.
        with torch.no_grad(), torch.random.fork_rng():
            self.latest = dict(self.measure(model))
        model.train(training)
        self.run.log(self.latest, step=trainer.step)
        if self.better is None or (trainer.step == 0 and not self.untrained_counts):
            return
        if (score := self.better(self.latest)) > self.best_score:
            self.best_score, self.best_step = score, trainer.step
            save_weights(model, self._weights(trainer.step))

    def on_end(self, trainer: "Trainer") -> None:
        if self.better is not None and self.best_step != trainer.step:
            load_weights(trainer.model, self._weights(self.best_step))
            best = (
                "before the first step" if self.best_step == 0 else f"after step {self.best_step}"
            )
            self.run.note(f"measured best {best} of {trainer.step}: those weights are kept")

    def _weights(self, step: int) -> Path:
        # One file per step: a replay after a kill finds the one its state speaks of.
        return self.run.work / "best" / f"step-{step:08d}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        known = self.best_step >= 0
        return {
            "best_step": self.best_step,
            "best_score": self.best_score if known else None,
            "latest": self.latest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best_step = int(state["best_step"])
        score = state["best_score"]
        self.best_score = float("-inf") if score is None else float(score)
        self.latest = dict(state["latest"])


class SaveCheckpoints(Callback):
    """Saves the training state every so many steps."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_step(self, trainer: "Trainer", result: "StepResult") -> None:
        if trainer.step % self.every == 0 and trainer.step < trainer.plan.steps:
            trainer.save_checkpoint()


def save_weights(model: nn.Module, path: Path) -> None:
    """A module's parameters and running statistics as one safetensors file, written atomically."""
    from safetensors.torch import save

    tensors = {name: t.detach().contiguous() for name, t in _kept_tensors(model)}
    files.write_bytes(path, save(tensors))


def load_weights(model: nn.Module, path: Path) -> None:
    """Put back what `save_weights` saved."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    with torch.no_grad():
        for name, tensor in _kept_tensors(model):
            tensor.copy_(tensors[name])


def _kept_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, each once where several modules share it, and buffers that are saved."""
    yield from model.named_parameters()
    saved = model.state_dict().keys()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
