"""Training steps of labelled tasks: classes of texts, tags of words, answers, translations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.metrics import classification
from lmwright.metrics.tagging import entity_scores
from lmwright.tokens import examples as encoded
from lmwright.tokens.example_loader import ExampleLoader
from lmwright.tokens.examples import Examples
from lmwright.training import costs, predictions, task_models
from lmwright.training.commands import (
    AnswerConfig,
    ClassifyConfig,
    TagConfig,
    TaskConfig,
    TranslateConfig,
)
from lmwright.training.objectives.classification import Classification
from lmwright.training.objectives.loss import Objective
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from lmwright.training.objectives.span_qa import SpanQA
from lmwright.training.objectives.tagging import Tagging
from lmwright.training.steps import CLOSING_SECONDS, train
from lmwright.training.task_shapes import Needs, is_bio

if TYPE_CHECKING:
    from lmwright.pipeline.run import StepRun

Measure = Callable[[nn.Module], Mapping[str, float]]

SCORES: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "matthews"),
    "regression": (),
    "tagging": ("entity_f1", "accuracy"),
    "question_answering": ("exact_match",),
    "translation": (),
    "summarization": (),
    "dialogue": (),
}
"""What is measured beside the loss; the first that there is chooses the best checkpoint."""


def classify(
    config: ClassifyConfig,
    run: "StepRun",
    *,
    examples: Path,
    tokenizer: Path,
    model: Path | None = None,
) -> None:
    """Train a classifier of texts or pairs, or a regression; writes the best model's folder.

    Args:
        config: architecture, length and optimiser.
        run: the step's run.
        examples: encoded classes or numbers.
        tokenizer: saved beside the model.
        model: a trained transformer to start from; None: from nothing.
    """
    objective = Classification(label_smoothing=config.label_smoothing)
    tasks = ("classification", "regression")
    _train(config, run, examples, tokenizer, model, (objective, Classification()), tasks)


def tag(
    config: TagConfig,
    run: "StepRun",
    *,
    examples: Path,
    tokenizer: Path,
    model: Path | None = None,
) -> None:
    """Train a tagger of words; writes the best model's folder.

    Args:
        config: architecture, length and optimiser.
        run: the step's run.
        examples: encoded tags.
        tokenizer: saved beside the model.
        model: a trained transformer to start from; None: from nothing.
    """
    _train(config, run, examples, tokenizer, model, (Tagging(), Tagging()), ("tagging",))


def answer(
    config: AnswerConfig,
    run: "StepRun",
    *,
    examples: Path,
    tokenizer: Path,
    model: Path | None = None,
) -> None:
    """Train a reader that finds answers as spans of a text; writes the best model's folder.

    Args:
        config: length and optimiser.
        run: the step's run.
        examples: encoded questions and contexts.
        tokenizer: saved beside the model.
        model: a trained transformer to start from; None: from nothing.
    """
    _train(config, run, examples, tokenizer, model, (SpanQA(), SpanQA()), ("question_answering",))


def translate(
    config: TranslateConfig,
    run: "StepRun",
    *,
    examples: Path,
    tokenizer: Path,
    model: Path | None = None,
) -> None:
    """Train a model that writes a target for a source; writes the best model's folder.

    Args:
        config: architecture, length and optimiser.
        run: the step's run.
        examples: encoded sources and targets.
        tokenizer: saved beside the model.
        model: a trained encoder-decoder to start from; None: from nothing.
    """
    smoothed = SequenceToSequence(label_smoothing=config.label_smoothing)
    tasks = ("translation", "summarization", "dialogue")
    _train(config, run, examples, tokenizer, model, (smoothed, SequenceToSequence()), tasks)


def _train(
    config: TaskConfig,
    run: "StepRun",
    folder: Path,
    tokenizer: Path,
    start: Path | None,
    objectives: tuple[Objective, Objective],
    tasks: tuple[str, ...],
) -> None:
    """What they have in common.

    Args:
        objectives: what is trained, and what is reported: without smoothing.
        tasks: what the step can do.
    """
    started = perf_counter()
    needs = Needs.of(encoded.read_metadata(folder))
    if needs.task not in tasks:
        raise LmwrightError(
            f"{run.name} learns {' or '.join(tasks)}; the examples are for {needs.task}"
        )
    model = _model(config, needs, start)
    data = encoded.open(folder, "train")
    loader = ExampleLoader(data, batch_tokens=config.batch_tokens, seed=config.seed)
    validation = encoded.open(folder, "validation").spread(config.validation_examples)
    measure = measure_of(needs, validation, objectives[1])
    chosen_by = _chosen_by(config, needs, measure(model))  # the first measurement also warms up
    before = perf_counter()
    measure(model)
    evaluating = (perf_counter() - before) * (config.evaluations + 2)
    train(
        config,
        run,
        model,
        objectives[0],
        loader,
        {"validation": measure},
        started=started,
        better=lambda found: -found[chosen_by] if chosen_by.endswith("loss") else found[chosen_by],
        reserve_seconds=CLOSING_SECONDS + evaluating,
        most_steps=max(1, round(config.epochs * loader.batches_per_epoch)),
        untrained_counts=False,
        costs=costs.measured(model, objectives[0], loader.typical(), config.optimizer),
    )
    _summarize(run, measure(model), loader, chosen_by)
    models.save(model, run.output, tokenizer=tokenizer)


def _model(config: TaskConfig, needs: Needs, start: Path | None) -> Any:
    if start is None:
        return task_models.new_model(config.kind_of_model(), config.shape, needs, config.seed)
    if config.shape:
        raise LmwrightError(
            "shape describes a model that starts from nothing, but there is one to start from",
            hint="leave out one of them",
        )
    return task_models.published_model(start, needs)


def _chosen_by(config: TaskConfig, needs: Needs, found: Mapping[str, float]) -> str:
    """The measured number that the best checkpoint is chosen by."""
    wanted = config.chosen_by
    if wanted is None:
        usual = [f"validation_{name}" for name in SCORES[needs.task]]
        return next((name for name in usual if name in found), "validation_loss")
    if f"validation_{wanted}" not in found:
        measured = ", ".join(name.removeprefix("validation_") for name in found)
        raise LmwrightError(
            f"chosen_by={wanted} is not measured for {needs.task} of these labels",
            hint=f"choose one of: {measured}",
        )
    return f"validation_{wanted}"


def measure_of(needs: Needs, validation: Examples, objective: Objective) -> Measure:
    """What is measured on the validation split: the loss, and the task's own scores.

    Args:
        needs: of the examples.
        validation: the split, or a part of it.
        objective: of a task whose loss is all that is measured.
    """

    def measure(model: nn.Module) -> Mapping[str, float]:
        if needs.task == "classification":
            return class_scores(predictions.class_logits(model, validation), validation)
        if needs.task == "tagging":
            return tag_scores(*predictions.tags(model, validation), validation, needs.labels)
        found = {"validation_loss": predictions.mean_loss(model, objective, validation)}
        if needs.task == "question_answering":
            found["validation_exact_match"] = exact_spans(model, validation)
        return found

    return measure


def exact_spans(model: nn.Module, examples: Examples) -> float:
    """Share of questions whose answer is found to the token, of those with one in a window."""
    assert examples.places is not None
    expected: dict[int, tuple[int, int]] = {}
    for index, (first, last) in enumerate(np.asarray(examples.labels)):
        if (first, last) != (0, 0):
            begin = examples.starts[index]
            span = examples.places[begin + first, 0], examples.places[begin + last, 1]
            expected[int(examples.rows[index])] = (int(span[0]), int(span[1]))
    found = predictions.answer_spans(model, examples)
    right = sum(found[row] == span for row, span in expected.items())
    return right / max(1, len(expected))


def class_scores(logits: Any, examples: Examples) -> dict[str, float]:
    """Loss, accuracy, macro F1 and Matthews' correlation of (N, C) logits."""
    matrix = classification.confusion(examples.labels, logits.argmax(1), logits.shape[1])
    return {
        "validation_loss": predictions.cross_entropy(logits, examples.labels),
        "validation_accuracy": float(matrix.trace() / max(1, matrix.sum())),
        "validation_macro_f1": classification.macro_f1(matrix),
        "validation_matthews": classification.matthews(matrix),
    }


