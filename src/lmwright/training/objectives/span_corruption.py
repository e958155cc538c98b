"""Span corruption: write out what was cut from a text (Raffel et al. 2019, T5, section 3.1.4).

Of "Thank you for inviting me to your party last week" the encoder reads "Thank you <X> me to your
party <Y> week </s>", and the decoder writes "<X> for inviting <Y> last <Z> </s>".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmwright.core.errors import LmwrightError
from lmwright.tokens.examples import ExampleBatch, shifted_right
from lmwright.training.objectives.examples import real_tokens
from lmwright.training.objectives.loss import IGNORED, LossSum, Objective
from lmwright.training.objectives.sequence_to_sequence import SequenceToSequence
from lmwright.training.randomness import RowDraws


@dataclass(frozen=True)
class Lengths:
    """What becomes of a text of some number of tokens; known before anything is drawn."""

    noise: int
    """Tokens that are cut out."""
    spans: int
    """Pieces that they are cut out in."""
    input: int
    """Tokens of the encoder's input, the end-of-text token included."""
    target: int
    """Tokens of the decoder's target, the final sentinel and the end-of-text token included."""


def lengths(tokens: int, density: float = 0.15, mean_span: float = 3.0) -> Lengths:
    """The arithmetic of T5: how much of a text is cut out, and what is left.

    Args:
        tokens: of the text.
        density: share of the tokens that are cut out; at least one is, and at least one stays.
        mean_span: tokens of a piece, on average.
    """
    noise = max(0, min(max(round(tokens * density), 1), tokens - 1))
    spans = min(max(round(noise / mean_span), 1), noise, tokens - noise)
    return Lengths(noise, spans, tokens - noise + spans + 1, noise + spans + 2)


class SpanCorruption(Objective):
    """-sum log p(cut-out pieces | the rest of the text) for an encoder-decoder.

    A row's tokens are one text, whatever documents they are of, as in T5. Padded lengths depend on
    the batch's T alone: no batch needs kernels of its own.

    Args:
        first_sentinel_id: marks the first piece; the next ones count down from it (T5's V - 1).
        sentinels: how many of them there are.
        eos_token_id: ends input and target.
        pad_token_id: fills up rows.
        decoder_start_token_id: the decoder's first input.
        density: share of the tokens that are cut out.
        mean_span: tokens of a piece, on average.
        seed: of the pieces.
    """

    def __init__(
        self,
        *,
        first_sentinel_id: int,
        sentinels: int,
        eos_token_id: int,
        pad_token_id: int,
        decoder_start_token_id: int,
        density: float = 0.15,
        mean_span: float = 3.0,
        seed: int = 0,
    ) -> None:
        self.first_sentinel_id, self.sentinels = first_sentinel_id, sentinels
        self.eos_token_id, self.pad_token_id = eos_token_id, pad_token_id
        self.decoder_start_token_id = decoder_start_token_id
        self.density, self.mean_span = density, mean_span
        self.draws = RowDraws(seed)
        self.reconstruct = SequenceToSequence()

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """Sum of nats over the targets' tokens.

        Raises:
            LmwrightError: if the rows are so long that the sentinels run out.
        """
        return self.reconstruct.loss(model, self.corrupt(batch))

    def corrupt(self, batch: Any) -> ExampleBatch:
        """Inputs and targets of the rows of a `TokenBatch` (B, T)."""
        ids, real = batch.input_ids, real_tokens(batch)
        full = lengths(ids.shape[1], self.density, self.mean_span)
        if full.spans + 1 > self.sentinels:
            raise LmwrightError(
                f"rows of {ids.shape[1]} tokens have {full.spans} spans and need "
                f"{full.spans + 1} sentinels, and there are {self.sentinels}",
                hint="use shorter rows, or a larger mean_span",
            )
        draws = self.draws.draw(len(ids), ids.shape[1], 2)
        inputs = torch.full((len(ids), full.input), self.pad_token_id)
        targets = torch.full((len(ids), full.target), IGNORED)
        mask = torch.zeros_like(inputs)
        for row, (text, keep) in enumerate(zip(ids.cpu(), real.cpu(), strict=True)):
            given, wanted = self._split(text[keep], draws[row])
            inputs[row, : len(given)], mask[row, : len(given)] = given, 1
            targets[row, : len(wanted)] = wanted
        decoder = shifted_right(targets, self.decoder_start_token_id, self.pad_token_id)
        return ExampleBatch(
            input_ids=inputs, attention_mask=mask, labels=targets, decoder_input_ids=decoder
        ).to(ids.device)

    def _split(self, text: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Input and target of one text of n tokens."""
        noise = noise_mask(len(text), draws, self.density, self.mean_span)
        spans = int((noise[1:] & ~noise[:-1]).sum())
        final = torch.tensor([self.first_sentinel_id - spans, self.eos_token_id])
        wanted = self._with_sentinels(text, ~noise) if spans else text[:0]
        return (
            torch.cat([self._with_sentinels(text, noise), final[1:]]),
            torch.cat([wanted, final]),
        )

    def _with_sentinels(self, text: Tensor, cut: Tensor) -> Tensor:
        """The text with each run of tokens in `cut` replaced by the next sentinel."""
        first = cut.clone()
        first[1:] &= ~cut[:-1]
        sentinels = self.first_sentinel_id - (first.cumsum(0) - 1)
        return torch.where(first, sentinels, text)[first | ~cut]

    def state_dict(self) -> dict[str, Any]:
        return self.draws.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.draws.load_state_dict(state)


def noise_mask(tokens: int, draws: Tensor, density: float = 0.15, mean_span: float = 3.0) -> Tensor:
    """(tokens,) bool: what is cut out of a text, in `lengths(...).spans` pieces of random length.

    Kept and cut-out pieces take turns, a kept one first, none of them empty: neighbouring pieces
    never grow together. Every way to cut the text so is equally likely.

    Args:
        tokens: of the text.
        draws: (at least tokens, 2) uniform in 0..1.
        density, mean_span: see `lengths`.
    """
    n = lengths(tokens, density, mean_span)
    if n.spans == 0:
        return torch.zeros(tokens, dtype=torch.bool)
    kept = _random_parts(tokens - n.noise, n.spans, draws[:, 0])
    cut = _random_parts(n.noise, n.spans, draws[:, 1])
    pieces = torch.stack([kept, cut], dim=1).reshape(-1)
    return (torch.arange(2 * n.spans) % 2 == 1).repeat_interleave(pieces)


def _random_parts(items: int, parts: int, draws: Tensor) -> Tensor:
    """(parts,) sizes of at least 1 that sum to `items`, every such list equally likely."""
    cuts = draws[: items - 1].argsort()[: parts - 1].sort().values + 1
    edges = torch.cat([torch.tensor([0]), cuts, torch.tensor([items])])
    return edges.diff()
