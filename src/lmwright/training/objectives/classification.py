"""One label per text: cross-entropy over classes, or a squared error for a score."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from lmwright.core.errors import LmwrightError
from lmwright.training.objectives.examples import example_inputs
from lmwright.training.objectives.loss import IGNORED, LossSum, Objective


class Classification(Objective):
    """-sum log p(class | text); the squared error where the model has a single output.

    Args:
        class_weights: how much each class counts, for example the inverse of its frequency; the
            loss and the accuracy are means over these weights then. None: all alike.
        label_smoothing: share of the label's probability that all classes divide (Szegedy et al.
            2016, section 7).
    """

    def __init__(
        self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.class_weights = None if class_weights is None else torch.tensor(class_weights)
        self.label_smoothing = label_smoothing

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum over examples.

        Args:
            model: gives logits (B, C).
            batch: an `ExampleBatch` with labels (B,): classes as int64, -100 for none, or for a
                single output scores as floats.

        Raises:
            LmwrightError: if labels and outputs do not fit each other.
        """
        logits = model(**example_inputs(batch)).logits
        if logits.shape[-1] == 1:
            return _squared_error(logits.squeeze(-1), batch.labels)
        labels = batch.labels
        self._refuse_misfits(logits.shape[-1], labels)
        weights = torch.ones(logits.shape[-1]) if self.class_weights is None else self.class_weights
        weights = weights.to(logits)
        loss = F.cross_entropy(
            logits,
            labels,
            weight=weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        counted = weights[labels.clamp_min(0)] * (labels != IGNORED)
        right = (logits.argmax(-1) == labels) * counted
        return LossSum(loss, float(counted.sum()), {"accuracy": right.sum()})

    def _refuse_misfits(self, classes: int, labels: torch.Tensor) -> None:
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise LmwrightError(
                f"there are {len(self.class_weights)} class weights and {classes} classes",
                hint="give one weight per class",
            )
        if labels.is_floating_point() or bool((labels >= classes).any()):
            raise LmwrightError(
                f"the model has {classes} classes and the labels go up to {float(labels.max()):g}",
                hint="num_labels must be the number of classes, and 1 for scores",
            )


def _squared_error(scores: torch.Tensor, labels: torch.Tensor) -> LossSum:
    error = scores - labels.to(scores.dtype)
    return LossSum(
        error.square().sum(), float(len(labels)), {"absolute_error": error.detach().abs().sum()}
    )
