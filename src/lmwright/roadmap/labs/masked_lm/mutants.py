"""Wrong ways to hide tokens, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.roadmap.properties import Mutant
from lmwright.training.objectives.loss import IGNORED


def _chosen(draws: Tensor, starts: Tensor, ordinary: Tensor, fraction: float, wrong: str) -> Tensor:
    """(B, T) bool, which tokens are chosen, wrong in one place."""
    if wrong == "words as tokens":
        starts = ordinary
    if wrong == "each by itself":
        picked = starts & (draws < fraction)
    else:
        counted = torch.ones_like(starts) if wrong == "share of the row" else starts
        exact = counted.sum(1, keepdim=True) * fraction
        wanted = exact.floor() if wrong == "rounded down" else exact.round()
        if wrong != "none of a short row":
            wanted = wanted.clamp_min(1)
        if wrong == "highest":
            draws = 1 - draws
        if wrong == "specials too":
            starts = ordinary = torch.ones_like(starts)
        draws = draws.masked_fill(~starts, torch.inf)
        if wrong == "whole batch":
            rank = draws.flatten().argsort().argsort().view(draws.shape)
            wanted = wanted.sum()
        else:
            rank = draws.argsort(1).argsort(1)
        picked = starts & (rank < wanted)
    if wrong == "starts alone":
        return picked
    place = torch.arange(starts.shape[1])
    first = torch.where(starts, place, 0).cummax(1).values
    return ordinary & picked.gather(1, first)


def _mutant(wrong: str, says: str) -> Mutant:
    def mask_tokens(
        input_ids: Tensor,
        ordinary: Tensor,
        starts: Tensor,
        draws: Tensor,
        *,
        mask_token_id: int,
        replacements: Tensor,
        fraction: float = 0.15,
    ) -> tuple[Tensor, Tensor]:
        where, kind, other = draws.unbind(2)
        where = kind if wrong == "one draw" else where
        chosen = _chosen(where, starts, ordinary, fraction, wrong)
        random_ids = replacements[(other * len(replacements)).long()]
        if wrong == "any id":
            random_ids = (other * (int(replacements.max()) + 1)).long()
        masked, replaced = kind < 0.8, (kind >= 0.8) & (kind < 0.9)
        if wrong == "always masked":
            masked = torch.ones_like(masked)
        if wrong == "none kept":
            replaced = kind >= 0.8
        if wrong == "none replaced":
            replaced = torch.zeros_like(masked)
        if wrong == "swapped":
            replaced = kind >= 0.9
        changed = torch.where(replaced, random_ids, input_ids)
        changed = torch.where(masked, mask_token_id, changed)
        changed = torch.where(chosen, changed, input_ids)
        labels = changed if wrong == "labels behind" else input_ids
        if wrong == "labels everywhere":
            return changed, labels.clone()
        if wrong == "kept without label":
            chosen = chosen & (changed != input_ids)
        ignored = 0 if wrong == "ignored 0" else IGNORED
        return changed, torch.where(chosen, labels, ignored)

    return Mutant(says, mask_tokens)


MUTANTS = (
    _mutant("always masked", "hiding in which every chosen token becomes the mask token"),
    _mutant("none kept", "hiding in which no chosen token stays as it is"),
    _mutant("none replaced", "hiding in which no chosen token becomes another word"),
    _mutant(
        "swapped", "hiding with the last two tenths swapped: 0.8 to 0.9 is replaced, the rest stays"
    ),
    _mutant("labels everywhere", "hiding with a label at every token: the others' are -100"),
    _mutant("labels behind", "labels taken after the tokens were changed"),
    _mutant(
        "kept without label",
        "labels at changed tokens alone: a chosen token that stays has one too",
    ),
    _mutant("ignored 0", "labels of 0 where none is chosen: 0 is a token; it must be -100"),
    _mutant(
        "each by itself",
        "hiding in which each token is chosen by itself, so that rows differ in how many are",
    ),
    _mutant("highest", "hiding that chooses the highest draws"),
    _mutant(
        "one draw", "hiding that chooses by the second draw: what is chosen then always is masked"
    ),
    _mutant("whole batch", "hiding that chooses among the whole batch, not in each row"),
    _mutant("rounded down", "hiding that rounds the number of chosen words down"),
    _mutant("any id", "hiding whose replacements are any id, special ones too"),
    _mutant("specials too", "hiding that may choose special tokens and padding"),
    _mutant(
        "share of the row", "hiding that takes its share of all positions, not of the row's words"
    ),
    _mutant("none of a short row", "hiding that chooses nothing in short rows"),
    _mutant("starts alone", "hiding that chooses a word's first token alone"),
    _mutant("words as tokens", "hiding that chooses single tokens where words have several"),
)
