"""From a bound address to a running server: load, serve, swap, drain."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from lmwright.core import parts
from lmwright.core.errors import LmwrightError
from lmwright.serving import lines
from lmwright.serving.app import Settings, create_app
from lmwright.serving.errors import ApiError
from lmwright.serving.options import address
from lmwright.serving.supervisor import Start
from lmwright.serving.worker import Worker

# Idle connections stay open a little longer than the 60 s after which proxies in front give
# theirs up, so that no request meets a connection that is just being closed.
KEEP_ALIVE_SECONDS = 65
# After the drain only the ends of answers are still to be sent.
CLOSE_SECONDS = 2


class Server(uvicorn.Server):
    """uvicorn, with a drain: after SIGTERM or SIGINT, readiness falls, new work is refused with
    503, and what was accepted is finished, up to a limit; a second signal ends the drain at once.
    SIGHUP loads the model's folder anew, and serves what is in it now.

    Args:
        app: made by `create_app`.
        drain_seconds: how long accepted requests may take after the signal.
    """

    def __init__(self, app: FastAPI, *, drain_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self.worker: Worker = app.state.worker
        self.drain_seconds = drain_seconds
        self.signal: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_terminal = os.isatty(2)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit`."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while serving; unlike uvicorn, do not raise them again.

        A drained server has done what the signal asked: it ends with status 0.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, self.handle_exit) for number in handled]
        try:
            yield
        finally:
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal, break it off at the second."""
        # A terminal that has been closed says so with the signal that means "reload" to a service.
        hung_up = sig == signal.SIGHUP and self._at_terminal and not os.isatty(2)
        if sig == signal.SIGHUP and not hung_up:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._begin, self.reload)
        elif self._loop is None:
            self.should_exit = True
        elif self.signal is None:
            self.signal = sig
            self._loop.call_soon_threadsafe(self._begin, self.drain)
        else:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.worker.stop()
        self.should_exit = True

    def _begin(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.ensure_future(work())
        self._tasks.add(task)  # the loop itself does not hold it
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Swap in what the model's folder holds now; if that cannot be, go on as before."""
        lines.write("reloading")
        try:
            await self.worker.swap()
        except (LmwrightError, ApiError) as error:
            lines.write("reload_failed", logging.ERROR, reason=str(error))

    async def drain(self) -> None:
        """Refuse new work, finish what is in flight, then end."""
        lines.write("draining", seconds=self.drain_seconds)
        self.worker.drain()
        try:
            async with asyncio.timeout(self.drain_seconds):
                await self.worker.idle()
        except TimeoutError:
            lines.write("drain_timed_out")
        self._end()


def serve(start: Start, settings: Settings, listener: socket.socket, *, drain: float) -> int:
    """Run until a signal.

    Args:
        start: starts an engine process.
        settings: see `create_app`.
        listener: from `options.bind`.
        drain: seconds that accepted requests may take after the signal.

    Returns:
        The process's exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        LmwrightError: if the model cannot be loaded, or the engine is beyond repair.
    """
    lines.configure()
    for part in parts.active():
        facts: dict[str, Any] = {"file": part.shown, "sha256": part.sha256, "checked": part.checked}
        lines.write("part", part=part.name, target=part.target, **facts)
        lines.say(f"With your {part.name}: {part.shown}{'' if part.checked else ' (unchecked)'}")
    place = address(listener)
    failures: list[BaseException] = []
    began = time.monotonic()
    told = False

    def loaded() -> None:
        nonlocal told
        # Of a restart or a swap the server's age would tell nothing.
        took: dict[str, Any] = {} if told else {"seconds": round(time.monotonic() - began, 2)}
        lines.write("ready", model=settings.name, **took)
        if not told:
            lines.say(f"Ready. Chat at {place} · API at {place}/v1 · Ctrl-C stops")
        told = True

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(start, settings, loaded=loaded, failed=failed)
    server = Server(app, drain_seconds=drain)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]
    return 130 if server.signal == signal.SIGINT else 0
