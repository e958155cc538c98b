"""Causal language modelling: predict every next token of a document (Radford et al. 2019)."""

from typing import Any

from torch import nn

from lmwright.training.objectives.loss import LossSum, Objective, next_token_loss


class CausalLM(Objective):
    """-sum_t log p(x_{t+1} | x_{<=t}) over all tokens; documents in a row do not see each other."""

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """Sum of nats over the batch's next-token targets."""
        return next_token_loss(model, batch)
