"""The contenders of `train_vs_peers`: ours, transformers.Trainer, and a plain PyTorch loop.

Each trains the same weights on the same rows in the same order with AdamW, the learning rate
falling to nothing as the Trainer's does by default (at a constant one final losses differ by the
noise of the last steps), clipping at 1, and tells its speed after warming up and its loss on
held-out rows. A row's last token is an input without a target, since that is how transformers
shifts labels.
"""

import contextlib
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from lmwright import models
from lmwright.core.duration import Duration
from lmwright.models import accounting
from lmwright.training import budget, optimizers
from lmwright.training.callbacks import Callback
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.trainer import LoopSettings, Trainer

BETAS = (0.9, 0.95)
PROBE_STEPS = 6  # timed steps of a variant when the fastest is looked for

transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Job:
    """What every contender is given.

    Args:
        folder: model folder with the initial weights.
        batches: (N, B, T) int64 token ids, one batch per optimiser step.
        validation: (R, T) int64 held-out rows.
        learning_rate: AdamW's.
        warm: steps that are not timed: compilation, caches.
        compiling: whether contenders may compile.
    """

    folder: Path
    batches: Tensor
    validation: Tensor
    learning_rate: float
    warm: int
    compiling: bool

    @property
    def steps(self) -> int:
        """Optimiser steps, one per batch."""
        return len(self.batches)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that go through the model in a step."""
        return self.batches[0].numel()

    def shortened(self, steps: int) -> "Job":
        """The same job with only its first batches."""
        return replace(self, batches=self.batches[:steps])


@dataclass(frozen=True)
class Outcome:
    """What one training showed.

    Args:
        step_seconds: of each step after the warm ones.
        tokens_per_step: that went through the model.
        validation_loss: nats per token, held out.
        first_steps_seconds: of the warm steps, compilation included.
    """

    step_seconds: tuple[float, ...]
    tokens_per_step: int
    validation_loss: float
    first_steps_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Of the steps after the warm ones."""
        return self.tokens_per_step * len(self.step_seconds) / sum(self.step_seconds)

    def __str__(self) -> str:
        return (
            f"{self.tokens_per_second:,.0f} tokens/s, validation loss {self.validation_loss:.4f}, "
            f"first steps {self.first_steps_seconds:.1f} s"
        )


@dataclass(frozen=True)
class Rows:
    """Whole rows of one document each, as the objective reads a batch: nothing to mask."""

    input_ids: Tensor
    targets: Tensor
    document_ids: None = None
    position_ids: None = None

    @classmethod
    def of(cls, ids: Tensor) -> "Rows":
        """Rows (B, T) that predict their own next tokens."""
        return cls(ids, F.pad(ids[:, 1:], (0, 1), value=-100))

    def __len__(self) -> int:
        return len(self.input_ids)

    def slice(self, start: int, stop: int) -> "Rows":
        """Some of the rows."""
        return Rows(self.input_ids[start:stop], self.targets[start:stop])

    def token_count(self) -> int:
        """Tokens that go through the model."""
        return self.input_ids.numel()


class Contender(Protocol):
    """Trains a job and tells how it went."""

    def __call__(self, job: Job) -> Outcome: ...


@dataclass(frozen=True)
class Variant:
    """A way to run a peer."""

    bfloat16: bool = False
    compile: bool = False

    def __str__(self) -> str:
        return ("bf16" if self.bfloat16 else "fp32") + (", compiled" if self.compile else ", eager")


class Clock(Callback):
    """The time after every step."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def on_step(self, trainer: Any, result: Any) -> None:
        self.tick()

    def tick(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def outcome(self, job: Job, loss: float) -> Outcome:
        """Speed of the steps after the warm ones."""
        timed = itertools.pairwise(self.times[job.warm :])
        return Outcome(
            tuple(after - before for before, after in timed),
            job.tokens_per_step,
            loss,
            self.times[job.warm] - self.times[0],
        )


class Ours:
    """lmwright's own loop, with the plan that `training.pretrain` would choose here."""

    def __init__(self, job: Job) -> None:
        model = models.load(job.folder)
        # As for a real training of 2,000 steps: whether compiling pays is not for 20 steps to say.
        wishes = budget.Wishes(
            budget=Duration(2000.0, "steps"), compile="auto" if job.compiling else "off"
        )
        self.plan = budget.choose_plan(
            wishes,
            model,
            CausalLM(),
            Rows.of(job.batches[0]),
            started=time.perf_counter(),
            memory_needed=lambda rows, precision: accounting.training_memory_bytes(
                model.config, rows, job.batches.shape[-1], precision, "adamw"
            ),
            optimizer_step=lambda module, _: adamw(module, job).step,
        )

    def __call__(self, job: Job) -> Outcome:
        torch.compiler.reset()
        model = models.load(job.folder)
        if self.plan.compile:
            budget.compile_blocks(model)
        clock = Clock()
        trainer = Trainer(
            model,
            CausalLM(),
            Replay(job),
            adamw(model, job),
            replace(self.plan, steps=job.steps),
            # 1 - step / steps, as the peers' schedulers have it.
            settings=LoopSettings(clip=1.0, schedule="linear", warmup=0.0, floor=1.0 / job.steps),
            callbacks=[clock],
        )
        clock.times = [time.perf_counter()]
        trainer.train()
        return clock.outcome(job, validation_loss(model, job))

    def __str__(self) -> str:
        return str(Variant(self.plan.precision == "bfloat16", self.plan.compile))


