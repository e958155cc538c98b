"""What a distribution to sample from must be, in the order in which it is learnt."""

import math
from typing import Any

import torch
from torch import Tensor

from lmwright.engine.params import SamplingParams
from lmwright.engine.sampling import draw as draw_tokens
from lmwright.engine.sampling import sampling_distribution
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call
from lmwright.roadmap.values import copied

DRAWS = 20_000
LEAST_P = 1e-8  # of the chi-square test: right ones fail it once in 100 million cases


def scores_of(draw: Draw, spread: float = 2.0) -> Tensor:
    """(B, V)."""
    return draw.normal(draw.size(1, 3), draw.size(2, 30)) * spread


def with_params(draw: Draw, scores: Tensor, **ranges: Any) -> Case:
    """A case whose rows each draw their own parameters; a callable is asked for each row."""
    params = [
        SamplingParams(**{name: make() for name, make in ranges.items()})
        for _ in range(len(scores))
    ]
    return Case((scores, params))


def plain(draw: Draw) -> Case:
    half = draw.chance(0.3)
    scores = scores_of(draw).to(torch.bfloat16 if half else torch.float32)
    case = with_params(draw, scores, temperature=lambda: 1.0)
    return Case(case.args, branches=frozenset({"bfloat16" if half else "float32"}))


def heated(draw: Draw) -> Case:
    return with_params(draw, scores_of(draw), temperature=lambda: draw.uniform(0.2, 3.0))


def likeliest(draw: Draw) -> Case:
    scores = scores_of(draw)
    most = scores.shape[1]
    counts = [draw.choice([0, most + 3, draw.size(1, most), draw.size(1, most)]) for _ in scores]
    params = [SamplingParams(temperature=draw.uniform(0.5, 2.0), top_k=k) for k in counts]
    hit = {"off" if not k else "more than there are" if k > most else "some" for k in counts}
    return Case((scores, params), branches=frozenset(hit))


def likeliest_of_equals(draw: Draw) -> Case:
    scores = draw.integers(0, 2, draw.size(1, 3), draw.size(2, 20)).float()
    most = scores.shape[1] - 1
    return with_params(draw, scores, temperature=lambda: 1.0, top_k=lambda: draw.size(1, most))


def nucleus(draw: Draw) -> Case:
    # Wide: so small a probability vanishes beside the sum of the others.
    scores = scores_of(draw, draw.choice([1.0, 2.0, 20.0]))
    masses = [draw.choice([1.0, draw.uniform(0.05, 0.99), draw.uniform(0.5, 0.99)]) for _ in scores]
    params = [SamplingParams(temperature=draw.uniform(0.5, 2.0), top_p=p) for p in masses]
    hit = {"off" if p == 1.0 else "some" for p in masses}
    return Case((scores, params), branches=frozenset(hit))


def halves(draw: Draw) -> Case:
    params = [SamplingParams(temperature=1.0, top_p=0.5)]
    return Case((torch.zeros(1, draw.choice([2, 4])), params), note="half is reached exactly")


def nucleus_of_equals(draw: Draw) -> Case:
    scores = draw.integers(0, 1, draw.size(1, 3), draw.size(3, 20)).float()
    return with_params(
        draw, scores, temperature=lambda: 1.0, top_p=lambda: draw.uniform(0.05, 0.95)
    )


def nucleus_of_likeliest(draw: Draw) -> Case:
    scores = scores_of(draw, 0.7)
    most = scores.shape[1]
    return with_params(
        draw,
        scores,
        temperature=lambda: draw.uniform(0.5, 2.0),
        top_k=lambda: draw.size(1, most),
        top_p=lambda: draw.uniform(0.3, 0.95),
    )


def least(draw: Draw) -> Case:
    return with_params(
        draw,
        scores_of(draw),
        temperature=lambda: draw.uniform(0.5, 2.0),
        min_p=lambda: draw.choice([0.0, 1.0, draw.uniform(0.01, 0.6), draw.uniform(0.01, 0.6)]),
    )


