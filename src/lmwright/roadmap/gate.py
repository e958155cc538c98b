"""The labs' own gate: every lab put to the test, one table, one file of results (`make labs`)."""

import argparse
import json
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lmwright.core.device import physical_cores, processor_name
from lmwright.core.errors import LmwrightError
from lmwright.core.files import write_json
from lmwright.roadmap.findings import LEAST_AUTOMATIC, LEAST_NAMED, MOST_SECONDS, Findings
from lmwright.roadmap.hosting import Limits, limit_this_process
from lmwright.roadmap.lab import all_labs, find_lab

MEMORY_BYTES = 4_000_000_000
"""That trying a lab may take: a mutant may want any amount."""
_CPU_SECONDS = 24 * 3600.0  # checks have limits of their own


def main(arguments: Sequence[str] | None = None) -> int:
    """Try labs and print what was found; the exit code is 1 if one does not pass."""
    given = _parser().parse_args(arguments)
    names = [find_lab(name).id for name in given.names] or list(all_labs())
    start = time.monotonic()
    found = try_labs(names, seeds=given.seeds, quick=given.quick, solutions=given.solutions)
    show(found)
    if given.results is not None:
        # A few labs' results must not take the place of all labs'.
        suffix = "-quick" if given.quick else "" if not given.names else "-some"
        path = write(found, given.results, suffix, time.monotonic() - start)
        print(f"written to {path}")
    failing = [f.lab for f in found if f.failings()]
    print(f"FAIL {', '.join(failing)}" if failing else f"PASS {len(found)} labs")
    return 1 if failing else 0


def try_labs(
    names: Sequence[str],
    *,
    seeds: int = 1_000,
    quick: bool = False,
    solutions: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Findings]:
    """Try labs beside each other, each in a process of its own.

    Args:
        names: of the labs.
        seeds: with production; less where `quick`.
        quick: whether to do what `make test` does.
        solutions: folder of right solutions, see `trials.try_lab`.
        say: told of each lab when it is done.
    """

    def one(name: str) -> Findings:
        found = _apart(name, seeds, quick, solutions)
        say(f"{name}: {'does not pass' if found.failings() else 'ok'}, {found.total_seconds:.0f} s")
        return found

    with ThreadPoolExecutor(physical_cores()) as threads:
        return list(threads.map(one, names))


def show(found: Sequence[Findings]) -> None:
    """Print the table, then what each lab's author must know."""
    table = Table(title=f"labs on {processor_name()}, {physical_cores()} cores")
    for column in ("lab", "seeds", "right refused", "mutants refused", "universal (n.a.)"):
        table.add_column(column, justify="left" if column == "lab" else "right")
    for column in ("automatic mutants (equal)", "named", "s a check"):
        table.add_column(column, justify="right")
    for row in found:
        table.add_row(*_cells(row))
    console = Console()
    # Not a terminal: wide enough that no cell is folded.
    (console if console.is_terminal else Console(width=140)).print(table)
    for row in found:
        for line in row.failings():
            print(f"{row.lab}: {line}")
    for row in found:
        for line in row.remarks():
            print(f"  {row.lab} {line}")


def write(found: Sequence[Findings], folder: Path, suffix: str, seconds: float) -> Path:
    """Write the findings to `FOLDER/labs-PROCESSOR.json`, in the benchmarks' form."""
    device = re.sub(r"[^A-Za-z0-9]+", "-", processor_name()).strip("-")
    path = folder / f"labs-{device}{suffix}.json"
    record = {
        "benchmark": "labs",
        "processor": processor_name(),
        "cores": physical_cores(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
        "settings": {
            "least_share_of_automatic_mutants": LEAST_AUTOMATIC,
            "least_share_of_named_mutants": LEAST_NAMED,
            "most_seconds": MOST_SECONDS,
        },
        "rows": [{"case": row.lab, **asdict(row), "failings": row.failings()} for row in found],
    }
    write_json(path, json.loads(json.dumps(record)))
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lmwright.roadmap.gate", description="Put the labs' checks to the test."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="labs; all by default")
    parser.add_argument("--seeds", type=int, default=1_000, help="with which production must pass")
    parser.add_argument("--quick", action="store_true", help="two seeds, no automatic mutants")
    parser.add_argument("--solutions", type=Path, help="folder of right solutions, NAME/*.py")
    parser.add_argument("--results", type=Path, help="folder to write the results to")
    return parser


def _apart(name: str, seeds: int, quick: bool, solutions: Path | None) -> Findings:
    """Try one lab in a process of its own: a mutant may do anything to it."""
    fresh = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, initializer=_limit) as process:
        try:
            return process.submit(_try, name, seeds, quick, solutions).result()
        except BrokenProcessPool:
            return Findings(name, problems=("the process in which it was tried died",))
        except LmwrightError as error:
            return Findings(name, problems=(str(error),))


def _limit() -> None:
    import torch  # noqa: F401  its own memory does not count

    # What wrong answers print and warn of is of no interest here, and may be much.
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    limit_this_process(Limits(_CPU_SECONDS, MEMORY_BYTES, output_bytes=1_000_000))


def _try(name: str, seeds: int, quick: bool, solutions: Path | None) -> Findings:
    from lmwright.roadmap.trials import QUICK, Effort, try_lab

    return try_lab(name, QUICK if quick else Effort(seeds), solutions)


def _cells(row: Findings) -> list[str]:
    not_applicable = f" ({len(row.not_applicable)})" if row.not_applicable else ""
    equal = f" ({row.equivalent})" if row.equivalent else ""
    tried = row.automatic.of > 0
    return [
        row.lab,
        f"{row.seeds:,}",
        str(len(row.right_refused)),
        str(row.mutants),
        f"{row.universal}{not_applicable}",
        f"{row.automatic}{equal} {row.automatic.share:.1%}" if tried else "-",
        f"{row.named.share:.0%}",
        f"{row.check_seconds:.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
