"""Server-sent events, and noticing that nobody listens any more.

`sse-starlette` would do half of it, but it patches uvicorn's signal handling for the whole process,
which the graceful drain needs for itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lmwright.serving.answers import Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.formats import Format

# Proxies cut a connection that is silent for 30 to 60 seconds; a comment every 10 keeps it.
PATIENCE_SECONDS = 10.0

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


async def events(
    reply: Reply, write: Format, *, include_usage: bool, ended: Callable[[ApiError | None], None]
) -> AsyncIterator[bytes]:
    """The server-sent events of a streamed reply (HTML standard, section 9.2.5).

    Args:
        reply: admitted; its `pieces(PATIENCE_SECONDS)` come as they are generated. It is closed
            however this ends.
        write: the wire format, whose objects are the events' data, as JSON.
        include_usage: whether the token counts come last.
        ended: told once that nothing more comes, with what went wrong or None; not where the
            client hung up, who closes this generator.

    Yields:
        One event, or a comment where the reply is silent, as UTF-8; what must not be cut is whole.
    """
    try:
        for opening in write.opening(reply):
            yield event(opening)
        async for item in reply.pieces(PATIENCE_SECONDS):
            if item is None:
                yield b": still working\n\n"
            elif (chunk := write.chunk(*item)) is not None:
                yield event(chunk)
        if include_usage:
            yield event(write.counts(reply))
        yield b"data: [DONE]\n\n"
        ended(None)
    except ApiError as error:
        # The status line is long gone: the error travels as an event.
        ended(error)
        yield event(error.body())
    finally:
        reply.close()


def event(body: BaseModel) -> bytes:
    """One server-sent event."""
    return f"data: {body.model_dump_json()}\n\n".encode()


class EventStream(StreamingResponse):
    """A streamed reply; however it ends, the engine stops working on it.

    Args:
        reply: admitted.
        write: the wire format.
        include_usage: end with the token counts.
        done: called at the end, with what went wrong or None.
    """

    def __init__(
        self,
        reply: Reply,
        write: Format,
        *,
        include_usage: bool,
        done: Callable[[ApiError | None], None],
    ) -> None:
        self._reply = reply
        self._done = done
        self._error: ApiError | None = ApiError(499, "The client hung up")
        super().__init__(
            events(reply, write, include_usage=include_usage, ended=self._ended),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Also where `events` was never started, or waits for its garbage collection.
            self._reply.close()
            self._done(self._error)

    def _ended(self, error: ApiError | None) -> None:
        self._error = error


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up first.

    Raises:
        ClientGone: if it did.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
