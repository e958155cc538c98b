"""What is known on disk of one step: its finished result, or its unfinished attempt."""

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmwright.core import parts
from lmwright.core.device import peak_rss_bytes
from lmwright.core.errors import LmwrightError
from lmwright.core.files import publish_folder, read_json, sha256_tree, write_json
from lmwright.pipeline.fingerprint import Fingerprint, content_digest, signature
from lmwright.pipeline.parts_used import more_calls

_SAMPLE_SECONDS = 0.25  # compile workers live for seconds: a sample every quarter sees their peak
_CLOCK_SECONDS = 2.0  # what a kill -9 can lose of the time that the ledger counts


@dataclass
class StepState:
    """The folder `runs/NAME/steps/STEP`.

    `step.json` exists exactly when the step is finished; `work/attempt.json` says which
    fingerprint an unfinished attempt belongs to.
    """

    folder: Path

    @property
    def output(self) -> Path:
        """The published artefact."""
        return self.folder / "output"

    @property
    def work(self) -> Path:
        """What survives a kill."""
        return self.folder / "work"

    def result(self) -> dict[str, Any] | None:
        """The finished result, or None; an artefact that was changed by hand has a new digest."""
        file = self.folder / "step.json"
        if not file.exists() or not self.output.is_dir():
            return None
        try:
            result: dict[str, Any] = read_json(file)
            known = result["output"]
            result["output"] = known | content_digest(self.output, known)
        except (LmwrightError, KeyError, TypeError):
            return None  # written by an older version, or damaged: as good as absent
        return result

    def forget(self) -> None:
        """Drop a finished result that no longer fits, and what it logged."""
        (self.folder / "step.json").unlink(missing_ok=True)
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)
        shutil.rmtree(self.output, ignore_errors=True)

    def clean(self) -> None:
        """Delete what a kill right after the step's end left of its work."""
        if self.work.exists():
            shutil.rmtree(self.work, ignore_errors=True)

    def attempt(self) -> dict[str, Any] | None:
        """The unfinished attempt's fingerprint parts, or None."""
        file = self.work / "attempt.json"
        with contextlib.suppress(LmwrightError):
            if file.exists():
                found: dict[str, Any] = read_json(file)
                return found
        return None

    def begin(self, print_: Fingerprint) -> None:
        """Start from nothing: no work, no metrics, and the attempt's fingerprint on record."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.forget()
        write_json(self.work / "attempt.json", print_.to_json())

    def clock(self) -> dict[str, Any]:
        """Seconds, peak memory in bytes, attempts and calls of parts of the unfinished work."""
        file = self.work / "clock.json"
        with contextlib.suppress(LmwrightError):  # a power cut can leave it empty: it is not synced
            if file.exists():
                found: dict[str, Any] = read_json(file)
                return found
        return {"seconds": 0.0, "peak_rss_bytes": 0, "attempts": 0, "calls": {}}

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Keep the clock and the peak of memory on disk while the block runs."""
        before, start, stopped = self.clock(), time.monotonic(), threading.Event()
        calls = parts.calls()

        def tick() -> None:
            now = {
                "seconds": before["seconds"] + time.monotonic() - start,
                "peak_rss_bytes": max(before["peak_rss_bytes"], peak_rss_bytes()),
                "attempts": before["attempts"] + 1,
                "calls": more_calls(before.get("calls", {}), calls),
            }
            # A full disk must not end the watching thread; the step itself will report it.
            with contextlib.suppress(OSError):
                _write_unsynced(self.work / "clock.json", now)

        def watch() -> None:
            written = start
            while not stopped.wait(_SAMPLE_SECONDS):
                peak_rss_bytes()
                if time.monotonic() - written >= _CLOCK_SECONDS:
                    tick()
                    written = time.monotonic()

        tick()  # at once, so that an attempt counts however soon it is killed
        thread = threading.Thread(target=watch, name="step-clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            tick()

    def publish(self, finished: Path, result: Mapping[str, Any], kind: str) -> dict[str, Any]:
        """Put the finished artefact in place, then say that the step is finished."""
        files = [file for file in finished.rglob("*") if file.is_file()]
        output = {
            "kind": kind,
            "digest": sha256_tree(finished),
            "bytes": sum(file.stat().st_size for file in files),
            "files": len(files),
        }
        publish_folder(finished, self.output)
        output["signature"] = signature(self.output)
        whole = {**result, "output": output}
        write_json(self.folder / "step.json", whole)
        self.clean()
        return whole


def _write_unsynced(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, path)
