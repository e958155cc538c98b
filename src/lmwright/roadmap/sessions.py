"""What `lab check`, `twist`, `test` and `prove` do: judge, tell, and write down, in this order."""

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from lmwright.core.errors import LmwrightError
from lmwright.roadmap import hints, own_tests, proving
from lmwright.roadmap.attempts import Attempt, attempt, fresh_seed, has_passed, keep
from lmwright.roadmap.costs import costs
from lmwright.roadmap.hosting import LearnerFile
from lmwright.roadmap.lab import Lab, all_labs
from lmwright.roadmap.record import Record, learner
from lmwright.roadmap.similarity import similarity
from lmwright.roadmap.source import lines_of_code, production_source
from lmwright.roadmap.states import here
from lmwright.roadmap.stub import stub
from lmwright.roadmap.telling import (
    console,
    header,
    next_lines,
    passed_lines,
    result_lines,
    shown_path,
    tell,
)
from lmwright.roadmap.twisting import check_twist, defines, drawn
from lmwright.roadmap.workshop import Workshop


def check_once(lab: Lab, file: LearnerFile, seed: int, options: str = "") -> Attempt:
    """Check a file.

    Args:
        lab: which.
        file: the learner's.
        seed: of the random cases.
        options: to be typed again with the command.
    """
    again = f"lmwright lab check {lab.id} --seed {seed}{options}"
    tell([header(lab.id, file.path, file.sha256, seed, again)])
    done = attempt(lab, file, seed)
    tell(result_lines(done.found))
    keep(done)
    if done.passed:
        _tell_passed(done, options)
    else:
        events = Record.open().events
        level = hints.next_level(lab, events)
        if hints.why_not(lab, level, events):
            level = 2
        rows = [
            (f"lmwright lab hint {lab.id} {level}", hints.title(level)),
            (f"lmwright lab hint {lab.id} 0", hints.title(0)),
        ]
        tell(next_lines(rows, "What to try"))
    return done


def _tell_passed(done: Attempt, options: str) -> None:
    lab, text = done.lab, done.file.source.decode("utf-8", "replace")
    production = production_source(lab.target)
    alike = similarity(text, [production, _code_in(lab.text("hints.md"))], common=[stub(lab)])
    lines = lines_of_code(text), lines_of_code(production)
    tell(passed_lines(done.found, costs(lab, done.file, done.seed), lines, alike))
    part = f"{done.file.path.resolve().parent.name}.{done.file.path.stem}"
    rows = [
        (f"lmwright lab twist {lab.id}{options}", "a variant of your own, for the same file"),
        (f"lmwright lab test {lab.id}", "do your tests notice wrong versions?"),
        (f"lmwright lab diff {lab.id}{options}", "production's beside yours"),
        (f"lmwright lab prove {lab.id}", "real data, with production's and with yours"),
        (f"lmwright run quickstart --use {part}", "the whole stack with your code in it"),
    ]
    tell(next_lines(rows))


def twist_once(lab: Lab, path: Path, seed: int | None, options: str = "") -> bool:
    """Show the learner's twist; check it where their file defines it.

    Returns:
        whether it passed; True, too, where there is nothing to check yet.
    """
    name, twist = drawn(lab, learner())
    tell([Text(f"{lab.id}, twist: {name}", style="bold"), "", twist.asks, ""])
    if not path.exists():
        tell([f"Write it into {shown_path(path)}."])
        return True
    file, now = LearnerFile.read(path), fresh_seed() if seed is None else seed
    if not defines(file, twist.function):
        tell([f"Write {twist.function} into {shown_path(path)}, beside {lab.name}, then again:"])
        tell([f"  lmwright lab twist {lab.id}{options}"])
        return True
    again = f"lmwright lab twist {lab.id} --seed {now}{options}"
    tell([header(f"{lab.id}, {twist.function}", path, file.sha256, now, again)])
    found = check_twist(lab, twist, file, now)
    tell(result_lines(found))
    sha256 = file.sha256
    Record.open().append("twist", lab=lab.id, twist=name, sha256=sha256, passed=found.passed)
    if found.passed:
        tell([Text("passed", style="bold green")])
        if not has_passed(lab, file):
            tell([f"The file has changed: lmwright lab check {lab.id}{options}"])
    return found.passed


