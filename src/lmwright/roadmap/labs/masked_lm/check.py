"""What hiding tokens must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist
from lmwright.roadmap.values import copied
from lmwright.training.objectives.loss import IGNORED
from lmwright.training.objectives.masked_lm import MASKED, REPLACED

SPECIAL, MASK, VOCABULARY = 4, 4, 40
"""Ids 0..3 are special, 4 is the mask token, the rest are words."""
MANY_ROWS, MANY_WORDS = 1_000, 100
DEVIATIONS = 6
"""Of a count's standard deviation that the shares may be off: one check in 500 million."""


def case_of(draw: Draw, ids: Tensor, ordinary: Tensor, starts: Tensor, fraction: float) -> Case:
    draws = torch.rand(*ids.shape, 3, generator=draw.generator, dtype=torch.float64)
    kwargs = {
        "mask_token_id": MASK,
        "replacements": torch.arange(MASK + 1, VOCABULARY),
        "fraction": fraction,
    }
    return Case((ids, ordinary, starts, draws), kwargs)


def words(draw: Draw) -> Case:
    """Words alone; the fraction is such that no row's share lies half way between two numbers."""
    ids = draw.integers(MASK + 1, VOCABULARY - 1, draw.size(1, 6), draw.size(8, 24))
    every = torch.ones_like(ids, dtype=torch.bool)
    return case_of(draw, ids, every, every, draw.uniform(0.2, 0.6))


def with_specials(draw: Draw) -> Case:
    ids = draw.integers(0, VOCABULARY - 1, draw.size(1, 6), draw.size(8, 24))
    ids[:, 0], ids[:, 1] = 2, MASK + 1
    ids[:, -draw.size(1, 4) :] = 0
    ordinary = ids > MASK
    # At least half: the one word that a row has for sure is chosen without a rule of its own.
    case = case_of(draw, ids, ordinary, ordinary, draw.uniform(0.51, 0.8))
    return replace(case, note=f"ids below {MASK + 1} are special: they are not in `ordinary`")


def short(draw: Draw) -> Case:
    ids = draw.integers(MASK + 1, VOCABULARY - 1, draw.size(2, 6), 5)
    for row in ids:
        row[draw.size(1, 3) :] = 0
    ids[-1] = 0
    ordinary = ids > MASK
    case = case_of(draw, ids, ordinary, ordinary, 0.15)
    return replace(case, note="rows of one to three words, and one without any")


def whole_words(draw: Draw) -> Case:
    case = with_specials(draw)
    ids, ordinary, _, draws = case.args
    follows = torch.zeros_like(ordinary)
    follows[:, 1:] = ordinary[:, :-1]
    starts = ordinary & (draw.booleans(0.5, *ids.shape) | ~follows)
    branches = frozenset({"several" if bool((ordinary & ~starts).any()) else "single"})
    case = replace(case, args=(ids, ordinary, starts, draws), branches=branches)
    return replace(case, note="words of several tokens: a start, and what follows up to the next")


def many(draw: Draw) -> Case:
    ids = draw.integers(MASK + 1, VOCABULARY - 1, MANY_ROWS, MANY_WORDS)
    every = torch.ones_like(ids, dtype=torch.bool)
    case = case_of(draw, ids, every, every, 0.15)
    rest = {name: value for name, value in case.kwargs.items() if name != "fraction"}
    return replace(case, kwargs=rest)  # 0.15 is what it is where nobody says


def on_the_border(draw: Draw) -> Case:
    case = words(draw)
    ids, ordinary, starts, draws = case.args
    borders = torch.tensor([0.8, 0.9], dtype=draws.dtype)
    draws[..., 1] = borders[draw.integers(0, 1, *ids.shape)]
    note = "second draws of exactly 0.8 and 0.9"
    return replace(case, args=(ids, ordinary, starts, draws), note=note)


def twice(subject: Subject, case: Case) -> Any:
    """Two epochs: other draws, and the first ones again."""
    args, kwargs = copied(case.args), copied(dict(case.kwargs))
    *given, draws = args
    return [subject(*given, d, **kwargs) for d in (draws, 1 - draws.flip(0, 1), draws)]


def shares(found: Any, case: Case) -> str | None:
    """Whether 15 % are chosen, and of them 80 % masked, 10 % replaced, 10 % kept."""
    masked, labels = found
    chosen = labels != IGNORED
    count = int(chosen.sum())
    if count != round(0.15 * MANY_ROWS * MANY_WORDS):
        return f"{count:,} of 100,000 tokens are chosen, not 15,000"
    kinds = {
        "become the mask token": ((masked == MASK) & chosen, MASKED),
        "stay, or are drawn again by chance": (
            (masked == labels) & chosen,
            1 - MASKED - REPLACED + REPLACED / (VOCABULARY - MASK - 1),
        ),
    }
    for name, (which, share) in kinds.items():
        seen = int(which.sum()) / count
        if abs(seen - share) > DEVIATIONS * (share * (1 - share) / count) ** 0.5:
            return f"{seen:.1%} of the chosen tokens {name}; it should be {share:.1%}"
    return None


