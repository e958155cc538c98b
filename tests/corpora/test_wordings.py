"""Held-out wordings must be new to a model that saw the training ones."""

import difflib
import random
import re

import pytest

from lmwright.corpora import wordings
from lmwright.corpora.wordings import FORMS, NAME, TEST, TRAINING, TRAINING_FOLLOW_UPS, VALIDATION

TRAINED = [*TRAINING, *TRAINING_FOLLOW_UPS]
HELD_OUT = [*VALIDATION, *TEST]


def words(wording: str) -> list[str]:
    return re.findall(r"\{name\}|[a-z']+", wording.lower())


def runs(wording: str, length: int) -> set[tuple[str, ...]]:
    found = words(wording)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


def test_there_are_dozens_of_training_wordings_and_all_differ():
    assert len({" ".join(words(wording)) for wording in TRAINED}) >= 40
    assert all(wording.count(NAME) == 1 for wording in TRAINED)


@pytest.mark.parametrize("held_out", HELD_OUT, ids=lambda wording: wording.clean)
def test_held_out_wordings_share_no_template_and_no_five_words_with_training(held_out):
    for trained in TRAINED:
        assert words(trained) != words(held_out.clean)
        # Five were asked for; four hold as well, so that short templates cannot hide inside.
        assert not runs(trained, 4) & runs(held_out.clean, 4)


def test_test_wordings_share_no_five_words_with_validation_wordings():
    for validation in VALIDATION:
        for test in TEST:
            assert not runs(validation.clean, 5) & runs(test.clean, 5)


@pytest.mark.parametrize("held_out", HELD_OUT, ids=lambda wording: wording.clean)
def test_a_typo_is_one_word_and_never_the_name(held_out):
    clean, typo = held_out.clean.split(), held_out.typo.split()
    changed = [(a, b) for a, b in zip(clean, typo, strict=True) if a != b]
    assert len(changed) == 1
    assert NAME not in changed[0][0]
    assert difflib.SequenceMatcher(None, *changed[0]).ratio() > 0.6


def test_forms_include_lower_case_typo_no_question_mark_and_second_turn():
    assert {"lower case", "typo", "no question mark", "second turn"} < set(FORMS)
    asked = {form: wordings.held_out_question(TEST[0], form, "os.X") for form in FORMS}
    assert asked["plain"].endswith("?")
    assert not asked["no question mark"].endswith("?")
    assert asked["lower case"] == asked["no question mark"].replace("What", "what")
    assert asked["typo"] != asked["plain"]


@pytest.mark.parametrize("name", ["str.upper", "collections.Counter", "std::vector::push_back"])
def test_noise_never_touches_the_name(name):
    rng = random.Random(0)
    for _ in range(2000):
        assert name in wordings.training_question(rng, name, follow_up=rng.random() < 0.5)


def test_noise_makes_many_questions_of_few_wordings():
    rng = random.Random(1)
    assert len({wordings.training_question(rng, "len") for _ in range(2000)}) > 800
