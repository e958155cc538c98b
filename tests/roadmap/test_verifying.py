"""`lmwright lab verify`: everything in a folder again, and what of it counts."""

import pytest

from lmwright.roadmap.verifying import continuous_integration
from tests.roadmap.lab_cases import ATTENTION, WITHOUT_SCALE


@pytest.fixture
def at_home(monkeypatch):
    for name in ("CI", "GITHUB_RUN_ID", "CI_JOB_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_part_that_holds_is_written_down_and_counts_where_ci_ran_it(desk, at_home, monkeypatch):
    desk.write(ATTENTION)
    said = desk.lab("verify", "--seeds", "2")
    assert said.code == 0
    assert "attention" in said.out
    assert "2 checks pass; twist: none; tests: none" in said.words
    assert "Only a run by continuous integration counts" in said.words
    assert "verified 2" not in desk.lab("list").out

    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/labs")
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    assert desk.lab("verify", "attention", "--seeds", "1").code == 0
    (home, ci) = [fields for kind, fields in desk.events if kind == "verify"]
    assert home["by"] == ""
    assert ci["by"] == "https://github.com/someone/labs/actions/runs/77"
    assert len(home["seeds"]) == 2
    assert home["passed"]
    assert ci["passed"]


def test_stubs_are_passed_over_and_one_wrong_part_fails_the_whole(desk, at_home):
    desk.lab("start", "rope")
    said = desk.lab("verify")
    assert said.code == 2
    assert "no part to check" in said.err

    desk.write(WITHOUT_SCALE)
    said = desk.lab("verify", "--seeds", "1")
    assert said.code == 1
    assert "rope" not in said.out
    assert "not so: each query gives a mean of the values" in said.words
    assert "lmwright lab check attention --seed" in said.words
    assert "0 of 1 parts hold" in said.words
    assert [fields["passed"] for kind, fields in desk.events if kind == "verify"] == [False]


@pytest.mark.slow
def test_twists_and_tests_that_fail_fail_it_too(desk, at_home):
    desk.write(ATTENTION)
    tests = desk.folder / "mine" / "test_attention.py"
    tests.write_text("def test_nothing():\n    pass\n")
    said = desk.lab("verify", "attention", "--seeds", "1")
    assert said.code == 1
    assert "tests: FAILS" in said.words


def test_which_run_it_was(at_home, monkeypatch):
    assert continuous_integration() == ""
    monkeypatch.setenv("CI", "1")
    assert continuous_integration() == "continuous integration"
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.example/job/5")
    assert continuous_integration() == "https://gitlab.example/job/5"