def differ(found: Any, case: Case) -> str | None:
    first, second, again = (labels for _, labels in found)
    if torch.equal(first, second):
        return "other draws choose the same tokens: an epoch would hide what the last one did"
    return None if torch.equal(first, again) else "equal draws choose other tokens"


PROPERTIES = (
    Property(
        "in each row, the words with the lowest draws are chosen: labels tell which, 80 / 10 / 10 "
        "what becomes of them",
        words,
        edges={"on the border": on_the_border},
    ),
    Property("special tokens and padding are never chosen, and do not count", with_specials),
    Property("a row with words has at least one chosen", short),
    Property(
        "of 100,000 tokens 15 % are chosen: 80 % masked, 10 % replaced, 10 % kept",
        many,
        cases=1,
        holds=shares,
    ),
    Property(
        "other draws choose other tokens, equal draws the same",
        many,
        cases=1,
        observe=twice,
        holds=differ,
    ),
    Property(
        "a word of several tokens is chosen whole, and counts once",
        whole_words,
        branches=frozenset({"several"}),
    ),
)


def spans(
    input_ids: Tensor, ordinary: Tensor, draws: Tensor, length: int, *, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    width = input_ids.shape[1]
    first = draws.masked_fill(~ordinary, torch.inf).argmin(1, keepdim=True)
    place = torch.arange(width)
    chosen = ordinary & (place >= first) & (place < first + length)
    return (
        torch.where(chosen, mask_token_id, input_ids),
        torch.where(chosen, input_ids, IGNORED),
    )


def replaced_tokens(
    input_ids: Tensor, ordinary: Tensor, draws: Tensor, *, replacements: Tensor, fraction: float
) -> tuple[Tensor, Tensor]:
    chosen = ordinary & (draws[..., 0] < fraction)
    other = replacements[(draws[..., 1] * len(replacements)).long()]
    changed = torch.where(chosen, other, input_ids)
    return changed, (changed != input_ids).long()


def scheduled(
    input_ids: Tensor, ordinary: Tensor, draws: Tensor, noise: Tensor, *, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    chosen = ordinary & (draws < noise[:, None])
    return (
        torch.where(chosen, mask_token_id, input_ids),
        torch.where(chosen, input_ids, IGNORED),
    )


def _span(draw: Draw) -> Case:
    ids, ordinary, _, draws = with_specials(draw).args
    return Case((ids, ordinary, draws[..., 0], draw.size(1, 4)), {"mask_token_id": MASK})


def _replaced(draw: Draw) -> Case:
    ids, ordinary, _, draws = with_specials(draw).args
    kwargs = {"replacements": torch.arange(MASK + 1, VOCABULARY), "fraction": draw.uniform(0.2, 1)}
    return Case((ids, ordinary, draws[..., :2]), kwargs)


def _noised(draw: Draw) -> Case:
    ids, ordinary, _, draws = with_specials(draw).args
    noise = draw.uniforms(len(ids)).double()
    return Case((ids, ordinary, draws[..., 0], noise), {"mask_token_id": MASK})


TWISTS = {
    "span": Twist(
        "mask_span",
        "`mask_span(input_ids, ordinary, draws, length, *, mask_token_id)`: in each row one span "
        "is hidden: the ordinary token with the lowest of `draws` (B, T), and those of the "
        "`length - 1` positions after it that are ordinary. All of them become the mask token; "
        "labels are as before. A row without ordinary tokens stays as it is. Returns ids and "
        "labels.",
        spans,
        (Property("one span of each row becomes the mask token", _span),),
    ),
    "replaced": Twist(
        "replace_tokens",
        "`replace_tokens(input_ids, ordinary, draws, *, replacements, fraction)`: an ordinary "
        "token whose first draw is below `fraction` becomes replacements[floor(second draw * R)]; "
        "`draws` is (B, T, 2). Returns the ids, and (B, T) int64 labels: 1 where the id is "
        "another than before, 0 elsewhere (what ELECTRA's discriminator is trained on).",
        replaced_tokens,
        (Property("labels tell which tokens are others than before", _replaced),),
    ),
    "noise": Twist(
        "mask_by_noise",
        "`mask_by_noise(input_ids, ordinary, draws, noise, *, mask_token_id)`: an ordinary token "
        "of row b becomes the mask token where its draw, (B, T), is below noise[b], (B,) in [0, "
        "1); none is replaced or kept (what a masked diffusion model is trained on). Returns ids "
        "and labels.",
        scheduled,
        (Property("each row hides as much as its noise says", _noised),),
    ),
}
