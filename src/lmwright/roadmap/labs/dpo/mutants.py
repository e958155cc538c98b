"""Wrong losses, each with the idea that it misses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmwright.alignment.preference import PreferenceLoss
from lmwright.roadmap.properties import Mutant


def _margin(
    chosen: Tensor, rejected: Tensor, reference: tuple[Tensor, Tensor], wrong: str
) -> Tensor:
    if wrong == "no reference":
        return chosen - rejected
    if wrong == "added reference":
        return (chosen + reference[0]) - (rejected + reference[1])
    if wrong == "half reference":
        return chosen - reference[0] - rejected
    if wrong == "ratios":
        return (chosen - reference[0]).exp() - (rejected - reference[1]).exp()
    if wrong == "chosen alone":
        return chosen - reference[0]
    if wrong == "fixed rejected":
        rejected = rejected.detach()
    return (chosen - reference[0]) - (rejected - reference[1])


def _loss(
    chosen: Tensor, rejected: Tensor, first: Tensor, second: Tensor, beta: float, *, wrong: str
) -> PreferenceLoss:
    """The loss from its equation, wrong in one place."""
    margin = _margin(chosen, rejected, (first, second), wrong)
    logits = margin if wrong == "no beta" else beta * margin
    losses = {
        "no log": -torch.sigmoid(logits),
        "exchanged": -F.logsigmoid(-logits),
        "beta outside": -beta * F.logsigmoid(margin),
        "hinge": F.relu(1 - logits),
        "naive": -torch.sigmoid(logits).log(),
        "not negative": F.logsigmoid(logits),
    }.get(wrong, -F.logsigmoid(logits))
    if wrong == "mean":
        losses = losses.mean().expand(len(losses)).clone()
    ratios = chosen - first, rejected - second
    if wrong == "rewards without reference":
        ratios = chosen, rejected
    scale = 1.0 if wrong == "rewards without beta" else beta
    rewards = scale * ratios[0], scale * ratios[1]
    if wrong != "rewards with gradient":
        rewards = rewards[0].detach(), rewards[1].detach()
    return PreferenceLoss(losses, *rewards)


def _mutant(wrong: str, says: str) -> Mutant:
    def dpo_loss(
        chosen: Tensor,
        rejected: Tensor,
        reference_chosen: Tensor,
        reference_rejected: Tensor,
        beta: float,
    ) -> PreferenceLoss:
        return _loss(chosen, rejected, reference_chosen, reference_rejected, beta, wrong=wrong)

    return Mutant(says, dpo_loss)


# What is learnt late stands first: it is right in everything before.
MUTANTS = (
    _mutant(
        "naive",
        "the logarithm of a sigmoid that has become 0: `torch.nn.functional.logsigmoid` never does",
    ),
    _mutant(
        "no reference",
        "a loss without the reference: what counts is how far the policy has moved away from it",
    ),
    _mutant("added reference", "a loss that adds the reference's log-probabilities"),
    _mutant(
        "half reference", "a loss that takes the reference from the chosen answer, not the other"
    ),
    _mutant("not negative", "log sigmoid without its minus sign"),
    _mutant("no log", "minus the sigmoid itself, without its logarithm"),
    _mutant("hinge", "a hinge, max(0, 1 - beta * margin), in place of -log sigmoid"),
    _mutant("exchanged", "a loss that prefers the rejected answer"),
    _mutant("no beta", "a loss without beta"),
    _mutant(
        "beta outside", "beta times the loss of the bare margin: beta stands inside the sigmoid"
    ),
    _mutant(
        "ratios",
        "a loss of ratios of probabilities: the margin is a difference of their logarithms",
    ),
    _mutant("chosen alone", "a loss that looks at the chosen answer alone"),
    _mutant("mean", "the mean of all losses, for each pair; every pair has its own"),
    _mutant(
        "rewards without reference", "rewards without the reference: a reward is a log-ratio's"
    ),
    _mutant("rewards without beta", "rewards without beta"),
    _mutant(
        "fixed rejected",
        "a loss in which the rejected answer is held fast: it has to become less likely too",
    ),
    _mutant("rewards with gradient", "rewards that carry a gradient; detach them"),
)
