"""Training steps of a recipe: wire data, model, objective and callbacks into the one loop."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from lmwright import models, tokens
from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.models.foreign import Foreign
from lmwright.tokens import shards as token_shards
from lmwright.tokens.example_loader import ExampleLoader
from lmwright.tokens.loader import Loader
from lmwright.training import budget, callbacks, optimizers, sizing
from lmwright.training.commands import LoopConfig, PretrainConfig, SFTConfig
from lmwright.training.costs import Costs, measured, of_transformer
from lmwright.training.data import Mixed
from lmwright.training.objectives.loss import Objective
from lmwright.training.objectives.sft import SFT
from lmwright.training.pretraining import new_model, objective_for
from lmwright.training.trainer import Data, LoopSettings, Trainer
from lmwright.training.validation import ValidationLoss

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

CLOSING_SECONDS = 1.5
"""Of a budget in time, kept back for saving the model."""


def pretrain(config: PretrainConfig, run: "StepRun", *, shards: Path, tokenizer: Path) -> None:
    """Train a transformer from nothing on packed text; writes the model's folder.

    Args:
        config: shape, length and optimiser.
        run: the step's run.
        shards: packed text, train and validation.
        tokenizer: saved beside the model.
    """
    started, words = perf_counter(), tokens.load(tokenizer)
    rows = token_shards.open(shards, "train")
    loader = Loader(rows, batch_rows=batch_rows(config, rows.row_length), seed=config.seed)

    def make(shape: PretrainConfig) -> tuple[Any, Objective]:
        fresh = new_model(shape, tokenizer)
        return fresh, objective_for(fresh.config, words)

    batch = batch_to_measure(loader)
    config = sizing.affordable(config, run, length_of(config, run), batch, make, started=started)
    model = new_model(config, tokenizer)
    objective, held_out = (objective_for(model.config, words, config.seed + i) for i in (0, 1))
    measure = ValidationLoss(token_shards.open(shards, "validation"), held_out, config.seed)
    train(config, run, model, objective, loader, {"validation": measure}, started=started)
    models.save(model, run.output, tokenizer=tokenizer)


def sft(
    config: SFTConfig,
    run: "StepRun",
    *,
    shards: Path,
    tokenizer: Path,
    text: Path | None = None,
    model: Path | None = None,
) -> None:
    """Fine-tune on packed conversations; writes the model's folder.

    Args:
        config: length and optimiser, and how much plain text is mixed in.
        run: the step's run.
        shards: packed conversations, train and validation.
        tokenizer: saved beside the model.
        text: packed text of the same row length, to mix in.
        model: where to start; None starts from nothing.
    """
    started = perf_counter()
    rows = token_shards.open(shards, "train")
    total = batch_rows(config, rows.row_length)
    text_rows = round(total * config.text_fraction) if text and total > 1 else 0
    loaders = [Loader(rows, batch_rows=total - text_rows, seed=config.seed)]
    if text and text_rows:
        text_split = token_shards.open(text, "train")
        if text_split.row_length != rows.row_length:
            raise LmwrightError(
                f"text has rows of {text_split.row_length} tokens and chats of {rows.row_length}",
                hint="give both packing steps the same row_length",
            )
        loaders.append(Loader(text_split, batch_rows=text_rows, seed=config.seed + 1))
    data, objective = Mixed(loaders), SFT(prompts=config.prompts)
    if model:
        trained = models.load(model, implementation=config.implementation)
    else:
        config = sizing.affordable(
            config,
            run,
            length_of(config, run),
            batch_to_measure(data),
            lambda shape: (new_model(shape, tokenizer), objective),
            started=started,
        )
        trained = new_model(config, tokenizer)
    measure = ValidationLoss(token_shards.open(shards, "validation"), SFT(), config.seed)
    train(config, run, trained, objective, data, {"validation": measure}, started=started)
    words = tokens.load(tokenizer)
    # A chat ends its turn with one token and text its document with another: both end an answer.
    ends = [i for i in (words.end_of_turn_id, words.eos_token_id) if i is not None]
    models.save(trained, run.output, tokenizer=tokenizer, eos_token_id=ends)


def train(
    config: LoopConfig,
    run: "StepRun",
    model: Any,
    objective: Objective,
    data: Data,
    measures: Mapping[str, Callable[[nn.Module], Mapping[str, float]]],
    *,
    started: float,
    better: Callable[[Mapping[str, float]], float] | None = None,
    reserve_seconds: float = CLOSING_SECONDS,
    most_steps: int | None = None,
    costs: Costs | None = None,
    untrained_counts: bool = True,
) -> Trainer:
    """Plan a training, record the plan, run it, and put its numbers into the run's summary.

    Args:
        config: length and optimiser.
        run: the step's run; its `work` folder holds the checkpoints.
        model: trained in place; a decoder, or whatever `costs` tell of.
        objective: what is learned.
        data: endless batches; the first is also what the machine is measured on.
        measures: evaluations of the model, logged under their names.
        started: `perf_counter()` at the start of the step.
        better, untrained_counts: see `callbacks.Evaluate`.
        reserve_seconds: of a budget in time, kept back for evaluations and saving.
        most_steps: whatever the budget allows, for objectives that wear out their data.
        costs: of training this model; None: as `costs.of_transformer` has them, or measured where
            the model is of `transformers`.
    """
    if costs is None and isinstance(model, Foreign):
        costs = measured(model, objective, batch_to_measure(data), config.optimizer)
    elif costs is None:
        costs = of_transformer(model.config, row_length(data), config.optimizer)
    plan = decide_plan(
        config, run, model, objective, data, started, reserve_seconds, most_steps, costs
    )
    announce(plan, run)
    trained_optimizers = build_optimizers(config, model, objective, plan)
    if plan.compile:
        budget.compile_blocks(model)
    log = callbacks.Log(run, costs.flops_per_token, plan.peak_flops)
    every = max(1, plan.steps // config.evaluations)
    trainer = Trainer(
        model,
        objective,
        data,
        trained_optimizers,
        plan,
        settings=LoopSettings(
            clip=config.clip,
            schedule=config.schedule,
            warmup=config.warmup,
            decay=config.decay,
            seed=config.seed,
        ),
        callbacks=[
            callbacks.Guards(),
            log,
            *(
                callbacks.Evaluate(every, m, run, better, untrained_counts)
                for m in measures.values()
            ),
            callbacks.SaveCheckpoints(plan.checkpoint_every),
        ],
        folder=run.work / "checkpoints",
        note=run.note,
    )
    trainer.train()
    summarize(run, plan, log, model)
    return trainer


def decide_plan(
    config: LoopConfig,
    run: "StepRun",
    model: nn.Module,
    objective: Objective,
    data: Data,
    started: float,
    reserve_seconds: float,
    most_steps: int | None,
    costs: Costs,
) -> budget.TrainingPlan:
    """The recorded plan, or a fresh one measured here and recorded before it is used."""
    length = length_of(config, run)
    if length is None:
        raise LmwrightError(
            f"step {run.name} has no budget",
            hint=f"give the recipe one (budget=6m) or the step ({run.name}.budget='2000 steps')",
        )
    wishes = budget.Wishes(
        budget=length,
        precision=config.precision,
        matrix_precision=config.matrix_precision,
        compile=compilation(config, model),
        micro_rows=config.micro_rows,
        checkpoint_every=config.checkpoint_every,
        reserve_seconds=reserve_seconds,
        most_steps=most_steps,
    )

    def choose() -> dict[str, Any]:
        batch = batch_to_measure(data)
        plan = budget.choose_plan(
            wishes,
            model,
            objective,
            batch,
            started=started,
            memory_needed=costs.memory_bytes,
            optimizer_step=lambda module, dtype: (
                configured_optimizers(config, module, None, dtype).step
            ),
        )
        if isinstance(data, ExampleLoader) and plan.micro_rows == len(batch):
            # Batches hold about the same tokens in few long rows or many short ones: where one
            # goes through at once, all do.
            plan = replace(plan, micro_rows=data.most_rows)
        return plan.to_json()

    return budget.TrainingPlan.from_json(run.decide("plan", choose))


def length_of(config: LoopConfig, run: "StepRun") -> Duration | None:
    """The step's own budget, or its share of the recipe's."""
    return config.budget or (Duration(run.seconds, "seconds") if run.seconds else None)


def compilation(config: LoopConfig, model: nn.Module) -> Literal["auto", "on", "off"]:
    """Whether compiling is tried; only our own blocks can be.

    Raises:
        LmwrightError: if it is asked for on a model of `transformers`.
    """
    if not isinstance(model, Foreign):
        return config.compile
    if config.compile == "on":
        raise LmwrightError(
            "compile=on, but a model of transformers is not compiled here",
            hint="leave compile at auto, which trains it eager",
        )
    return "off"


def batch_to_measure(data: Data) -> Any:
    """The batch that the machine is measured on; the data's position stays where it is."""
    if isinstance(data, ExampleLoader):
        return data.typical()
    # The batch that is measured is also the first that is trained.
    position = data.state_dict()
    batch = next(iter(data))
    data.load_state_dict(position)
    return batch


