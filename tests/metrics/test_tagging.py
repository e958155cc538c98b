"""Entities and their F1 against seqeval in its strict mode."""

import warnings

import numpy as np
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.metrics.tagging import Entity, entities, entity_counts, entity_scores

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_seqeval(seed):
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2

    generator = np.random.default_rng(seed)
    truth, guess = [], []
    for _ in range(60):
        length = int(generator.integers(1, 12))
        row = generator.choice(TAGS, length, p=[0.4, *[0.1] * 6])
        other = generator.choice(TAGS, length)  # malformed as often as not
        truth.append(row.tolist())
        guess.append(np.where(generator.random(length) < 0.6, row, other).tolist())
    micro, by_type = entity_scores(truth, guess)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = seqeval.classification_report(
            truth, guess, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
        )
    assert micro.f1 == pytest.approx(report["micro avg"]["f1-score"])
    assert micro.precision == pytest.approx(report["micro avg"]["precision"])
    assert micro.recall == pytest.approx(report["micro avg"]["recall"])
    for kind, score in by_type.items():
        assert score.f1 == pytest.approx(report[kind]["f1-score"])
        assert score.support == report[kind]["support"]
    counts = np.array(entity_counts(truth, guess)).sum(axis=0)
    assert 2 * counts[0] / (counts[1] + counts[2]) == pytest.approx(micro.f1)


def test_an_entity_begins_with_b_and_ends_where_its_type_does():
    tags = ["I-PER", "B-PER", "I-PER", "I-ORG", "B-ORG", "B-ORG", "O"]
    assert entities(tags) == [Entity("PER", 1, 3), Entity("ORG", 4, 5), Entity("ORG", 5, 6)]


def test_sentences_of_unequal_length_are_refused():
    with pytest.raises(LmwrightError, match="sentence 1"):
        entity_scores([["O", "O"]], [["O"]])
