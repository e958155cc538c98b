"""Wrong beam searches, each with the idea that it misses."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lmwright.engine.beam_search import Writer
from lmwright.roadmap.properties import Mutant

Beam = tuple[float, list[int]]


def _search(
    writer: Writer,
    first: Tensor,
    ends: Tensor,
    max_tokens: int,
    beams: int,
    length_penalty: Callable[[int], float],
    wrong: str,
) -> list[list[int]]:
    """All sources side by side, in plain lists, wrong in one place."""
    sources, enders = len(first), set(ends.tolist())
    writer.select(torch.arange(sources).repeat_interleave(beams))
    never: Beam = (-math.inf, [])
    alive: list[list[Beam]] = [[(0.0, []), *[never] * (beams - 1)] for _ in first]
    if wrong == "all begin":
        alive = [[(0.0, [])] * beams for _ in first]
    best: list[Beam] = [(-math.inf, []) for _ in first]
    last = first.repeat_interleave(beams)
    for length in range(1, max_tokens + 1):
        logits = writer.step(last).double()
        scores = logits if wrong == "raw logits" else logits.log_softmax(-1)
        if wrong == "probabilities":
            scores = logits.softmax(-1)
        rows, tokens = [], []
        for source in range(sources):
            own = scores[source * beams : (source + 1) * beams]
            parents = _step(
                own, alive, best, source, enders, length, max_tokens, length_penalty, wrong
            )
            rows += [source * beams + parent for parent in parents]
            tokens += [beam[1][-1] for beam in alive[source]]
        if wrong != "no select":
            writer.select(torch.tensor(rows))
        last = torch.tensor(tokens)
        if wrong == "stops at first" and all(value > -math.inf for value, _ in best):
            return [ids for _, ids in best]
    for source in range(sources):
        total, ids = alive[source][0]
        score = total / (1.0 if wrong == "no penalty" else length_penalty(max_tokens))
        if score > best[source][0]:
            best[source] = (score, ids)
    if wrong == "first source":
        return [best[0][1]] * sources
    if wrong == "unended wins":
        return [alive[source][0][1] for source in range(sources)]
    return [ids for _, ids in best]


def _step(
    scores: Tensor,
    alive: list[list[Beam]],
    best: list[Beam],
    source: int,
    enders: set[int],
    length: int,
    max_tokens: int,
    length_penalty: Callable[[int], float],
    wrong: str,
) -> list[int]:
    """One token more for one source; from which candidate each of the new ones goes on."""
    beams = len(scores)
    candidates = [
        ((0.0 if wrong == "last score" else total) + float(scores[place, token]), place, ids, token)
        for place, (total, ids) in enumerate(alive[source])
        for token in range(scores.shape[1])
        if total > -math.inf
    ]
    if wrong == "best of each" and length > 1:
        candidates = [
            max(row for row in candidates if row[1] == place)
            for place in sorted({row[1] for row in candidates})
        ]
    candidates.sort(key=lambda row: -row[0])
    window = candidates if wrong == "all ends" else candidates[:beams]
    for total, _, ids, token in window:
        if token in enders:
            counted = length - 1 if wrong == "end not counted" else length
            score = total / (1.0 if wrong == "no penalty" else length_penalty(max(counted, 1)))
            if score > best[source][0]:
                kept = [*ids, token] if wrong == "keeps the end" else ids
                best[source] = (score, kept)
    going = [row for row in candidates if row[3] not in enders or wrong == "goes on"]
    if wrong == "lost beams":
        going = [row for row in candidates[:beams] if row[3] not in enders] or going[:1]
    going = going[:beams]
    while len(going) < beams:
        filler = going[0] if going else candidates[0]
        going.append((-math.inf, *filler[1:]))
    alive[source] = [(total, [*ids, token]) for total, _, ids, token in going]
    return [place for _, place, _, _ in going]


def _mutant(wrong: str, says: str) -> Mutant:
    def beam_search(
        writer: Writer,
        first: Tensor,
        ends: Tensor,
        max_tokens: int,
        beams: int,
        length_penalty: Callable[[int], float],
    ) -> list[list[int]]:
        return _search(writer, first, ends, max_tokens, beams, length_penalty, wrong)

    return Mutant(says, beam_search)


MUTANTS = (
    _mutant("raw logits", "a search that adds up logits: they are no log-probabilities yet"),
    _mutant("probabilities", "a search that adds up probabilities: logarithms add up"),
    _mutant("last score", "a search that compares the last token alone, not the whole target"),
    _mutant("lost beams", "a search that has fewer beams after each target that ends"),
    _mutant("all begin", "a search whose beams all begin alike, so that all stay alike"),
    _mutant(
        "best of each", "a search that takes the best token of each beam, not the K best of all"
    ),
    _mutant("no select", "a search that does not tell the writer which rows go on"),
    _mutant("goes on", "a search that goes on with targets that have ended"),
    _mutant("keeps the end", "a search whose targets still have their end token"),
    _mutant("all ends", "a search in which every end counts, not those among the best K alone"),
    _mutant("unended wins", "a search that forgets the targets that ended"),
    _mutant("no penalty", "a search that does not divide by the length penalty"),
    _mutant("end not counted", "a length penalty that leaves the end token out of the length"),
    _mutant("stops at first", "a search that stops at the first target that ends"),
    _mutant("first source", "a search that gives every source the first one's target"),
)
