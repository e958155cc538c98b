"""From logits to the next token: greedy, temperature, top-k, top-p, one random stream a request."""

from collections.abc import Sequence as Items
from random import Random

import torch
from torch import Tensor

from lmwright.engine.params import Constraint, SamplingParams

__all__ = [
    "Constraint",
    "SamplingParams",
    "choose",
    "draw",
    "random_stream",
    "sampling_distribution",
]


def random_stream(params: SamplingParams) -> Random | None:
    """The request's own stream of uniform numbers; None for greedy requests.

    One number is drawn per token, so what else is in the batch cannot shift the stream, and the
    process's global generators (torch, NumPy, random) are neither read nor advanced.
    """
    if params.greedy:
        return None
    return Random(params.seed)


def choose(
    logits: Tensor, params: Items[SamplingParams], streams: Items[Random | None]
) -> tuple[Tensor, Tensor | None]:
    """Choose one token for every row.

    Args:
        logits: (B, V) floating point, finite.
        params, streams: one per row; `streams[i]` is None exactly where `params[i]` is greedy.

    Returns:
        (B,) int64 token ids, and (B,) float64 natural log-probabilities if any row asked for them:
        under the distribution the token was drawn from, after temperature, top-k and top-p and
        renormalised over what they left; for greedy rows under the model's own (temperature 1).
    """
    tokens = logits.argmax(dim=-1)
    wants_logprobs = any(p.logprobs for p in params)
    logprobs = token_logprobs(logits, tokens) if wants_logprobs else None
    sampled = [row for row, stream in enumerate(streams) if stream is not None]
    if not sampled:
        return tokens, logprobs
    rows = torch.tensor(sampled, device=logits.device)
    probabilities = sampling_distribution(logits[rows], [params[row] for row in sampled])
    uniforms = torch.tensor(
        [stream.random() for stream in streams if stream is not None],
        dtype=torch.float64,
        device=logits.device,
    )
    drawn = draw(probabilities, uniforms)
    tokens[rows] = drawn
    if logprobs is not None:
        logprobs[rows] = probabilities.gather(1, drawn[:, None])[:, 0].log()
    return tokens, logprobs


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """(B,) float64 log-softmax of (B, V) `logits` at (B,) `tokens`."""
    logits = logits.double()
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)


def sampling_distribution(logits: Tensor, params: Items[SamplingParams]) -> Tensor:
    """Probabilities after temperature, then top-k, then top-p, each row by its own parameters.

    Args:
        logits: (B, V).
        params: one per row, none of them greedy.

    Returns:
        (B, V) float64 rows that sum to 1; zero where a token was filtered out. Float64, so that
        a row's draw does not flip with the last bits that differ between batch sizes.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

    scaled = logits.double()
    # The largest becomes 0 first: a tiny temperature then gives 0 and -inf, never inf - inf.
    scaled = scaled - scaled.amax(dim=-1, keepdim=True)
    scaled = scaled / column([p.temperature for p in params])
    if all(p.top_k == 0 and p.top_p == 1.0 for p in params):
        return scaled.softmax(dim=-1)
    vocabulary = logits.shape[-1]
    # Stable: of equal logits the lower id ranks first, so a cut between equals is deterministic.
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(vocabulary, device=logits.device)
    top_k = column([p.top_k or vocabulary for p in params])
    ordered = ordered.masked_fill(rank >= top_k, float("-inf"))
    mass = ordered.softmax(dim=-1)
    before = mass.cumsum(dim=-1) - mass  # probability of all likelier tokens
    # p = 1 keeps everything, whatever the cumulative sum rounds to.
    top_p = column([p.top_p if p.top_p < 1.0 else float("inf") for p in params])
    beyond = (before >= top_p) & (rank > 0)
    ordered = ordered.masked_fill(beyond, float("-inf"))
    return torch.empty_like(scaled).scatter_(1, order, ordered).softmax(dim=-1)


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
