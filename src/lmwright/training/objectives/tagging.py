"""One label per token: names, parts of speech."""

from typing import Any

import torch.nn.functional as F

from lmwright.training.objectives.examples import example_inputs
from lmwright.training.objectives.loss import IGNORED, LossSum, Objective


class Tagging(Objective):
    """-sum log p(tag of a token | text), each token by itself, or all of a text with a CRF.

    A model that has a `crf` scores whole sequences of tags (Lafferty et al. 2001); its loss is
    -log p(tags of the text), and stays a sum over texts that the loop divides by their tokens.
    """

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum over labelled tokens.

        Args:
            model: gives logits (B, T, C); or has a `crf` and `loss(input_ids, attention_mask,
                labels=...)`, the sum of -log p over texts.
            batch: an `ExampleBatch` with labels (B, T), -100 where a token has none (padding,
                special tokens, all but the first piece of a word).
        """
        labels = batch.labels
        tagged = labels != IGNORED
        weight = float(tagged.sum())
        if getattr(model, "crf", None) is not None:
            return LossSum(model.loss(**example_inputs(batch), labels=labels), weight)
        logits = model(**example_inputs(batch)).logits
        loss = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        right = (logits.argmax(-1) == labels) & tagged
        return LossSum(loss, weight, {"accuracy": right.sum()})
