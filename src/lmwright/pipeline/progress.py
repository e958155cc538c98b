"""Telling the person what happens: bars on a terminal, plain lines elsewhere, or nothing."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

QUIET_SECONDS = 10.0
"""Least time between two plain lines of one task: a log stays readable after hours."""

_PLAIN_WIDTH = 100  # columns of a log file, which has no width of its own


class Task(Protocol):
    """Something long that moves forward."""

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """Move by `n`; `shown` are current values to show beside the bar."""


class Display(Protocol):
    """Where a run's lines, tables and progress go."""

    def line(self, text: str, style: str = "") -> None:
        """Say one line; `style` is rich's, used on terminals."""

    def note(self, text: str) -> None:
        """Say one plain line of a step, below its heading."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a small table; numbers stand right."""

    def task(self, description: str, total: int | None) -> contextlib.AbstractContextManager[Task]:
        """Show a task of `total` units, or of unknown length."""


class Silent:
    """Shows nothing: for steps called from Python and in tests."""

    def line(self, text: str, style: str = "") -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show nothing."""

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator["Silent"]:
        """Show nothing."""
        yield self

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """Show nothing."""


class Printed:
    """Lines and tables on standard output; bars where a person is watching it.

    Args:
        console: where to print; None: standard output, as wide as the terminal is.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console

        if console is None:
            console = Console(highlight=False)
            if not console.is_terminal:
                console = Console(highlight=False, width=_PLAIN_WIDTH)
        self.console = console
        self._bars: Progress | None = None

    def line(self, text: str, style: str = "") -> None:
        """Print one line, unwrapped, so that paths and commands can be copied."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a step's line, indented below its heading."""
        self.line(f"      {text}", style="dim")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table without lines between its cells."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        for index, column in enumerate(columns):
            numeric = any(_is_number(row[index]) for row in rows)
            table.add_column(Text(column), justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(Text(number(cell)) for cell in row))
        self.console.print(table)

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Task]:
        """A bar on a terminal; elsewhere at most one line every ten seconds."""
        if not self.console.is_terminal:
            lines = _Lines(self, description, total)
            yield lines
            lines.finish()
            return
        outermost = self._bars is None
        if self._bars is None:
            self._bars = _bars(self.console)
            self._bars.start()
        bar = _Bar(self._bars, self._bars.add_task(description, total=total, shown=""))
        try:
            yield bar
        finally:
            if outermost:
                self._bars.stop()
                self._bars = None
            else:
                self._bars.remove_task(bar.task)


def seconds(value: float) -> str:
    """A length of time for people: `0.42 s`, `12.3 s`, `3m05s`, `2h10m`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def size(count: float) -> str:
    """Bytes for people, in powers of 1000: `512 B`, `2.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: object) -> str:
    """A cell for people: whole numbers with thousands set apart, others with four digits."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{value:,.0f}"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def shown_values(shown: dict[str, float | str]) -> str:
    """`loss 2.13, 9.1k tokens/s`: the values beside a bar."""
    parts = []
    for name, value in shown.items():
        label = name.replace("_", " ")
        parts.append(f"{label} {value}" if isinstance(value, str) else f"{label} {number(value)}")
    return ", ".join(parts)


class _Lines:
    """A task as lines of a log."""

    def __init__(self, display: Printed, description: str, total: int | None) -> None:
        self._display = display
        self._description = description
        self._total = total
        self._done = 0
        self._shown: dict[str, float | str] = {}
        self._start = self._said = time.monotonic()

    def advance(self, n: int = 1, **shown: float | str) -> None:
        self._done += n
        self._shown |= shown
        if time.monotonic() - self._said >= QUIET_SECONDS:
            self._say()

    def finish(self) -> None:
        if time.monotonic() - self._start >= QUIET_SECONDS:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        progress = f"{self._done:,}"
        if self._total:
            progress += f"/{self._total:,} ({100 * self._done / self._total:.0f} %)"
        parts = [f"{self._description} {progress}", shown_values(self._shown)]
        parts.append(seconds(self._said - self._start))
        self._display.note(", ".join(part for part in parts if part))


class _Bar:
    """A task as a bar of a terminal."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self._bars = bars
        self._shown: dict[str, float | str] = {}
        self.task = task

    def advance(self, n: int = 1, **shown: float | str) -> None:
        self._shown |= shown
        self._bars.update(self.task, advance=n, shown=shown_values(self._shown))


def _bars(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("     "),
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}", style="cyan", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        refresh_per_second=4,  # each redraw takes time from the training
        transient=True,
    )


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)
