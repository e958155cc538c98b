"""Scores of predicted classes, all from one confusion matrix."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmwright.core.errors import LmwrightError


class ClassScore(NamedTuple):
    """How well one class was found; a ratio without anything to divide by is 0."""

    precision: float
    recall: float
    f1: float
    support: int
    """Items that are of this class."""


def confusion(expected: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often each class was taken for each.

    Args:
        expected, predicted: (N,) ids of classes, 0 to `classes` - 1.
        classes: C.

    Returns:
        (C, C) int64, rows the truth, columns the prediction.

    Raises:
        LmwrightError: if the two differ in length, or an id is out of range.
    """
    truth, guess = (np.asarray(ids, dtype=np.int64) for ids in (expected, predicted))
    if truth.shape != guess.shape:
        raise LmwrightError(f"{truth.shape} expected classes and {guess.shape} predicted ones")
    for ids in (truth, guess):
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            raise LmwrightError(f"a class lies outside 0 to {classes - 1}")
    counts = np.bincount(truth * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def per_class(matrix: NDArray[np.int64]) -> list[ClassScore]:
    """Precision, recall and F1 of each class (van Rijsbergen 1979, chapter 7).

    Args:
        matrix: (C, C), see `confusion`.
    """
    right, actual, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return [f1_score(int(right[c]), int(said[c]), int(actual[c])) for c in range(len(matrix))]


def f1_score(right: int, predicted: int, expected: int) -> ClassScore:
    """Precision, recall and their harmonic mean from three counts.

    Args:
        right: predictions that are true.
        predicted, expected: how many were predicted, and how many there are.
    """
    precision = right / predicted if predicted else 0.0
    recall = right / expected if expected else 0.0
    both = predicted + expected
    return ClassScore(precision, recall, 2 * right / both if both else 0.0, expected)


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Unweighted mean of the classes' F1, over those that occur in truth or prediction.

    Args:
        matrix: (C, C), see `confusion`.
    """
    occurs = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    scores = [score.f1 for score, there in zip(per_class(matrix), occurs, strict=True) if there]
    return sum(scores) / len(scores) if scores else 0.0


def matthews(matrix: NDArray[np.int64]) -> float:
    """Matthews' correlation of truth and prediction, for any number of classes.

    R_K of Gorodkin 2004 (Comparing two K-category assignments, equation 8); with two classes it is
    Matthews 1975. 0 where truth or prediction is all of one class, as the field has it.

    Args:
        matrix: (C, C), see `confusion`.

    Returns:
        -1 to 1.
    """
    counts = matrix.astype(np.float64)
    total, right = counts.sum(), counts.trace()
    actual, said = counts.sum(axis=1), counts.sum(axis=0)
    covariance = right * total - actual @ said
    spread = (total**2 - said @ said) * (total**2 - actual @ actual)
    return float(covariance / math.sqrt(spread)) if spread > 0 else 0.0


def accuracy(expected: Sequence[object], predicted: Sequence[object]) -> float:
    """Share of predictions that equal the truth; 0 without any.

    Raises:
        LmwrightError: if the two differ in length.
    """
    if len(expected) != len(predicted):
        raise LmwrightError(f"{len(expected)} expected and {len(predicted)} predicted items")
    right = sum(a == b for a, b in zip(expected, predicted, strict=True))
    return right / len(expected) if expected else 0.0
