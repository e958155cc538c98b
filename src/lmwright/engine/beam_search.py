"""Targets token by token: greedy, or by beam search.

Beam search: Sutskever et al. 2014, section 3.2; length penalty: Wu et al. 2016, GNMT, section 7.
"""

import math
from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import Protocol

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine.growing import GrowingCache
from lmwright.models.transformer import Decoder


class Writer(Protocol):
    """A decoder on its way through N targets at once."""

    def step(self, token_ids: Tensor) -> Tensor:
        """(N,) tokens before -> (N, V) logits of the tokens after."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows (M,), in this order, each as often as it is named."""
        ...


class DecoderWriter:
    """A decoder that goes on from one text.

    Args:
        model: whose forward pass.
        prompt_ids: what was written before, but for the last token; may be empty.
    """

    def __init__(self, model: Decoder, prompt_ids: Items[int]) -> None:
        self.model = model
        self.cache = GrowingCache()
        self.written = 0
        if prompt_ids:
            self._read(torch.tensor([list(prompt_ids)], device=model.output_weight.device))

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        return self.model.project(self._read(token_ids[:, None])[:, -1])

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.cache.select(rows)

    def _read(self, token_ids: Tensor) -> Tensor:
        """(N, T) tokens -> (N, T, D), all rows being of one length."""
        places = torch.arange(token_ids.shape[1], device=token_ids.device)[None] + self.written
        self.written += token_ids.shape[1]
        return self.model.hidden_states(token_ids, position_ids=places, cache=self.cache)


def continue_text(
    model: Decoder,
    prompt_ids: Items[int],
    *,
    end_ids: Items[int],
    max_tokens: int,
    beams: int,
    length_penalty: float = 0.0,
) -> list[int]:
    """The best continuation of a text that beam search finds; called under `runner.generating`.

    Args:
        model: a decoder.
        prompt_ids: at least one token.
        end_ids: tokens that end it.
        max_tokens: of the continuation at most.
        beams: continuations that are followed at once; 1: always the likeliest token.
        length_penalty: alpha of `penalty`, at least 0; 0 prefers the likeliest continuation.

    Returns:
        Token ids, without the end token.

    Raises:
        LmwrightError: if a setting is out of range.
    """
    if not prompt_ids or max_tokens < 1 or beams < 1 or length_penalty < 0:
        raise LmwrightError(
            f"{len(prompt_ids)} prompt tokens, max_tokens {max_tokens}, beams {beams}, "
            f"length_penalty {length_penalty}: the first three must be at least 1, the last 0"
        )
    device = model.output_weight.device
    writer = DecoderWriter(model, prompt_ids[:-1])
    first = torch.tensor([prompt_ids[-1]], device=device)
    ends = torch.tensor(list(end_ids), dtype=torch.long, device=device)
    if beams == 1:
        return greedy(writer, first, ends, max_tokens)[0]
    return beam_search(
        writer, first, ends, max_tokens, beams, lambda n: penalty(n, length_penalty)
    )[0]


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
    writer.select(torch.arange(sources, device=device).repeat_interleave(beams))
    tree = Beams(sources, beams, device)
    last = first.repeat_interleave(beams)
    for length in range(1, max_tokens + 1):
        parents = tree.grow(writer.step(last), ends, length_penalty(length))
        # No target gets more than max_tokens, so none is divided by more than this.
        reachable = (tree.totals[:, 0] / length_penalty(max_tokens)).tolist()
        if length == max_tokens:
            tree.end_all(reachable)
            break
        going = tree.worth_following(reachable)
        if not going:
            break
        rows = torch.tensor(going, device=device)
        tree.keep(rows)
        writer.select((rows[:, None] * beams + parents[rows]).flatten())
        last = tree.written[:, :, -1].flatten()
    return [tokens for _, tokens in tree.best]


class Beams:
    """K candidates for each of A sources that still run; the best ended target of all N.

    Args:
        sources: N.
        beams: K.
        device: where to keep them.
    """

    def __init__(self, sources: int, beams: int, device: torch.device) -> None:
        self.beams = beams
        self.best: list[tuple[float, list[int]]] = [(-torch.inf, []) for _ in range(sources)]
        self.alive = list(range(sources))
        self.written = torch.empty(sources, beams, 0, dtype=torch.long, device=device)
        # All beams begin alike: the first one alone counts.
        self.totals = torch.full((sources, beams), -torch.inf, device=device)
        self.totals[:, 0] = 0.0

    def grow(self, logits: Tensor, ends: Tensor, divisor: float) -> Tensor:
        """One token more.

        Args:
            logits: (A * K, V) of it.
            ends: (E,) tokens that end a target.
            divisor: what the log-probability of targets of the new length is divided by.

        Returns:
            (A, K), from which candidate each of the new ones goes on, the likeliest first.
        """
        vocabulary = logits.shape[-1]
        scores = logits.float().log_softmax(dim=-1).view(*self.totals.shape, vocabulary)
        candidates = (self.totals[:, :, None] + scores).flatten(1)
        # Each beam may lose its likeliest tokens to the end: K must remain.
        wide = min(self.beams * (1 + len(ends)), candidates.shape[1])
        values, index = candidates.topk(wide)
        parents, tokens = index // vocabulary, index % vocabulary
        ended = torch.isin(tokens, ends)
        for place, rank in ended[:, : self.beams].nonzero().tolist():
            target = self.written[place, parents[place, rank]].tolist()
            self._end(place, float(values[place, rank]) / divisor, target)
        self.totals, order = values.masked_fill(ended, -torch.inf).topk(self.beams)
        parents, tokens = parents.gather(1, order), tokens.gather(1, order)
        history = self.written.gather(1, parents[:, :, None].expand(-1, -1, self.written.shape[2]))
        self.written = torch.cat((history, tokens[:, :, None]), dim=2)
        return parents

    def end_all(self, scores: list[float]) -> None:
        """Take the best candidate of each source for a target that ended, with this score."""
        for place, score in enumerate(scores):
            self._end(place, score, self.written[place, 0].tolist())

    def worth_following(self, reachable: list[float]) -> list[int]:
        """Places of the sources that may yet do better, by the best score they can reach."""
        return [p for p, source in enumerate(self.alive) if reachable[p] > self.best[source][0]]

    def keep(self, places: Tensor) -> None:
        """Go on with the sources at these places."""
        self.alive = [self.alive[place] for place in places.tolist()]
        self.totals, self.written = self.totals[places], self.written[places]

    def _end(self, place: int, score: float, target: list[int]) -> None:
        source = self.alive[place]
        if score > self.best[source][0]:
            self.best[source] = (score, target)
