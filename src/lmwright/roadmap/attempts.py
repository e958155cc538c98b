"""One attempt at a lab: the check, what is written down of it, and which files have passed."""

import contextlib
import fcntl
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, write_json
from lmwright.core.home import home, passed_file
from lmwright.roadmap.checking import Verdict
from lmwright.roadmap.hosting import Hosted, LearnerFile, check_file
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.record import Record
from lmwright.roadmap.source import lines_of_code
from lmwright.roadmap.verdicts import keep_verdict


@dataclass(frozen=True)
class Found:
    """What a child process found.

    Args:
        verdict: None where the code did not get as far.
        problem: why there is none.
        printed: the beginning of what the code printed.
    """

    verdict: Verdict | None
    problem: str = ""
    printed: str = ""

    @classmethod
    def of(cls, hosted: Hosted) -> "Found":
        """Of a child whose value is a verdict as JSON."""
        verdict = None if hosted.value is None else Verdict.from_json(hosted.value)
        return cls(verdict, hosted.problem, hosted.printed)

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return self.verdict is not None and self.verdict.passed


@dataclass(frozen=True)
class Attempt:
    """A check and what came of it.

    Args:
        lab, file, seed: what was checked, and with which random cases.
        found: the verdict.
    """

    lab: Lab
    file: LearnerFile
    seed: int
    found: Found

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return self.found.passed


def fresh_seed() -> int:
    """Of random cases that nobody has seen; short enough to be typed."""
    return secrets.randbelow(100_000)


def attempt(lab: Lab, file: LearnerFile, seed: int) -> Attempt:
    """Check a file; nothing is written down."""
    return Attempt(lab, file, seed, Found.of(check_file(lab, file, seed)))


def keep(done: Attempt) -> None:
    """Write a file that passed among those that `--use` takes, and the attempt into the record.

    Raises:
        LmwrightError: if the user's folder cannot be written.
    """
    if done.passed:
        _remember(done)
    verdict = done.found.verdict
    results = verdict.results if verdict else ()
    failure = verdict.failure if verdict else None
    problem = failure.message if failure else done.found.problem
    keep_verdict(
        done.lab.id,
        sha256=done.file.sha256,
        verdict=verdict.to_json() if verdict else None,
        problem=problem,
    )
    Record.open().append(
        "check",
        lab=done.lab.id,
        spec=done.lab.digest(),
        sha256=done.file.sha256,
        seed=done.seed,
        passed=sum(result.status == "ok" for result in results),
        of=len(results),
        worst=verdict.worst if verdict else 0.0,
        seconds=round(verdict.seconds, 3) if verdict else 0.0,
        lines=lines_of_code(done.file.source.decode("utf-8", "replace")),
        failed=next((result.says for result in results if result.status == "wrong"), ""),
        problem=problem,
        diagnosis=failure.diagnosis if failure else "",
    )


def has_passed(lab: Lab, file: LearnerFile) -> bool:
    """Whether this very file has passed this lab's check here."""
    facts = _passed().get(file.sha256)
    return isinstance(facts, dict) and facts.get("lab") == lab.id


def _remember(done: Attempt) -> None:
    with _alone():
        facts = {
            "lab": done.lab.id,
            "target": done.lab.target,
            "spec": done.lab.digest(),
            "seed": done.seed,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_json(passed_file(), _passed() | {done.file.sha256: facts})


def _passed() -> dict[str, Any]:
    path = passed_file()
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise LmwrightError(
            f"{path} is no list of files that passed",
            hint="move it away; `lmwright lab check` writes a new one",
        )
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold off another process that adds to the list at the same moment."""
    folder = home()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".passed.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
