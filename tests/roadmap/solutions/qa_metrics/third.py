"""Texts as objects, with runs of characters."""

import re
from collections import defaultdict
from string import punctuation

from lmwright.metrics.text import AnswerScores

REPLACES = "lmwright.metrics.text:answer_scores"

PUNCTUATION = re.compile("[" + re.escape(punctuation) + "]")
WORD = re.compile(r"\w+|[^\w\s]+|\s+")


class Text:
    def __init__(self, text):
        bare = PUNCTUATION.sub("", text.lower())
        runs = [" " if run in ("a", "an", "the") else run for run in WORD.findall(bare)]
        self.words = "".join(runs).split()
        self.counts = defaultdict(int)
        for word in self.words:
            self.counts[word] += 1

    def __eq__(self, other):
        return self.words == other.words

    def f1(self, other):
        if not (self.words and other.words):
            return 1.0 if self == other else 0.0
        shared = sum(min(n, other.counts[word]) for word, n in list(self.counts.items()))
        return shared / (0.5 * len(self.words) + 0.5 * len(other.words))


def answer_scores(answer, references):
    said = Text(answer)
    right = [Text(reference) for reference in references]
    return AnswerScores(any(said == each for each in right), max([0.0, *map(said.f1, right)]))
