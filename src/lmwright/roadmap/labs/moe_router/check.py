"""What a router must do, in the order in which it is learnt."""

import math
from typing import Any

import torch
from torch import Tensor

from lmwright.models.layers.routing import Routing
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call, gradients


def scores(draw: Draw, *, tokens: int = 12, least: int = 2) -> Tensor:
    """Logits (N, E); some experts are wanted by most tokens."""
    number = draw.size(least, 6)
    return 1.5 * draw.normal(draw.size(2, tokens), number) + 1.5 * draw.normal(number)


def choices(draw: Draw, logits: Tensor) -> int:
    return draw.size(1, min(3, logits.shape[1]))


def unweighted(draw: Draw) -> Case:
    logits = scores(draw, least=3)
    return Case((logits, choices(draw, logits), False))


def normalised(draw: Draw) -> Case:
    logits = scores(draw, least=3)
    return Case((logits, draw.size(2, 3), True))


def large(draw: Draw) -> Case:
    logits = scores(draw, least=3)
    size = draw.choice([-1e4, -300.0, 300.0, 1e4])
    return Case(
        (logits + size, choices(draw, logits), draw.chance(0.5)), note=f"logits around {size:g}"
    )


def every(draw: Draw, number: int | None = None) -> Case:
    logits = draw.normal(draw.size(1, 5), draw.size(1, 4) if number is None else number)
    return Case((logits, logits.shape[1], True), note="every token goes to every expert")


def padded(draw: Draw) -> Case:
    logits = scores(draw)
    return Case((logits, choices(draw, logits), draw.chance(0.5)), {"real": _real(draw, logits)})


def limited(draw: Draw, most: int = 1) -> Case:
    """A capacity, `most` choices of each token."""
    logits = scores(draw, tokens=16)
    k = draw.size(min(2, most), min(most, logits.shape[1]))
    return _with_capacity(draw, logits, k, None)


def limited_twice(draw: Draw) -> Case:
    return limited(draw, 3)


def limited_and_padded(draw: Draw) -> Case:
    logits = scores(draw, tokens=16)
    # Little room: what counts too much would otherwise go unseen.
    return _with_capacity(
        draw, logits, choices(draw, logits), _real(draw, logits), factors=(0.25, 0.5, 0.75)
    )


def learnt(draw: Draw) -> Case:
    logits = scores(draw, least=3)
    kwargs = {"capacity_factor": 1.0} if draw.chance(0.5) and len(logits) % 6 == 0 else {}
    return Case((logits, choices(draw, logits), draw.chance(0.5)), kwargs, tolerance=1e-4)


def _real(draw: Draw, logits: Tensor) -> Tensor:
    """(N,) bool with one token of padding at least, on any side."""
    real = draw.booleans(0.7, len(logits))
    real[draw.size(0, len(logits) - 1)] = False
    return real


def _with_capacity(
    draw: Draw,
    logits: Tensor,
    k: int,
    real: Tensor | None,
    factors: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0),
) -> Case:
    counted = k * (len(logits) if real is None else int(real.sum()))
    plain = [factor for factor in factors if _plain(counted, factor, logits.shape[1])]
    factor = draw.choice(plain or [100.0])
    found = logits.softmax(-1).topk(k, dim=-1).indices
    found = found if real is None else found[real]
    most = int(found.flatten().bincount().max()) if found.numel() else 0
    full = most > math.ceil(counted * factor / logits.shape[1])
    return Case(
        (logits, k, draw.chance(0.5)),
        {"capacity_factor": factor} | ({} if real is None else {"real": real}),
        branches=frozenset({"somebody is refused" if full else "room for all"}),
        note=f"an expert takes {math.ceil(counted * factor / logits.shape[1])}",
    )


