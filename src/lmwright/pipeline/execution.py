"""Running a plan's steps: skip what is finished, resume what was killed, publish what succeeds."""

import errno
import gc
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lmwright.core import parts
from lmwright.core.device import peak_rss_bytes, processor_name
from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, write_json, write_text
from lmwright.pipeline.catalog import load_function
from lmwright.pipeline.fingerprint import Fingerprint, content_digest, fingerprint, read_digests
from lmwright.pipeline.parts_used import more_calls
from lmwright.pipeline.plan import Plan, Planned
from lmwright.pipeline.progress import Display, seconds, size
from lmwright.pipeline.records import withdraw
from lmwright.pipeline.run import StepRun
from lmwright.pipeline.state import StepState


class StepCrashed(LmwrightError):
    """A step raised what it should not have: a bug, told in one line; exits 1."""

    exit_code = 1


@dataclass(frozen=True)
class _Facts:
    """What a step's result is made from.

    Args:
        print: its fingerprint.
        origins: for every input, the step or folder it comes from and its digest.
        outside: digest and signature of all that lies outside the run, to save reading it again.
    """

    print: Fingerprint
    origins: dict[str, dict[str, Any] | None]
    outside: dict[str, Any]

    @property
    def digest(self) -> str:
        return self.print.digest()

    def to_json(self) -> dict[str, Any]:
        made_from = {"origins": self.origins, "outside": self.outside}
        return self.print.to_json() | {"fingerprint": self.digest} | made_from


