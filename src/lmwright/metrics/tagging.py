"""Entities in sequences of BIO tags, and how many were found: CoNLL's span F1, read strictly.

An entity is a B- tag and the I- tags of its type that follow (IOB2, Tjong Kim Sang & Veenstra
1999). An I- tag that continues nothing is no entity: `seqeval`'s strict mode; CoNLL's own script
would count it as one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lmwright.core.errors import LmwrightError
from lmwright.metrics.classification import ClassScore, f1_score


class Entity(NamedTuple):
    """A stretch of tokens, `stop` excluded, and what it is."""

    kind: str
    start: int
    stop: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that a sequence of BIO tags holds, in order."""
    found = []
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and (mark != "I" or name != kind):
            found.append(Entity(kind, start, place))
            kind = ""
        if mark == "B":
            start, kind = place, name
    return found


def entity_scores(
    expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> tuple[ClassScore, dict[str, ClassScore]]:
    """Precision, recall and F1 of whole entities: border and type must both be right.

    Args:
        expected, predicted: the tags of each sentence.

    Returns:
        over all entities (micro), and of each type by its name, sorted.

    Raises:
        LmwrightError: if a sentence has more or fewer tags than it should.
    """
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for truth, guess in _paired(expected, predicted):
        known, found = set(entities(truth)), set(entities(guess))
        there.update(entity.kind for entity in known)
        said.update(entity.kind for entity in found)
        right.update(entity.kind for entity in known & found)
    kinds = sorted({*there, *said})
    return (
        f1_score(right.total(), said.total(), there.total()),
        {kind: f1_score(right[kind], said[kind], there[kind]) for kind in kinds},
    )


def entity_counts(
    expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[tuple[int, int, int]]:
    """Right, predicted and expected entities of each sentence: what a bootstrap resamples."""
    counts = []
    for truth, guess in _paired(expected, predicted):
        known, found = set(entities(truth)), set(entities(guess))
        counts.append((len(known & found), len(found), len(known)))
    return counts


def _paired(
    expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[tuple[Sequence[str], Sequence[str]]]:
    if len(expected) != len(predicted):
        raise LmwrightError(f"{len(expected)} expected and {len(predicted)} predicted sentences")
    for number, (truth, guess) in enumerate(zip(expected, predicted, strict=True), start=1):
        if len(truth) != len(guess):
            raise LmwrightError(f"sentence {number} has {len(truth)} tags, {len(guess)} predicted")
    return list(zip(expected, predicted, strict=True))
