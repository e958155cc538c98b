"""One lab put to the test: does its check take what is right, and refuse what is wrong?"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.ast_mutants import AutomaticMutant, automatic_mutants
from lmwright.roadmap.checking import Bench, Verdict
from lmwright.roadmap.findings import Findings, Tally
from lmwright.roadmap.hosting import LearnerFile, forbidden, learner_bench, load, subject_in
from lmwright.roadmap.lab import Lab, find_lab
from lmwright.roadmap.refusals import (
    another,
    refusal,
    remembering,
    verdict_within,
    without_network,
)
from lmwright.roadmap.stub import stub
from lmwright.roadmap.universal import UNIVERSAL, Damage
from lmwright.roadmap.worked import worked_problems

_MUTANT_SECONDS = 4.0  # a check of a mutant may take, beside ten times what production's takes
_RIGHT_SECONDS = 120.0


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Args:
        seeds: with production; a twentieth of them, three at least, with other right solutions.
        observed_twice: of these; what production gives must not change.
        wrong_seeds: with each shipped mutant, universal wrong answer and twist.
        automatic: whether automatic mutants are made.
    """

    seeds: int = 1_000
    observed_twice: int = 20
    wrong_seeds: int = 3
    automatic: bool = True


QUICK = Effort(seeds=2, observed_twice=1, wrong_seeds=1, automatic=False)
"""What `make test` does."""


