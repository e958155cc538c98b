"""The loss on rows that are not trained on, as a measure for `callbacks.Evaluate`."""

import torch
from torch import nn

from lmwright.tokens.loader import Loader
from lmwright.tokens.packing import PackedRows
from lmwright.training.objectives.loss import Objective

ROWS = 64
"""Rows looked at: about a tenth of a second, and a standard error of some 0.02 nats."""

BATCH = 16


class ValidationLoss:
    """Mean loss per trained token over the same few held-out rows each time.

    Args:
        rows: the validation split.
        objective: its loss, summed.
        seed: which rows.
    """

    def __init__(self, rows: PackedRows, objective: Objective, seed: int) -> None:
        self.rows, self.objective, self.seed = rows, objective, seed

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`{"validation_loss": nats}`; runs eager, so that nothing is compiled for it."""
        loader = Loader(self.rows, batch_rows=min(BATCH, len(self.rows)), seed=self.seed)
        batches = iter(loader)
        loss = weight = 0.0
        # What an objective draws is the same each time, as the rows are.
        state = self.objective.state_dict()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            for _ in range(max(1, min(ROWS, len(self.rows)) // BATCH)):
                result = self.objective.loss(model, next(batches))
                loss += float(result.loss)
                weight += result.weight
        self.objective.load_state_dict(state)
        return {"validation_loss": loss / weight}
