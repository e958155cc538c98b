"""What each system says of a labelled test split: models and baselines alike, in label names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import Row
from lmwright.corpora.datasets import Description, read_rows
from lmwright.evaluation import task_baselines
from lmwright.tokens import examples as encoded
from lmwright.tokens.examples import Examples
from lmwright.training import predictions, task_models

OUTSIDE = "O"


@dataclass(frozen=True)
class Material:
    """The test of a task.

    Args:
        description: of the dataset.
        splits: its rows.
        examples: the test split, encoded.
    """

    description: Description
    splits: Mapping[str, Sequence[Row]]
    examples: Examples

    @property
    def test(self) -> Sequence[Row]:
        """The rows that are asked."""
        return self.splits["test"]


@dataclass
class Answers:
    """A system's answers to the test split, one per row in the dataset's order.

    Args:
        name: of the system.
        predicted: the name of a class, the names of a row's tags, or the text of an answer.
        confidence: (N,) probability of the predicted class; empty where there is none.
        parameters: of a model; None: it is not one of ours.
        seconds: that the answers took, baselines' training included.
    """

    name: str
    predicted: list[Any]
    seconds: float
    parameters: int | None = None
    confidence: list[float] = field(default_factory=list)

    @property
    def is_baseline(self) -> bool:
        """Whether it is here to be beaten."""
        return self.parameters is None


def gather(dataset: Path, examples: Path) -> Material:
    """The rows of a dataset and their encoded test.

    Raises:
        LmwrightError: if one of the splits is missing, or the examples are another dataset's.
    """
    description = Description.read(dataset)
    needed = ("train", "validation", "test")
    missing = [split for split in needed if split not in description.rows]
    if missing:
        raise LmwrightError(f"dataset {description.name} has no {' and no '.join(missing)} split")
    test = encoded.open(examples, "test")
    splits = {split: read_rows(dataset, split) for split in needed}
    if encoded.read_metadata(examples).get("dataset") != description.name or (
        len(test.rows) and int(test.rows.max()) >= len(splits["test"])
    ):
        raise LmwrightError(f"{examples} holds no examples of dataset {description.name}")
    return Material(description, splits, test)


def baselines(material: Material) -> list[Answers]:
    """The answers of what needs no training of ours."""
    functions: Mapping[str, Mapping[str, Any]] = {
        "classification": {
            "commonest class": task_baselines.majority,
            "TF-IDF, logistic regression": task_baselines.tfidf,
            "NB-SVM": task_baselines.nb_svm,
        },
        "tagging": {"commonest tag of the word": task_baselines.commonest_tags},
        "question_answering": {"nearest sentence": task_baselines.nearest_sentence},
    }
    found = []
    for name, function in functions[material.description.task].items():
        started = perf_counter()
        predicted = function(material.splits)
        found.append(Answers(name, list(predicted), perf_counter() - started))
    return found


def answers(name: str, folder: Path, material: Material) -> Answers:
    """A model's answers.

    Args:
        name: how it is called.
        folder: what a training step wrote.
        material: the test.

    Raises:
        LmwrightError: if its labels are not the dataset's.
    """
    model = models.load(folder)
    labels = task_models.label_names(model)
    task = material.description.task
    if task != "question_answering" and labels != material.description.labels:
        raise LmwrightError(
            f"{folder} tells {len(labels)} labels apart ({', '.join(labels[:5])}), the dataset has "
            f"{len(material.description.labels)}"
        )
    size = sum(parameter.numel() for parameter in model.parameters())
    started = perf_counter()
    confidence: list[float] = []
    predicted: list[Any]
    if task == "question_answering":
        spans = predictions.answer_spans(model, material.examples)
        predicted = [
            row["context"][slice(*spans[number])].strip() if number in spans else ""
            for number, row in enumerate(material.test)
        ]
    elif task == "classification":
        logits = predictions.class_logits(model, material.examples)
        predicted = [labels[index] for index in logits.argmax(axis=1)]
        confidence = _probabilities(logits).max(axis=1).tolist()
    else:
        predicted = tags_of_words(model, material, labels)
    seconds = perf_counter() - started
    return Answers(name, predicted, seconds, size, confidence)


def tags_of_words(model: Any, material: Material, labels: Sequence[str]) -> list[list[str]]:
    """A tag for every word of every row; words that were cut off get "O", or the first label."""
    found, _ = predictions.tags(model, material.examples)
    unknown = OUTSIDE if OUTSIDE in labels else labels[0]
    result = [[unknown] * len(row["tokens"]) for row in material.test]
    assert material.examples.places is not None
    for index, row_tags in enumerate(found):
        begins = slice(material.examples.starts[index], material.examples.starts[index + 1])
        words = material.examples.places[begins, 0]
        row = result[int(material.examples.rows[index])]
        for word, tag in zip(words[words >= 0], row_tags, strict=True):
            row[int(word)] = labels[tag]
    return result


def _probabilities(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
