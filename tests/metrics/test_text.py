"""Answer metrics against a slow version of the SQuAD rules, and by hand."""

import random
import re

import pytest

from lmwright.metrics.text import (
    answer_scores,
    exact_match,
    normalize_answer,
    same_text,
    token_f1,
)

WORDS = [
    "the",
    "a",
    "an",
    "Return",
    "copy,",
    "string",
    "of",
    "The",
    "x.y()",
    "  ",
    "\n",
    "naïve",
    "—",
]


def random_texts(seed: int, count: int = 200) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(0, 8))) for _ in range(count)]


def slow_normalisation(text: str) -> str:
    """The same rule in other words: keep characters, then runs of word characters, then words."""
    kept = "".join(c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    runs = re.findall(r"\w+|\W", kept)
    return " ".join("".join(" " if run in ("a", "an", "the") else run for run in runs).split())


def slow_f1(answer: str, reference: str) -> float:
    """Cross out shared words one by one; F1 as the harmonic mean of precision and recall."""
    said, left = slow_normalisation(answer).split(), slow_normalisation(reference).split()
    total, shared = len(left), 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    if not said or not total:
        return float(len(said) == total)
    precision, recall = shared / len(said), shared / total
    return 2 * precision * recall / (precision + recall) if shared else 0.0


def test_scores_equal_a_slow_version_on_random_text():
    for answer, reference in zip(random_texts(0), random_texts(1), strict=True):
        assert normalize_answer(answer) == slow_normalisation(answer)
        same = slow_normalisation(answer) == slow_normalisation(reference)
        assert exact_match(answer, [reference]) == same
        assert token_f1(answer, [reference]) == pytest.approx(slow_f1(answer, reference))


def test_normalisation_drops_case_punctuation_articles_and_spaces():
    assert normalize_answer("  The copy, of a  STRING.\n") == "copy of string"
    assert normalize_answer("theatre") == "theatre"


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("cat sat", "cat sat", 1.0),
        ("cat", "cat sat", 2 / 3),
        ("cat cat", "cat", 2 / 3),  # a repeated word counts once
        ("dog", "cat", 0.0),
        ("", "the", 1.0),  # both without words
        ("", "cat", 0.0),
    ],
)
def test_f1_by_hand(answer, reference, expected):
    assert token_f1(answer, [reference]) == pytest.approx(expected)


def test_the_best_reference_counts():
    assert token_f1("cat sat", ["dog", "cat sat", "cat"]) == 1.0
    assert exact_match("Cat.", ["dog", "the cat"])
    assert token_f1("cat", []) == 0.0
    assert not exact_match("cat", [])
    assert answer_scores("cat sat", ["dog", "Cat"]) == (False, pytest.approx(2 / 3))


def test_strict_equality_sees_case_and_punctuation_but_not_spacing():
    assert same_text(" Return a\ncopy. ", ["Return a copy."])
    assert not same_text("return a copy.", ["Return a copy."])
    assert not same_text("Return a copy", ["Return a copy."])
