"""Wrong scores, each with the idea that it misses."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from lmwright.metrics.text import AnswerScores
from lmwright.roadmap.properties import Mutant

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def _normalized(text: str, wrong: str) -> str:
    if wrong != "case":
        text = text.lower()
    if wrong == "articles first":
        text = _ARTICLES.sub(" ", text)
    if wrong == "all punctuation":
        text = "".join(c for c in text if c.isalnum() or c.isspace())
    elif wrong == "spaces for punctuation":
        text = text.translate({ord(c): " " for c in string.punctuation})
    elif wrong == "edges":
        text = " ".join(word.strip(string.punctuation) for word in text.split())
    elif wrong != "punctuation":
        text = text.translate(str.maketrans("", "", string.punctuation))
    if wrong == "articles inside":
        text = re.sub("the|an|a", "", text)
    elif wrong == "the alone":
        text = re.sub(r"\bthe\b", " ", text)
    elif wrong == "whole words":
        text = " ".join(word for word in text.split() if word not in ("a", "an", "the"))
    elif wrong not in ("articles", "articles first"):
        text = _ARTICLES.sub(" ", text)
    return text if wrong == "spaces" else " ".join(text.split())


def _f1(said: list[str], right: list[str], wrong: str) -> float:
    if wrong == "sets":
        said, right = sorted(set(said)), sorted(set(right))
    if not said or not right:
        if wrong == "empty is wrong":
            return 0.0
        if wrong == "empty is right":
            return 1.0
        return float(said == right)
    shared = sum((Counter(said) & Counter(right)).values())
    if wrong == "not as often":
        shared = sum(word in right for word in said)
    if wrong == "places":
        shared = sum(a == b for a, b in zip(said, right, strict=False))
    if wrong == "precision":
        return shared / len(said)
    if wrong == "recall":
        return shared / len(right)
    if wrong == "mean":
        return (shared / len(said) + shared / len(right)) / 2
    if wrong == "jaccard":
        return shared / (len(said) + len(right) - shared)
    return 2 * shared / (len(said) + len(right))


def _scores(answer: str, references: Sequence[str], wrong: str) -> AnswerScores:
    """SQuAD's scores, wrong in one place."""
    said = _normalized(answer, wrong)
    right = [_normalized(text, wrong) for text in references]
    if wrong == "first reference":
        right = right[:1]
    each = [_f1(said.split(), text.split(), wrong) for text in right]
    best = max(each, default=0.0)
    if wrong == "mean of references" and each:
        best = sum(each) / len(each)
    matched = said in right
    if wrong == "bag match":
        matched = best == 1.0
    if wrong == "contained":
        matched = any(text in said for text in right)
    if wrong == "as written":
        matched = answer in references
    return AnswerScores(matched, best)


def _mutant(wrong: str, says: str) -> Mutant:
    def answer_scores(answer: str, references: Sequence[str]) -> AnswerScores:
        return _scores(answer, references, wrong)

    return Mutant(says, answer_scores)


# What is learnt last stands first: a failure is told by the first that explains it, and these are
# right in everything before.
MUTANTS = (
    _mutant("empty is wrong", "an F1 of 0 where neither answer nor reference has a word: it is 1"),
    _mutant("empty is right", "an F1 of 1 where only one side has no word: it is 0"),
    _mutant("first reference", "scores that look at the first reference alone"),
    _mutant("mean of references", "the mean over the references, where the best one counts"),
    _mutant("articles first", "scores that drop articles first: punctuation goes before them"),
    _mutant(
        "whole words",
        "scores that drop articles between spaces only: a word ends at a dash or a quote as well",
    ),
    _mutant("articles inside", "scores that take a, an and the out of longer words as well"),
    _mutant("the alone", "scores that drop `the` alone: `a` and `an` are articles too"),
    _mutant("articles", "scores that see articles"),
    _mutant(
        "all punctuation", "scores that drop every sign: only ASCII punctuation goes, a dash stays"
    ),
    _mutant(
        "spaces for punctuation",
        "scores in which punctuation becomes a space: it goes without a trace, x-ray is xray",
    ),
    _mutant("edges", "scores that drop punctuation around words alone, not inside them"),
    _mutant("punctuation", "scores that see punctuation"),
    _mutant("spaces", "an exact match that sees how many spaces there are, and which"),
    _mutant("case", "scores that see a difference between upper and lower case"),
    _mutant("as written", "an exact match of the texts as they are, without normalisation"),
    _mutant("contained", "an exact match of answers that only contain the reference"),
    _mutant("bag match", "an exact match that does not look at the order of the words"),
    _mutant("sets", "scores of *sets* of words: a word that both have twice counts twice"),
    _mutant(
        "not as often",
        "scores in which a word said twice is right twice, though the reference has it once",
    ),
    _mutant("places", "scores in which words count only at the same place"),
    _mutant("precision", "the precision: a short answer must lose for what it leaves out"),
    _mutant("recall", "the recall: a long answer must lose for what it adds"),
    _mutant("mean", "the arithmetic mean of precision and recall, where the harmonic is wanted"),
    _mutant("jaccard", "the shared words over all words: F1 is twice the shared over both lengths"),
)
