"""From scores to the next token: one request's state, the order of its filters, and the draw."""

import math
from collections.abc import Sequence as Items
from random import Random
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lmwright.engine.params import Constraint, SamplingParams
from lmwright.engine.penalties import Penalties

__all__ = [
    "Choice",
    "Constraint",
    "SamplingParams",
    "SamplingState",
    "choose",
    "distribution",
    "score",
]


class Matcher(Protocol):
    """What follows an answer's way through the language it must belong to."""

    mask: Tensor
    """(V',) bool on the CPU: which tokens may come next, at least one; others may not."""

    def advance(self, token_id: int) -> None:
        """Take a token.

        Raises:
            LmwrightError: if it was not allowed, or nothing can follow it.
        """
        ...


class SamplingState:
    """What choosing one sequence's tokens depends on besides the model's scores.

    Args:
        params: how to choose.
        prompt_ids: the sequence's prompt.
        end_ids: the model's end tokens.
        matcher: at the start of the answer; None: the answer is free.

    Attributes:
        end_ids: tokens that end this answer: the model's, unless `params.ignore_eos`, and
            `params.stop_token_ids`.
        random: the request's own stream of uniform numbers; None for greedy requests. One number
            is drawn per token, so what else is in the batch cannot shift the stream, and the
            process's global generators (torch, NumPy, random) are neither read nor advanced.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Items[int],
        *,
        end_ids: frozenset[int] = frozenset(),
        matcher: Matcher | None = None,
    ) -> None:
        assert (matcher is None) == (params.constraint is None), "a constraint and its matcher"
        self.params = params
        self.random = None if params.greedy else Random(params.seed)
        self.end_ids = (frozenset() if params.ignore_eos else end_ids) | {*params.stop_token_ids}
        self.matcher = matcher
        self._penalties = (
            Penalties(params, prompt_ids, self.end_ids) if params.changes_scores else None
        )

    @property
    def plain(self) -> bool:
        """True if the model's scores are taken as they are."""
        return self._penalties is None and self.matcher is None

    def advance(self, token_id: int) -> None:
        """Take the next token of the answer: counts, bans, the place in the grammar.

        Raises:
            LmwrightError: if no token can follow under the constraint.
        """
        if self._penalties is not None:
            self._penalties.count(token_id)
        if self.matcher is not None:
            self.matcher.advance(token_id)

    def adjust(self, scores: Tensor) -> Tensor:
        """The (V,) float32 scores to choose by, from the model's."""
        adjusted = scores if self._penalties is None else self._penalties.apply(scores)
        if self.matcher is None:
            return adjusted
        allowed = _stretched(self.matcher.mask.to(scores.device), len(scores))
        masked = adjusted.masked_fill(~allowed, float("-inf"))
        if masked.amax() > float("-inf"):
            return masked
        # Only banned tokens are left: the grammar is complete before `min_tokens`, and it rules.
        return scores.nan_to_num(neginf=torch.finfo(scores.dtype).min).masked_fill(
            ~allowed, float("-inf")
        )


class Choice(NamedTuple):
    """One token that was chosen.

    Attributes:
        logprob: its natural log-probability, where asked for: under the distribution that it was
            drawn from; for greedy requests under the softmax of the scores it is the largest of.
        top: (id, log-probability) of the likeliest tokens, where asked for, the likeliest first,
            of equals the lower id; tokens that were not possible are left out.
    """

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def choose(
    logits: Tensor, states: Items[SamplingState], highest: Items[int] | None = None
) -> list[Choice]:
    """Choose one token for every row; the states are advanced by the caller.

    Args:
        logits: (B, V) floating point, finite.
        states: one per row.
        highest: of each row, where its highest score is, as `look` found it; None: not known.
    """
    scores = _adjusted(logits, states)
    known = highest is not None and scores is logits
    chosen = list(highest) if highest is not None and known else look(scores).places
    sampled = [row for row, state in enumerate(states) if state.random is not None]
    probabilities = None
    if sampled:
        rows = torch.tensor(sampled, device=logits.device)
        probabilities = sampling_distribution(scores[rows], [states[row].params for row in sampled])
        uniforms = [state.random.random() for state in states if state.random is not None]
        drawn = draw(probabilities, probabilities.new_tensor(uniforms)).tolist()
        for row, token in zip(sampled, drawn, strict=True):
            chosen[row] = token
    if not any(state.params.logprobs for state in states):
        return [Choice(token) for token in chosen]
    drawn_from = {}
    if probabilities is not None:
        drawn_from = {row: probabilities[place] for place, row in enumerate(sampled)}
    return [
        _reported(token, scores[row], drawn_from.get(row), state.params)
        for row, (token, state) in enumerate(zip(chosen, states, strict=True))
    ]


