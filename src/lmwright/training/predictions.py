"""What a trained model says of encoded examples, without gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from lmwright.models.tagging import best_tags, tagging_loss
from lmwright.tokens.examples import ExampleBatch, Examples
from lmwright.tokens.packing import IGNORED
from lmwright.training.objectives.examples import example_inputs

ROWS = 64
"""Examples at once: few enough for long texts, enough to keep a core busy."""

LONGEST_ANSWER = 30
"""Tokens of an answer at most, as in BERT's own SQuAD script."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, nothing compiled for shapes that come once."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.train(training)


def class_logits(model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """(N, C) logits of classes, or (N, 1) scores.

    Args:
        model: gives logits (B, C).
        examples: N texts or pairs.
    """
    order = by_length(examples)
    parts = []
    with evaluating(model):
        for batch in batches(examples, order):
            parts.append(model(**example_inputs(batch)).logits.float())
    logits = torch.cat(parts).numpy()
    restored = np.empty_like(logits)
    restored[order] = logits
    return restored


def cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean nats of the labels.

    Args:
        logits: (N, C).
        labels: (N,).
    """
    return float(F.cross_entropy(torch.tensor(logits), torch.tensor(np.array(labels))))


def tags(model: Any, examples: Examples) -> tuple[list[list[int]], float]:
    """The best tags, and how likely the true ones were.

    Args:
        model: gives logits (B, T, C); has a `crf`, or None.
        examples: N sentences.

    Returns:
        for each example the tags of its labelled tokens in order, and the mean nats per tag.
    """
    order = by_length(examples)
    found: list[list[int]] = [[] for _ in range(len(examples))]
    loss = count = 0.0
    with evaluating(model):
        for start, batch in enumerate(batches(examples, order)):
            labelled = batch.labels != IGNORED
            logits, crf = model(**example_inputs(batch)).logits, getattr(model, "crf", None)
            loss += float(tagging_loss(logits, batch.attention_mask, batch.labels, crf))
            count += float(labelled.sum())
            best = best_tags(logits, batch.attention_mask, labelled, crf)
            for row in range(len(batch)):
                found[order[start * ROWS + row]] = best[row][labelled[row]].tolist()
    return found, loss / max(count, 1.0)


def answer_spans(model: nn.Module, examples: Examples) -> dict[int, tuple[int, int]]:
    """For each row of the dataset the characters of its context that answer best.

    Of all windows of a row, the span within the context that has the highest sum of its two ends'
    logits (Devlin et al. 2018, section 4.2).

    Args:
        model: gives logits (B, T, 2).
        examples: windows of questions and contexts.

    Returns:
        row -> (begin, end) in characters.
    """
    assert examples.places is not None
    order = by_length(examples)
    best: dict[int, tuple[float, tuple[int, int]]] = {}
    with evaluating(model):
        for number, batch in enumerate(batches(examples, order)):
            logits = model(**example_inputs(batch)).logits.float()
            for row in range(len(batch)):
                index = int(order[number * ROWS + row])
                places = examples.places[examples.starts[index] : examples.starts[index + 1]]
                found = _best_span(logits[row].numpy(), places)
                source = int(examples.rows[index])
                if source not in best or found[0] > best[source][0]:
                    best[source] = found
    return {source: span for source, (_, span) in sorted(best.items())}


def _best_span(
    logits: NDArray[np.float32], places: NDArray[np.int32]
) -> tuple[float, tuple[int, int]]:
    """Score and characters of the best span of one window; of an empty context (0, 0)."""
    inside = np.flatnonzero(places[:, 1] > places[:, 0].clip(0))
    if not len(inside):
        return float("-inf"), (0, 0)
    scores = logits[inside, 0][:, None] + logits[inside, 1][None]
    steps = np.arange(len(inside))
    reach = steps[None] - steps[:, None]
    scores[(reach < 0) | (reach >= LONGEST_ANSWER)] = -np.inf
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    span = int(places[inside[first], 0]), int(places[inside[last], 1])
    return float(scores[first, last]), span


def mean_loss(model: nn.Module, objective: Any, examples: Examples) -> float:
    """Mean of an objective's loss over what it counts in all examples."""
    loss = weight = 0.0
    with evaluating(model):
        for batch in batches(examples, by_length(examples)):
            result = objective.loss(model, batch)
            loss += float(result.loss)
            weight += result.weight
    return loss / max(weight, 1.0)


def by_length(examples: Examples) -> NDArray[np.int64]:
    """(N,) the examples from short to long, so that batches hold little padding."""
    return np.argsort(examples.lengths, kind="stable")


def batches(examples: Examples, order: NDArray[np.int64]) -> Iterator[ExampleBatch]:
    """The examples in a given order, `ROWS` at a time."""
    for start in range(0, len(order), ROWS):
        yield examples.batch(order[start : start + ROWS])
