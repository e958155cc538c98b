"""stories260K behind a real server, whose streams are written by the part in use."""

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.proofs import data_folder

if TYPE_CHECKING:
    from lmwright.serving.launch import Server

NAME = "stories260K"
BEGINNINGS = ("Once upon a time", "The big dog", "Lily said", "One day, Tom")
TOKENS = 40
PATIENCE_SECONDS = 60.0


def measure() -> dict[str, Any]:
    """Streams that differ from the same answer sent whole, and requests that a hang-up leaves."""
    with serving() as (server, port):
        return asyncio.run(_ask(server, f"http://127.0.0.1:{port}"))


@contextlib.contextmanager
def serving() -> Iterator[tuple["Server", int]]:
    """A server of stories260K on a free port of this machine, and its port."""
    from lmwright.models.convert import convert
    from lmwright.serving.app import Settings, create_app
    from lmwright.serving.launch import Server
    from lmwright.serving.opening import EngineOptions
    from lmwright.serving.options import bind
    from lmwright.serving.processes import Starter

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / NAME
        convert(str(data_folder(NAME) / f"{NAME}.bin"), target, note=lambda text: None)
        starter = Starter(EngineOptions(model=str(target), threads=1))
        failures: list[BaseException] = []
        app = create_app(starter, Settings(name=NAME), failed=failures.append)
        server, listener = Server(app, drain_seconds=2.0), bind("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _until(lambda: bool(failures) or (server.started and server.worker.state == "ready"))
            if failures:
                raise failures[0]
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise LmwrightError(
                "the proof's server did not do in a minute what it takes seconds for"
            )
        time.sleep(0.02)


async def _ask(server: "Server", url: str) -> dict[str, Any]:
    bodies = [
        {"model": NAME, "prompt": beginning, "max_tokens": TOKENS, "temperature": heat, "seed": 7}
        for beginning in BEGINNINGS
        for heat in (0.0, 0.8)
    ]
    whole = [await _whole(url, body) for body in bodies]
    streamed = await asyncio.gather(*(_streamed(url, body) for body in bodies))
    wrong = sum(mine != right for mine, right in zip(streamed, whole, strict=True))
    # Who goes away in the middle of an answer leaves nothing behind.
    await _streamed(url, {**bodies[0], "max_tokens": 400}, events=3)
    await asyncio.to_thread(_until, lambda: not server.worker.in_flight)
    return {"wrong_answers": wrong, "answers": len(bodies)}


async def _whole(url: str, body: dict[str, Any]) -> Any:
    """The text, why it ended, and the count of its tokens."""
    from lmwright.serving.bench.http import Endpoint, exchange

    async with exchange(
        Endpoint.parse(url), "POST", "/completions", json.dumps(body).encode()
    ) as response:
        found = json.loads(b"".join([part async for part in response.body]))
    choice = found["choices"][0]
    return choice["text"], choice["finish_reason"], found["usage"]["completion_tokens"]


async def _streamed(url: str, body: dict[str, Any], events: int | None = None) -> Any:
    """The same from a stream; None if it does not end as it should, or is left after `events`."""
    from lmwright.serving.bench.http import Endpoint, exchange
    from lmwright.serving.bench.sse import EventParser

    request = {**body, "stream": True, "stream_options": {"include_usage": True}}
    parser, found = EventParser(), []
    async with exchange(
        Endpoint.parse(url), "POST", "/completions", json.dumps(request).encode()
    ) as response:
        async for part in response.body:
            found += parser.feed(part)
            if events is not None and len(found) >= events:
                return None
    if not found or found[-1] != "[DONE]":
        return None
    chunks = [json.loads(text) for text in found[:-1]]
    if not all("choices" in chunk for chunk in chunks) or "usage" not in chunks[-1]:
        return None
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["text"] for choice in choices)
    return text, choices[-1]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]