class Look(NamedTuple):
    """What one look at scores (B, V) tells of each row."""

    places: list[int]
    """Where its highest is; of equals the first."""
    sound: list[bool]
    """Whether tokens can be chosen by it: its highest is a finite number. The highest is NaN if any
    is; a row of -inf alone has no distribution either."""


def look(scores: Tensor) -> Look:
    """Find each row's highest score, and whether it is a number; NaN counts as the highest.

    By NumPy where it can be: PyTorch's own `argmax` takes twenty times as long (16 x 9,196: 274
    against 13 microseconds).
    """
    if scores.is_cpu and scores.dtype == torch.float32 and not scores.requires_grad:
        numbers = scores.numpy()
        places = numbers.argmax(axis=-1).tolist()
        return Look(places, [math.isfinite(numbers[row, at]) for row, at in enumerate(places)])
    found = scores.argmax(dim=-1, keepdim=True)
    return Look(found[:, 0].tolist(), scores.gather(-1, found)[:, 0].isfinite().tolist())


def distribution(logits: Tensor, states: Items[SamplingState]) -> Tensor:
    """(B, V) float64, the probabilities that `choose` draws from; of greedy rows 1 for one token.

    Args:
        logits, states: see `choose`.
    """
    scores = _adjusted(logits, states)
    result = torch.zeros(scores.shape, dtype=torch.float64, device=scores.device)
    result.scatter_(1, scores.argmax(dim=-1, keepdim=True), 1.0)
    sampled = [row for row, state in enumerate(states) if state.random is not None]
    if sampled:
        rows = torch.tensor(sampled, device=scores.device)
        result[rows] = sampling_distribution(scores[rows], [states[row].params for row in sampled])
    return result


def score(logits: Tensor, token_ids: Items[int], top: int = 0) -> list[Choice]:
    """Given tokens' log-probabilities under the model alone, as prompts are scored.

    Args:
        logits: (N, V).
        token_ids: N of them.
        top: how many of the likeliest tokens to report beside each.
    """
    return [
        _choice(token, row.double().log_softmax(dim=-1), top)
        for token, row in zip(token_ids, logits, strict=True)
    ]


