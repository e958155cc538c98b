"""Objectives on pairs of answers, of which one was preferred."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.training.objectives.loss import IGNORED, LossSum, Objective

if TYPE_CHECKING:
    from lmwright.models.transformer import Decoder


@dataclass
class Sequences:
    """B prompts with an answer each, padded on the right to one length.

    Args:
        input_ids: (B, T) int64.
        targets: (B, T) int64, the next token where it belongs to the answer, else -100.
        lengths: (B,) int64, tokens that are not padding.
    """

    input_ids: Tensor
    targets: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def slice(self, start: int, stop: int) -> "Sequences":
        """Rows `start` to `stop`, as views."""
        return Sequences(
            self.input_ids[start:stop], self.targets[start:stop], self.lengths[start:stop]
        )

    def document_ids(self) -> Tensor:
        """(B, T) int32: 1 on tokens, 0 on padding."""
        position = torch.arange(self.input_ids.shape[1])
        return (position < self.lengths[:, None]).int()


@dataclass
class PreferencePairs:
    """B pairs: the same prompt with a chosen and a rejected answer.

    Args:
        chosen, rejected: (B, T) each.
        reference_chosen, reference_rejected: (B,) fp32, log-probability of each answer under the
            reference model, in nats.
    """

    chosen: Sequences
    rejected: Sequences
    reference_chosen: Tensor
    reference_rejected: Tensor

    def __len__(self) -> int:
        return len(self.chosen)

    def slice(self, start: int, stop: int) -> "PreferencePairs":
        """Pairs `start` to `stop`."""
        return PreferencePairs(
            self.chosen.slice(start, stop),
            self.rejected.slice(start, stop),
            self.reference_chosen[start:stop],
            self.reference_rejected[start:stop],
        )

    def token_count(self) -> int:
        """Tokens of both answers and their prompts, padding aside."""
        return int(self.chosen.lengths.sum() + self.rejected.lengths.sum())


def sequence_log_probabilities(model: "Decoder", sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Log-probability of each answer given its prompt, summed over its tokens.

    Args:
        model: the policy or the reference.
        sequences: B rows.

    Returns:
        ((B,) nats with gradient, (B,) number of answer tokens), both fp32.
    """
    hidden = model.hidden_states(sequences.input_ids, document_ids=sequences.document_ids())
    rows, columns = (sequences.targets != IGNORED).nonzero(as_tuple=True)
    logits = model.project(hidden[rows, columns]).float()
    log_p = -F.cross_entropy(logits, sequences.targets[rows, columns], reduction="none")
    zeros = torch.zeros(len(sequences), dtype=log_p.dtype)
    counts = zeros.index_add(0, rows, torch.ones_like(log_p.detach()))
    return zeros.index_add(0, rows, log_p), counts


class PreferenceLoss(NamedTuple):
    """What direct preference optimisation sees in B pairs."""

    losses: Tensor
    """(B,) with gradient; to be made small."""
    chosen_rewards: Tensor
    """(B,) without gradient: beta times the log-ratio of policy and reference."""
    rejected_rewards: Tensor
    """(B,) likewise."""


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> PreferenceLoss:
    """Direct preference optimisation (Rafailov et al. 2023, equation 7), pair by pair.

    An answer's reward is beta * (log pi(answer) - log reference(answer)); the loss is
    -log sigmoid(reward of the chosen - reward of the rejected answer).

    Args:
        chosen, rejected: (B,) log-probabilities of the answers under the policy, in nats.
        reference_chosen, reference_rejected: (B,) the same under the reference.
        beta: how strongly the policy is held to the reference.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return PreferenceLoss(
        losses=-F.logsigmoid(beta * margin),
        chosen_rewards=beta * (chosen - reference_chosen).detach(),
        rejected_rewards=beta * (rejected - reference_rejected).detach(),
    )


class DPO(Objective):
    """Direct preference optimisation (Rafailov et al. 2023, equation 7), with a likelihood term.

    -log sigmoid(beta * margin) - likelihood * log pi(chosen) / |chosen|, where margin is how much
    further the policy has moved apart the two answers than the reference had them. The second term
    (Pang et al. 2024, Iterative Reasoning Preference Optimization, equation 1) keeps the chosen
    answer likely; plain DPO may lower both.

    Args:
        beta: how strongly the policy is held to the reference.
        likelihood: weight of the second term; 0 is plain DPO.
    """

    def __init__(self, beta: float = 0.1, likelihood: float = 1.0) -> None:
        self.beta, self.likelihood = beta, likelihood

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """Sum over pairs; the weight is their number."""
        assert isinstance(batch, PreferencePairs)
        policy: Any = model
        both = _stacked(batch.chosen, batch.rejected)
        log_p, counts = sequence_log_probabilities(policy, both)
        chosen, rejected = log_p.chunk(2)
        found = dpo_loss(
            chosen, rejected, batch.reference_chosen, batch.reference_rejected, self.beta
        )
        preference = found.losses.sum()
        margin = found.chosen_rewards - found.rejected_rewards
        likelihood = -(chosen / counts[: len(batch)]).sum()
        return LossSum(
            loss=preference + self.likelihood * likelihood,
            weight=float(len(batch)),
            metrics={
                "preference_loss": preference.detach(),
                "chosen_nats_per_token": likelihood.detach(),
                "reward_margin": margin.sum(),
                "preference_accuracy": (margin > 0).sum(),
            },
        )


def _stacked(first: Sequences, second: Sequences) -> Sequences:
    """Both in one forward pass."""
    return Sequences(
        torch.cat((first.input_ids, second.input_ids)),
        torch.cat((first.targets, second.targets)),
        torch.cat((first.lengths, second.lengths)),
    )
