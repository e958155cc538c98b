"""The loss as a softmax over both rewards."""

import torch

from lmwright.alignment.preference import PreferenceLoss

REPLACES = "lmwright.alignment.preference:dpo_loss"


def log_ratio(policy, reference):
    return policy - reference.detach()


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    rewards = torch.stack(
        [beta * log_ratio(chosen, reference_chosen), beta * log_ratio(rejected, reference_rejected)]
    )
    # The probability that the first of two wins is a softmax over both (Bradley and Terry).
    losses = torch.logsumexp(rewards, dim=0) - rewards[0]
    first, second = rewards.detach()
    return PreferenceLoss(losses, first, second)
