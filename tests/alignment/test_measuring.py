"""What a preference step asks of its model is paid for out of its time."""

from lmwright.alignment import steps
from lmwright.alignment.commands import DPOConfig
from lmwright.alignment.steps import balanced
from lmwright.evaluation.questions import DOCUMENTED, Question
from lmwright.pipeline.run import StepRun

KINDS = (DOCUMENTED, DOCUMENTED, "misspelling", "wrong_attribute", "compound")


def questions(number):
    return [
        Question(
            messages=[{"role": "user", "content": f"{i}?"}],
            answer="yes",
            kind=KINDS[i % len(KINDS)],
            name=str(i),
            wording="plain",
        )
        for i in range(number)
    ]


def test_real_and_made_up_names_are_asked_about_equally_often():
    for most in (40, 10_000):
        asked = balanced(questions(200), most)
        real = [q for q in asked if q.kind == DOCUMENTED]
        assert len(real) == min(most // 2, 80)
        assert abs(len(asked) - 2 * len(real)) <= 2
        assert {q.kind for q in asked} == set(KINDS)


def test_no_question_is_asked_where_there_is_none():
    assert balanced([], 100) == []


def test_a_slow_model_is_asked_less_and_the_number_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "written_pairs", lambda config, corpus: [None] * 128)
    now = iter([0.0, 4.0, 0.0, 99.0])
    monkeypatch.setattr(steps, "perf_counter", lambda: next(now))
    monkeypatch.setattr(steps, "on_policy_pairs", lambda *args, **more: None)
    run = StepRun.standalone(tmp_path / "aligned", seconds=10.0)
    first = steps.affordable_answers(DPOConfig(), run, None, tmp_path)
    assert first == 320  # 128 answers took 4 of the 10 seconds
    assert steps.affordable_answers(DPOConfig(), run, None, tmp_path) == first


def test_a_length_in_steps_depends_on_no_clock(tmp_path):
    run = StepRun.standalone(tmp_path / "aligned", seconds=1.0)
    assert steps.affordable_answers(DPOConfig(budget="3 steps"), run, None, tmp_path) > 10**9
