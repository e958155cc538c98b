"""Break-it: tests are held against wrong versions, once they take right ones."""

from pathlib import Path

import pytest

from lmwright.roadmap import own_tests
from lmwright.roadmap.hosting import LearnerFile
from lmwright.roadmap.lab import find_lab
from lmwright.roadmap.own_tests import chosen, judge
from tests.roadmap.lab_cases import ATTENTION, WITHOUT_SCALE

SOLUTIONS = Path(__file__).parent / "solutions" / "attention"
STRONG = (SOLUTIONS / "learner_tests.py").read_text()
WEAK = """
import torch

from lmwright.models.layers.attention import AttentionRule
from mine.attention import attend


def test_the_shape():
    q = torch.randn(2, 4, 3, 5)
    assert attend(q, q, q, AttentionRule()).shape == q.shape
"""


def test_good_tests_catch_enough_and_are_told_what_they_miss(desk):
    desk.write(ATTENTION)
    desk.write(STRONG, "test_attention")
    said = desk.lab("test", "attention", "--seed", "11")
    assert said.code == 0, said.out
    kind, fields = desk.events[-1]
    assert kind == "tests"
    assert fields["own_pass"]
    assert fields["of"] == 8
    assert fields["killed"] >= 6
    assert said.out.count("no test of yours notices") == 8 - fields["killed"]


def test_weak_tests_are_told_the_count_alone(desk):
    desk.write(ATTENTION)
    desk.write(WEAK, "test_attention")
    said = desk.lab("test", "attention")
    assert said.code == 1
    assert "caught 0 of 8" in said.out
    assert "no test of yours notices" not in said.out
    assert "sqrt" not in said.out


def test_the_starter_s_tests_do_not_pass(desk):
    desk.lab("start", "attention")
    desk.write(ATTENTION)
    said = desk.lab("test", "attention")
    assert said.code == 1
    assert "on your own attend: test_what_must_be_true_of_attention" in said.out


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        ("from mine.attention import attend\n", "no function whose name begins with test_"),
        ("def test_x(y): pass\n", "takes arguments"),
        ("def test_x(: pass\n", "line 1"),
        ("def test_x():\n    raise SystemExit\n", "exit()"),
        ("def test_x():\n    while True: pass\n", "loop"),
        (
            "from lmwright.models.layers import attention\n"
            "def test_x():\n    attention.attend(1, 2, 3, 4)\n",
            "asks you to write",
        ),
        (
            "import inspect\nfrom mine import attention\n"
            "def test_x():\n    assert attention.attend.__module__ == 'mine.attention'\n",
            "on another right attend",
        ),
    ],
)
def test_tests_that_cannot_be_held_against_anything_are_told(desk, monkeypatch, tests, told):
    monkeypatch.setattr(own_tests, "SECONDS", 4.0)
    desk.write(ATTENTION)
    desk.write(tests, "test_attention")
    said = desk.lab("test", "attention")
    assert said.code == 1
    assert told in said.out
    assert not desk.events[-1][1]["own_pass"]


def test_tests_must_pass_on_the_learner_s_own_part(desk):
    desk.write(WITHOUT_SCALE)
    desk.write(STRONG, "test_attention")
    said = desk.lab("test", "attention")
    assert said.code == 1
    assert "on your own attend: test_" in said.out


def test_a_version_that_makes_the_tests_hang_or_crash_is_caught(desk, monkeypatch):
    monkeypatch.setattr(own_tests, "SECONDS", 3.0)
    lab = find_lab("attention")

    def hangs(q, k, v, rule):
        while True:
            pass

    def leaves(q, k, v, rule):
        import os

        os._exit(0)

    file = LearnerFile.read(desk.write(ATTENTION))
    tests = LearnerFile.read(desk.write(WEAK, "test_attention"))
    for part in (hangs, leaves):
        assert own_tests.run_tests(lab, file, tests, part).problem


def test_eight_are_chosen_by_seed_and_all_are_chosen_by_some():
    mutants = find_lab("attention").mutants()
    draws = [chosen(mutants, seed) for seed in range(40)]
    assert all(len({id(mutant) for mutant in draw}) == 8 for draw in draws)
    assert chosen(mutants, 3) == chosen(mutants, 3)
    assert {m.says for draw in draws for m in draw} == {m.says for m in mutants}


def test_judge_names_every_version_once(desk):
    file = LearnerFile.read(desk.write(ATTENTION))
    tests = LearnerFile.read(desk.write(STRONG, "test_attention"))
    lab = find_lab("attention")
    found = judge(lab, file, tests, 5)
    wanted = [mutant.says for mutant in chosen(lab.mutants(), 5)]
    assert sorted((*found.caught, *found.survived)) == sorted(wanted)
    assert found.passed
