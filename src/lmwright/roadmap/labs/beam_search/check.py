"""What beam search must find, in the order in which it is learnt.

The decoder of a case is a tree of scores: a row of (V,) logits for each text so far, each source.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lmwright.engine.beam_search import Writer, beam_search
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.labs.beam_search.trees import (
    ATTEMPTS,
    CLOSE,
    Score,
    Setting,
    TreeWriter,
    clear,
    normalised,
    searched,
    tree_of,
    walk,
)
from lmwright.roadmap.properties import Case, Property, Twist


def likeliest(draw: Draw) -> Case:
    vocabulary, depth = draw.size(2, 4), draw.size(1, 4)
    return clear(draw, lambda: (tree_of(draw, 1, vocabulary, depth), Setting((), depth, 1)))


def several(draw: Draw) -> Case:
    vocabulary, depth = draw.size(2, 4), draw.size(2, 5)
    beams = draw.size(2, 4)
    return clear(draw, lambda: (tree_of(draw, 1, vocabulary, depth), Setting((), depth, beams)))


def ending(draw: Draw) -> Case:
    vocabulary, depth, beams = draw.size(3, 5), draw.size(2, 4), draw.size(1, 4)
    ends = tuple(range(draw.size(1, 2)))

    def make() -> tuple[Tensor, Setting]:
        tree = tree_of(draw, 1, vocabulary, depth)
        tree[:, :, list(ends)] += 0.7  # ends are near the front often enough
        return tree, Setting(ends, depth, beams)

    case = clear(draw, make)
    target = walk(case.args[0][0], case.args[1], normalised(case.args[1]))[0]
    hit = "ended" if len(target) < depth else "ran out"
    return Case(case.args, branches=frozenset({hit}))


def penalised(draw: Draw) -> Case:
    """Half of them with tokens so alike, and a penalty so strong, that long targets win."""
    patient = draw.chance(0.5)
    alpha = draw.uniform(3.0, 6.0) if patient else draw.uniform(0.3, 3.0)
    vocabulary, depth, beams = draw.size(3, 4), draw.size(2, 5), draw.size(2, 3)
    early = draw.choice([0.3, 0.8]) if patient else draw.choice([0.5, 2.0])

    def make() -> tuple[Tensor, Setting]:
        tree = tree_of(draw, 1, vocabulary, depth) * (0.3 if patient else 1.0)
        tree[:, :, 0] += early
        return tree, Setting((0,), depth, beams, alpha)

    case = clear(draw, make)
    return Case(case.args, branches=frozenset({"patient" if patient else "hasty"}))


def together(draw: Draw) -> Case:
    sources, vocabulary, depth, beams = (
        draw.size(2, 4),
        draw.size(3, 4),
        draw.size(2, 4),
        draw.size(1, 3),
    )
    alpha = draw.choice([0.0, 1.0])
    return clear(
        draw,
        lambda: (tree_of(draw, sources, vocabulary, depth), Setting((0,), depth, beams, alpha)),
    )


def exhaustive(draw: Draw) -> Case:
    vocabulary, depth = draw.size(2, 4), draw.size(2, 4)
    alpha = draw.choice([0.0, 0.8])
    beams = vocabulary ** (depth - 1)
    return clear(
        draw, lambda: (tree_of(draw, 1, vocabulary, depth), Setting((0,), depth, beams, alpha))
    )


def nothing_is_better(found: Any, case: Case) -> str | None:
    """Against all targets that there are."""
    tree, setting = case.args
    best = max(targets(tree[0], setting))
    if found == [best[1]]:
        return None
    return f"{best[1]} has the best score of all targets, {best[0]:.4f}"


def targets(logits: Tensor, setting: Setting) -> list[tuple[float, list[int]]]:
    logprobs, vocabulary = logits.double().log_softmax(-1).tolist(), logits.shape[1]
    score, found = normalised(setting), []
    for ids in itertools.product(range(vocabulary), repeat=setting.max_tokens):
        total, node, length = 0.0, 0, 0
        for token in ids:
            total, length = total + logprobs[node][token], length + 1
            node = node * vocabulary + token + 1
            if token in setting.ends:
                break
        ended = ids[length - 1] in setting.ends
        found.append((score(total, length), list(ids[: length - ended])))
    return found


PROPERTIES = (
    Property("one beam always takes the likeliest token", likeliest, observe=searched),
    Property(
        "K beams keep the K likeliest beginnings, whichever they go on from",
        several,
        observe=searched,
    ),
    Property(
        "a target that ends among the best K of its step counts, and is not gone on with",
        ending,
        cases=120,
        observe=searched,
        branches=frozenset({"ended", "ran out"}),
    ),
    Property(
        "targets are compared by log-probability over length penalty, the end token counted",
        penalised,
        cases=120,
        observe=searched,
        branches=frozenset({"patient", "hasty"}),
    ),
    Property("each source is searched as if it were alone", together, observe=searched),
    Property(
        "V^(L-1) beams find the best target of all",
        exhaustive,
        cases=30,
        observe=searched,
        holds=nothing_is_better,
    ),
)


class Banning:
    """A writer whose tokens may be forbidden by what each of its rows has written.

    Args:
        writer: the writer itself.
        banned: from the tokens of a row so far (the first one, which begins, left out) and the
            size of the vocabulary to the forbidden ones.
    """

    def __init__(self, writer: Writer, banned: Callable[[list[int]], list[int]]) -> None:
        self.writer, self.banned = writer, banned
        self.texts: list[list[int]] | None = None

    def step(self, token_ids: Tensor) -> Tensor:
        """See `Writer`."""
        if self.texts is None:
            self.texts = [[] for _ in token_ids]
        else:
            self.texts = [
                [*ids, token] for ids, token in zip(self.texts, token_ids.tolist(), strict=True)
            ]
        logits = self.writer.step(token_ids).clone()
        for row, ids in enumerate(self.texts):
            logits[row, self.banned(ids)] = -math.inf
        return logits

    def select(self, rows: Tensor) -> None:
        """See `Writer`."""
        self.writer.select(rows)
        if self.texts is not None:
            self.texts = [list(self.texts[row]) for row in rows.tolist()]


def with_minimum(
    writer: Writer,
    first: Tensor,
    ends: Tensor,
    max_tokens: int,
    beams: int,
    length_penalty: Callable[[int], float],
    min_tokens: int,
) -> list[list[int]]:
    forbidden = ends.tolist()
    patient = Banning(writer, lambda ids: forbidden if len(ids) < min_tokens else [])
    return beam_search(patient, first, ends, max_tokens, beams, length_penalty)


def without_repeats(
    writer: Writer,
    first: Tensor,
    ends: Tensor,
    max_tokens: int,
    beams: int,
    length_penalty: Callable[[int], float],
) -> list[list[int]]:
    def repeating(ids: list[int]) -> list[int]:
        pairs = itertools.pairwise(ids)
        return [after for before, after in pairs if ids and before == ids[-1]]

    return beam_search(Banning(writer, repeating), first, ends, max_tokens, beams, length_penalty)


def with_reward(
    writer: TreeWriter,
    first: Tensor,
    ends: Tensor,
    max_tokens: int,
    beams: int,
    length_penalty: Callable[[int], float],
    reward: float,
) -> list[list[int]]:
    setting = Setting(tuple(ends.tolist()), max_tokens, beams)
    return [
        walk(tree, setting, lambda total, length: total + reward * length)[0]
        for tree in writer.tree
    ]


def _asked(draw: Draw, *more: Any, score: Callable[[Setting], Score] = normalised) -> Case:
    """A case of two sources, none of whose nearly tied scores a change of the rules reveals."""
    vocabulary, depth, beams = draw.size(3, 4), draw.size(2, 4), draw.size(1, 3)
    for _ in range(ATTEMPTS):
        tree, setting = tree_of(draw, 2, vocabulary, depth), Setting((0,), depth, beams)
        tree[:, :, 0] += 0.7
        if min(walk(one, setting, score(setting))[2] for one in tree) > CLOSE:
            return Case((tree, setting, *more))
    raise AssertionError("scores nearly tie in every case that was drawn")


_SIGNATURE = "(writer, first, ends, max_tokens, beams, length_penalty{more})`"

TWISTS = {
    "minimum": Twist(
        "beam_search_with_minimum",
        f"`beam_search_with_minimum{_SIGNATURE.format(more=', min_tokens')}: no target ends before "
        "it has `min_tokens` tokens: until then the logits of the end tokens are -inf.",
        with_minimum,
        (
            Property(
                "no target has fewer tokens than asked for",
                lambda draw: _asked(draw, draw.size(1, 3)),
                observe=searched,
            ),
        ),
    ),
    "no_repeats": Twist(
        "beam_search_without_repeats",
        f"`beam_search_without_repeats{_SIGNATURE.format(more='')}: no two neighbouring tokens "
        "stand next to each other twice in a target: the logits of tokens that have followed the "
        "last token before are -inf. (`first` is no part of the target.)",
        without_repeats,
        (
            Property(
                "no pair of neighbours comes twice",
                _asked,
                observe=searched,
            ),
        ),
    ),
    "reward": Twist(
        "beam_search_with_reward",
        f"`beam_search_with_reward{_SIGNATURE.format(more=', reward')}: the score of a target is "
        "its log-probability plus `reward` (a float, 0 or more) for each of its tokens, an end "
        "token included; `length_penalty` is not used.",
        with_reward,
        (
            Property(
                "each token earns its reward",
                lambda draw: _rewarded(draw, draw.uniform(0.2, 2.0)),
                observe=searched,
            ),
        ),
    ),
}


def _rewarded(draw: Draw, reward: float) -> Case:
    return _asked(draw, reward, score=lambda setting: lambda total, length: total + reward * length)
