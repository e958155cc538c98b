"""From a command line to a running server: bind, load, serve, drain."""

import asyncio
import contextlib
import errno
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.serving import logs
from lmwright.serving.app import Settings, create_app
from lmwright.serving.guard import ANY_ADDRESS
from lmwright.serving.model import Served, load
from lmwright.serving.worker import Worker

# Idle connections stay open a little longer than the 60 s after which proxies in front give
# theirs up, so that no request meets a connection that is just being closed.
KEEP_ALIVE_SECONDS = 65
# After the drain only the ends of answers are still to be sent.
CLOSE_SECONDS = 2


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, before anything expensive is loaded.

    Args:
        host: an address or a name of this machine.
        port: 0 takes any that is free.

    Raises:
        LmwrightError: if the address is in use, not ours, or not permitted.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not 0 <= port <= 65535:
        raise LmwrightError(f"--port {port} is not a port", hint="choose one from 1024 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise LmwrightError(f"--host {host} is not an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Listening as well: two servers may bind one address, but only one of them may listen.
        listener.listen()
    except OSError as error:
        listener.close()
        raise _bind_error(error, place) from error
    return listener


def _bind_error(error: OSError, place: str) -> LmwrightError:
    if error.errno == errno.EADDRINUSE:
        return LmwrightError(
            f"{place} is in use by another program",
            hint="choose another with --port, or stop the server that runs there",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return LmwrightError(f"{place} is not permitted", hint="choose a port above 1023")
    return LmwrightError(f"cannot listen on {place}: {error.strerror}")


class Server(uvicorn.Server):
    """uvicorn, with a drain: after a signal, readiness falls, new work is refused with 503, and
    what was accepted is finished, up to a limit; a second signal ends the drain at once.

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
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit`."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while serving; unlike uvicorn, do not raise them again.

        A drained server has done what the signal asked: it ends with status 0.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in handled]
        try:
            yield
        finally:
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal, break it off at the second."""
        if self._loop is None:
            self.should_exit = True
        elif self.signal is None:
            self.signal = sig
            self._loop.call_soon_threadsafe(self._begin_drain)
        else:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.worker.stop()
        self.should_exit = True

    def _begin_drain(self) -> None:
        self._draining = asyncio.ensure_future(self.drain())

    async def drain(self) -> None:
        """Refuse new work, finish what is in flight, then end."""
        logs.write("draining", seconds=self.drain_seconds)
        self.worker.drain()
        try:
            async with asyncio.timeout(self.drain_seconds):
                await self.worker.idle()
        except TimeoutError:
            logs.write("drain_timed_out")
        self._end()


def serve(
    model: str,
    settings: Settings,
    listener: socket.socket,
    *,
    batch: int,
    drain_seconds: float,
) -> int:
    """Run until a signal.

    Args:
        model: a run, a run folder, a model folder or a hub id.
        settings: see `create_app`.
        listener: from `bind`.
        batch: most answers generated at once.
        drain_seconds: how long accepted requests may take after the signal.

    Returns:
        The process's exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        LmwrightError: if the model cannot be loaded.
    """
    logs.configure(sys.stderr)
    place = address(listener)
    failures: list[BaseException] = []

    start = time.monotonic()

    def open_model() -> Served:
        return load(model, max_sequences=batch, max_waiting=settings.limits.waiting_requests)

    def loaded() -> None:
        logs.write("ready", model=settings.name, seconds=round(time.monotonic() - start, 2))
        print(f"Ready. Chat at {place} · API at {place}/v1 · Ctrl-C stops", flush=True)

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    print(f"Loading {settings.name} ...", flush=True)
    app = create_app(open_model, settings, loaded=loaded, failed=failed)
    server = Server(app, drain_seconds=drain_seconds)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]
    return 130 if server.signal == signal.SIGINT else 0


def address(listener: socket.socket) -> str:
    """The URL a person on this machine opens."""
    host, port = listener.getsockname()[:2]
    if host in ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def public_name(name: str) -> str:
    """What API users call the model: the run's name, or the folder's or hub id's own."""
    if not Path(name).exists():
        return name
    path = Path(name).resolve()
    inside_run = path.name == "model" and (path.parent / "recipe.yaml").is_file()
    return path.parent.name if inside_run else path.name


def seconds(option: str, text: str) -> float:
    """A length of time given on the command line.

    Raises:
        LmwrightError: if it is none, or a number of steps or tokens.
    """
    try:
        duration = Duration.parse(text)
    except ValueError as error:
        raise LmwrightError(f"{option}: {error}") from error
    if duration.unit != "seconds":
        raise LmwrightError(f"{option} {text}: a server takes a time here, such as 8s")
    return duration.amount


def metrics_prefix(text: str) -> str:
    """A prefix that Prometheus accepts.

    Raises:
        LmwrightError: if it would not.
    """
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", text):
        raise LmwrightError(f"--metrics-prefix {text!r}: letters, digits and _ only")
    return text
