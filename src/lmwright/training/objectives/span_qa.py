"""The answer as a span of the text: its first and its last token (Devlin et al. 2018, 4.2)."""

from typing import Any

import torch
import torch.nn.functional as F

from lmwright.training.objectives.examples import example_inputs
from lmwright.training.objectives.loss import IGNORED, LossSum, Objective


class SpanQA(Objective):
    """-sum (log p(start) + log p(end)) / 2, each over the positions of the text.

    A position past the row was cut off with the end of a long text: it is left out, as in
    `transformers`. Padding is no answer: unlike there it takes no probability, so that a text's
    loss does not depend on the length of its neighbours.
    """

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum over questions; one of whose two ends is left out counts half.

        Args:
            model: gives logits (B, T, 2): of the start and of the end.
            batch: an `ExampleBatch` with labels (B, 2), both 0 where the text has no answer.
        """
        logits = model(**example_inputs(batch)).logits
        real = batch.attention_mask != 0
        logits = logits.masked_fill(~real[:, :, None], -torch.inf)
        length = logits.shape[1]
        counted = (batch.labels >= 0) & (batch.labels < length)
        counted &= real.gather(1, batch.labels.clamp(0, length - 1))
        labels = batch.labels.masked_fill(~counted, IGNORED)
        ends = logits.mT.reshape(-1, length)  # (2B, T): start and end of each question in turn
        loss = F.cross_entropy(ends, labels.flatten(), ignore_index=IGNORED, reduction="sum")
        right = ((logits.argmax(1) == labels) & counted).all(1)
        return LossSum(loss / 2, float(counted.sum()) / 2, {"exact_match": right.sum()})
