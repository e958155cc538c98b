"""Comparing a short answer with reference answers (Rajpurkar et al. 2016, SQuAD, section 6.1)."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower-case `text`, drop ASCII punctuation and English articles, and collapse whitespace.

    The order is the official SQuAD script's: punctuation goes before articles, so that "a." is an
    article and "the-end" is one word.
    """
    without_punctuation = text.lower().translate(_PUNCTUATION)
    return collapse_whitespace(_ARTICLES.sub(" ", without_punctuation))


def collapse_whitespace(text: str) -> str:
    """`text` with each run of whitespace as one space and none at either end."""
    return " ".join(text.split())


def same_text(answer: str, references: Sequence[str]) -> bool:
    """Whether `answer` equals one of `references` character by character, whitespace aside.

    Stricter than `exact_match`: case, punctuation and articles count.
    """
    return collapse_whitespace(answer) in {collapse_whitespace(text) for text in references}


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """SQuAD's exact match: equal to one of `references` after `normalize_answer`."""
    return answer_scores(answer, references).exact_match


def token_f1(answer: str, references: Sequence[str]) -> float:
    """SQuAD's F1 of the bags of normalised words, 0 to 1; see `answer_scores`."""
    return answer_scores(answer, references).f1


class AnswerScores(NamedTuple):
    """How well an answer agrees with its references."""

    exact_match: bool
    """Whether it equals one of them, after normalisation."""
    f1: float
    """0 to 1: how many words it shares with the one that is nearest."""


def answer_scores(answer: str, references: Sequence[str]) -> AnswerScores:
    """SQuAD's exact match and F1 (Rajpurkar et al. 2016, section 6.1), after `normalize_answer`.

    F1 is that of the two bags of words, the best over `references`. Where answer or reference has
    no words (SQuAD 2.0's "no answer"), it is 1 if both have none, else 0.

    Args:
        answer: what was said.
        references: right answers, each good enough; without any, everything is wrong.
    """
    said = normalize_answer(answer)
    right = [normalize_answer(reference) for reference in references]
    f1 = max((_bag_f1(said.split(), each.split()) for each in right), default=0.0)
    return AnswerScores(said in right, f1)


def _bag_f1(said: list[str], right: list[str]) -> float:
    """Harmonic mean of precision and recall of words, each counted as often as both have it."""
    if not said and not right:
        return 1.0
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))
