"""Supervised fine-tuning on conversations: predict the assistant's tokens."""

from typing import Any

import torch
from torch import Tensor, nn

from lmwright.core.errors import CheckFailed
from lmwright.training.objectives.loss import IGNORED, LossSum, Objective, next_token_loss


class SFT(Objective):
    """-sum log p(assistant token | everything before it); the mask comes from the chat template.

    Args:
        prompts: whether the other tokens of a conversation are predicted too (instruction
            modelling, Shi et al. 2024, section 3). Answers much shorter than questions teach a
            small model little about what it is asked; the loss that is reported counts all then.
    """

    def __init__(self, prompts: bool = False) -> None:
        self.prompts = prompts

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """Sum of nats over the assistant's tokens, or over all with `prompts`.

        Raises:
            CheckFailed: if the batch trains no token, which a wrong mask does silently elsewhere.
        """
        if not bool((batch.targets != IGNORED).any()):
            raise CheckFailed(
                "a batch has no assistant token to train on",
                hint="`lmwright doctor FILE` shows which tokens of your chats are trained",
            )
        targets = every_next_token(batch.input_ids, batch.document_ids) if self.prompts else None
        return next_token_loss(model, batch, targets)


def every_next_token(input_ids: Tensor, document_ids: Tensor) -> Tensor:
    """(B, T) int64 targets: the next token where it is of the same document, else -100.

    Args:
        input_ids: (B, T) int64.
        document_ids: (B, T) integers, 0 on padding.
    """
    targets = torch.full_like(input_ids, IGNORED)
    same = (document_ids[:, 1:] == document_ids[:, :-1]) & (document_ids[:, 1:] != 0)
    targets[:, :-1] = torch.where(same, input_ids[:, 1:], IGNORED)
    return targets
