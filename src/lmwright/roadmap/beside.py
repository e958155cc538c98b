"""`lab diff`: production's part beside the learner's; the reading is the reward."""

import difflib

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.hosting import LearnerFile
from lmwright.roadmap.lab import Lab
from lmwright.roadmap.source import Source, production_source
from lmwright.roadmap.telling import shown_path

_WIDE = 170
"""Columns from which two sources of 80 fit beside each other, with their frames."""


def show(lab: Lab, file: LearnerFile) -> None:
    """Print both: side by side where the terminal is wide, as a unified diff otherwise."""
    yours, theirs = own_source(lab, file), production_source(lab.target)
    name, target = shown_path(file.path), lab.target
    screen = Console(highlight=False)
    if screen.is_terminal and screen.width >= _WIDE:
        half = screen.width // 2 - 2
        panels = [
            Panel(Syntax(text, "python", word_wrap=True), title=title, width=half)
            for title, text in ((target, theirs), (name, yours))
        ]
        screen.print(Columns(panels, padding=(0, 1)))
    else:
        text = unified(theirs, yours, target, name)
        told = Syntax(text, "diff", word_wrap=True) if screen.is_terminal else text
        screen.print(told, markup=False, soft_wrap=not screen.is_terminal, end="")


def unified(theirs: str, yours: str, target: str, name: str) -> str:
    """A unified diff with both sources whole."""
    longest = max(len(theirs.splitlines()), len(yours.splitlines()))
    rows = difflib.unified_diff(
        theirs.splitlines(keepends=True), yours.splitlines(keepends=True), target, name, n=longest
    )
    return "".join(rows) or f"{name} is production's own, to the letter.\n"


def own_source(lab: Lab, file: LearnerFile) -> str:
    """The learner's part with the helpers it needs; their whole file where it is no definition."""
    text = file.source.decode("utf-8", "replace")
    try:
        source = Source("", text)
        source.definition(lab.name)
        return source.with_helpers(lab.name, private=False)
    except (LmwrightError, SyntaxError):
        return text
