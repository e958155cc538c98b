"""Keeps an engine process running: starts it, replaces it when it dies, swaps it for another."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from lmwright.core.errors import LmwrightError
from lmwright.serving import lines
from lmwright.serving.answers import Answer
from lmwright.serving.connection import Connection, EngineDied
from lmwright.serving.errors import ApiError
from lmwright.serving.model import Served
from lmwright.serving.processes import Handle
from lmwright.serving.telemetry import Telemetry

State = Literal["loading", "ready", "draining", "failed", "stopped"]
"""What the server may say about itself; "loading" also while the engine is restarted."""

Start = Callable[[str | None], Handle]
"""Starts an engine process for a model; None: for the one that the server was started with."""

# An engine that dies once may have met a bad moment; one that goes on dying will not recover.
DEATHS = 3
DEATHS_SECONDS = 60.0
# Before the first restart; each further death within the minute doubles it.
BACK_OFF_SECONDS = 0.5
# A retired engine stays so long, for requests whose prompt is just being encoded for it.
RETIRE_SECONDS = 5.0
# An engine with work that says nothing for so long hangs: its counts come every fraction of a
# second, and one step of a large model on a slow machine takes seconds.
SILENT_SECONDS = 300.0


class EngineFailed(LmwrightError):
    """The engine process died too often; the server gives up."""

    exit_code = 1


class Supervisor:
    """The engine processes of one server: one, and during a swap two.

    Args:
        start: starts an engine process.
        telemetry: counts what happens.
        loaded: told that requests are taken from now on; again after each restart and swap.
        failed: told that the model cannot be opened or that the engine is beyond repair.
        ended: told that answers have ended.

    Attributes:
        state: see `State`.
        served: the model that new requests are for, once it is loaded.
    """

    def __init__(
        self,
        start: Start,
        *,
        telemetry: Telemetry,
        loaded: Callable[[], None],
        failed: Callable[[BaseException], None],
        ended: Callable[[], None],
    ) -> None:
        self.state: State = "loading"
        self.served: Served | None = None
        self._start = start
        self._model: str | None = None
        self._telemetry = telemetry
        self._loaded = loaded
        self._failed = failed
        self._ended = ended
        self._current: Connection | None = None
        self._connections: dict[Connection, Served | None] = {}  # whose process still runs
        self._lost = asyncio.Event()  # the current one's process has ended
        self._swapping = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the first process; in the event loop."""
        self._go_on(asyncio.create_task(self._supervise()))
        self._go_on(asyncio.create_task(self._watch()))

    def ready(self) -> Served:
        """The model that is served.

        Raises:
            ApiError: 503, with Retry-After while it is loading or draining.
        """
        if self.state == "ready" and self.served is not None:
            return self.served
        if self.state in ("failed", "stopped"):
            raise ApiError(503, "The engine has failed; restart the server", code="engine_failed")
        doing = "loading its model" if self.state == "loading" else "shutting down"
        raise ApiError(503, f"The server is {doing}", code=self.state, retry_after=2)

    def connection(self, served: Served) -> Connection | None:
        """To the engine that serves this model; None if it has ended."""
        return next((c for c, its in self._connections.items() if its is served), None)

    def answers(self) -> Iterator[Answer]:
        """Those in flight, in every process."""
        for connection in list(self._connections):
            for answer, _ in list(connection.answers.values()):
                yield answer

    def cancel(self, answer: Answer) -> None:
        """Make whichever engine has this answer forget it."""
        for connection in self._connections:
            if connection.answers.get(answer.number, (None,))[0] is answer:
                connection.cancel(answer)

    def running(self) -> int:
        """Answers being generated, as the engines said last."""
        return sum(connection.stats.get("running", 0) for connection in self._connections)

    def pid(self) -> int | None:
        """Of the process that takes new requests."""
        return None if self._current is None else self._current.handle.pid

    async def swap(self, model: str | None) -> Served:
        """See `Worker.swap`."""
        self.ready()
        if self._swapping:
            raise ApiError(409, "A swap is already going on", code="swapping")
        self._swapping = True
        model = self._model if model is None else model
        try:
            connection, served = await self._open(model)
        except EngineDied as error:
            raise LmwrightError(f"the new engine process died: {error}") from error
        finally:
            self._swapping = False
        if self.state != "ready":  # it drains, or the old one died: the supervisor sees to that
            connection.stop()
            self.ready()
        old, self._model = self._current, model
        self._take_over(connection, served)
        if old is not None:
            asyncio.get_running_loop().call_later(RETIRE_SECONDS, old.retire)
        return served

    def stop(self) -> None:
        """End every process after its current step; what was in flight ends with an error."""
        if self.state != "failed":
            self.state = "stopped"
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.stop()

    async def close(self) -> None:
        """Wait for the ends of the stopped processes."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in list(self._connections)))

    async def _supervise(self) -> None:
        """Keep one running, until it fails for good."""
        deaths: deque[float] = deque(maxlen=DEATHS)
        try:
            while self.state != "draining":
                try:
                    self._take_over(*await self._open(self._model))
                    await self._until_lost()
                except EngineDied as error:
                    deaths.append(time.monotonic())
                    await self._back_off(deaths, error)
        except LmwrightError as error:
            self.state = "failed"
            self._failed(error)

    async def _back_off(self, deaths: deque[float], error: EngineDied) -> None:
        recent = sum(deaths[-1] - at < DEATHS_SECONDS for at in deaths)
        self._telemetry.engine_deaths.inc()
        lines.write("engine_died", logging.ERROR, reason=str(error), deaths=recent)
        if recent == DEATHS:
            raise EngineFailed(
                f"the engine process died {DEATHS} times within a minute: {error}",
                hint="the log above says what it said last",
            ) from error
        await asyncio.sleep(BACK_OFF_SECONDS * 2 ** (recent - 1))

    async def _open(self, model: str | None) -> tuple[Connection, Served]:
        connection = Connection(
            self._start(model),
            ended=self._ended,
            over=self._over,
            counted=self._telemetry.engine,
        )
        self._connections[connection] = None
        served = await connection.open()
        self._connections[connection] = served
        return connection, served

    def _take_over(self, connection: Connection, served: Served) -> None:
        self._current, self.served = connection, served
        self._lost.clear()
        if connection.is_over:
            self._lost.set()
        elif self.state == "loading":
            self.state = "ready"
        lines.write("engine_ready", pid=connection.handle.pid, runner=served.runner or None)
        if self.state == "ready":
            self._loaded()

    async def _until_lost(self) -> None:
        """Wait for the death of whichever engine is current.

        Raises:
            EngineDied: always.
        """
        await self._lost.wait()
        assert self._current is not None
        raise EngineDied(_how_it_ended(await self._current.close()))

    def _over(self, connection: Connection) -> None:
        del self._connections[connection]
        self._ended()
        if connection is self._current:
            if self.state == "ready":
                self.state = "loading"
            self._lost.set()
        elif self.state not in ("failed", "stopped"):
            self._go_on(asyncio.create_task(self._reap(connection)))

    async def _reap(self, connection: Connection) -> None:
        status = await connection.close()
        lines.write("engine_ended", pid=connection.handle.pid, status=status)

    async def _watch(self) -> None:
        """Kill an engine that hangs; what follows is what follows any death."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / 20)
            for connection in list(self._connections):
                if connection.silent_seconds() > SILENT_SECONDS:
                    lines.write("engine_hangs", logging.ERROR, pid=connection.handle.pid)
                    connection.handle.kill()

    def _go_on(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)  # the loop itself does not hold it
        task.add_done_callback(self._tasks.discard)


def _how_it_ended(status: int | None) -> str:
    if status is None:
        return "it no longer answers"
    return f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}"
