"""A check on a terminal: what was checked, each property, the smallest failure, what next."""

import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lmwright.roadmap.attempts import Found
from lmwright.roadmap.checking import Failure, Result, Verdict
from lmwright.roadmap.costs import Costs

_WORDS = {"ok": ("ok", "green"), "wrong": ("NO", "bold red"), "waits": ("--", "dim")}
_PRINTED = 6  # lines of what the learner's code printed
_WAITING = 3  # properties that are named before they are reached
_MARGIN = " " * 6
_WIDTH = 100  # of wrapped sentences, at most


def console() -> Console:
    """Where everything is told; long lines are left to the terminal, and copied whole."""
    return Console(highlight=False, soft_wrap=True)


def tell(lines: Iterable[Text | str]) -> None:
    """Print lines, coloured on a terminal."""
    screen = console()
    for line in lines:
        screen.print(line if isinstance(line, Text) else Text(line))


def header(name: str, path: Path, sha256: str, seed: int, again: str) -> Text:
    """What is checked, and the line that repeats it."""
    line = Text(name, style="bold")
    line.append(f"  {shown_path(path)}  {sha256[:6]}  seed {seed}", style="not bold")
    line.append(f"{' ' * 8}(again: {again})", style="not bold dim")
    return line


def result_lines(found: Found) -> list[Text | str]:
    """The properties in order, and what is wrong with the first that does not hold."""
    if found.verdict is None:
        first, *others = found.problem.splitlines() or [""]
        lines: list[Text | str] = [_status("wrong", first)]
        lines += [_MARGIN + line.strip() for line in others]
    else:
        lines = verdict_lines(found.verdict)
    return lines + _printed(found.printed)


def verdict_lines(verdict: Verdict) -> list[Text | str]:
    """Of a part or of a twist."""
    width = max((len(result.says) for result in verdict.results), default=0)
    lines: list[Text | str] = []
    for result in verdict.results:
        if result.status == "ok":
            lines.append(_status("ok", f"{result.says:{width}}  {_facts(result)}"))
        elif result.failure is not None:
            lines += [_status("wrong", result.says), *failure_lines(result.failure)]
    waiting = [result.says for result in verdict.results if result.status == "waits"]
    if waiting:
        number = "property waits" if len(waiting) == 1 else "properties wait"
        more = "; ..." if len(waiting) > _WAITING else ""
        said = f"{len(waiting)} more {number}: {'; '.join(waiting[:_WAITING])}{more}"
        first, *others = _wrapped(said)
        lines += [_status("waits", first.strip()), *(Text(line, style="dim") for line in others)]
    return lines


def failure_lines(failure: Failure) -> list[Text | str]:
    """The smallest case, yours beside what is expected, the line, and the diagnosis."""
    lines: list[Text | str] = []
    if failure.case:
        lines.append(f"{_MARGIN}smallest case found")
        lines += [f"{_MARGIN}  {line}" for line in failure.case]
    if failure.yours:
        lines.append(f"{_MARGIN}yours     {failure.yours}")
    if failure.expected:
        where = failure.where and f"   first difference at {failure.where}"
        lines.append(f"{_MARGIN}expected  {failure.expected}{where}")
    if failure.message:
        place = failure.line and f"{_shown_line(failure.line)}  "
        lines += _wrapped(place + translated(failure.message))
    if failure.diagnosis:
        lines += [
            Text(row, style="yellow")
            for row in _wrapped(f"Your output equals {failure.diagnosis}.")
        ]
    return lines


def translated(message: str) -> str:
    """An error in words that say what to do, where Python's own do not."""
    if message.startswith("it raised NotImplementedError"):
        return "it is not written yet: it raises NotImplementedError"
    if message.startswith("you return a NoneType"):
        return f"{message}; does every way through it end in a return?"
    return message


def passed_lines(
    done: Found, spent: Costs | None, lines_of: tuple[int, int], alike: float
) -> list[Text | str]:
    """What is told of a part that passed, none of it judged."""
    assert done.verdict is not None
    results = done.verdict.results
    cases = sum(result.cases for result in results)
    told = [f"{lines_of[0]} lines of code (production {lines_of[1]})"]
    if spent is not None:
        told.insert(0, f"time {spent.seconds:.2g} x production's on these cases")
        if spent.memory is not None:
            told.insert(1, f"memory {spent.memory:.2g} x")
    told.append(f"{alike:.0%} of it stands in production or the hints")
    word = Text(f"passed: {len(results)} properties, {cases} cases", style="bold green")
    word.append(f", worst difference {short(done.verdict.worst)}", style="not bold green")
    return [word, *_wrapped(", ".join(told), margin="  ")]


def next_lines(pairs: Sequence[tuple[str, str]], title: str = "Next") -> list[Text | str]:
    """Commands with what each is for."""
    width = max(len(command) for command, _ in pairs)
    rows = [Text(f"  {command:{width}}   ").append(why, style="dim") for command, why in pairs]
    return [title, *rows]


def beginning(specification: str, lines: int = 12) -> str:
    """Its first paragraphs after the title, as many as fit into so many lines; one at least."""
    first, *others = specification.strip().split("\n\n")[1:]
    while others and len(f"{first}\n\n{others[0]}".splitlines()) <= lines:
        first = f"{first}\n\n{others.pop(0)}"
    return first


def short(number: float) -> str:
    """4e-7 for 4.1e-07."""
    if number == 0.0:
        return "0"
    mantissa, _, exponent = f"{number:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def shown_path(path: Path) -> str:
    """Relative to the working folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _facts(result: Result) -> str:
    worst = f"worst {short(result.worst)}" if result.worst else "exact"
    return f"{result.cases:4} cases  {worst}"


def _status(status: str, said: str) -> Text:
    word, style = _WORDS[status]
    line = Text("  ").append(word, style=style)
    return line.append(f"  {said}", style="dim" if status == "waits" else "")


def _wrapped(text: str, margin: str = _MARGIN) -> list[str]:
    columns = _WIDTH
    if os.isatty(1):
        columns = min(_WIDTH, max(40, os.get_terminal_size(1).columns))
    return textwrap.wrap(text, columns, initial_indent=margin, subsequent_indent=margin)


def _shown_line(line: str) -> str:
    path, _, number = line.rpartition(":")
    return f"{shown_path(Path(path))}, line {number}:"


def _printed(text: str) -> list[Text | str]:
    rows = text.splitlines()
    if not rows:
        return []
    more = ["  ..."] if len(rows) > _PRINTED else []
    return [f"{_MARGIN}it printed", *(f"{_MARGIN}  {row[:120]}" for row in rows[:_PRINTED]), *more]