def try_tests_once(lab: Lab, shop: Workshop, seed: int, options: str = "") -> bool:
    """Hold the learner's own tests against wrong versions.

    Returns:
        whether enough were caught.
    """
    file, tests = LearnerFile.read(shop.file(lab)), LearnerFile.read(shop.tests(lab))
    again = f"lmwright lab test {lab.id} --seed {seed}{options}"
    tell([header(f"{lab.id}, your tests", tests.path, tests.sha256, seed, again)])
    with console().status("trying wrong versions"):
        found = own_tests.judge(lab, file, tests, seed)
    tell(_report_lines(found))
    Record.open().append(
        "tests",
        lab=lab.id,
        sha256=file.sha256,  # of the part: what stands in the record belongs to a version of it
        tests_sha256=tests.sha256,
        killed=len(found.caught),
        of=len(found.caught) + len(found.survived),
        own_pass=not found.problem,
    )
    return found.passed


def _report_lines(found: own_tests.Report) -> Iterator[Text | str]:
    if found.problem:
        yield Text("  NO", style="bold red").append(f"  {found.problem}", style="not bold default")
        return
    of = len(found.caught) + len(found.survived)
    number = f"{found.tests} test{'s' if found.tests != 1 else ''}"
    word = ("ok", "green") if found.passed else ("NO", "bold red")
    line = Text("  ").append(*word)
    yield line.append(
        f"  {number} caught {len(found.caught)} of {of} wrong versions", style="default"
    )
    if not found.passed:
        must = f"{own_tests.CAUGHT} must be caught."
        yield f"      {must} What could be left out and still look right?"
        return
    # Before enough are caught, to name the rest would be to hand out the answer.
    for says in found.survived:
        yield f"      no test of yours notices {says}"
    for says in found.caught:
        yield Text(f"      caught {says}", style="dim")


def prove_once(lab: Lab, path: Path) -> bool:
    """Do the proof's two runs and compare them.

    Returns:
        whether they agree, and the learner's part was called.

    Raises:
        LmwrightError: if the file has not passed, or the data are not there.
    """
    file = LearnerFile.read(path)
    if not has_passed(lab, file):
        raise LmwrightError(
            f"{path} has not passed the check as it is now", hint=f"lmwright lab check {lab.id}"
        )
    tell([Text(f"{lab.id}: {lab.proof.says}", style="bold")])
    found = proving.prove(lab, path, lambda said: tell([Text(f"  {said} ...", style="dim")]))
    metric = lab.proof.metric
    for who, run in (("production", found.production), ("yours", found.yours)):
        tell([f"  {who:10}  {metric} {run.value:.6g}   in {run.seconds:.0f} s"])
    calls = f"your part was called {found.yours.calls:,} times"
    tell([f"  apart by {found.apart:.3g}, may be {found.band:g}; {calls}"])
    if not found.yours.calls:
        tell(["      a run that never calls your part proves nothing about it"])
    tell(
        [
            Text(
                "proved" if found.passed else "not proved",
                style="bold green" if found.passed else "bold red",
            )
        ]
    )
    Record.open().append(
        "prove",
        lab=lab.id,
        sha256=file.sha256,
        metric=metric,
        production=found.production.value,
        yours=found.yours.value,
        band=found.band,
        calls=found.yours.calls,
        passed=found.passed,
    )
    return found.passed


def table() -> Iterator[Text | str]:
    """Every lab with its topics, minutes and state."""
    standing, labs = here(), all_labs()
    width = max((len(name) for name in labs), default=0)
    for lab in labs.values():
        state = standing.states[lab.id]
        word = "" if state.word == "none" else state.word
        style = {"built": "bold green", "checked": "green", "started": "cyan"}.get(word, "")
        line = Text(f"{lab.id:{width}}", style=style or "bold")
        line.append(f"  {' '.join(lab.topics):9} {lab.minutes:3} min  ", style="not bold dim")
        yield line.append(f"{word:8} ", style=style).append(lab.title, style="not bold default")
    minutes = sum(lab.minutes for lab in labs.values())
    passed = sum(standing.states[name].passed for name in labs)
    yield f"{len(labs)} labs, about {minutes / 60:.0f} hours; {passed} passed here."
    if standing.next is not None:
        yield f"Next: lmwright lab start {standing.next.id}"


def _code_in(markdown: str) -> str:
    """The indented lines of a text."""
    return "\n".join(line for line in markdown.splitlines() if line.startswith("    "))
