"""Right solutions pass, however they are written; tests as learners write them catch wrong ones."""

import shutil
from pathlib import Path

import pytest

from lmwright.roadmap.checking import Bench, Verdict, check
from lmwright.roadmap.hosting import LearnerFile, Limits, check_file, load
from lmwright.roadmap.lab import all_labs, find_lab
from lmwright.roadmap.own_tests import CAUGHT, WRONG_VERSIONS, judge

FOLDER = Path(__file__).parent / "solutions"
SOLUTIONS = [
    path for path in sorted(FOLDER.glob("*/*.py")) if path.stem in ("first", "second", "third")
]


@pytest.mark.parametrize("lab", all_labs())
def test_every_lab_has_three_right_solutions_and_a_learners_tests(lab):
    names = {path.name for path in (FOLDER / lab).glob("*.py")}
    assert {"first.py", "second.py", "third.py", "learner_tests.py"} <= names


# At one seed: `make labs` goes through many.
@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_right_solution_passes(path):
    # More than the usual time: other tests run beside this one.
    found = check_file(
        find_lab(path.parent.name), LearnerFile.read(path), seed=0, limits=Limits(seconds=120.0)
    )
    assert found.problem == ""
    assert Verdict.from_json(found.value).failure is None


@pytest.mark.parametrize("name", all_labs())
def test_the_twists_can_be_done(name):
    lab = find_lab(name)
    module = load(LearnerFile.read(FOLDER / name / "first.py"))
    assert len(lab.twists()) >= 3
    for twist in lab.twists().values():
        bench = Bench(twist.reference, twist.properties)
        for seed in range(3):
            verdict = check(getattr(module, twist.function), bench, seed)
            assert verdict.failure is None, f"{twist.function}, seed {seed}"


@pytest.mark.parametrize("name", all_labs())
def test_a_learners_tests_catch_wrong_versions(name, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    part, tests = mine / f"{name}.py", mine / f"test_{name}.py"
    shutil.copy(FOLDER / name / "first.py", part)
    shutil.copy(FOLDER / name / "learner_tests.py", tests)
    lab = find_lab(name)
    report = judge(lab, LearnerFile.read(part), LearnerFile.read(tests), seed=0)
    assert report.problem == ""
    assert len(report.caught) + len(report.survived) == min(WRONG_VERSIONS, len(lab.mutants()))
    assert len(report.caught) >= CAUGHT, report.survived
