"""Words crossed out one by one."""

import re
import string

from lmwright.metrics.text import AnswerScores

REPLACES = "lmwright.metrics.text:answer_scores"

TABLE = {ord(sign): None for sign in string.punctuation}


def words_of(text):
    return re.sub(r"\b(?:an?|the)\b", " ", text.lower().translate(TABLE)).split()


def shared_words(said, right):
    left = list(right)
    count = 0
    for word in said:
        if word in left:
            left.remove(word)
            count += 1
    return count


def answer_scores(answer, references):
    said = words_of(answer)
    exact = False
    best = 0.0
    for reference in references:
        right = words_of(reference)
        exact = exact or said == right
        if len(said) and len(right):
            score = 2 * shared_words(said, right) / (len(said) + len(right))
        else:
            score = float(not said and not right)
        best = max(best, score)
    return AnswerScores(exact_match=exact, f1=best)