@dataclass
class Execution:
    """The steps of one run, done by this process.

    Args:
        plan: what to run.
        folder: `runs/NAME`.
        display: who tells the person.

    Attributes:
        results: content of `step.json` of every finished step, in order.
        ran: names of the steps that this process ran to their end.
        unfinished: what a failed or interrupted step had said, or None.
        spent: seconds that this process spent inside steps.
    """

    plan: Plan
    folder: Path
    display: Display
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    unfinished: dict[str, Any] | None = None
    spent: float = 0.0

    def run(self) -> None:
        """Finish every step of the plan, in order.

        Raises:
            LmwrightError: the first step's that failed; what finished before it is kept.
            KeyboardInterrupt: the work of the step under way is kept too.
        """
        for index, planned in enumerate(self.plan.steps, start=1):
            start = time.monotonic()
            try:
                self._step(planned, f"[{index}/{len(self.plan.steps)}]")
            finally:
                self.spent += time.monotonic() - start

    def kept(self, planned: Planned) -> dict[str, Any] | None:
        """The step's finished result if it still fits; the steps before it must have theirs."""
        result = self._state(planned).result()
        if (
            result is None
            or self._facts(planned, result["outside"]).digest != result["fingerprint"]
        ):
            return None
        return result

    def _step(self, planned: Planned, position: str) -> None:
        step = planned.step
        result = self.kept(planned)
        if result is None:
            self.display.line(f"{position} {step.name}: {step.type.name}", "bold")
            result = self._run_step(planned)
            self.ran.append(step.name)
            self.display.line(f"      done in {_cost(result)}", "green")
        else:
            self.display.line(f"{position} {step.name}: kept, made in {_cost(result)}", "dim")
            self._state(planned).clean()
        self.results[step.name] = result

    def _run_step(self, planned: Planned) -> dict[str, Any]:
        """Run the step, or go on with its unfinished work, and publish what it made."""
        start, started = time.monotonic(), _now()
        state = self._state(planned)
        facts = self._facts(planned, (state.result() or {"outside": {}})["outside"])
        withdraw(self.folder)
        self._prepare(state, facts.print)
        before, calls = state.clock(), parts.calls()
        with state.ticking():
            run = self._call(planned, state)
        result = facts.to_json() | {
            "name": planned.step.name,
            "type": planned.step.type.name,
            "started": started,
            "finished": _now(),
            "attempts": before["attempts"] + 1,
            "seconds": before["seconds"] + time.monotonic() - start,
            "budget_seconds": run.seconds,
            "peak_rss_bytes": max(before["peak_rss_bytes"], peak_rss_bytes()),
            "calls": more_calls(before.get("calls", {}), calls),
            "processor_name": processor_name(),
            "record": run.record.to_json(),
        }
        return state.publish(run.output, result, planned.step.type.output)

    def _state(self, planned: Planned) -> StepState:
        return StepState(self.folder / "steps" / planned.step.name)

    def _facts(self, planned: Planned, known: Mapping[str, Any]) -> "_Facts":
        """What the step would be made from if it ran now."""
        step = planned.step
        origins = {name: self._origin(s, known) for name, s in planned.sources.items()}
        reads = read_digests(step, known)
        digests = {n: None if o is None else str(o["digest"]) for n, o in origins.items()}
        folders = {o["folder"]: o for o in origins.values() if o and "folder" in o}
        return _Facts(
            print=fingerprint(self.plan.recipe, step, digests, reads),
            origins=origins,
            outside={**reads, **folders},
        )

    def _prepare(self, state: StepState, print_: Fingerprint) -> None:
        """Keep the unfinished work that fits, and say why anything else runs again."""
        attempt, result = state.attempt(), state.result()
        if attempt == print_.to_json():
            spent = seconds(state.clock()["seconds"])
            self.display.note(f"goes on with the work of an attempt that stopped after {spent}")
            return
        if attempt is not None:
            changes = print_.changes_since(attempt)
            self.display.note(f"unfinished work is dropped, since it no longer fits: {changes}")
        elif result is not None:
            self.display.note(f"runs again, changed: {print_.changes_since(result)}")
        state.begin(print_)

    def _call(self, planned: Planned, state: StepState) -> StepRun:
        step = planned.step
        inputs = {name: self._path(source) for name, source in planned.sources.items()}
        output = state.folder / ".output.part"
        run = StepRun(step.name, state.folder, output=output, display=self.display)
        (state.folder / "traceback.txt").unlink(missing_ok=True)
        so_far = sum(result["seconds"] for result in self.results.values())
        try:
            run.seconds = run.decide("seconds", lambda: self.plan.seconds_for(step.name, so_far))
            load_function(step.type.function)(step.config, run, **inputs)
        except BaseException as error:
            # What is half made is worth nothing, and a full disk needs its room.
            shutil.rmtree(run.output, ignore_errors=True)
            self._keep_record(run, state, error)
            if isinstance(error, LmwrightError):
                error.what = f"step {step.name}: {error.what}"
                raise
            if _is_disk_full(error):
                with disk_errors(state.folder):
                    raise OSError(errno.ENOSPC, "No space left on device") from error
            if isinstance(error, Exception):
                raise self._crashed(state, error) from error
            raise
        finally:
            if "torch" in sys.modules:
                gc.collect()  # a step's model must not weigh on the next one's peak
        assert any(run.output.iterdir()), f"{step.type.function} wrote nothing into run.output"
        return run

    def _keep_record(self, run: StepRun, state: StepState, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        self.unfinished = {
            "name": run.name,
            "status": "interrupted" if interrupted else "failed",
            "error": "" if interrupted else str(error) or type(error).__name__,
            "budget_seconds": run.seconds,
            "record": run.record.to_json(),
        }
        # On a full disk this fails too; the error that matters is on its way already.
        with suppress(LmwrightError):
            write_json(state.work / "record.json", self.unfinished)

    def _crashed(self, state: StepState, error: Exception) -> StepCrashed:
        file = state.folder / "traceback.txt"
        with suppress(LmwrightError):
            write_text(file, "".join(traceback.format_exception(error)))
        if (told := parts.told(error)) is not None:
            what, hint = told
            return StepCrashed(
                f"step {state.folder.name}: {what}", hint=f"{hint}; the traceback is in {file}"
            )
        first = (str(error).splitlines() or [""])[0]
        return StepCrashed(
            f"step {state.folder.name} failed with {type(error).__name__}: {first}",
            hint=f"this looks like a bug; the traceback is in {file}",
        )

    def _path(self, source: str | Path | None) -> Path | None:
        if isinstance(source, str):
            return StepState(self.folder / "steps" / source).output
        return source

    def _origin(self, source: str | Path | None, known: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where an input comes from, and the digest of its content."""
        if source is None:
            return None
        if isinstance(source, str):
            return {"step": source, "digest": self.results[source]["output"]["digest"]}
        return {"folder": str(source), **content_digest(source, known.get(str(source)))}


def _cost(result: Mapping[str, Any]) -> str:
    return f"{seconds(result['seconds'])}, {size(result['output']['bytes'])}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _is_disk_full(error: BaseException) -> bool:
    """Whether a full disk is behind it: libraries wrap that error in their own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
