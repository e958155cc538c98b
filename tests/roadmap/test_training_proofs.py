"""Trainings for the labs' proofs: the same number twice, better than chance, the part called."""

import math

import pytest

from lmwright.core import parts
from lmwright.models import cells
from lmwright.roadmap.training_proofs import (
    UNKNOWN,
    Words,
    character_model_nats,
    hidden_word_nats,
    sentiment_accuracy,
)
from tests.real_data import real_data_folder


def test_words_are_the_most_frequent_ones():
    words = Words.of(["b a a c", "a b"], most=2)
    assert len(words) == UNKNOWN + 3
    assert words.encode("a b c") == [UNKNOWN + 1, UNKNOWN + 2, UNKNOWN]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "chance"), [(character_model_nats, math.log(256)), (hidden_word_nats, 7.6)]
)
def test_losses_repeat_and_fall(measure, chance):
    real_data_folder()
    found = measure(steps=12)
    assert found == measure(steps=12)
    assert found < chance - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text_cnn", "recurrent"])
def test_accuracies_repeat(kind):
    real_data_folder()
    found = sentiment_accuracy(kind, steps=40)
    assert found == sentiment_accuracy(kind, steps=40)
    assert found > 50.0


@pytest.mark.slow
def test_a_part_in_use_is_called(monkeypatch):
    real_data_folder()
    calls, step = [], cells.lstm_step
    monkeypatch.setattr(cells, "lstm_step", lambda *given: calls.append(1) or step(*given))
    monkeypatch.setattr(parts, "in_use", lambda target: target == "lmwright.models.cells:lstm_step")
    sentiment_accuracy("recurrent", steps=2)
    assert calls
