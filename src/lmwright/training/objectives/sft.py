"""Supervised fine-tuning on conversations: predict the assistant's tokens only."""

from typing import Any

from torch import nn

from lmwright.core.errors import CheckFailed
from lmwright.training.objectives.loss import LossSum, Objective, next_token_loss


class SFT(Objective):
    """-sum log p(assistant token | everything before it); the mask comes from the chat template."""

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """Sum of nats over the assistant's tokens.

        Raises:
            CheckFailed: if the batch trains no token, which a wrong mask does silently elsewhere.
        """
        result = next_token_loss(model, batch)
        if result.weight == 0:
            raise CheckFailed(
                "a batch has no assistant token to train on",
                hint="`lmwright doctor FILE` shows which tokens of your chats are trained",
            )
        return result
