"""Wrong routers, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.models.layers.routing import Routing
from lmwright.roadmap.properties import Mutant


def _route(
    logits: Tensor,
    choices: int,
    normalize: bool,
    capacity_factor: float | None,
    real: Tensor | None,
    *,
    wrong: str,
) -> Routing:
    """A router from its definition, wrong in one place."""
    probabilities = _probabilities(logits, wrong)
    chosen = probabilities.topk(choices, dim=-1, largest=wrong != "least likely")
    weights, experts = chosen.values, chosen.indices
    if wrong == "by number":
        experts, order = experts.sort(-1)
        weights = weights.gather(1, order)
    if (normalize and wrong != "never normalised") or wrong == "always normalised":
        weights = weights / weights.sum(-1, keepdim=True)
    if wrong == "softmax again" and normalize:
        weights = chosen.values.softmax(-1)
    if wrong == "detached":
        weights = weights.detach()
    if wrong == "padding ignored":
        real = None
    taken = torch.ones(experts.shape, dtype=torch.bool)
    if real is not None:
        taken = taken & real[:, None]
    if capacity_factor is not None and wrong != "no capacity":
        room = _room(experts, logits.shape[1], capacity_factor, real, wrong)
        taken = taken & _first_come(
            experts, room, None if wrong == "padding seated" else real, wrong
        )
    if wrong == "zero weights":
        weights = weights * taken
    return Routing(logits, probabilities, experts, weights, taken)


def _probabilities(logits: Tensor, wrong: str) -> Tensor:
    if wrong == "sigmoid":
        return logits.sigmoid()
    if wrong == "over tokens":
        return logits.softmax(0)
    if wrong == "naive softmax":
        return logits.exp() / logits.exp().sum(-1, keepdim=True)
    return logits.softmax(-1)


def _room(experts: Tensor, number: int, factor: float, real: Tensor | None, wrong: str) -> int:
    tokens = len(experts) if real is None or wrong == "padding counted" else int(real.sum())
    share = tokens * (1 if wrong == "tokens over experts" else experts.shape[1]) * factor / number
    return int(share) if wrong == "floor" else -int(-share // 1)


def _first_come(experts: Tensor, room: int, real: Tensor | None, wrong: str) -> Tensor:
    """(N, k) which assignments find a place, one after the other."""
    tokens, choices = experts.shape
    places = [(choice, token) for choice in range(choices) for token in range(tokens)]
    if wrong == "token by token":
        places.sort(key=lambda place: place[1])
    if wrong == "last come":
        places.sort(key=lambda place: (place[0], -place[1]))
    taken = torch.zeros(experts.shape, dtype=torch.bool)
    seated: dict[tuple[int, int], int] = {}
    for choice, token in places:
        if real is not None and not real[token]:
            continue
        seat = int(experts[token, choice]), choice if wrong == "each choice" else 0
        seated[seat] = seated.get(seat, 0) + 1
        taken[token, choice] = seated[seat] <= room
    return taken


def _mutant(wrong: str, says: str) -> Mutant:
    def route(
        logits: Tensor,
        choices: int,
        normalize: bool,
        capacity_factor: float | None = None,
        real: Tensor | None = None,
    ) -> Routing:
        return _route(logits, choices, normalize, capacity_factor, real, wrong=wrong)

    return Mutant(says, route)


MUTANTS = (
    _mutant("sigmoid", "a router by sigmoid, each expert for itself, not by softmax"),
    _mutant("over tokens", "a router with its softmax over the tokens, not over the experts"),
    _mutant("least likely", "a router that chooses the least likely experts"),
    _mutant(
        "by number", "a router that lists a token's experts by number, not the likeliest first"
    ),
    _mutant(
        "always normalised", "a router that makes weights sum to 1 also where `normalize` is False"
    ),
    _mutant("never normalised", "a router that does not look at `normalize`"),
    _mutant(
        "softmax again", "a router that takes the softmax of probabilities, which are no logits"
    ),
    _mutant(
        "naive softmax", "a router whose exponentials overflow: take the largest logit off first"
    ),
    _mutant("padding ignored", "a router that does not look at `real`"),
    _mutant("padding counted", "a router whose capacity counts padding among the N tokens"),
    _mutant("padding seated", "a router that gives places to padding"),
    # What looks like no capacity where there is room stands before it.
    _mutant("each choice", "a router that counts each expert's first and second choices apart"),
    _mutant("no capacity", "a router that does not look at `capacity_factor`"),
    _mutant("floor", "a router whose capacity is rounded down; it is rounded up"),
    _mutant(
        "tokens over experts", "a router whose capacity is N / E * factor, without the k choices"
    ),
    _mutant("last come", "a router whose experts take later tokens first"),
    _mutant(
        "token by token",
        "a router that serves token by token: second choices before other first ones",
    ),
    _mutant(
        "zero weights", "a router that sets refused weights to 0; who is refused is told by `taken`"
    ),
    _mutant("detached", "a router whose weights send no gradient back to the logits"),
)
