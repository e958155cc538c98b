"""Holding a part against production: the properties in order, the smallest failure, its cause."""

import errno
import inspect
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import (
    Case,
    Forbidden,
    InputChanged,
    Mutant,
    Property,
    Subject,
    call,
    gradients,
    outcome,
)
from lmwright.roadmap.values import Difference, compare, elements, same_structure, shown

Status = Literal["ok", "wrong", "waits"]

_SCALES = (0.0, 0.0, 0.1, 0.2, 0.35, 0.5, 0.75)
_TRIES = 12  # cases at each scale when a smaller failure is looked for
_ALIKE = 6  # cases on which a mutant must agree before it names what is missing
_SHRINK_SECONDS = 1.5


@dataclass(frozen=True)
class Failure:
    """The smallest case found on which a property does not hold.

    Args:
        case: lines that show the input.
        message: what is wrong, where it is more than a difference.
        where, yours, expected: the first difference.
        diagnosis: which mutant the subject equals.
        line: file and line in the learner's file, where an error was raised.
        final: whether a smaller case would say nothing more: memory, printing, a forbidden call.
    """

    case: tuple[str, ...]
    message: str = ""
    where: str = ""
    yours: str = ""
    expected: str = ""
    diagnosis: str = ""
    line: str = ""
    final: bool = False