class Replay:
    """The job's batches, once, in order."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __iter__(self) -> Iterator[Rows]:
        return (Rows.of(batch) for batch in self.job.batches)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the benchmark does not resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def adamw(model: nn.Module, job: Job) -> optimizers.Optimizers:
    """Our optimisers, all AdamW."""
    return optimizers.build(
        model,
        None,
        name="adamw",
        learning_rate=job.learning_rate,
        matrix_learning_rate=job.learning_rate,
        weight_decay=0.0,
    )


class PlainLoop:
    """What an expert writes over the transformers model: fused AdamW, autocast, one graph.

    The loss stands inside the compiled graph, where Inductor fuses it with the logits.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant

    def __call__(self, job: Job) -> Outcome:
        torch.compiler.reset()
        model = transformers.AutoModelForCausalLM.from_pretrained(job.folder)
        model.train()
        step_loss: Any = ModelLoss(model)
        if self.variant.compile:
            step_loss = torch.compile(step_loss, dynamic=False)
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(
            parameters, lr=job.learning_rate, betas=BETAS, weight_decay=0.0, fused=True
        )
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / job.steps, job.steps - 1)
        clock = Clock()
        for ids in job.batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.variant.bfloat16):
                loss = step_loss(ids)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            clock.tick()
        return clock.outcome(job, reloaded_loss(model, job))

    def __str__(self) -> str:
        return f"plain PyTorch loop over transformers {transformers.__version__} ({self.variant})"


class ModelLoss(nn.Module):
    """Mean next-token loss of a transformers model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) ids to the mean over B (T - 1) targets."""
        logits = self.model(ids, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


class HuggingFaceTrainer:
    """transformers.Trainer with the job's recipe; everything that is not the recipe is default."""

    def __init__(self, variant: Variant, label: str) -> None:
        self.variant, self.label = variant, label

    def __call__(self, job: Job) -> Outcome:
        torch.compiler.reset()
        model = transformers.AutoModelForCausalLM.from_pretrained(job.folder)
        clock = TrainerClock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=job.batches.shape[1],
                max_steps=job.steps,
                learning_rate=job.learning_rate,
                lr_scheduler_type="linear",
                adam_beta1=BETAS[0],
                adam_beta2=BETAS[1],
                train_sampling_strategy="sequential",
                bf16=self.variant.bfloat16,
                torch_compile=self.variant.compile,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            trainer = transformers.Trainer(
                model=model, args=arguments, train_dataset=LabelledRows(job), callbacks=[clock]
            )
            with quiet():
                trainer.train()
        return clock.clock.outcome(job, reloaded_loss(model, job))

    def __str__(self) -> str:
        return f"transformers.Trainer {transformers.__version__}, {self.label} ({self.variant})"


class TrainerClock(transformers.TrainerCallback):
    """The time after every step of transformers.Trainer."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.clock.times = [time.perf_counter()]

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.clock.tick()


class LabelledRows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The job's rows one by one, as transformers.Trainer reads a data set."""

    def __init__(self, job: Job) -> None:
        self.rows = job.batches.flatten(0, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the Trainer's printed dictionaries and warnings."""
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(None):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def fastest(contenders: list[Any], job: Job) -> Any:
    """The contender with the most tokens per second over a few steps of the job."""
    probe = job.shortened(job.warm + PROBE_STEPS)
    return max(contenders, key=lambda contender: contender(probe).tokens_per_second)


def variants(job: Job) -> list[Variant]:
    """Every way to run a peer that this job allows."""
    compiled = (False, True) if job.compiling else (False,)
    return [Variant(low, compile) for low in (False, True) for compile in compiled]


def reloaded_loss(model: Any, job: Job) -> float:
    """The validation loss of a transformers model's weights, in our decoder as for ours."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return validation_loss(models.load(folder), job)


def validation_loss(model: nn.Module, job: Job) -> float:
    """Mean nats per next token of the held-out rows, in fp32."""
    loss = weight = 0.0
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for rows in torch.split(job.validation, 16):
            part = CausalLM().loss(model, Rows.of(rows))
            loss += float(part.loss)
            weight += part.weight
    return loss / weight
