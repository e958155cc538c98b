"""What changes a token's score before anything is drawn: bias, penalties, and banned end tokens."""

from collections.abc import Collection
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from lmwright.engine.params import SamplingParams


class Penalties:
    """One request's changes to its scores, as its answer grows.

    Args:
        params: which of them, and how much.
        prompt_ids: the repetition penalty counts the prompt's tokens as well.
        end_ids: tokens that `min_tokens` bans at first.
    """

    def __init__(
        self, params: SamplingParams, prompt_ids: Items[int], end_ids: Collection[int]
    ) -> None:
        self.params = params
        self.end_ids = sorted(end_ids)
        self.length = 0
        """Tokens of the answer so far."""
        # How often the answer has each token; 0 for those that only the prompt has.
        repeats = params.repetition_penalty != 1.0
        self._counts: dict[int, int] = dict.fromkeys(prompt_ids, 0) if repeats else {}
        self._counting = bool(repeats or params.presence_penalty or params.frequency_penalty)

    def count(self, token_id: int) -> None:
        """Take a token of the answer into account."""
        self.length += 1
        if self._counting:
            self._counts[token_id] = self._counts.get(token_id, 0) + 1

    def apply(self, scores: Tensor) -> Tensor:
        """The (V,) scores that follow from these (V,), which are left as they are.

        In this order: bias; repetition (Keskar et al. 2019, section 4.1, with the sign rule of
        `transformers`: dividing a negative score would favour it); frequency and presence
        (OpenAI's API reference: of the answer's tokens alone); the ban on end tokens.
        """
        params, scores = self.params, scores.clone()
        if params.logit_bias:
            biased = torch.tensor(list(params.logit_bias), device=scores.device)
            scores[biased] += scores.new_tensor(list(params.logit_bias.values()))
        if self._counts:
            seen = torch.tensor(list(self._counts), device=scores.device)
            scores[seen] = self._penalised(scores[seen])
        if self.length < params.min_tokens:
            scores[self.end_ids] = float("-inf")
        return scores

    def _penalised(self, scores: Tensor) -> Tensor:
        """New scores of the tokens in `_counts`, in its order."""
        params = self.params
        if params.repetition_penalty != 1.0:
            penalty = params.repetition_penalty
            scores = torch.where(scores < 0, scores * penalty, scores / penalty)
        counts = scores.new_tensor(list(self._counts.values()))
        present = (counts > 0).to(scores.dtype)
        return scores - params.frequency_penalty * counts - params.presence_penalty * present
