"""Preference pairs as tensors: tokenised, scored by the reference, served in a repeatable order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmwright.alignment.preference import PreferencePairs, Sequences, sequence_log_probabilities
from lmwright.core.errors import LmwrightError
from lmwright.models.transformer import Decoder
from lmwright.tokens import chat
from lmwright.tokens.packing import TokenDocument
from lmwright.tokens.tokenizer import Tokenizer
from lmwright.training.objectives.loss import IGNORED

Message = dict[str, str]


@dataclass(frozen=True)
class Pair:
    """One preference, as in a corpus's `preferences/*.jsonl`."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Pair":
        """From `{"prompt": [...], "chosen": [...], "rejected": [...]}`."""
        return cls(record["prompt"], record["chosen"], record["rejected"])

    def to_record(self) -> dict[str, Any]:
        """The field's usual columns."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


class PairLoader:
    """Endless batches of pairs, reshuffled every epoch by (seed, epoch).

    Args:
        pairs: all of them.
        batch_pairs: pairs per batch.
        seed: decides the order.
    """

    def __init__(self, pairs: PreferencePairs, *, batch_pairs: int, seed: int) -> None:
        self.pairs, self.batch_pairs, self.seed = pairs, min(batch_pairs, len(pairs)), seed
        self.position = 0

    @property
    def row_length(self) -> int:
        """T, tokens of a conversation with its padding."""
        return self.pairs.chosen.input_ids.shape[1]

    def __iter__(self) -> Iterator[PreferencePairs]:
        while True:
            chosen = self._next_indices()
            self.position += self.batch_pairs
            yield take(self.pairs, torch.from_numpy(chosen))

    def _next_indices(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        places = np.arange(self.position, self.position + self.batch_pairs)
        epochs, within = np.divmod(places, len(self.pairs))
        orders = {
            int(epoch): np.random.default_rng((self.seed, int(epoch))).permutation(len(self.pairs))
            for epoch in np.unique(epochs)
        }
        return np.array([orders[int(e)][w] for e, w in zip(epochs, within, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """How many pairs have been served."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.position = int(state["position"])


def take(pairs: PreferencePairs, index: Tensor) -> PreferencePairs:
    """The pairs at `index` (N,) int64."""
    return PreferencePairs(
        _take(pairs.chosen, index),
        _take(pairs.rejected, index),
        pairs.reference_chosen[index],
        pairs.reference_rejected[index],
    )


def _take(sequences: Sequences, index: Tensor) -> Sequences:
    return Sequences(sequences.input_ids[index], sequences.targets[index], sequences.lengths[index])


def tensors(
    pairs: Sequence[Pair], tokenizer: Tokenizer, reference: Decoder, *, longest: int = 256
) -> tuple[PreferencePairs, int]:
    """Tokenise pairs and score both answers under the reference.

    Args:
        pairs: what was preferred to what.
        tokenizer: with a chat template.
        reference: the model that DPO starts from; called without gradients.
        longest: pairs with more tokens in either answer's conversation are left out.

    Returns:
        the pairs of equal length T, and how many were left out.

    Raises:
        LmwrightError: if no pair is left.
    """
    sides = [
        chat.encode_chats(tokenizer, [p.prompt + getattr(p, side) for p in pairs])
        for side in ("chosen", "rejected")
    ]
    kept = [
        (last_turn(c), last_turn(r))
        for c, r in zip(*sides, strict=True)
        if max(len(c.ids), len(r.ids)) <= longest
    ]
    if not kept:
        raise LmwrightError(
            f"none of the {len(pairs)} preference pairs fits into {longest} tokens",
            hint="raise longest, or shorten the conversations",
        )
    width = max(len(document.ids) for pair in kept for document in pair)
    chosen = pad([pair[0] for pair in kept], width, tokenizer.pad_token_id)
    rejected = pad([pair[1] for pair in kept], width, tokenizer.pad_token_id)
    scored = PreferencePairs(chosen, rejected, score(reference, chosen), score(reference, rejected))
    return scored, len(pairs) - len(kept)


def last_turn(document: TokenDocument) -> TokenDocument:
    """The same conversation with only the last assistant turn trained: the answer compared."""
    assert document.mask is not None
    mask = np.asarray(document.mask, dtype=bool)
    last = len(mask) - 1 - int(np.argmax(mask[::-1]))
    before = np.flatnonzero(~mask[: last + 1])
    start = int(before[-1]) + 1 if len(before) else 0
    only = np.zeros_like(mask)
    only[start : last + 1] = True
    return TokenDocument(document.ids, only)


def pad(documents: Sequence[TokenDocument], width: int, pad_token_id: int) -> Sequences:
    """Rows of `width` tokens, padded on the right; targets are the next, trained token."""
    input_ids = torch.full((len(documents), width), pad_token_id, dtype=torch.int64)
    targets = torch.full((len(documents), width), IGNORED, dtype=torch.int64)
    for row, document in enumerate(documents):
        ids = torch.as_tensor(np.asarray(document.ids, dtype=np.int64))
        trained = torch.as_tensor(np.asarray(document.mask, dtype=bool))
        input_ids[row, : len(ids)] = ids
        following = torch.where(trained[1:], ids[1:], IGNORED)
        targets[row, : len(ids) - 1] = following
    lengths = torch.tensor([len(document.ids) for document in documents])
    return Sequences(input_ids, targets, lengths)


def score(reference: Decoder, sequences: Sequences, rows: int = 128) -> Tensor:
    """(N,) fp32 log-probability of each answer under the reference, in nats."""
    training = reference.training
    reference.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        parts = [
            sequence_log_probabilities(reference, sequences.slice(start, start + rows))[0]
            for start in range(0, len(sequences), rows)
        ]
    reference.train(training)
    return torch.cat(parts)
