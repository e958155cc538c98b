"""Break-it: do the learner's own tests notice wrong versions of the part?

Copying production's code does not help here. The tests must pass on the learner's file, and on
production's, which is a right one written by somebody else; then each of eight wrong versions takes
its place, and a version is caught when a test fails on it.
"""

import inspect
import random
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.hosting import (
    Hosted,
    LearnerFile,
    forbidden,
    hosted,
    load,
    prepare,
    subject_in,
)
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.properties import Mutant, Subject

WRONG_VERSIONS = 8
CAUGHT = 6
"""How many of them must be caught."""
SECONDS = 20.0
"""Of wall time that one run of the tests may take."""


@dataclass(frozen=True)
class Report:
    """What the learner's tests did.

    Args:
        tests: how many there are.
        problem: why they were not held against wrong versions; empty where they were.
        caught, survived: what each wrong version misses.
    """

    tests: int
    problem: str = ""
    caught: tuple[str, ...] = ()
    survived: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether enough were caught."""
        return not self.problem and len(self.caught) >= CAUGHT


def chosen(mutants: Sequence[Mutant], seed: int) -> list[Mutant]:
    """Eight of a lab's mutants, in their order."""
    places = random.Random(seed).sample(range(len(mutants)), min(WRONG_VERSIONS, len(mutants)))
    return [mutants[place] for place in sorted(places)]


def judge(
    lab: Lab,
    file: LearnerFile,
    tests: LearnerFile,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Run the learner's tests on their own part, on production's, and on wrong ones.

    Args:
        lab: which.
        file: the learner's part; it keeps its other functions in every run.
        tests: the learner's test file.
        seed: chooses the wrong versions.
        progress: is told how many of them have been tried, of how many.
    """
    prepare(lab)
    own = run_tests(lab, file, tests, None)
    if own.problem:
        return Report(0, own.problem)
    number, failed = own.value
    if failed:
        return Report(number, f"on your own {lab.name}: {failed}")
    other = run_tests(lab, file, tests, lab.production())
    refused = other.problem or other.value[1]
    if refused:
        said = f"on another right {lab.name}, your tests ask for more than the specification does"
        return Report(number, f"{said}: {refused}")
    caught: list[str] = []
    survived: list[str] = []
    mutants = chosen(lab.mutants(), seed)
    for place, mutant in enumerate(mutants):
        progress(place, len(mutants))
        found = run_tests(lab, file, tests, mutant.make)
        noticed = bool(found.problem) or bool(found.value[1])
        (caught if noticed else survived).append(mutant.says)
    return Report(number, "", tuple(caught), tuple(survived))


def run_tests(lab: Lab, file: LearnerFile, tests: LearnerFile, part: Subject | None) -> Hosted:
    """Run the tests up to the first that fails, in a child process.

    Args:
        lab: which.
        file: the learner's part.
        tests: the learner's test file.
        part: takes the part's place; None: the learner's own, with production out of reach, so that
            tests cannot lean on it.

    Returns:
        what the child gave; `value` is the number of tests, and how the first failed.
    """

    def work() -> Any:
        with forbidden(lab) if part is None else nullcontext():
            module = load(file)
            subject_in(module, lab.name, file)
            if part is not None:
                setattr(module, lab.name, part)
            found = functions(load(tests), tests)
            return [len(found), next(filter(None, (_run(f, tests) for f in found)), "")]

    return hosted(work, seconds=SECONDS)


def functions(module: ModuleType, tests: LearnerFile) -> list[Callable[[], None]]:
    """The tests of a file, in its order.

    Raises:
        LmwrightError: if there are none, or one wants arguments.
    """
    found: list[Callable[[], None]] = [
        value
        for name, value in vars(module).items()
        if name.startswith("test_") and inspect.isfunction(value)
    ]
    if not found:
        raise LmwrightError(f"{tests.path} has no function whose name begins with test_")
    for function in found:
        if inspect.signature(function).parameters:
            raise LmwrightError(
                f"{tests.path}: {function.__name__} takes arguments",
                hint="tests here are plain functions without any; write a loop in them",
            )
    return found


def _run(function: Callable[[], None], tests: LearnerFile) -> str:
    """How a test fails; empty if it does not."""
    try:
        function()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a test may fail in any way
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(tests.path)]
        said = (str(error).splitlines() or [""])[0]
        what = said if isinstance(error, AssertionError) else f"{type(error).__name__}: {said}"
        where = f"{function.__name__}, line {lines[-1]}" if lines else function.__name__
        return f"{where}: {what or 'the assertion does not hold'}"
    return ""