def sampling_distribution(scores: Tensor, params: Items[SamplingParams]) -> Tensor:
    """Probabilities after temperature, top-k, top-p and min-p, each row by its own parameters.

    Args:
        scores: (B, V), some finite in each row, none infinite but -inf.
        params: one per row, none of them greedy.

    Returns:
        (B, V) float64 rows that sum to 1; zero where a token was filtered out. Float64, so that
        a row's draw does not flip with the last bits that differ between batch sizes.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=scores.device)[:, None]

    scaled = scores.double()
    # The largest becomes 0 first: a tiny temperature then gives 0 and -inf, never inf - inf.
    scaled = scaled - scaled.amax(dim=-1, keepdim=True)
    scaled = scaled / column([p.temperature for p in params])
    if any(p.top_k for p in params):
        scaled = _likeliest(scaled, [p.top_k for p in params])
    for row, p in enumerate(params):
        if p.top_p < 1.0:  # 1 keeps everything, whatever the cumulative sum rounds to
            scaled[row] = _nucleus(scaled[row], p.top_p)
    if any(p.min_p for p in params):
        # Fractions of the likeliest, which is exp(0) here; what was cut above changes none.
        least = column([math.log(p.min_p) if p.min_p else -math.inf for p in params])
        scaled = scaled.masked_fill(scaled < least, -math.inf)
    return scaled.softmax(dim=-1)


def _likeliest(scaled: Tensor, counts: Items[int]) -> Tensor:
    """(B, V) with -inf where a token is not among its row's k likeliest; k = 0 keeps all.

    Of equals at the edge the lower ids are kept, so a cut between them is deterministic.
    """
    vocabulary = scaled.shape[-1]
    kept = torch.tensor([min(k or vocabulary, vocabulary) for k in counts], device=scaled.device)
    # Not a sort: selecting takes a tenth of its time, and this runs at every step.
    most = min(max(counts), vocabulary)
    place = (kept - 1).clamp(max=most - 1)[:, None]
    edge = scaled.topk(most, dim=-1).values.gather(1, place)
    edge = edge.masked_fill((kept == vocabulary)[:, None], -math.inf)
    equal = scaled == edge
    room = kept[:, None] - (scaled > edge).sum(dim=-1, keepdim=True)
    return scaled.masked_fill((scaled < edge) | (equal & (equal.cumsum(dim=-1) > room)), -math.inf)


def _nucleus(scaled: Tensor, mass: float) -> Tensor:
    """(V,) with -inf beyond the smallest set of likeliest tokens that has this mass."""
    probabilities = scaled.softmax(dim=-1)
    # Tokens below this have together less than half of what may be left out: few need sorting.
    ids = (probabilities >= (1.0 - mass) / (2 * len(scaled))).nonzero()[:, 0]
    # Stable: of equals the lower id comes first.
    ordered, order = probabilities[ids].sort(descending=True, stable=True)
    before = ordered.cumsum(dim=0) - ordered  # probability of all likelier tokens
    inside = ids[order[before < mass]]
    return torch.full_like(scaled, -math.inf).index_copy(0, inside, scaled[inside])


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution of each row, in the order of the vocabulary.

    Args:
        probabilities: (B, V) float64, not negative, some above zero in each row.
        uniforms: (B,) float64 in [0, 1).

    Returns:
        (B,) int64 ids, each with positive probability.
    """
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1]
    # The product may round up to the total, where no token would be left.
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def _adjusted(logits: Tensor, states: Items[SamplingState]) -> Tensor:
    """(B, V), the scores to choose by; `logits` themselves where no row changes them."""
    changing = [row for row, state in enumerate(states) if not state.plain]
    if not changing:
        return logits
    scores = logits.float()
    scores = scores.clone() if scores is logits else scores
    for row in changing:
        scores[row] = states[row].adjust(scores[row])
    return scores


def _stretched(mask: Tensor, vocabulary: int) -> Tensor:
    """(V,) from a mask over the tokenizer's tokens: a model may have rows that no token uses."""
    if len(mask) >= vocabulary:
        return mask[:vocabulary]
    return torch.cat((mask, mask.new_zeros(vocabulary - len(mask))))


def _reported(
    token: int, scores: Tensor, probabilities: Tensor | None, params: SamplingParams
) -> Choice:
    if not params.logprobs:
        return Choice(token)
    if probabilities is None:
        return _choice(token, scores.double().log_softmax(dim=-1), params.top_logprobs)
    return _choice(token, probabilities.log(), params.top_logprobs)


def _choice(token: int, logprobs: Tensor, top: int) -> Choice:
    """A token among (V,) float64 log-probabilities."""
    value = logprobs[token].item()
    if not top:
        return Choice(token, value)
    least = logprobs.topk(min(top, len(logprobs))).values[-1]
    # Of equals at the edge `topk` keeps any: look at all of them, in the order of their ids.
    ids = ((logprobs >= least) & logprobs.isfinite()).nonzero()[:, 0]
    values, order = logprobs[ids].sort(descending=True, stable=True)
    return Choice(token, value, tuple(zip(ids[order].tolist(), values.tolist(), strict=True))[:top])