def tag_scores(
    found: list[list[int]], loss: float, examples: Examples, labels: tuple[str, ...]
) -> dict[str, float]:
    """Loss, accuracy of tags and, of BIO tags, the strict F1 of entities."""
    truth = examples.word_labels()
    pairs = list(zip(truth, found, strict=True))
    right = sum(a == b for row, guess in pairs for a, b in zip(row, guess, strict=True))
    scores = {
        "validation_loss": loss,
        "validation_accuracy": right / max(1, sum(map(len, truth))),
    }
    if is_bio(labels):
        names = [[[labels[i] for i in row] for row in side] for side in (truth, found)]
        scores["validation_entity_f1"] = entity_scores(*names)[0].f1
    return scores


def _summarize(
    run: "StepRun", found: Mapping[str, float], loader: ExampleLoader, chosen_by: str
) -> None:
    """The best checkpoint's scores, how often the data was seen, and curves of the scores."""
    run.summarize(
        **{f"{run.name}_{name}": round(value, 5) for name, value in found.items()},
        **{f"{run.name}_epochs": round(loader.epochs, 2)},
    )
    run.note(f"{loader.epochs:.1f} epochs; the best checkpoint is the one of {chosen_by}")
    scores = [name for name in found if name != "validation_loss"]
    if scores:
        run.series("Validation scores", "step", scores)
