"""Sequence to sequence: predict a target from a source (Sutskever et al. 2014, equation 1)."""

from typing import Any

import torch.nn.functional as F

from lmwright.tokens.examples import shifted_right
from lmwright.training.objectives.loss import (
    IGNORED,
    LossSum,
    Objective,
    output_loss,
    trained_rows,
)


class SequenceToSequence(Objective):
    """-sum_u log p(y_u | y_<u, source) over the targets, teacher-forced.

    Args:
        label_smoothing: share of a target's probability that the whole vocabulary divides
            (Szegedy et al. 2016, section 7; 0.1 in Vaswani et al. 2017, section 5.4). The loss
            that is reported is the smoothed one; validate without.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum over target tokens.

        Args:
            model: an encoder-decoder, with `encode`, `decoder_states` and an output layer, or
                with logits (B, U, V) alone.
            batch: an `ExampleBatch` with labels (B, U), -100 where there is no target.
        """
        decoder_input_ids = batch.decoder_input_ids
        if decoder_input_ids is None:
            config = model.config
            decoder_input_ids = shifted_right(
                batch.labels, config.decoder_start_token_id, config.pad_token_id
            )
        mask = batch.attention_mask
        if hasattr(model, "decoder_states"):
            memory = model.encode(batch.input_ids, mask)
            states = model.decoder_states(decoder_input_ids, memory, mask)
            rows, targets, count = trained_rows(states, batch.labels)
            return output_loss(model, rows, targets, count, self.label_smoothing)
        logits = model(batch.input_ids, mask, decoder_input_ids=decoder_input_ids).logits
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return LossSum(loss, float((batch.labels != IGNORED).sum()))