def announce(plan: budget.TrainingPlan, run: "StepRun") -> None:
    """Say what was chosen and why, once."""
    for reason in plan.reasons:
        run.note(reason)
    planned = plan.steps * plan.seconds_per_step
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    run.note(f"steps planned: {plan.steps}, about {planned:.0f} s on {threads}")


def build_optimizers(
    config: LoopConfig, model: nn.Module, objective: Objective, plan: budget.TrainingPlan
) -> optimizers.Optimizers:
    """The configured optimisers over the model and the objective's own module."""
    dtype = getattr(torch, plan.matrix_precision)
    return configured_optimizers(config, model, objective.module(), dtype)


def configured_optimizers(
    config: LoopConfig, model: nn.Module, extra: nn.Module | None, matrix_dtype: torch.dtype
) -> optimizers.Optimizers:
    """What the step's keys say, over `model` and an objective's own module."""
    return optimizers.build(
        model,
        extra,
        name=config.optimizer,
        learning_rate=config.peak,
        matrix_learning_rate=config.matrix_learning_rate,
        weight_decay=config.weight_decay,
        matrix_dtype=matrix_dtype,
        momentum=config.momentum,
        nesterov=config.nesterov,
        betas=config.betas,
    )


def summarize(
    run: "StepRun", plan: budget.TrainingPlan, log: callbacks.Log, model: nn.Module
) -> None:
    """Planned against actual, speed and utilisation, and the curves for the report."""
    name = run.name
    run.summarize(
        **{
            f"{name}_parameters": sum(weight.numel() for weight in model.parameters()),
            f"{name}_steps": plan.steps,
            f"{name}_tokens": log.tokens,
            f"{name}_planned_seconds": round(plan.steps * plan.seconds_per_step, 2),
            f"{name}_training_seconds": round(log.seconds, 2),
            f"{name}_tokens_per_second": round(log.tokens_per_second, 1),
            f"{name}_model_flops_utilization": round(log.utilization, 4),
            f"{name}_precision": plan.precision,
            f"{name}_matrix_precision": plan.matrix_precision,
            f"{name}_micro_rows": plan.micro_rows,
            f"{name}_compiled": int(plan.compile),
            "model_flops_utilization": round(log.utilization, 4),
            **{f"peak_flops_{kind}": round(peak) for kind, peak in plan.peaks.items()},
        }
    )
    run.series("Loss, nats per trained token", "step", ["loss", "validation_loss"])
    run.series("Learning rate, share of its peak", "step", ["learning_rate"])
    run.series("Throughput, tokens per second", "step", ["tokens_per_second"])
    run.series("Utilisation, share of the measured peak", "step", ["utilization"])


def batch_rows(config: LoopConfig, length: int) -> int:
    """Rows in a batch of `batch_tokens`."""
    return max(1, config.batch_tokens // length)


def row_length(data: Any) -> int:
    """T of a loader's rows."""
    if isinstance(data, Mixed):
        return data.loaders[0].rows.row_length
    return int(data.row_length if hasattr(data, "row_length") else data.rows.row_length)
