"""The twist: a variant that production does not offer, drawn by who the learner is."""

import ast
import hashlib
from typing import Any

from lmwright.roadmap.attempts import Found
from lmwright.roadmap.checking import Bench, check
from lmwright.roadmap.hosting import (
    LearnerFile,
    forbidden,
    hosted,
    learner_bench,
    load,
    prepare,
    subject_in,
)
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.properties import Twist


def drawn(lab: Lab, learner: str) -> tuple[str, Twist]:
    """The twist that a learner gets in a lab: always the same one, and not everybody the same.

    Args:
        lab: which.
        learner: their random name.
    """
    twists = lab.twists()
    number = int.from_bytes(hashlib.sha256(f"{learner} {lab.id}".encode()).digest()[:8])
    name = sorted(twists)[number % len(twists)]
    return name, twists[name]


def defines(file: LearnerFile, name: str) -> bool:
    """Whether a file defines a function or class at its top level, as far as it can be read."""
    try:
        body = ast.parse(file.source).body
    except (SyntaxError, ValueError):
        return f"def {name}(".encode() in file.source
    return any(getattr(node, "name", None) == name for node in body)


def check_twist(lab: Lab, twist: Twist, file: LearnerFile, seed: int) -> Found:
    """Check the learner's function against the twist's reference, in a child process."""
    prepare(lab)

    def work() -> Any:
        run = learner_bench(lab, file).run
        bench = Bench(twist.reference, twist.properties, run=run, file=str(file.path))
        with forbidden(lab):
            subject = subject_in(load(file), twist.function, file)
        return check(subject, bench, seed).to_json()

    return Found.of(hosted(work))
