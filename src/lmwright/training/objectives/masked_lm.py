"""Masked language modelling: predict hidden tokens from both sides (Devlin et al. 2018, BERT).

15 % of the tokens are chosen, anew in every batch (Liu et al. 2019, RoBERTa, section 4.1). Of
them 80 % become the mask token, 10 % any other, 10 % stay (BERT, section 3.1, task 1), so that
the model cannot tell from a token whether it must be predicted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmwright.training.objectives.examples import real_tokens, text_inputs
from lmwright.training.objectives.loss import (
    IGNORED,
    LossSum,
    Objective,
    output_loss,
    trained_rows,
)
from lmwright.training.randomness import RowDraws

MASKED, REPLACED = 0.8, 0.1
"""Of the chosen tokens; the rest stays as it is."""


def mask_tokens(
    input_ids: Tensor,
    ordinary: Tensor,
    starts: Tensor,
    draws: Tensor,
    *,
    mask_token_id: int,
    replacements: Tensor,
    fraction: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Choose tokens, hide most of them, and keep what they were as labels.

    Args:
        input_ids: (B, T) int64.
        ordinary: (B, T) bool, tokens that may be chosen.
        starts: (B, T) bool, ordinary tokens that begin a word: a word is chosen whole. Equal to
            `ordinary` where every token is a word.
        draws: (B, T, 3) uniform in [0, 1): the first decides whether a word is chosen, the second
            what becomes of a chosen token, the third what replaces it.
        mask_token_id: what `MASKED` of the chosen tokens become.
        replacements: (R,) int64, what `REPLACED` of them are drawn from.
        fraction: share of each row's words that is chosen, at least one.

    Returns:
        (B, T) ids with the chosen tokens hidden, and (B, T) labels, -100 where none is chosen.
    """
    where, kind, other = draws.unbind(2)
    chosen = choose_words(where, starts, ordinary, fraction)
    random_ids = replacements[(other * len(replacements)).long()]
    changed = torch.where(kind < MASKED + REPLACED, random_ids, input_ids)
    changed = torch.where(kind < MASKED, mask_token_id, changed)
    return torch.where(chosen, changed, input_ids), torch.where(chosen, input_ids, IGNORED)


class MaskedLM(Objective):
    """-sum log p(hidden token | the rest) over the chosen positions alone.

    Takes packed rows (`TokenBatch`) and padded examples (`ExampleBatch`); special tokens and
    padding are never chosen.

    Args:
        vocab_size: V of the tokenizer: replacements are drawn from its ordinary tokens.
        mask_token_id: what most of the chosen tokens become.
        special_token_ids: never chosen, and never a replacement; the mask token among them or not.
        fraction: share of each row's words that is chosen, at least one.
        begins_word: (V,) bool, whether a token begins a word; then whole words are chosen. None:
            every token is a word.
        seed: of the choice.
    """

    def __init__(
        self,
        vocab_size: int,
        mask_token_id: int,
        special_token_ids: Sequence[int],
        *,
        fraction: float = 0.15,
        begins_word: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        self.mask_token_id, self.fraction, self.begins_word = mask_token_id, fraction, begins_word
        self.special = torch.zeros(vocab_size, dtype=torch.bool)
        self.special[[*special_token_ids, mask_token_id]] = True
        self.ordinary_ids = (~self.special).nonzero().squeeze(1)
        self.draws = RowDraws(seed)

    def loss(self, model: Any, batch: Any) -> LossSum:
        """Sum of nats over the chosen positions.

        Args:
            model: with `hidden_states`, `transform` and an output layer.
            batch: rows of text; what it holds of targets or labels is not looked at.
        """
        masked, labels = self.corrupt(batch)
        hidden = model.hidden_states(masked, **text_inputs(batch))
        rows, targets, chosen = trained_rows(hidden, labels)
        return output_loss(model, model.transform(rows), targets, chosen)

    def corrupt(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(B, T) input ids with the chosen tokens hidden, and (B, T) labels, -100 elsewhere."""
        ids: Tensor = batch.input_ids
        device = ids.device
        draws = self.draws.draw(len(ids), ids.shape[1], 3).to(device)
        ordinary = real_tokens(batch) & ~self.special.to(device)[ids]
        return mask_tokens(
            ids,
            ordinary,
            self._word_starts(ids, ordinary, getattr(batch, "document_ids", None)),
            draws,
            mask_token_id=self.mask_token_id,
            replacements=self.ordinary_ids.to(device),
            fraction=self.fraction,
        )

    def _word_starts(self, ids: Tensor, ordinary: Tensor, documents: Tensor | None) -> Tensor:
        """(B, T) bool: ordinary tokens that begin a word, a document, or follow a special one."""
        if self.begins_word is None:
            return ordinary
        follows = torch.zeros_like(ordinary)
        follows[:, 1:] = ordinary[:, :-1]
        if documents is not None:
            follows[:, 1:] &= documents[:, 1:] == documents[:, :-1]
        return ordinary & (self.begins_word.to(ids.device)[ids] | ~follows)

    def state_dict(self) -> dict[str, Any]:
        return self.draws.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.draws.load_state_dict(state)


def choose_words(draws: Tensor, starts: Tensor, ordinary: Tensor, fraction: float) -> Tensor:
    """(B, T) bool: the tokens of round(fraction * words) words of each row, at least of one.

    Args:
        draws: (B, T) uniform in 0..1; the words with the lowest are chosen.
        starts: (B, T) bool, the first token of each word.
        ordinary: (B, T) bool, tokens that may be chosen.
        fraction: share of words, and so on average of tokens.
    """
    words = starts.sum(1, keepdim=True)
    wanted = (words * fraction).round().clamp_min(1)
    rank = draws.masked_fill(~starts, torch.inf).argsort(1).argsort(1)
    picked = starts & (rank < wanted)
    place = torch.arange(starts.shape[1], device=starts.device)
    first = torch.where(starts, place, 0).cummax(1).values  # of the word that a token belongs to
    return ordinary & picked.gather(1, first)