def _plain(counted: int, factor: float, number: int) -> bool:
    """Whether the capacity is the same however the three are multiplied and rounded."""
    ways = (counted * factor / number, counted / number * factor, counted * (factor / number))
    exact = -(-int(counted * factor * 4) // (4 * number))
    return {math.ceil(way) for way in ways} == {exact}


def seen(subject: Subject, case: Case) -> Any:
    """The routing by name; `taken` left out says that everybody is taken."""
    found: Routing = call(subject, case)
    taken = found.taken
    if taken is None:
        taken = torch.ones(found.experts.shape, dtype=torch.bool)
    return {
        "experts": found.experts,
        "weights": found.weights,
        "taken": taken,
        "probabilities": found.probabilities,
        "logits": found.logits,
    }


PROPERTIES = (
    Property(
        "the k likeliest experts by softmax, the likeliest first, weighted by their probability",
        unweighted,
        observe=seen,
    ),
    Property("with `normalize` a token's weights sum to 1", normalised, observe=seen),
    Property("large logits overflow nothing", large, observe=seen),
    Property(
        "where every expert is chosen, the weights are the whole softmax",
        every,
        edges={"one expert": lambda draw: every(draw, 1)},
        observe=seen,
    ),
    Property("padding is taken by nobody", padded, observe=seen),
    Property(
        "an expert takes ceil(k N / E * factor) assignments, earlier tokens first",
        limited,
        observe=seen,
        branches=frozenset({"somebody is refused", "room for all"}),
    ),
    Property(
        "all first choices come before second ones",
        limited_twice,
        observe=seen,
        branches=frozenset({"somebody is refused", "room for all"}),
    ),
    Property(
        "padding takes no place and counts for no capacity",
        limited_and_padded,
        observe=seen,
        branches=frozenset({"somebody is refused"}),
    ),
    Property("a gradient reaches the logits through the weights", learnt, observe=gradients),
)


def expert_choice(logits: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    weights, tokens = logits.softmax(-1).t().topk(capacity, dim=-1)
    return tokens, weights


def biased(logits: Tensor, bias: Tensor, choices: int) -> tuple[Tensor, Tensor]:
    wanted = logits.sigmoid()
    experts = (wanted + bias).topk(choices, dim=-1).indices
    weights = wanted.gather(1, experts)
    return experts, weights / weights.sum(-1, keepdim=True)


def balance_of_first(logits: Tensor) -> Tensor:
    probabilities = logits.softmax(-1)
    number = logits.shape[1]
    share = probabilities.argmax(-1).bincount(minlength=number).to(logits.dtype) / len(logits)
    return number * (share * probabilities.mean(0)).sum()


def _choosing(draw: Draw) -> Case:
    logits = scores(draw)
    return Case((logits, draw.size(1, len(logits))))


def _with_bias(draw: Draw) -> Case:
    logits = scores(draw, least=3)
    return Case((logits, 0.5 * draw.normal(logits.shape[1]), choices(draw, logits)))


def _for_balance(draw: Draw) -> Case:
    return Case((scores(draw),), tolerance=1e-4)


TWISTS = {
    "expert_choice": Twist(
        "expert_choice",
        "`expert_choice(logits, capacity)`: experts choose tokens: each of the E experts takes "
        "the `capacity` tokens that give it the highest probability (softmax over experts), the "
        "highest first. Returns the tokens, (E, capacity) int64, and those probabilities, (E, "
        "capacity) (Zhou et al. 2022, section 3.2).",
        expert_choice,
        (Property("each expert takes the tokens that want it most", _choosing),),
    ),
    "bias": Twist(
        "route_with_bias",
        "`route_with_bias(logits, bias, choices)`: a score is sigmoid(logit). The k experts of "
        "highest score + bias are chosen, the highest first; `bias` is (E,). Their weights are "
        "their scores without the bias, divided by their sum. Returns experts and weights, each "
        "(N, k) (DeepSeek-V3, equations 14 to 16).",
        biased,
        (Property("the bias chooses, the score weighs", _with_bias),),
    ),
    "balance": Twist(
        "balance_of_first_choices",
        "`balance_of_first_choices(logits)`: E * sum_i f_i P_i, a scalar, where f_i is the share "
        "of the N tokens whose likeliest expert is i, and P_i the mean of the probability that "
        "tokens give expert i. Only P_i has a gradient (GShard's and Switch's loss, Fedus et al. "
        "2021, equation 4). It is 1 where all experts get the same.",
        balance_of_first,
        (
            Property("1 where experts are wanted alike, E where one gets all", _for_balance),
            Property("its gradient comes from P alone", _for_balance, observe=gradients, cases=20),
        ),
    ),
}
