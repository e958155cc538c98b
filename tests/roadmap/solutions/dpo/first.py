"""The loss by its rewards, and the lab's twists."""

import torch.nn.functional as F

from lmwright.alignment.preference import PreferenceLoss

REPLACES = "lmwright.alignment.preference:dpo_loss"


def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    chosen_reward = beta * (chosen - reference_chosen)
    rejected_reward = beta * (rejected - reference_rejected)
    losses = -F.logsigmoid(chosen_reward - rejected_reward)
    return PreferenceLoss(losses, chosen_reward.detach(), rejected_reward.detach())


def dpo_loss_with_noise(chosen, rejected, reference_chosen, reference_rejected, beta, flipped):
    z = beta * (chosen - reference_chosen - rejected + reference_rejected)
    return -F.logsigmoid(z) * (1 - flipped) - F.logsigmoid(-z) * flipped


def ipo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    margin = chosen - reference_chosen - (rejected - reference_rejected)
    return (margin - 0.5 / beta) ** 2


def simpo_loss(chosen, rejected, chosen_tokens, rejected_tokens, beta, target):
    margin = chosen / chosen_tokens - rejected / rejected_tokens
    return F.softplus(target - beta * margin)
