"""Contrastive embedding: a text's own partner among all others' (van den Oord et al. 2018).

The loss of a pair depends on what else is in the batch, so it cannot be cut into micro-batches:
the loop sees a whole `Groups` as one row. Memory is bounded inside: with `piece`, texts are
encoded a few at a time and once more in the backward pass (Gao et al. 2021, GradCache), which
changes no gradient.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmwright.core.errors import LmwrightError
from lmwright.tokens.examples import ExampleBatch
from lmwright.training.objectives.examples import example_inputs
from lmwright.training.objectives.loss import LossSum, Objective


@dataclass
class Groups:
    """Texts that belong together, as one batch that the loop never cuts.

    Args:
        examples: N groups of G consecutive rows: an anchor, its partner, and G - 2 hard negatives.
        size: G.
    """

    examples: ExampleBatch
    size: int = 2

    def __len__(self) -> int:
        """1: the loop cuts by rows, and this must stay whole."""
        return 1

    def slice(self, start: int, stop: int) -> "Groups":
        """All of it."""
        assert start == 0
        assert stop >= 1
        return self

    def to(self, device: torch.device | str) -> "Groups":
        """The groups on `device`."""
        return Groups(self.examples.to(device), self.size)

    def token_count(self) -> int:
        """Tokens that go through the model."""
        return self.examples.token_count()


class Contrastive(Objective):
    """InfoNCE: -sum_i log softmax_j(cos(anchor_i, candidate_j) / temperature)[partner_i].

    Candidates of an anchor are all partners of the batch and all hard negatives.

    Args:
        temperature: of the similarities (0.05 in Gao et al. 2021, SimCSE, section 3).
        symmetric: also find the anchor from the partner among all anchors; the mean of both.
        piece: texts encoded at once, the memory of the step; None: all.
    """

    def __init__(
        self, temperature: float = 0.05, *, symmetric: bool = False, piece: int | None = None
    ) -> None:
        self.temperature, self.symmetric, self.piece = temperature, symmetric, piece

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum over anchors.

        Args:
            model: gives embeddings (B, D) as logits; their length does not matter.
            batch: `Groups`.

        Raises:
            LmwrightError: if the rows do not make whole groups.
        """
        rows = len(batch.examples)
        if batch.size < 2 or rows % batch.size:
            raise LmwrightError(
                f"{rows} texts do not make groups of {batch.size}",
                hint="a group is an anchor, its partner and equally many hard negatives each",
            )
        scores = self._scores(self._embed(model, batch.examples), batch.size)
        own = torch.arange(len(scores), device=scores.device)
        loss = F.cross_entropy(scores, own, reduction="sum")
        if self.symmetric:
            backwards = F.cross_entropy(scores[:, : len(own)].T, own, reduction="sum")
            loss = (loss + backwards) / 2
        right = (scores.argmax(1) == own).sum()
        return LossSum(loss, float(len(scores)), {"retrieval_accuracy": right})

    def _scores(self, embeddings: Tensor, size: int) -> Tensor:
        """(N, candidates): each anchor with all partners in order, then with all hard negatives."""
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        unit = F.normalize(embeddings.to(dtype), dim=-1)
        groups = unit.reshape(-1, size, unit.shape[-1])  # (N, G, D)
        anchors, partners, negatives = groups[:, 0], groups[:, 1], groups[:, 2:].flatten(0, 1)
        # Divided by the temperature, rounding to bf16 would be an error of a tenth and more.
        with torch.autocast(embeddings.device.type, enabled=False):
            scores: Tensor = anchors @ torch.cat([partners, negatives]).T / self.temperature
        return scores

    def _embed(self, model: Any, examples: ExampleBatch) -> Tensor:
        """(B, D) embeddings; in pieces whose activations are recomputed when they are needed."""
        if self.piece is None or len(examples) <= self.piece:
            return _embeddings(model, examples)
        parts = [
            # Dropout repeats its draws: the state of the random numbers is put back too.
            checkpoint(
                _embeddings, model, examples.slice(start, start + self.piece), use_reentrant=False
            )
            for start in range(0, len(examples), self.piece)
        ]
        return torch.cat(parts)


def _embeddings(model: Any, examples: ExampleBatch) -> Tensor:
    embeddings: Tensor = model(**example_inputs(examples)).logits
    return embeddings
