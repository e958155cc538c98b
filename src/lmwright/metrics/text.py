"""Comparing a short answer with reference answers (Rajpurkar et al. 2016, SQuAD, section 6.1)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

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
    return normalize_answer(answer) in {normalize_answer(text) for text in references}


def token_f1(answer: str, references: Sequence[str]) -> float:
    """SQuAD's F1 of the bags of normalised words, the best over `references`.

    Where answer or reference has no words (SQuAD 2.0's "no answer"), 1 if both have none, else 0.

    Returns:
        0 to 1; 0 without references.
    """
    return max((_bag_f1(answer, reference) for reference in references), default=0.0)


def _bag_f1(answer: str, reference: str) -> float:
    predicted = normalize_answer(answer).split()
    expected = normalize_answer(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * shared / (len(predicted) + len(expected))
