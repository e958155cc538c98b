"""BLEU and chrF: known values, and the library's own command-line default as reference."""

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.metrics.translation import bleu, chrf

pytest.importorskip("sacrebleu")

SAID = ["the cat sat on the mat .", "a dog runs in the park ."]
KNOWN = [["the cat sat on the mat ."], ["a dog is running in the park ."]]


def test_a_perfect_translation_scores_100():
    assert bleu(SAID[:1], KNOWN[:1]).value == pytest.approx(100.0)
    assert chrf(SAID[:1], KNOWN[:1]).value == pytest.approx(100.0)


def test_a_corpus_scores_as_papineni_counts():
    # Matches of 1 to 4 words over both: 13/14, 10/12, 7/10, 4/8; the hypotheses are 14 tokens
    # long, the references 15.
    from math import exp, log

    matches = [(13, 14), (10, 12), (7, 10), (5, 8)]
    expected = 100 * exp(1 - 15 / 14) * exp(sum(log(a / b) for a, b in matches) / 4)
    score = bleu(SAID, KNOWN)
    assert score.value == pytest.approx(expected)
    assert "tok:13a" in score.signature
    assert "smooth:exp" in score.signature


def test_several_references_are_taken_together():
    assert bleu(SAID[:1], [["something else .", SAID[0]]]).value == pytest.approx(100.0)


def test_uneven_references_are_refused():
    with pytest.raises(LmwrightError, match="as many references"):
        bleu(SAID, [KNOWN[0], []])