@dataclass(frozen=True)
class Result:
    """One property's.

    Args:
        says: the property.
        status: "waits" where an earlier one failed.
        cases: how many were looked at.
        worst: largest relative difference among those that held.
        failure: where it failed.
    """

    says: str
    status: Status
    cases: int = 0
    worst: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Args:
        seed: repeats it.
        results: of every property.
        seconds: that it took.
    """

    seed: int
    results: tuple[Result, ...] = field(default_factory=tuple)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return all(result.status == "ok" for result in self.results)

    @property
    def failure(self) -> Failure | None:
        """Of the first property that does not hold."""
        return next((r.failure for r in self.results if r.failure is not None), None)

    @property
    def worst(self) -> float:
        """Largest relative difference of all that held."""
        return max((result.worst for result in self.results), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Verdict":
        """Back from `to_json`."""
        results = []
        for row in found["results"]:
            failure = row["failure"]
            if failure is not None:
                failure = Failure(**failure | {"case": tuple(failure["case"])})
            results.append(Result(**row | {"failure": failure}))
        return cls(found["seed"], tuple(results), found["seconds"])


def _plainly(work: Callable[[], Any]) -> Any:
    return work()


@dataclass(frozen=True)
class Bench:
    """What a subject is checked with.

    Args:
        production: the right answer.
        properties: in order.
        mutants: whose outputs explain a failure.
        run: calls the subject's observation; the learner's runs with production forbidden in it.
        file: the learner's, to name its lines.
    """

    production: Subject
    properties: Sequence[Property]
    mutants: Sequence[Mutant] = ()
    run: Callable[[Callable[[], Any]], Any] = _plainly
    file: str = ""


def check(subject: Subject, bench: Bench, seed: int, *, explain: bool = True) -> Verdict:
    """Go through the properties up to the first that does not hold.

    Args:
        subject: function or class.
        bench: what it is checked with.
        seed: of every random case.
        explain: whether a smaller failure is looked for, and its cause.
    """
    start = time.monotonic()
    results: list[Result] = []
    problem = _signature_problem(subject, bench.production)
    if problem:
        first = bench.properties[0].says
        results.append(Result(first, "wrong", failure=Failure((), message=problem)))
    for number, rule in enumerate(bench.properties):
        if number < len(results):
            continue
        if results and results[-1].status != "ok":
            results.append(Result(rule.says, "waits"))
        else:
            # Of the property, wherever it stands: another one added moves no case of it.
            own = seed * 1009 + zlib.crc32(rule.says.encode()) % 1009
            results.append(_check_property(subject, rule, bench, own, explain))
    return Verdict(seed, tuple(results), time.monotonic() - start)


def cases_of(rule: Property, seed: int) -> Iterable[Case]:
    """The edges and the random cases of a property.

    Raises:
        AssertionError: if they miss a branch that the property promises: the lab is wrong then.
    """
    hit: set[str] = set()
    for number, edge in enumerate(rule.edges.values()):
        yield edge(Draw(seed * 7919 + number))
    for number in range(rule.cases):
        case = rule.draw(Draw(seed * 104_729 + number))
        hit |= case.branches
        yield case
    missed = rule.branches - hit
    assert not missed, f"{rule.says}: {rule.cases} cases never hit {', '.join(sorted(missed))}"


def _check_property(
    subject: Subject, rule: Property, bench: Bench, seed: int, explain: bool
) -> Result:
    worst, count = 0.0, 0
    for case in cases_of(rule, seed):
        count += 1
        relative, failure = _judge(subject, rule, case, bench)
        if failure is not None:
            if explain and not failure.final:
                failure = _shrunk(subject, rule, case, failure, bench, seed)
            return Result(rule.says, "wrong", count, worst, failure)
        worst = max(worst, relative)
    return Result(rule.says, "ok", count, worst)


def _judge(
    subject: Subject, rule: Property, case: Case, bench: Bench
) -> tuple[float, Failure | None]:
    """How far the subject is off on one case, and why it fails if it does."""
    relative, failure = _fault(subject, rule, case, bench)
    if failure is None:
        return relative, None
    return relative, replace(failure, case=_lines(case, _argument_names(rule, bench.production)))


def _fault(
    subject: Subject, rule: Property, case: Case, bench: Bench
) -> tuple[float, Failure | None]:
    """As `_judge`, without the lines that show the case: they take longer than a small part."""
    try:
        yours = bench.run(lambda: rule.observe(subject, case))
    except InputChanged as error:
        return 0.0, Failure((), message=f"{error}; copy what you write into")
    except Exception as error:  # noqa: BLE001  whatever the learner's code raises is told, not raised
        return 0.0, _raised(error, bench.file)
    tolerance = rule.tolerance if case.tolerance is None else case.tolerance
    relative = 0.0
    if rule.compare and subject is not bench.production:
        expected = rule.observe(bench.production, case)
        relative, found = compare(yours, expected, tolerance)
        if found is not None:
            return relative, _differs(found, same_structure(yours, expected))
    if rule.holds is not None:
        wrong = _unmet(rule.holds, yours, case)
        if wrong:
            return relative, Failure((), message=wrong, yours=shown(yours))
    return relative, None


def _unmet(holds: Callable[[Any, Case], str | None], yours: Any, case: Case) -> str | None:
    """What `holds` says; it may stumble over an answer of quite another kind."""
    try:
        return holds(yours, case)
    except Exception as error:  # noqa: BLE001  whatever was returned is told, not raised
        first = (str(error).splitlines() or [""])[0]
        return f"what you return cannot be judged ({type(error).__name__}: {first})"


def _shrunk(
    subject: Subject, rule: Property, case: Case, failure: Failure, bench: Bench, seed: int
) -> Failure:
    """The failure on the smallest case found, with its diagnosis."""
    size, deadline = elements((case.args, dict(case.kwargs))), time.monotonic() + _SHRINK_SECONDS
    for place, scale in enumerate(_SCALES):
        found = []
        for attempt in range(_TRIES):
            if time.monotonic() > deadline:
                break
            other = rule.draw(Draw(seed * 611_953 + place * _TRIES + attempt, scale))
            _, wrong = _judge(subject, rule, other, bench)
            if wrong is not None:
                found.append((elements((other.args, dict(other.kwargs))), other, wrong))
        if found:
            smallest = min(found, key=lambda row: row[0])
            if smallest[0] < size:
                size, case, failure = smallest
            break
    said = _diagnosis(subject, rule, case, bench, seed)
    return Failure(**{**asdict(failure), "case": failure.case, "diagnosis": said})


def _diagnosis(subject: Subject, rule: Property, case: Case, bench: Bench, seed: int) -> str:
    """What the first mutant says that gives what the subject gives, here and on other cases."""
    others = [rule.draw(Draw(seed * 15_485_863 + number)) for number in range(_ALIKE - 1)]
    watched = [case, *others]
    yours = [_observed(subject, rule, case, bench.run) for case in watched]
    for mutant in bench.mutants:
        pairs = zip(yours, watched, strict=True)
        if all(
            _alike(mine, _observed(mutant.make, rule, c, _plainly), c, rule) for mine, c in pairs
        ):
            return mutant.says
    return ""


def _alike(mine: Any, theirs: Any, case: Case, rule: Property) -> bool:
    tolerance = rule.tolerance if case.tolerance is None else case.tolerance
    return compare(mine, theirs, tolerance)[1] is None


def _observed(
    subject: Subject, rule: Property, case: Case, run: Callable[[Callable[[], Any]], Any]
) -> Any:
    """What was seen, or which kind of error was: wrong in the same way is alike too."""
    try:
        return run(lambda: rule.observe(subject, case))
    except Exception as error:  # noqa: BLE001  compared by its kind
        return f"raised {type(error).__name__}"


def _differs(found: Difference, structure: Difference | None) -> Failure:
    if structure is not None:
        message = f"you return a {structure.yours}{structure.where and f' at {structure.where}'}"
        message = f"{message} where a {structure.expected} is expected"
        if structure.yours.startswith("NumPy"):
            message += "; stay in torch: NumPy knows no gradients"
        return Failure((), message=message)
    return Failure((), where=found.where, yours=found.yours, expected=found.expected)


def _raised(error: Exception, file: str) -> Failure:
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Failure((), message="it printed more than a check allows", final=True)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if file and f.filename == file]
    line = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    # Torch has no error of its own for it.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        message = "it took more memory than a check allows"
        return Failure((), message=message, line=line, final=True)
    if isinstance(error, Forbidden):
        return Failure((), message=str(error), line=line, final=True)
    first = (str(error).splitlines() or [""])[0]
    return Failure((), message=f"it raised {type(error).__name__}: {first}", line=line)


def _lines(case: Case, names: Sequence[str]) -> tuple[str, ...]:
    """A case's arguments, one in each line, with their names where there are any."""
    lines = [case.note] if case.note else []
    for place, value in enumerate(case.args):
        lines.append(f"{names[place]} = {shown(value)}" if place < len(names) else shown(value))
    return (*lines, *(f"{name} = {shown(value)}" for name, value in case.kwargs.items()))


def _argument_names(rule: Property, production: Subject) -> list[str]:
    """The part's parameters, where the case's arguments are those of one call."""
    if rule.observe not in (call, gradients, outcome):
        return []
    try:
        return list(inspect.signature(production).parameters)
    except (TypeError, ValueError):
        return []


def _signature_problem(subject: Subject, production: Subject) -> str:
    """What a caller of production would stumble over."""
    if not callable(subject):
        return f"it is a {type(subject).__name__}, not a function"
    if isinstance(production, type):
        return "" if isinstance(subject, type) else "it is no class"
    try:
        mine = list(inspect.signature(subject).parameters.values())
        wanted = list(inspect.signature(production).parameters.values())
    except (TypeError, ValueError):
        return ""
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in mine):
        return ""
    missing = [p.name for p in wanted if p.name not in {m.name for m in mine}]
    extra = [
        m.name for m in mine if m.name not in {p.name for p in wanted} and m.default is m.empty
    ]
    if missing:
        return f"it does not take the argument {missing[0]}"
    if extra:
        return f"it wants an argument {extra[0]} that no caller gives"
    return ""