def try_lab(name: str, effort: Effort, solutions: Path | None = None) -> Findings:
    """Put one lab to the test, in this process.

    Args:
        name: of the lab.
        effort: how much is tried.
        solutions: folder of right solutions, `NAME/*.py`; None: production alone is tried.
    """
    start = time.monotonic()
    lab = find_lab(name)
    torch.set_num_threads(1)  # the parts are small, and labs are tried beside each other
    with without_network():
        bench = Bench(lab.production(), lab.properties(), lab.mutants())
        refused, seconds = _production(bench, effort.seeds, effort.observed_twice)
        if solutions is not None:
            refused += _solutions(lab, solutions / name, max(3, effort.seeds // 20))
        limit = _MUTANT_SECONDS + 10 * seconds
        bench = remembering(bench)
        mutants, named = _mutants(bench, effort.wrong_seeds, limit)
        universal, not_applicable = _universal(bench, effort.wrong_seeds, limit)
        problems = [*_form(lab, bench), *worked_problems(lab), *_twists(lab, effort.wrong_seeds)]
        if not universal.of:
            problems.append("no universal wrong answer changes anything that it returns")
        automatic, equivalent = Tally(), 0
        if effort.automatic:
            automatic, equivalent, gone = _automatic(lab, bench, limit)
            problems += gone
        if refusal(another(bench.production), bench, 0, _RIGHT_SECONDS):
            problems.append("after the wrong answers, production itself is refused")
    return Findings(
        lab=name,
        seeds=effort.seeds,
        right_refused=tuple(refused),
        mutants=mutants,
        named=named,
        universal=universal,
        not_applicable=not_applicable,
        automatic=automatic,
        equivalent=equivalent,
        problems=tuple(problems),
        check_seconds=seconds,
        total_seconds=time.monotonic() - start,
    )


def _production(bench: Bench, seeds: int, observed_twice: int) -> tuple[list[str], float]:
    """What refuses production, and how long a check takes."""
    refused, seconds = [], []
    other = another(bench.production)
    for seed in range(seeds):
        start = time.monotonic()
        # As another object it is held against itself, observed again.
        subject = other if seed < observed_twice else bench.production
        reason = refusal(subject, bench, seed, _RIGHT_SECONDS)
        if seed < observed_twice:
            seconds.append(time.monotonic() - start)
        if reason:
            refused.append(f"production at seed {seed}: {reason}")
    return refused, statistics.median(seconds)


def _solutions(lab: Lab, folder: Path, seeds: int) -> list[str]:
    """Which right solutions are refused, production forbidden to them as to a learner's."""
    refused = []
    for path in sorted(folder.glob("*.py")):
        if path.name == "learner_tests.py":
            continue
        file = LearnerFile.read(path)
        with forbidden(lab):
            subject = subject_in(load(file), lab.name, file)
        bench = learner_bench(lab, file)
        for seed in range(seeds):
            reason = refusal(subject, bench, seed, _RIGHT_SECONDS)
            if reason:
                refused.append(f"{path.name} at seed {seed}: {reason}")
    return refused


def _mutants(bench: Bench, seeds: int, limit: float) -> tuple[Tally, Tally]:
    """Shipped mutants that are refused, and those whose diagnosis is their own."""
    accepted, unnamed = [], []
    for mutant in bench.mutants:
        for seed in range(seeds):
            verdict = verdict_within(mutant.make, bench, seed, limit, explain=True)
            failure = verdict.failure if isinstance(verdict, Verdict) else None
            said = failure.diagnosis if failure is not None else ""
            if said != mutant.says:
                unnamed.append(f"{mutant.says} (seed {seed}): {said or 'nothing is said'}")
            if isinstance(verdict, Verdict) and verdict.passed:
                accepted.append(f"{mutant.says} (seed {seed})")
    tried = len(bench.mutants) * seeds
    return (
        Tally(tried - len(accepted), tried, tuple(accepted)),
        Tally(tried - len(unnamed), tried, tuple(unnamed)),
    )


def _universal(bench: Bench, seeds: int, limit: float) -> tuple[Tally, tuple[str, ...]]:
    """The damaged answers that are refused, and the kinds that damage nothing here."""
    tried, accepted, not_applicable = 0, [], []
    for kind in UNIVERSAL:
        damage = Damage(kind)
        subject = damage.subject(bench.production)
        passed = [s for s in range(seeds) if not refusal(subject, bench, s, limit)]
        if not damage.changed and len(passed) == seeds:
            not_applicable.append(kind)
            continue
        tried += 1
        if passed:
            accepted.append(f"{kind} (seed {passed[0]})")
    return Tally(tried - len(accepted), tried, tuple(accepted)), tuple(not_applicable)


def _automatic(lab: Lab, bench: Bench, limit: float) -> tuple[Tally, int, list[str]]:
    """Mutants of the source refused, how many are declared equivalent, declarations of none."""
    mutants = list(automatic_mutants(lab.target))
    survivors = []
    for mutant in mutants:
        refused_by = refusal(mutant.make, bench, 0, limit)
        if not refused_by:
            survivors.append(mutant)
        # What refused one change of a line refuses the next, mostly: it is tried first.
        first = sorted(bench.properties, key=lambda rule: rule.says != refused_by)
        bench = replace(bench, properties=tuple(first))
    declared = _declared(lab)
    equal = [m for m in survivors if any(_is_declared(m, row) for row in declared)]
    accepted = tuple(str(m) for m in survivors if m not in equal)
    gone = [
        f"equivalent.yaml declares a line that has no such mutant: {row['line']}"
        for row in declared
        if not any(_is_declared(mutant, row) for mutant in mutants)
    ]
    judged = len(mutants) - len(equal)
    return Tally(judged - len(accepted), judged, accepted), len(equal), gone


def _declared(lab: Lab) -> Sequence[dict[str, str]]:
    """Mutants that its author says are none: `line` as it is written, `change` or all, `reason`."""
    if not (lab.folder / "equivalent.yaml").is_file():
        return []
    rows: list[dict[str, str]] = YAML(typ="safe", pure=True).load(lab.text("equivalent.yaml"))
    for row in rows:
        if not {"line", "reason"} <= row.keys() <= {"line", "change", "reason"}:
            raise LmwrightError(f"labs/{lab.id}/equivalent.yaml: {row} needs `line` and `reason`")
    return rows


def _is_declared(mutant: AutomaticMutant, row: dict[str, str]) -> bool:
    return mutant.text == row["line"].strip() and row.get("change", mutant.change) == mutant.change


def _form(lab: Lab, bench: Bench) -> list[str]:
    """What the lab's folder lacks."""
    problems = []
    if len(bench.mutants) < 8:
        problems.append(f"{len(bench.mutants)} mutants, eight are wanted")
    if len(lab.twists()) < 3:
        problems.append(f"{len(lab.twists())} twists, three are wanted")
    lines = lab.text("hints.md").splitlines()
    problems += [f"hints.md has no section {n}" for n in ("# 1", "# 2", "# 4") if n not in lines]
    names: dict[str, Any] = {"__name__": lab.module}
    exec(compile(stub(lab), f"<stub of {lab.id}>", "exec"), names)
    verdict = verdict_within(names[lab.name], bench, 0, _RIGHT_SECONDS)
    if isinstance(verdict, str) or verdict.results[0].status != "wrong":
        problems.append("the stub does not fail the first property")
    return problems


def _twists(lab: Lab, seeds: int = 3) -> list[str]:
    """Twists whose own reference does not pass, or that production does as it is."""
    problems = []
    for name, twist in lab.twists().items():
        bench = Bench(twist.reference, twist.properties)
        for seed in range(seeds):
            reason = refusal(another(twist.reference), bench, seed, _RIGHT_SECONDS)
            if reason:
                problems.append(f"twist {name} refuses its reference at seed {seed}: {reason}")
            if not refusal(lab.production(), bench, seed, _RIGHT_SECONDS):
                problems.append(f"twist {name} is what production does (seed {seed})")
    return problems