def everything(draw: Draw) -> Case:
    scores = scores_of(draw, draw.choice([0.5, 2.0]))
    most = scores.shape[1]
    return with_params(
        draw,
        scores,
        temperature=lambda: draw.uniform(0.3, 3.0),
        top_k=lambda: draw.choice([0, draw.size(1, most)]),
        top_p=lambda: draw.choice([1.0, draw.uniform(0.2, 0.98)]),
        min_p=lambda: draw.choice([0.0, draw.uniform(0.01, 0.3)]),
    )


def extreme(draw: Draw) -> Case:
    scores = draw.normal(draw.size(1, 3), draw.size(3, 20)) * draw.choice([1.0, 1e4])
    scores[:, 1:][draw.booleans(0.3, len(scores), scores.shape[1] - 1)] = -math.inf
    return with_params(
        draw,
        scores,
        temperature=lambda: draw.choice([1e-308, 1e-10, 1e-3, 1.0, 1e10]),
        top_k=lambda: draw.choice([0, 2]),
        top_p=lambda: draw.choice([1.0, 0.9]),
        min_p=lambda: draw.choice([0.0, 0.05]),
    )


def many(draw: Draw) -> Case:
    case = everything(draw)
    scores, params = case.args
    return Case((scores[:1], params[:1], draw.uniforms(DRAWS).double()))


def supported(subject: Subject, case: Case) -> tuple[Any, Any]:
    """The probabilities, and which are above zero, however small."""
    found = call(subject, case)
    return found, found > 0


def drawn(subject: Subject, case: Case) -> list[int]:
    """How often each token comes when all the uniform numbers are used."""
    scores, params, uniforms = copied(case.args)
    probabilities = subject(scores, params)
    tokens = draw_tokens(probabilities.expand(len(uniforms), -1), uniforms)
    return torch.bincount(tokens, minlength=scores.shape[1]).tolist()


def likely(counts: list[int], case: Case) -> str | None:
    """Pearson's chi-square test of the counts against the right probabilities."""
    scores, params, uniforms = case.args
    if len(counts) != scores.shape[1]:
        return "a token is drawn that the vocabulary does not have"
    expected = sampling_distribution(scores, params)[0] * len(uniforms)
    found = torch.tensor(counts, dtype=torch.float64)
    if float(found[expected == 0].sum()):
        return "a token is drawn that the filters take out"
    rare = expected < 5.0  # the test wants five of each: rare ones are counted together
    pairs = torch.stack((found, expected), dim=1)
    pairs = torch.cat((pairs[~rare], pairs[rare].sum(0, keepdim=True)))
    pairs = pairs[pairs[:, 1] > 0]
    distance = ((pairs[:, 0] - pairs[:, 1]).square() / pairs[:, 1]).sum()
    freedom = torch.tensor(max(len(pairs) - 1, 1) / 2, dtype=torch.float64)
    chance = float(torch.special.gammaincc(freedom, distance / 2))
    if chance > LEAST_P:
        return None
    return f"so uneven are {len(uniforms)} draws by chance with probability {chance:.1e} only"


PROPERTIES = (
    Property(
        "each row is the softmax of its scores, in float64, whatever their dtype",
        plain,
        branches=frozenset({"bfloat16", "float32"}),
    ),
    Property("scores are divided by the row's temperature", heated),
    Property(
        "top-k keeps the k likeliest tokens; 0 keeps all",
        likeliest,
        branches=frozenset({"off", "some", "more than there are"}),
    ),
    Property("of equal scores at the edge, top-k keeps those of lower id", likeliest_of_equals),
    Property(
        "top-p keeps the smallest set of likeliest tokens that reaches p",
        nucleus,
        observe=supported,
        branches=frozenset({"off", "some"}),
    ),
    Property(
        "of equal scores at the edge, top-p keeps those of lower id",
        nucleus_of_equals,
        edges={"reached exactly": halves},
    ),
    Property("top-p counts what is left after top-k, renormalised", nucleus_of_likeliest),
    Property("min-p keeps tokens at least so likely as that share of the likeliest", least),
    Property("all filters together, each row by its own parameters", everything),
    Property("tiny temperatures, huge scores and -inf give probabilities", extreme),
    Property(
        "20,000 draws pass a chi-square test (p > 1e-8)",
        many,
        cases=4,
        observe=drawn,
        compare=False,
        holds=likely,
    ),
)


