"""What every benchmark here shares: alternating rounds, rows of results, their table and file."""

import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.table import Table

from lmwright.core.device import physical_cores, processor_name
from lmwright.core.files import write_json

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One case: ours beside the best peer.

    Args:
        case: what was done.
        unit: of `ours` and `theirs`.
        ours, theirs: medians over the rounds; None where there was nothing to measure.
        peer: the best peer and its version, or why there is none.
        comparison: what `values` are: "ratio", how many times better ours is; or "difference",
            ours minus theirs.
        values: one comparison per round.
        share_of_peak: of the hardware's limit measured in the same run, ours; None: not computed.
        target: least ratio, or largest difference either way; None: reported only.
        note: what a reader must know.
    """

    case: str
    unit: str
    ours: float | None
    peer: str
    theirs: float | None = None
    comparison: Literal["ratio", "difference"] = "ratio"
    values: Sequence[float] = ()
    share_of_peak: float | None = None
    target: float | None = None
    note: str = ""

    @property
    def value(self) -> float | None:
        """The median comparison."""
        return statistics.median(self.values) if self.values else None

    @property
    def slack(self) -> float | None:
        """How far the value is on the good side of its target, in shares of it; below 0: missed."""
        if self.value is None or self.target is None:
            return None
        if self.comparison == "difference":
            return 1 - abs(self.value) / self.target
        return self.value / self.target - 1


@dataclass
class Report:
    """The rows of one benchmark, and where and how they were measured."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def show(self) -> None:
        """Print the table."""
        table = Table(title=f"{self.name} on {processor_name()}, {physical_cores()} cores")
        for column in ("case", "unit", "ours", "best peer", "theirs", "ratio [spread]"):
            table.add_column(column, overflow="fold")
        for column in ("of peak", "target"):
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*_cells(row))
        console = Console()
        # Not a terminal: wide enough that no cell is folded.
        (console if console.is_terminal else Console(width=200)).print(table)
        for row in self.rows:
            if row.note:
                print(f"{row.case}: {row.note}")

    def write(self, *, quick: bool, part: str = "") -> Path:
        """Write the rows to `results/NAME-DEVICE.json`.

        Args:
            quick: a quick run's rows lie beside those of a whole one, never over them.
            part: what alone was measured, whose rows do so too.
        """
        device = re.sub(r"[^A-Za-z0-9]+", "-", processor_name()).strip("-")
        ending = "-quick" if quick else f"-{part}" if part else ""
        path = RESULTS / f"{self.name}-{device}{ending}.json"
        record = {
            "benchmark": self.name,
            "processor": processor_name(),
            "cores": physical_cores(),
            "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d"),
            "seconds": round(time.perf_counter() - self.started, 1),
            "settings": self.settings,
            "rows": [{**asdict(row), "value": row.value} for row in self.rows],
        }
        write_json(path, json.loads(json.dumps(record)))
        return path

    def verdict(self) -> int:
        """Print PASS or FAIL with the worst case as the last line; the exit code."""
        judged = [(row.slack, row) for row in self.rows if row.slack is not None]
        if not judged:
            print("FAIL nothing with a target was measured")
            return 1
        slack, row = min(judged, key=lambda pair: pair[0])
        word = "PASS" if slack >= 0 else "FAIL"
        print(f"{word} {row.case}: {row.comparison} {row.value:.3f}, target {_target(row)}")
        return 0 if slack >= 0 else 1


def alternate(
    contenders: Mapping[str, Callable[[], T]], rounds: int, say: Callable[[str], None] = print
) -> dict[str, list[T]]:
    """Run every contender once per round, starting each round with another one.

    A machine that slows down for a while then slows them all, and none is always the first.
    """
    names = list(contenders)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            results[name].append(contenders[name]())
            say(f"  round {number + 1}/{rounds} {name}: {results[name][-1]}")
    return results


def _cells(row: Row) -> list[str]:
    spread = f" [{min(row.values):.3f}, {max(row.values):.3f}]" if row.values else ""
    sign = "+" if row.comparison == "difference" else ""
    suffix = "x" if row.comparison == "ratio" else ""
    value = "-" if row.value is None else f"{row.value:{sign}.3f}{suffix}{spread}"
    share = "-" if row.share_of_peak is None else f"{row.share_of_peak:.1%}"
    return [
        row.case,
        row.unit,
        _number(row.ours),
        row.peer,
        _number(row.theirs),
        value,
        share,
        _target(row),
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"


def _target(row: Row) -> str:
    if row.target is None:
        return "-"
    return f"within {row.target:g}" if row.comparison == "difference" else f">= {row.target:.2f}x"
