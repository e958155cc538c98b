"""Each contender of `inference_vs_peers` in a process of its own.

Every engine brings its own thread pool, and some keep their threads spinning after a call: apart
from each other, and with a pause before each measurement, none slows the next one down.
"""

import contextlib
import importlib.metadata
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from inference_contenders import ENGINES, Contender, Setting, Spec, Task, Timing

PAUSE_SECONDS = 0.3
"""Before a measurement: OpenMP's threads spin for up to 0.2 s after a call (KMP_BLOCKTIME)."""


class Process:
    """A contender in a process of its own.

    Attributes:
        label: the package and its version.
        settings: see `Contender`.
        absent: why it cannot run; None if it can.
    """

    def __init__(self, spec: Spec) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, spec), daemon=True)
        self._process.start()
        theirs.close()
        self.name = spec.engine
        self.absent: str | None = None
        self.settings: Sequence[Setting] = ()
        self.label = spec.engine
        answer = self._receive()
        if isinstance(answer, str):
            self.absent = answer
        else:
            self.label, self.settings = answer

    def run(self, task: Task, setting: Setting, seconds: float = 0.0) -> list[Timing]:
        """Do the work, after a pause; again with other prompts until so many seconds are counted.

        Raises:
            RuntimeError: with the contender's own words, if it fails.
        """
        time.sleep(PAUSE_SECONDS)
        self._pipe.send((task, setting, seconds))
        answer = self._receive()
        if isinstance(answer, str):
            raise RuntimeError(f"{self.label}: {answer}")
        timings: list[Timing] = answer
        return timings

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join(5)
            return f"its process ended with status {self._process.exitcode}"


@contextlib.contextmanager
def started(specs: Sequence[Spec]) -> Iterator[list[Process]]:
    """The contenders' processes; ended with the block."""
    processes: list[Process] = []
    try:
        for spec in specs:
            processes.append(Process(spec))
        yield processes
    finally:
        for process in processes:
            process.close()


def _work(pipe: Connection, spec: Spec) -> None:
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    try:
        contender = ENGINES[spec.engine](spec)
        version = importlib.metadata.version(spec.engine)
        pipe.send((f"{spec.engine} {version}", list(contender.settings)))
    except Exception as error:  # noqa: BLE001 - whatever a peer cannot do is reported, not fatal
        pipe.send(_words(error))
        return
    while (message := pipe.recv()) is not None:
        try:
            pipe.send(_repeated(contender, *message))
        except Exception as error:  # noqa: BLE001 - as above
            pipe.send(_words(error))


def _repeated(contender: Contender, task: Task, setting: Setting, seconds: float) -> list[Timing]:
    timings: list[Timing] = []
    while not timings or sum(t.prefill + t.decode for t in timings) < seconds:
        # Far from the seeds of other turns.
        timings.append(
            contender.run(replace(task, seed=task.seed + 10_000 * len(timings)), setting)
        )
    return timings


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
