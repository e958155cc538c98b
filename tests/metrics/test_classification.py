"""Scores of classes against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from lmwright.core.errors import LmwrightError
from lmwright.metrics import classification


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_equal_scikit_learn(classes):
    generator = np.random.default_rng(classes)
    truth = generator.integers(0, classes, 200)
    guess = np.where(generator.random(200) < 0.6, truth, generator.integers(0, classes, 200))
    matrix = classification.confusion(truth, guess, classes)
    assert (matrix == sklearn_metrics.confusion_matrix(truth, guess)).all()
    assert classification.macro_f1(matrix) == pytest.approx(
        sklearn_metrics.f1_score(truth, guess, average="macro")
    )
    assert classification.matthews(matrix) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(truth, guess)
    )
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(truth, guess)
    ours = classification.per_class(matrix)
    assert [score.precision for score in ours] == pytest.approx(precision.tolist())
    assert [score.recall for score in ours] == pytest.approx(recall.tolist())
    assert [score.f1 for score in ours] == pytest.approx(f1.tolist())
    assert [score.support for score in ours] == support.tolist()


def test_a_prediction_of_one_class_only_has_no_correlation():
    matrix = classification.confusion([0, 1, 1, 0], [1, 1, 1, 1], 2)
    assert classification.matthews(matrix) == 0.0
    assert classification.per_class(matrix)[0] == (0.0, 0.0, 0.0, 2)


def test_a_class_that_occurs_nowhere_does_not_lower_the_mean():
    matrix = classification.confusion([0, 1], [0, 1], 3)
    assert classification.macro_f1(matrix) == 1.0


def test_nothing_predicted_scores_nothing():
    assert classification.macro_f1(classification.confusion([], [], 2)) == 0.0
    assert classification.accuracy([], []) == 0.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(LmwrightError, match="predicted"):
        classification.confusion([0, 1], [0], 2)
    with pytest.raises(LmwrightError, match="outside"):
        classification.confusion([0, 2], [0, 1], 2)
