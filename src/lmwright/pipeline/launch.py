"""One call from a recipe's name to a finished run folder."""

import contextlib
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json, write_text
from lmwright.pipeline import parts_used, records
from lmwright.pipeline.closing import print_closing
from lmwright.pipeline.execution import Execution
from lmwright.pipeline.lock import locked
from lmwright.pipeline.plan import Plan, make_plan
from lmwright.pipeline.progress import Display, Silent, seconds
from lmwright.pipeline.recipe import load_recipe
from lmwright.pipeline.report import RunStory, write_report
from lmwright.pipeline.tracking import track, tracking_uri

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and the content of its `summary.json`."""

    folder: Path
    summary: dict[str, Any]


def launch(
    reference: str,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    track_to: str | None = None,
    display: Display | None = None,
) -> RunResult:
    """Run a recipe or a step: skip what is finished, resume what was killed, report.

    Args:
        reference: a recipe's name or path, or a step's name.
        overrides: `budget=3m`, `step.key=value`.
        name: of the run; None: the recipe's.
        track_to: MLflow's URI; None: the variable LMWRIGHT_MLFLOW, or no tracking.
        display: who tells the person; None: nobody.

    Raises:
        LmwrightError: for bad input, a failed step, or a folder that another process holds.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call goes on from there.
    """
    start = time.monotonic()
    display = Silent() if display is None else display
    plan = make_plan(load_recipe(reference, overrides))
    parts_used.check_callable(planned.step.type for planned in plan.steps)
    uri = tracking_uri(track_to)
    folder = run_folder(name or plan.recipe.name)
    command = _command(reference, overrides, name, track_to)
    with locked(folder, command), _terminate_as_interrupt(), _told_how_to_go_on(command, display):
        execution = Execution(plan, folder, display)
        _announce(plan, folder, display)
        _write_recipe(folder / "recipe.yaml", plan)
        try:
            execution.run()
            if note := parts_used.check_called(execution.results):
                display.note(note)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            # A second problem while telling of the first must not hide the first.
            with suppress(LmwrightError, KeyboardInterrupt):
                _tell(execution, status, start, command, uri)
                display.line(f"report   {folder / 'report.html'}")
            raise
        if not execution.ran and records.is_up_to_date(folder, plan, execution.results):
            summary = read_json(folder / "summary.json")
        else:
            summary = _tell(execution, "done", start, command, uri)
        print_closing(display, plan, folder, execution.results, summary)
    return RunResult(folder, summary)


def run_folder(name: str) -> Path:
    """The folder of the run of that name: `runs/NAME`, or below LMWRIGHT_RUNS.

    Raises:
        LmwrightError: if the name cannot name a folder.
    """
    if not _RUN_NAME.fullmatch(name):
        raise LmwrightError(
            f"{name!r} cannot name a run", hint="use letters, digits, dots, - and _, as in --run v2"
        )
    return Path(os.environ.get("LMWRIGHT_RUNS") or "runs") / name


def _tell(
    execution: Execution, status: str, start: float, command: str, uri: str | None
) -> dict[str, Any]:
    """Write all that tells of the run, lineage last, since it vouches for the rest."""
    plan, folder, results = execution.plan, execution.folder, execution.results

    def summarize() -> dict[str, Any]:
        overhead = time.monotonic() - start - execution.spent
        return records.write_summary(
            folder, plan, results, status=status, overhead_seconds=overhead
        )

    records.withdraw(folder)
    if status == "done":
        records.publish_model(folder, plan)
    records.write_metrics(folder, plan)
    records.write_environment(folder, command)
    story = RunStory(
        name=folder.name,
        folder=folder,
        plan=plan,
        results=results,
        ran=execution.ran,
        unfinished=execution.unfinished,
        summary=summarize(),
        command=command,
    )
    write_report(story)
    summary = summarize()  # again: the report's own second belongs to the run's time
    if status == "done":
        records.write_lineage(folder, plan, results)
    if uri is not None:
        run_id = track(story, uri)
        execution.display.line(f"tracked to {uri} as {run_id}")
    return summary


def _write_recipe(path: Path, plan: Plan) -> None:
    text = plan.recipe.to_yaml()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _announce(plan: Plan, folder: Path, display: Display) -> None:
    recipe = plan.recipe
    budget = "" if recipe.budget is None else f", budget {seconds(recipe.budget)}"
    count = len(plan.steps)
    steps = "1 step" if count == 1 else f"{count} steps"
    display.line(f"{recipe.name}: {steps}{budget}, in {folder}", "bold")
    for name, reason in plan.not_applicable.items():
        display.line(f"not applicable: {name} ({reason})", "yellow")
    for part in parts.active():
        unchecked = "" if part.checked else ", unchecked"
        display.line(f"your {part.name}: {part.shown}{unchecked}")


def _command(
    reference: str, overrides: Sequence[str], name: str | None, track_to: str | None
) -> str:
    words = ["lmwright", "run", reference, *overrides]
    words += ["--run", name] if name else []
    words += ["--track", track_to] if track_to else []
    return shlex.join(words + parts.arguments())


@contextlib.contextmanager
def _told_how_to_go_on(command: str, display: Display) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        display.line("interrupted; all finished work is kept. To go on:")
        display.line(f"  {command}", "bold")
        raise


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM do what Ctrl-C does: stop with everything safe and exit 130."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread; a caller with threads handles its own
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
