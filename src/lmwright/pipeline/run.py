"""What a running step sees of its run: folders, time, decisions, metrics, and its report."""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, write_json, write_text
from lmwright.pipeline.progress import Display, Silent, Task

T = TypeVar("T")
Scalar = float | int | str | None


@dataclass
class Table:
    """A table of the report; every row has one cell per column."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


@dataclass
class StepRecord:
    """All that a step said about itself, kept in its `step.json`."""

    summary: dict[str, Scalar] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


class StepRun:
    """One attempt at one step.

    Args:
        name: the step's name in its recipe.
        folder: `runs/NAME/steps/STEP`.
        output: where the step writes its artefact; made empty.
        display: who tells the person.

    Attributes:
        output: fresh folder; the pipeline publishes it atomically when the step succeeds.
        work: folder that survives kills, for checkpoints; deleted when the step succeeds.
        seconds: this step's share of the recipe's time budget in seconds; None without a budget.
        record: what the step has said for the summary and the report.
    """

    def __init__(self, name: str, folder: Path, *, output: Path, display: Display) -> None:
        self.name = name
        self.folder = folder
        self.output = output
        self.work = folder / "work"
        self.seconds: float | None = None
        self.record = StepRecord()
        self._display = display
        self._rewound = False
        with disk_errors(folder):
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            self.work.mkdir(parents=True, exist_ok=True)
        self._decisions_file = self.work / "decisions.json"
        self._notes_file = self.work / "notes.json"
        if self._notes_file.exists():
            self.record.notes = list(read_json(self._notes_file))
        drop_torn_line(self.metrics_file)

    @classmethod
    def standalone(cls, folder: Path, *, seconds: float | None = None) -> "StepRun":
        """A run outside any recipe, in `folder/output` and `folder/work` (kept if called again)."""
        run = cls(folder.name, folder, output=folder / "output", display=Silent())
        run.seconds = seconds
        return run

    @property
    def metrics_file(self) -> Path:
        """The step's `metrics.jsonl`: one object per line with `step` and `time` (Unix seconds)."""
        return self.folder / "metrics.jsonl"

    def decide(self, name: str, choose: Callable[[], T]) -> T:
        """The value of `choose()`, recorded before it is used and replayed after a kill.

        Whatever depends on timing (batch sizes, precision, the length of training) is decided
        here, so that a resumed step repeats the first attempt to the bit.

        Args:
            name: what is decided; one decision per name.
            choose: gives a JSON value; tuples come back as lists, also the first time.
        """
        decisions = read_json(self._decisions_file) if self._decisions_file.exists() else {}
        if name not in decisions:
            decisions[name] = json.loads(json.dumps(choose(), allow_nan=False))
            write_json(self._decisions_file, decisions)
        value: T = decisions[name]
        return value

    def log(self, metrics: Mapping[str, float | int | str], *, step: int) -> None:
        """Append one line to the step's `metrics.jsonl`; a number that is not finite becomes null.

        Unless the step has called `rewind` itself, the first line of an attempt drops what an
        earlier, killed attempt logged from `step` on.
        """
        if not self._rewound:
            self.rewind(step - 1)
        values = {k: None if _not_finite(v) else v for k, v in metrics.items()}
        line = json.dumps({"step": step, "time": round(time.time(), 3), **values})
        with disk_errors(self.metrics_file), open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def rewind(self, step: int) -> None:
        """Drop the logged lines whose step is greater than `step`: what a checkpoint never saw."""
        self._rewound = True
        if not self.metrics_file.exists():
            return
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_text(self.metrics_file, "".join(kept))

    def note(self, text: str) -> None:
        """Tell the person, and the report, one plain line; said once, also across resumes."""
        if text in self.record.notes:
            return
        self.record.notes.append(text)
        write_json(self._notes_file, self.record.notes)
        self._display.note(text)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Task]:
        """Show progress; the task's `.advance(n, loss=2.1, speed="9k tokens/s")` moves it."""
        with self._display.task(description, total) as task:
            yield task

    def summarize(self, **values: Scalar) -> None:
        """Put flat values, named with their units, into the run's `summary.json`."""
        for name, value in values.items():
            if _not_finite(value):
                raise LmwrightError(f"step {self.name}: {name} is {value}, which is no result")
            self.record.summary[name] = value

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        note: str = "",
    ) -> None:
        """Put a table into the report and the end-of-run print; units belong into `columns`."""
        for row in rows:
            assert len(row) == len(columns), f"{title}: {len(row)} cells, {len(columns)} columns"
        cells = [[_plain(cell) for cell in row] for row in rows]
        self.record.tables.append(Table(title, list(columns), cells, note))

    def samples(self, title: str, rows: Sequence[Mapping[str, str]]) -> None:
        """Put samples, such as `{"question": ..., "answer": ...}`, into the report."""
        self.record.samples.append({"title": title, "rows": [dict(row) for row in rows]})

    def series(self, title: str, x: str, y: Sequence[str]) -> None:
        """Ask the report for a curve of logged metrics `y` against `x` ("step" or a metric)."""
        self.record.series.append({"title": title, "x": x, "y": list(y)})


def drop_torn_line(file: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    if not file.exists():
        return
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with open(file, "r+b") as handle:
            handle.truncate(whole)


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _plain(cell: object) -> object:
    return cell if isinstance(cell, (str, int, float, bool)) or cell is None else str(cell)
