"""The TF-IDF lookup: nearest question, threshold, tuning, and what it reads."""

import json
import random

import numpy as np
import pytest

from lmwright.core.errors import LmwrightError
from lmwright.evaluation.baseline import (
    ABSTENTION,
    FEATURES,
    Found,
    NearestQuestion,
    Pair,
    choose_threshold,
    decide,
    read_pairs,
    tune,
)
from lmwright.evaluation.questions import Question, score

NAMES = [
    f"{module}.{verb}{noun}"
    for module in ("str", "list", "os", "json")
    for verb in ("get", "set", "drop")
    for noun in ("name", "item", "path")
]


def ask(name: str, wording: str = "What does {} do?", kind: str = "documented") -> Question:
    answer = f"Do {name} things." if kind == "documented" else ABSTENTION
    return Question(({"role": "user", "content": wording.format(name)},), answer, kind, name)


def training_pairs() -> list[Pair]:
    pairs = [Pair(f"Please explain {name}.", f"Do {name} things.") for name in NAMES]
    return pairs + [Pair(f"Please explain {name}x.", ABSTENTION) for name in NAMES[::3]]


@pytest.mark.parametrize("features", FEATURES)
def test_similarities_equal_plain_cosines(features):
    from sklearn.feature_extraction.text import TfidfVectorizer

    pairs, queries = training_pairs(), [f"and {name} then?" for name in NAMES[:9]]
    found = NearestQuestion(pairs, features).find(queries)
    total, parts = 0.0, 0
    for part in features.split(" and "):
        options = (
            {"token_pattern": r"\w+(?:\.\w+)*"}
            if part == "words"
            else {"analyzer": "char", "ngram_range": (3, 5)}
        )
        vectorizer = TfidfVectorizer(sublinear_tf=True, max_df=20, **options)
        index = vectorizer.fit_transform([p.question for p in pairs]).toarray()
        total = total + vectorizer.transform(queries).toarray() @ index.T
        parts += 1
    assert [f.similarity for f in found] == pytest.approx(np.max(total / parts, axis=1), abs=1e-5)


def test_a_training_question_finds_itself():
    pairs = training_pairs()
    found = NearestQuestion(pairs).find([pair.question for pair in pairs])
    assert [f.pair for f in found] == pairs
    assert [f.similarity for f in found] == pytest.approx([1.0] * len(pairs), abs=1e-5)


@pytest.mark.parametrize("allowed", [0.0, 0.03, 0.1, 0.5, 1.0])
def test_the_threshold_is_the_largest_that_refuses_no_more_than_allowed(allowed):
    generator = random.Random(0)
    questions = [ask(f"name{i}") for i in range(97)]
    found = [
        Found(
            Pair("q", ABSTENTION if generator.random() < 0.02 else "a"),
            round(generator.random(), 2),
        )
        for _ in questions
    ]
    threshold = choose_threshold(questions, found, allowed)

    def refused(at: float) -> float:
        answers = decide(found, at)
        return sum(answer == ABSTENTION for answer in answers) / len(answers)

    if refused(0.0) <= allowed:
        assert refused(threshold) <= allowed
        above = min((f.similarity for f in found if f.similarity > threshold), default=None)
        assert above is None or refused(above) > allowed
    else:
        assert threshold == 0.0


def test_tuning_finds_an_index_that_knows_made_up_names_from_real_ones():
    validation = [ask(name, "tell me about {} please") for name in NAMES]
    validation += [
        ask(name + "x", "tell me about {} please", "misspelling") for name in NAMES[1::3]
    ]
    lookup = tune(training_pairs(), validation, false_abstention=0.03)
    scores = score(validation, lookup.answer(validation)).flat()
    assert scores["false_abstention"] <= 0.03
    assert scores["exact_match"] >= 0.97
    assert scores["abstention_misspelling"] >= 0.9
    assert "TF-IDF of" in str(lookup)


def test_training_chats_are_deduplicated_and_capped(tmp_path):
    file = tmp_path / "train.jsonl"
    turns = [("user", f"q{i % 5}", "answer") for i in range(20)]
    turns += [("user", f"made up {i}", "I don't know that name.") for i in range(20)]
    with open(file, "w", encoding="utf-8") as out:
        for role, question, answer in turns:
            messages = [
                {"role": role, "content": question},
                {"role": "assistant", "content": answer},
            ]
            out.write(json.dumps({"messages": messages}) + "\n")
    pairs = read_pairs(file, per_answer=3, made_up=7)
    assert [p.question for p in pairs if p.answer == "answer"] == ["q0", "q1", "q2"]
    assert sum(p.answer == ABSTENTION for p in pairs) == 7


def test_every_turn_of_a_chat_can_be_found(tmp_path):
    file = tmp_path / "train.jsonl"
    contents = [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]
    record = {"messages": [{"role": role, "content": content} for role, content in contents]}
    file.write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert read_pairs(file) == [Pair("q1", "a1"), Pair("q2", "a2")]


def test_nothing_to_index_or_to_tune_on_is_said():
    with pytest.raises(LmwrightError, match="no training question"):
        NearestQuestion([])
    with pytest.raises(LmwrightError, match="documented validation questions"):
        tune(training_pairs(), [ask("strx", kind="misspelling")], 0.03)
