"""The loss as a softplus of differences."""

import torch

from lmwright.alignment.preference import PreferenceLoss

REPLACES = "lmwright.alignment.preference:dpo_loss"


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    policy = chosen - rejected
    reference = reference_chosen - reference_rejected
    # log(1 + e^-x) = softplus(-x)
    losses = torch.nn.functional.softplus(-beta * (policy - reference))
    with torch.no_grad():
        good = (chosen - reference_chosen) * beta
        bad = (rejected - reference_rejected) * beta
    return PreferenceLoss(losses=losses, chosen_rewards=good, rejected_rewards=bad)
