"""A decoder that is a tree of scores, and beam search of it with plain numbers."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmwright.engine.beam_search import penalty
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Subject

CLOSE = 1e-4  # nats: scores so near to each other may come in any order, so no case has them
ATTEMPTS = 200


class TreeWriter:
    """Writes through a tree of logits: the node after `node` by token t is node * V + t + 1.

    Args:
        tree: (N, nodes, V), the logits at each node for each source; deeper nodes are never asked.
    """

    def __init__(self, tree: Tensor) -> None:
        self.tree = tree
        self.sources = torch.arange(len(tree))
        self.nodes: Tensor | None = None

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        if self.nodes is None:
            self.nodes = torch.zeros_like(self.sources)  # the first tokens are at the root
        else:
            self.nodes = self.nodes * self.tree.shape[2] + token_ids + 1
        return self.tree[self.sources, self.nodes]

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.sources = self.sources[rows]
        self.nodes = None if self.nodes is None else self.nodes[rows]


@dataclass(frozen=True)
class Setting:
    """What a search is asked for.

    Args:
        ends: tokens that end a target.
        max_tokens: of a target at most.
        beams: K.
        alpha: of the length penalty.
    """

    ends: tuple[int, ...]
    max_tokens: int
    beams: int
    alpha: float = 0.0


def searched(subject: Subject, case: Case, *more: Any) -> Any:
    """What the subject finds for all sources of the case."""
    tree, setting = case.args[:2]
    return subject(
        TreeWriter(tree.clone()),
        torch.zeros(len(tree), dtype=torch.long),
        torch.tensor(setting.ends, dtype=torch.long),
        setting.max_tokens,
        setting.beams,
        lambda length: penalty(length, setting.alpha),
        *case.args[2:],
    )


def tree_of(draw: Draw, sources: int, vocabulary: int, depth: int) -> Tensor:
    nodes = sum(vocabulary**level for level in range(depth))
    return draw.normal(sources, nodes, vocabulary) * 2.0


Score = Callable[[float, int], float]
"""Of a target from its log-probability and its number of tokens, an end token included."""


def walk(logits: Tensor, setting: Setting, score: Score) -> tuple[list[int], float, float]:
    """Beam search of one source with plain numbers.

    Args:
        logits: (nodes, V).

    Returns:
        The target, its score, and the smallest distance between two scores that were compared.
    """
    logprobs = logits.double().log_softmax(-1).tolist()
    vocabulary, gap = logits.shape[1], math.inf
    beams: list[tuple[float, int, list[int]]] = [(0.0, 0, [])]
    ended: list[tuple[float, list[int]]] = []
    for length in range(1, setting.max_tokens + 1):
        rows = [
            (total + logprobs[node][token], node * vocabulary + token + 1, [*ids, token])
            for total, node, ids in beams
            for token in range(vocabulary)
        ]
        rows = sorted((row for row in rows if row[0] > -math.inf), reverse=True)
        gap = min([gap, *(a[0] - b[0] for a, b in itertools.pairwise(rows))])
        for total, _, ids in rows[: setting.beams]:
            if ids[-1] in setting.ends:
                ended.append((score(total, length), ids[:-1]))
        beams = [row for row in rows if row[2][-1] not in setting.ends][: setting.beams]
    ended += [(score(total, setting.max_tokens), ids) for total, _, ids in beams[:1]]
    ended.sort(reverse=True)
    gap = min([gap, *(a[0] - b[0] for a, b in itertools.pairwise(ended) if a[1] != b[1])])
    value, target = ended[0] if ended else (-math.inf, [])
    return target, value, gap


def normalised(setting: Setting) -> Score:
    return lambda total, length: total / penalty(length, setting.alpha)


def clear(draw: Draw, make: Callable[[], tuple[Tensor, Setting]]) -> Case:
    """A case without scores that nearly tie."""
    for _ in range(ATTEMPTS):
        tree, setting = make()
        if min(walk(one, setting, normalised(setting))[2] for one in tree) > CLOSE:
            return Case((tree, setting))
    raise AssertionError("scores nearly tie in every case that was drawn")
