"""Generation where one sequence is read and another is written: greedy, or by beam search.

Beam search: Sutskever et al. 2014, section 3.2; length penalty: Wu et al. 2016, GNMT, section 7.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine.growing import GrowingCache
from lmwright.engine.runner import generating
from lmwright.models.encoder_decoder import EncoderDecoder
from lmwright.models.recurrent_encoder_decoder import RecurrentEncoderDecoder


class Writer(Protocol):
    """A decoder on its way through N targets at once."""

    def step(self, token_ids: Tensor) -> Tensor:
        """(N,) tokens before -> (N, V) logits of the tokens after."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows (M,), in this order, each as often as it is named."""
        ...


class TransformerWriter:
    """The decoder of an `EncoderDecoder`, its keys and values cached.

    Args:
        model: whose decoder.
        input_ids: (N, S), what was read.
        attention_mask: (N, S), 0 where it is padding; None: nothing is.
    """

    def __init__(
        self, model: EncoderDecoder, input_ids: Tensor, attention_mask: Tensor | None
    ) -> None:
        self.model = model
        self.memory = model.encode(input_ids, attention_mask)
        self.mask = attention_mask
        self.cache = GrowingCache()
        self.written = 0

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        place = torch.full((1, 1), self.written, device=token_ids.device)
        self.written += 1
        hidden = self.model.decoder_states(
            token_ids[:, None], self.memory, self.mask, None, place, self.cache
        )
        return self.model.project(hidden[:, -1])

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.memory = self.memory[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        self.cache.select(rows)


class RecurrentWriter:
    """The decoder of a `RecurrentEncoderDecoder`, and its state.

    Args:
        model, input_ids, attention_mask: see `TransformerWriter`.
    """

    def __init__(
        self, model: RecurrentEncoderDecoder, input_ids: Tensor, attention_mask: Tensor | None
    ) -> None:
        self.model = model
        self.memory = model.encode(input_ids, attention_mask)
        self.state = self.memory.state

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        logits, self.state, _ = self.model.step(self.memory, self.state, token_ids)
        return logits

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.memory, self.state = self.memory.select(rows), self.state.select(rows)


def generate(
    model: EncoderDecoder | RecurrentEncoderDecoder,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 0.6,
) -> list[list[int]]:
    """Write a target for each source.

    Args:
        model: reads the sources, writes the targets.
        input_ids: (B, S) integers, the sources.
        attention_mask: (B, S), 0 where they are padding; None: nothing is.
        max_tokens: of a target at most, its end token included.
        beams: targets that are followed at once; 1: greedy, always the likeliest token.
        length_penalty: alpha of `penalty`, at least 0; 0 prefers the likeliest target, larger
            values longer ones. GNMT found 0.6 to 0.7 best.

    Returns:
        B lists of token ids, without the start and the end token.

    Raises:
        LmwrightError: if a setting is out of range, or the model names no token to begin with.
    """
    start, ends = _special_tokens(model)
    _check(model, input_ids, attention_mask, max_tokens, beams, length_penalty)
    first = torch.full((len(input_ids),), start, device=input_ids.device)
    with generating(model):
        writer: Writer
        if isinstance(model, EncoderDecoder):
            writer = TransformerWriter(model, input_ids, attention_mask)
        else:
            writer = RecurrentWriter(model, input_ids, attention_mask)
        if beams == 1:
            return greedy(writer, first, ends, max_tokens)
        return beam_search(
            writer, first, ends, max_tokens, beams, lambda n: penalty(n, length_penalty)
        )


def penalty(length: int, alpha: float) -> float:
    """((5 + length) / (5 + 1))^alpha, what a target's log-probability is divided by (Wu et al.
    2016, equation 14)."""
    return math.pow((5 + length) / 6, alpha)


def greedy(writer: Writer, first: Tensor, ends: Tensor, max_tokens: int) -> list[list[int]]:
    """Always the likeliest token.

    Args:
        writer: at the start of N targets.
        first: (N,) tokens to begin with.
        ends: (E,) tokens that end a target.
        max_tokens: of a target at most.

    Returns:
        N lists of token ids.
    """
    targets: list[list[int]] = [[] for _ in first]
    alive, last, enders = list(range(len(targets))), first, set(ends.tolist())
    for _ in range(max_tokens):
        last = writer.step(last).argmax(dim=-1)
        tokens = last.tolist()
        going = [place for place, token in enumerate(tokens) if token not in enders]
        for place in going:
            targets[alive[place]].append(tokens[place])
        if not going:
            break
        if len(going) < len(alive):
            rows = torch.tensor(going, device=last.device)
            writer.select(rows)
            last, alive = last[rows], [alive[place] for place in going]
    return targets


def beam_search(
    writer: Writer,
    first: Tensor,
    ends: Tensor,
    max_tokens: int,
    beams: int,
    length_penalty: Callable[[int], float],
) -> list[list[int]]:
    """The best target that `beams` candidates at a time lead to.

    A candidate that ends counts if it is among the best `beams` of its step; the others go on. A
    source is done once nothing that still runs could become better than its best ended target.

    Args:
        writer, first, ends, max_tokens: see `greedy`.
        beams: K.
        length_penalty: what the log-probability of a target of so many tokens is divided by; not
            less for more tokens.

    Returns:
        N lists of token ids.
    """
    device, sources = first.device, len(first)
    best: list[tuple[float, list[int]]] = [(-torch.inf, []) for _ in range(sources)]
    alive = list(range(sources))
    writer.select(torch.arange(sources, device=device).repeat_interleave(beams))
    last = first.repeat_interleave(beams)
    written = torch.empty(sources, beams, 0, dtype=torch.long, device=device)
    # All beams begin alike: the first one alone counts.
    totals = torch.full((sources, beams), -torch.inf, device=device)
    totals[:, 0] = 0.0
    for length in range(1, max_tokens + 1):
        scores = writer.step(last).float().log_softmax(dim=-1)
        vocabulary = scores.shape[-1]
        candidates = (totals[:, :, None] + scores.view(*totals.shape, vocabulary)).flatten(1)
        # Each beam may lose its likeliest tokens to the end: K must remain.
        wide = min(beams * (1 + len(ends)), candidates.shape[1])
        values, index = candidates.topk(wide)
        parents, tokens = index // vocabulary, index % vocabulary
        ended = torch.isin(tokens, ends)
        _note_ended(best, alive, written, (values, parents, ended), beams, length_penalty(length))
        totals, order = values.masked_fill(ended, -torch.inf).topk(min(beams, wide))
        parents, tokens = parents.gather(1, order), tokens.gather(1, order)
        history = written.gather(1, parents[:, :, None].expand(-1, -1, length - 1))
        written = torch.cat((history, tokens[:, :, None]), dim=2)
        # No target gets more than max_tokens, so none is divided by more than this.
        bound = (totals[:, 0] / length_penalty(max_tokens)).tolist()
        if length == max_tokens:
            for place, source in enumerate(alive):
                best[source] = max(best[source], (bound[place], written[place, 0].tolist()))
            break
        going = [p for p, source in enumerate(alive) if bound[p] > best[source][0]]
        if not going:
            break
        rows = torch.tensor(going, device=device)
        writer.select((rows[:, None] * beams + parents[rows]).flatten())
        alive = [alive[place] for place in going]
        totals, written, last = totals[rows], written[rows], tokens[rows].flatten()
    return [tokens for _, tokens in best]


def _note_ended(
    best: list[tuple[float, list[int]]],
    alive: list[int],
    written: Tensor,
    candidates: tuple[Tensor, Tensor, Tensor],
    beams: int,
    divisor: float,
) -> None:
    """Put the best candidates that end at this step into `best`, where they are better."""
    values, parents, ended = candidates
    for place, rank in ended[:, :beams].nonzero().tolist():
        score = float(values[place, rank]) / divisor
        if score > best[alive[place]][0]:
            best[alive[place]] = (score, written[place, parents[place, rank]].tolist())


def _special_tokens(model: EncoderDecoder | RecurrentEncoderDecoder) -> tuple[int, Tensor]:
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    if start is None:
        raise LmwrightError("the model's config names no decoder_start_token_id to begin with")
    ends = () if end is None else (end,) if isinstance(end, int) else end
    return start, torch.tensor(ends, dtype=torch.long, device=model.output_weight.device)


def _check(
    model: EncoderDecoder | RecurrentEncoderDecoder,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_tokens: int,
    beams: int,
    length_penalty: float,
) -> None:
    if input_ids.ndim != 2 or not input_ids.shape[1]:
        raise LmwrightError(f"input_ids has shape {tuple(input_ids.shape)}, not (rows, tokens)")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise LmwrightError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, "
            f"input_ids {tuple(input_ids.shape)}"
        )
    if max_tokens < 1 or beams < 1 or length_penalty < 0:
        raise LmwrightError(
            f"max_tokens {max_tokens}, beams {beams}, length_penalty {length_penalty}: "
            "the first two must be at least 1, the third at least 0"
        )
    if isinstance(model, EncoderDecoder) and model.config.positions == "learned":
        most = model.config.max_position_embeddings
        if max_tokens > most or input_ids.shape[1] > most:
            raise LmwrightError(
                f"{input_ids.shape[1]} tokens to read and {max_tokens} to write; "
                f"the model has {most} positions for each"
            )
