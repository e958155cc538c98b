"""`lab prove`: the same run on real data twice, with production's part and with the learner's.

`python -m lmwright.roadmap.proving LAB RESULT [FOLDER.NAME PARENT]` does one of the two runs, in a
process of its own, since a part takes its place once, before anything is imported.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmwright.core import parts
from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.core.files import read_json, write_json
from lmwright.roadmap.lab import Lab, find_lab

SECONDS = 600.0
"""That one of the two runs may take: ten times what a proof takes on one slow core."""
_TOLD = 6  # last lines of what a run that failed printed


@dataclass(frozen=True)
class Measured:
    """One of the two runs.

    Args:
        value: of the proof's metric.
        seconds: that the process took.
        calls: of the learner's part; 0 with production's.
    """

    value: float
    seconds: float
    calls: int


@dataclass(frozen=True)
class Proven:
    """Both runs.

    Args:
        production, yours: what they gave.
        band: how far they may lie apart.
    """

    production: Measured
    yours: Measured
    band: float

    @property
    def apart(self) -> float:
        """How far they lie apart."""
        return abs(self.production.value - self.yours.value)

    @property
    def passed(self) -> bool:
        """Whether they agree, and the learner's part took part."""
        return self.apart <= self.band and self.yours.calls > 0


def prove(lab: Lab, file: Path, progress: Callable[[str], None] = lambda said: None) -> Proven:
    """Do both runs, one after the other.

    Args:
        lab: which.
        file: the learner's; it must have passed the check as it is.
        progress: is told what begins.

    Raises:
        LmwrightError: if the data are not there, or a run does not end well.
    """
    check_data(lab)
    progress(f"with production's {lab.name}")
    production = measured(lab, None)
    progress(f"with {file.name}")
    return Proven(production, measured(lab, file), lab.proof.band)


def check_data(lab: Lab) -> None:
    """Refuse to begin without the data that a proof reads.

    Raises:
        LmwrightError: naming them.
    """
    name = lab.proof.dataset
    if name is None:
        return
    root = os.environ.get("LMWRIGHT_DATA")
    if not root:
        raise LmwrightError(
            f"the proof of {lab.id} reads {name}, and LMWRIGHT_DATA does not say where it is",
            hint=f"set LMWRIGHT_DATA to the folder in which {name} lies",
        )
    if not (Path(root) / name).exists():
        raise LmwrightError(
            f"the proof of {lab.id} reads {name}, and {Path(root) / name} does not exist",
            hint="LMWRIGHT_DATA names the folder in which it is looked for",
        )


def measured(lab: Lab, file: Path | None) -> Measured:
    """Do one run in a process of its own.

    Args:
        lab: which.
        file: the learner's; None for production's part.

    Raises:
        LmwrightError: if it does not end well, or measures no number.
    """
    use = [] if file is None else [_dotted(file), str(file.resolve().parent.parent)]
    environment = {k: v for k, v in os.environ.items() if k != parts.VARIABLE}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "lmwright.roadmap.proving", lab.id, str(result), *use]
        start = time.monotonic()
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"the proof did not end within {SECONDS:.0f} s") from None
        seconds = time.monotonic() - start
        if done.returncode or not result.exists():
            raise _failed(lab, file, done)
        found = read_json(result)
    value = found["value"]
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise CheckFailed(f"{lab.proof.metric} came out as {value}")
    return Measured(float(value), seconds, int(found["calls"]))


def main(arguments: list[str]) -> None:
    """One run: measure with the part in use here, and write what came of it.

    Args:
        arguments: the lab's id, the result's path, and of a learner's part its dotted name and the
            folder from which that counts.
    """
    name, result, *use = arguments
    if use:
        with contextlib.chdir(use[1]):
            parts.use(use[0])
    lab = find_lab(name)
    value: Any = lab.measure()[lab.proof.metric]
    if not isinstance(value, int):
        value = float(value)
    told = value if math.isfinite(value) else str(value)
    write_json(Path(result), {"value": told, "calls": sum(parts.calls().values())})


def _dotted(file: Path) -> str:
    path = file.resolve()
    return f"{path.parent.name}.{path.stem}"


def _failed(lab: Lab, file: Path | None, done: subprocess.CompletedProcess[str]) -> LmwrightError:
    """What a run that did not end well said last."""
    which = f"production's {lab.name}" if file is None else str(file)
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()][-_TOLD:]
    said = "\n       ".join(lines) or f"it ended with code {done.returncode}"
    return CheckFailed(f"the proof with {which} failed", hint=said)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LmwrightError as problem:
        print(json.dumps(problem.what)[1:-1], file=sys.stderr)
        sys.exit(problem.exit_code)
