"""Scores of answers whose worth is known, and questions read from a corpus."""

import json
from collections import Counter

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.evaluation.questions import (
    Question,
    read_chat_questions,
    read_questions,
    score,
    spread,
)

MADE_UP_KINDS = ("misspelling", "wrong_attribute", "compound")
REFUSAL = "I don't know that name."


def question(kind: str = "documented", answer: str = "Return a copy.", name: str = "") -> Question:
    return Question(({"role": "user", "content": f"What does {name} do?"},), answer, kind, name)


def test_scores_of_known_answers():
    questions = [question() for _ in range(4)] + [question(kind, REFUSAL) for kind in MADE_UP_KINDS]
    answers = ["Return a copy.", "return the copy", "Return nothing.", REFUSAL]
    answers += [REFUSAL, "Return a copy.", "Sorry, I don't know."]

    scores = score(questions, answers).flat()

    assert scores["exact_match"] == 1 / 4
    assert scores["normalized_exact_match"] == 2 / 4
    assert scores["token_f1"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert scores["false_abstention"] == 1 / 4
    assert scores["abstention_misspelling"] == 1.0
    assert scores["abstention_wrong_attribute"] == 0.0
    assert scores["abstention_compound"] == 1.0
    assert scores["abstention_made_up"] == pytest.approx(2 / 3)


def test_the_mean_over_kinds_ignores_their_sizes():
    questions = [question("misspelling", REFUSAL)] * 9 + [question("compound", REFUSAL)]
    scores = score(questions, ["Return a copy."] * 9 + [REFUSAL])
    assert scores.abstention_made_up is not None
    assert scores.abstention_made_up.value == 0.5
    assert scores.abstention_made_up.n == 10


def test_every_rate_lies_in_its_interval():
    questions = [question()] * 20 + [question("compound", REFUSAL)] * 20
    scores = score(questions, ["Return a copy."] * 18 + [REFUSAL] * 22)
    rates = [scores.exact_match, scores.token_f1, scores.false_abstention]
    for rate in [*rates, *scores.abstention.values()]:
        assert rate is not None
        assert rate.interval.low <= rate.value <= rate.interval.high
    assert str(scores.exact_match) == "0.900 [0.699, 0.972]"


def test_what_was_not_asked_has_no_score():
    assert set(score([question()], ["Return a copy."]).flat()) == {
        "exact_match",
        "normalized_exact_match",
        "token_f1",
        "false_abstention",
    }
    assert score([], []).flat() == {}


def test_spread_keeps_the_proportions_and_is_the_same_each_time():
    questions = [question(name=str(i)) for i in range(60)]
    questions += [question("compound", REFUSAL, str(i)) for i in range(30)]
    chosen = spread(questions, 12)
    assert Counter(q.kind for q in chosen) == {"documented": 8, "compound": 4}
    assert chosen == spread(questions, 12)
    assert len({q.name for q in chosen if q.kind == "documented"}) == 8
    assert spread(questions, 90) == questions


def test_questions_are_read_and_a_broken_line_is_named(tmp_path):
    file = tmp_path / "test.jsonl"
    good = {"messages": [{"role": "user", "content": "q"}], "answer": "a", "kind": "compound"}
    file.write_text(json.dumps(good) + "\n\n" + '{"messages": []}\n', encoding="utf-8")
    with pytest.raises(LmwrightError, match="line 3 is not a question"):
        read_questions(file)
    file.write_text(json.dumps(good) + "\n", encoding="utf-8")
    (only,) = read_questions(file)
    assert (only.text, only.answer, only.kind) == ("q", "a", "compound")
    assert read_questions(tmp_path / "absent.jsonl") == []


def test_chats_become_questions_about_their_last_answer(tmp_path):
    file = tmp_path / "validation.jsonl"
    turns = [
        ("system", "s"),
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
        ("assistant", "a2"),
    ]
    chats = [turns, turns[:3], turns[:2], [("assistant", "hello")]]
    records = [{"messages": [{"role": r, "content": c} for r, c in chat]} for chat in chats]
    file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    first, second = read_chat_questions(file)
    assert (first.text, first.answer, len(first.messages)) == ("q2", "a2", 4)
    assert (second.text, second.answer) == ("q1", "a1")
