"""ROUGE: values computed by hand, and the library called by itself."""

import random

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.metrics.summaries import rouge

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
WORDS = ["the", "cats", "cat", "sat", "running", "ran", "on", "mats", "Mat", ".", "today"]


def f(shared, said, known):
    precision, recall = shared / said, shared / known
    return 100 * 2 * precision * recall / (precision + recall)


def test_shared_words_pairs_and_subsequences_are_counted():
    # said: the cat ran on a mat (6); known: the cat sat on the mat (6); shared: the cat on mat;
    # pairs: (the, cat) alone of 5; longest common subsequence: the cat on mat.
    score = rouge(["the cat ran on a mat"], [["The cat sat on the mat."]])
    assert score.rouge1 == pytest.approx(f(4, 6, 6))
    assert score.rouge2 == pytest.approx(f(1, 5, 5))
    assert score.rougeL == pytest.approx(f(4, 6, 6))


def test_words_are_stemmed():
    assert rouge(["He walks."], [["he walking"]]).rouge1 == pytest.approx(100)


def test_a_line_is_a_sentence():
    # Lin 2004, section 3.1: as one text the order of the lines matters, as sentences it does not.
    said, known = "a dog barks\na cat sleeps", "a cat sleeps\na dog barks"
    score = rouge([said], [[known]])
    assert score.rougeLsum == pytest.approx(100)
    assert score.rougeL == pytest.approx(f(3, 6, 6))
    # Without line breaks there is one sentence, and both are the same.
    flat = rouge([said.replace("\n", " ")], [[known.replace("\n", " ")]])
    assert flat.rougeLsum == flat.rougeL == pytest.approx(f(3, 6, 6))


def test_the_best_reference_counts_for_each_score():
    one, two = "cat mat on the sat", "the cat ate it all up"
    said = "the cat sat on mat"
    both = rouge([said], [[one, two]])
    alone = [rouge([said], [[known]]) for known in (one, two)]
    assert both.rouge1 == max(score.rouge1 for score in alone) == alone[0].rouge1
    assert both.rouge2 == max(score.rouge2 for score in alone) == alone[1].rouge2
    assert "best of 2" in both.signature


def test_the_library_called_by_itself_agrees():
    draw = random.Random(0)

    def text():
        return "\n".join(" ".join(draw.choices(WORDS, k=draw.randint(1, 8))) for _ in range(3))

    said = [text() for _ in range(20)]
    known = [[text() for _ in range(draw.randint(1, 3))] for _ in range(20)]
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = rouge_scorer.RougeScorer(kinds, use_stemmer=True)
    pairs = list(zip(said, known, strict=True))
    score = rouge(said, known)
    for kind in kinds:
        best = [scorer.score_multi(refs, text)[kind].fmeasure for text, refs in pairs]
        assert getattr(score, kind) == pytest.approx(100 * sum(best) / len(best))


def test_what_is_empty_or_alone_is_told():
    assert rouge([""], [["something"]]).rouge1 == 0
    with pytest.raises(LmwrightError, match="1 summaries, 2"):
        rouge(["a"], [["a"], ["b"]])
    with pytest.raises(LmwrightError, match="a reference at least"):
        rouge(["a", "b"], [["a"], []])
