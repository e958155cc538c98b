"""Evidence for a stranger: every part of a folder, checked again with seeds that nobody has seen.

What a machine of the learner's own writes down can be made up there. A run by continuous
integration, of the files that lie in a repository for all to see, is what counts as verified.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import own_tests
from lmwright.roadmap.attempts import attempt, fresh_seed
from lmwright.roadmap.checking import Verdict
from lmwright.roadmap.hosting import LearnerFile
from lmwright.roadmap.lab import Lab, all_labs, find_lab
from lmwright.roadmap.record import Record
from lmwright.roadmap.telling import console, shown_path, tell
from lmwright.roadmap.twisting import check_twist, defines
from lmwright.roadmap.workshop import Workshop

_LONGEST = 500
"""Characters of `by` that are kept."""


@dataclass(frozen=True)
class Verification:
    """What a part still shows.

    Args:
        lab, file: which.
        seeds: of the checks.
        problem: why one of them failed; empty where all passed.
        twist, tests: whether these hold; None where the folder has none.
    """

    lab: Lab
    file: LearnerFile
    seeds: tuple[int, ...]
    problem: str
    twist: bool | None = None
    tests: bool | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing that is there fails."""
        return not self.problem and self.twist is not False and self.tests is not False

    def line(self) -> Text:
        """For the terminal."""
        words = {True: "holds", False: "FAILS", None: "none"}
        line = Text("  ok  " if self.passed else "  NO  ", style="green" if self.passed else "red")
        line.append(f"{self.lab.id:18}", style="default")
        check = self.problem or f"{len(self.seeds)} checks pass"
        line.append(f" {check}; twist: {words[self.twist]}; tests: {words[self.tests]}", "default")
        return line


def continuous_integration() -> str:
    """Which run of which service this is, to be looked up; empty where it is none.

    GitHub Actions, GitLab CI and others set these variables:
    https://docs.github.com/actions/reference/variables-reference,
    https://docs.gitlab.com/ci/variables/predefined_variables/.
    """
    environment = os.environ
    if not environment.get("CI"):
        return ""
    if environment.get("GITHUB_RUN_ID"):
        names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
        start = "/".join(environment.get(name, "") for name in names)
        return f"{start}/actions/runs/{environment['GITHUB_RUN_ID']}"[:_LONGEST]
    return environment.get("CI_JOB_URL", "continuous integration")[:_LONGEST]


def verify(names: list[str], shop: Workshop, seeds: int) -> list[Verification]:
    """Check parts again, tell, and write down what came of it.

    Args:
        names: of labs; none: every lab of which the folder has more than the stub.
        shop: the folder.
        seeds: checks of each part.

    Raises:
        LmwrightError: if there is nothing to check.
    """
    labs = [find_lab(name) for name in names]
    labs = labs or [lab for lab in all_labs().values() if shop.has_part(lab)]
    if not labs:
        raise LmwrightError(
            f"{shown_path(shop.folder)} has no part to check",
            hint="`lmwright lab start NAME` begins one; --folder names another folder",
        )
    by, record = continuous_integration(), Record.open()
    done: list[Verification] = []
    for lab in labs:
        with console().status(f"{lab.id} ({len(done) + 1} of {len(labs)})"):
            found = _verified(lab, shop, tuple(fresh_seed() for _ in range(seeds)))
        tell([found.line()])
        record.append(
            "verify",
            lab=lab.id,
            spec=lab.digest(),
            sha256=found.file.sha256,
            seeds=list(found.seeds),
            passed=found.passed,
            problem=found.problem,
            twist=found.twist,
            tests=found.tests,
            by=by,
        )
        done.append(found)
    tell(_summary(done, by))
    return done


def _verified(lab: Lab, shop: Workshop, seeds: tuple[int, ...]) -> Verification:
    file = LearnerFile.read(shop.file(lab))
    for seed in seeds:
        found = attempt(lab, file, seed).found
        if not found.passed:
            again = f"lmwright lab check {lab.id} --seed {seed}"
            problem = f"{_failed(found.verdict, found.problem)} ({again})"
            return Verification(lab, file, seeds, problem)
    # Whichever there is: whose it was drawn for stands in the record, not in the file.
    twists = [twist for twist in lab.twists().values() if defines(file, twist.function)]
    turned = [check_twist(lab, twist, file, seeds[0]).passed for twist in twists]
    caught = None
    if shop.has_tests(lab):
        caught = own_tests.judge(lab, file, LearnerFile.read(shop.tests(lab)), seeds[0]).passed
    return Verification(lab, file, seeds, "", all(turned) if turned else None, caught)


def _failed(verdict: Verdict | None, problem: str) -> str:
    if verdict is None:
        return problem
    return next((f"not so: {r.says}" for r in verdict.results if r.status == "wrong"), problem)


def _summary(done: list[Verification], by: str) -> Iterator[Text | str]:
    passed = sum(found.passed for found in done)
    yield f"{passed} of {len(done)} parts hold."
    if by:
        yield f"Written down as verified by {by}."
    else:
        yield (
            "Only a run by continuous integration counts as verified: "
            "docs/labs.md has the workflow for it."
        )
