"""What a part that passed costs beside production's: time and memory on the check's own cases."""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from lmwright.roadmap.checking import Bench
from lmwright.roadmap.draw import Draw
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
from lmwright.roadmap.properties import Case, Property, Subject

_CASES = 3  # of each property
_ROUNDS = 5
_SECONDS = 0.5  # after which no further round begins
_LIMIT = 10.0  # seconds; then nothing is told


@dataclass(frozen=True)
class Costs:
    """Of the learner's part over those of production's, on the same cases.

    Args:
        seconds: quotient of the shortest times.
        memory: quotient of the peaks; None where production's takes next to nothing.
    """

    seconds: float
    memory: float | None


def costs(lab: Lab, file: LearnerFile, seed: int) -> Costs | None:
    """Measure in a child process; None where it cannot be measured: it is only told, not judged."""
    prepare(lab)

    def work() -> Any:
        bench = learner_bench(lab, file)
        with forbidden(lab):
            subject = subject_in(load(file), lab.name, file)
        return _measured(subject, bench, seed)

    found = hosted(work, seconds=_LIMIT).value
    return None if found is None else Costs(*found)


def _measured(subject: Subject, bench: Bench, seed: int) -> tuple[float, float | None]:
    cases = [
        (rule, rule.draw(Draw(seed * 7 + number)))
        for rule in bench.properties
        for number in range(_CASES)
    ]

    def mine() -> None:
        bench.run(lambda: _observe_all(subject, cases))

    def theirs() -> None:
        _observe_all(bench.production, cases)

    best, deadline = [float("inf"), float("inf")], time.monotonic() + _SECONDS
    for number in range(_ROUNDS):
        if number and time.monotonic() > deadline:
            break
        for place, run in enumerate((mine, theirs)):
            start = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - start)
    peaks = peak_bytes(mine), peak_bytes(theirs)
    return best[0] / best[1], peaks[0] / peaks[1] if peaks[1] > 1000 else None


def _observe_all(subject: Subject, cases: Sequence[tuple[Property, Case]]) -> None:
    for rule, case in cases:
        rule.observe(subject, case)


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most memory that `work` holds at one moment: Python's objects and torch's tensors.

    `work` is done twice, and the two peaks are added, though they need not fall together.
    """
    from torch.autograd.profiler import profile

    tracemalloc.start()
    try:
        work()
        objects = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with profile(profile_memory=True) as seen:
        work()
    assert seen.kineto_results is not None
    changes = [event for event in seen.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    held = accumulate((event.nbytes() for event in changes), initial=0)
    return objects + int(max(held))
