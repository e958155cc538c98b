"""The official script's way, and the lab's twists."""

import re
import string
from collections import Counter

from lmwright.metrics.text import AnswerScores

REPLACES = "lmwright.metrics.text:answer_scores"


def normalize(text):
    text = text.lower()
    text = "".join(c for c in text if c not in string.punctuation)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def f1(answer, reference):
    answer, reference = answer.split(), reference.split()
    if not answer or not reference:
        return 1.0 if answer == reference else 0.0
    shared = sum((Counter(answer) & Counter(reference)).values())
    if shared == 0:
        return 0.0
    precision = shared / len(answer)
    recall = shared / len(reference)
    return 2 * precision * recall / (precision + recall)


def answer_scores(answer, references):
    answer = normalize(answer)
    references = [normalize(r) for r in references]
    if not references:
        return AnswerScores(False, 0.0)
    return AnswerScores(answer in references, max(f1(answer, r) for r in references))


def precision_and_recall(answer, reference):
    answer, reference = normalize(answer).split(), normalize(reference).split()
    if not answer or not reference:
        same = 1.0 if answer == reference else 0.0
        return same, same
    shared = sum((Counter(answer) & Counter(reference)).values())
    return shared / len(answer), shared / len(reference)


def scores_in_other_languages(answer, references, articles):
    def clean(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return " ".join(w for w in text.split() if w not in articles)

    answer = clean(answer)
    references = [clean(r) for r in references]
    return AnswerScores(answer in references, max(f1(answer, r) for r in references))


def set_f1(answer, references):
    def bag(text):
        return " ".join(sorted(set(normalize(text).split())))

    return max((f1(bag(answer), bag(r)) for r in references), default=0.0)