def typical(scores: Tensor, temperature: float, mass: float) -> Tensor:
    probabilities = (scores.double() / temperature).softmax(-1)
    surprise = -probabilities.log()
    strange = (surprise - (probabilities * surprise).sum(-1, keepdim=True)).abs()
    order = strange.argsort(dim=-1, stable=True)
    ordered = probabilities.gather(1, order)
    inside = ordered.cumsum(-1) - ordered < mass
    kept = torch.zeros_like(probabilities).scatter(1, order, ordered * inside)
    return kept / kept.sum(-1, keepdim=True)


def top_sigma(scores: Tensor, temperature: float, sigmas: float) -> Tensor:
    wide = scores.double()
    least_score = wide.amax(-1, keepdim=True) - sigmas * wide.std(-1, keepdim=True, correction=0)
    return (wide / temperature).masked_fill(wide < least_score, -math.inf).softmax(-1)


def epsilon(scores: Tensor, temperature: float, cutoff: float) -> Tensor:
    probabilities = (scores.double() / temperature).softmax(-1)
    likeliest_token = probabilities.argmax(-1, keepdim=True)
    kept = (probabilities >= cutoff).scatter(1, likeliest_token, True)
    kept_mass = probabilities * kept
    return kept_mass / kept_mass.sum(-1, keepdim=True)


def _with(draw: Draw, low: float, high: float) -> Case:
    return Case((scores_of(draw), draw.uniform(0.5, 2.0), draw.uniform(low, high)))


TWISTS = {
    "typical": Twist(
        "typical_distribution",
        "`typical_distribution(scores, temperature, mass)`: locally typical sampling (Meister et "
        "al. 2022). With p the softmax of (B, V) scores / temperature (a float) and H its entropy, "
        "tokens are ordered by |-log p - H|, the smallest first, of equals the lower id; the "
        "smallest beginning of that order whose probability reaches `mass` is kept and "
        "renormalised. (B, V) float64.",
        typical,
        (
            Property(
                "the tokens nearest to the entropy are kept until their mass is reached",
                lambda draw: _with(draw, 0.1, 0.95),
            ),
        ),
    ),
    "top_sigma": Twist(
        "top_sigma_distribution",
        "`top_sigma_distribution(scores, temperature, sigmas)`: top-n-sigma (Tang et al. 2024). "
        "Tokens whose (B, V) scores, before the temperature, lie more than `sigmas` (a float) "
        "standard deviations of the row's scores (divided by V, not V - 1) below the largest are "
        "left out; the rest is the softmax of scores / temperature. (B, V) float64.",
        top_sigma,
        (
            Property(
                "scores far below the largest, in standard deviations, are left out",
                lambda draw: _with(draw, 0.3, 2.5),
            ),
        ),
    ),
    "epsilon": Twist(
        "epsilon_distribution",
        "`epsilon_distribution(scores, temperature, cutoff)`: tokens whose probability under the "
        "softmax of (B, V) scores / temperature is below `cutoff` (a float) are left out, but the "
        "likeliest is always kept (of equals the lowest id); the rest is renormalised. (B, V) "
        "float64.",
        epsilon,
        (
            Property(
                "tokens below the cutoff are left out, the likeliest never",
                lambda draw: _with(draw, 0.01, 0.5),
            ),
        ),
    ),
}
